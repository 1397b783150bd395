"""Studies on clusters of several nodes, which are lost and which come."""

import uuid

import pytest
from faulty import STEPS_PER_EPOCH, group_of, trapped_process, trapped_study
from nodes import nodes
from whole_studies import PATIENCE_S, finish, records, same_tables, start, study_folder, wait_until

THIRD_EPOCH = 2 * STEPS_PER_EPOCH + 1


def complete(folder):
    ended = {record.cell.id: record.outcome.status for record in records(folder)}
    return len(ended) == len(records(folder)) and set(ended.values()) == {"complete"}


@pytest.fixture(scope="module", autouse=True)
def token():
    """Clusters and studies here share a token of their own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "token")
        patched.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
        yield


@pytest.fixture(scope="module")
def three_nodes():
    """One CPU each: the two workers of a trial are on two nodes."""
    with nodes(1, 1, 1) as cluster:
        yield cluster


@pytest.mark.slow
def test_three_nodes_run_a_study_of_two_worker_trials_to_the_table_of_one(tmp_path, calm, three_nodes):
    space, trapped = trapped_study(tmp_path, "wait")
    (trapped / "go").touch()
    join = ("--address", three_nodes.address)
    folder, out, err = finish(space, tmp_path / "results", *group_of(2), options=join)
    assert err == ""
    assert "1 trials at a time" in out
    assert complete(folder)
    assert same_tables(folder, calm(2))


@pytest.mark.slow
def test_a_lost_node_costs_its_trial_an_attempt_and_the_study_nothing(tmp_path, calm, three_nodes):
    space, trapped = trapped_study(tmp_path, "wait", at=THIRD_EPOCH, rank=-1)
    log = tmp_path / "log"
    process = start(space, tmp_path / "results", *group_of(2), options=("--address", three_nodes.address), log=log)
    workers = [trapped_process(trapped, process, rank) for rank in (0, 1)]
    assert any(three_nodes.tell("kill", worker) == "done" for worker in workers)
    assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()
    folder = study_folder(tmp_path / "results")
    assert complete(folder)
    assert same_tables(folder, calm(2))
    assert "start after epoch 2 " in (folder / "trials" / "trapped-confirm-seed0" / "log.txt").read_text()


@pytest.mark.slow
def test_a_node_that_comes_takes_its_share_of_the_trials(tmp_path):
    space, trapped = trapped_study(tmp_path, "wait", once=False)
    log = tmp_path / "log"
    with nodes(1) as cluster:
        process = start(
            space, tmp_path / "results", "report_seeds=[0, 1, 2]", options=("--address", cluster.address), log=log
        )
        trapped_process(trapped, process)
        assert "1 trials at a time" in log.read_text()
        cluster.tell("add", 2)
        wait_until(lambda: len(set((trapped / "attempts").read_text().split())) == 3, process)
        assert "3 trials at a time" in log.read_text()
        (trapped / "go").touch()
        assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()
    assert complete(study_folder(tmp_path / "results"))


@pytest.mark.slow
def test_a_cluster_without_a_cpu_grows_for_the_trials_that_wait(tmp_path):
    space, trapped = trapped_study(tmp_path, "wait", once=False)
    log = tmp_path / "log"
    with nodes("growing", 2) as cluster:
        process = start(space, tmp_path / "results", options=("--address", cluster.address), log=log)
        trapped_process(trapped, process)
        wait_until(lambda: len(set((trapped / "attempts").read_text().split())) == 2, process)
        (trapped / "go").touch()
        assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()
    notes = [line for line in log.read_text().splitlines() if "trial fits" in line or "trials at a time" in line]
    assert notes == ["no trial fits now: waiting for the cluster", "1 trials at a time", "2 trials at a time"]
    assert complete(study_folder(tmp_path / "results"))
