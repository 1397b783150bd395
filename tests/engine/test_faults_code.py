"""Code or description that changes between two runs of the same study."""

import os
import shutil
import signal

import pytest
from faulty import STEPS_PER_EPOCH, trapped_process, trapped_study
from whole_studies import PATIENCE_S, ROOT, finish, records, same_tables, start, study_folder, wait_until


@pytest.fixture
def repository(tmp_path):
    """A copy of what a study runs."""
    copy = tmp_path / "repository"
    for name in ("dks_study", "analysis", "search_spaces"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_study.py", copy)
    return copy


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.slow
def test_changed_code_is_refused_until_it_is_put_back(space, uninterrupted, half_way, repository):
    module, before = repository / "dks_study" / "training" / "metrics.py", content(half_way)
    original = module.read_text()
    module.write_text(original + "# another line\n")
    _, _, err = finish(space, half_way.parent, "keep=all", code=2, root=repository, cwd=repository)
    assert "the code of a study must not change, as its table would mix trials of both: begun with " in err
    assert len(err.splitlines()) == 1
    assert content(half_way) == before
    module.write_text(original)
    finish(space, half_way.parent, "keep=all", root=repository, cwd=repository)
    assert same_tables(half_way, uninterrupted[0])


@pytest.mark.slow
def test_changed_code_that_makes_no_number_goes_on_with_a_note(space, uninterrupted, half_way, repository):
    for module in ("engine/tuning.py", "watch/display.py", "cli.py"):
        with (repository / "dks_study" / module).open("a") as file:
            file.write("# another line\n")
    _, out, _ = finish(space, half_way.parent, "keep=all", root=repository, cwd=repository)
    assert "Note: the code changed since this study began (" in out
    assert "in nothing that makes a number." in out
    assert same_tables(half_way, uninterrupted[0])


@pytest.mark.slow
def test_changed_code_still_prints_the_table_of_a_finished_study(space, uninterrupted, repository, tmp_path):
    folder = shutil.copytree(uninterrupted[0], tmp_path / "results" / uninterrupted[0].name)
    with (repository / "dks_study" / "training" / "metrics.py").open("a") as module:
        module.write("# another line\n")
    _, out, _ = finish(space, folder.parent, root=repository, cwd=repository)
    assert (uninterrupted[0] / "table.md").read_text() in out
    assert same_tables(folder, uninterrupted[0])


@pytest.mark.slow
def test_a_changed_description_has_a_folder_of_its_own_and_the_other_is_named(space, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted[0], tmp_path / "results" / uninterrupted[0].name)
    before, log = content(folder), tmp_path / "log"
    process = start(space, folder.parent, "trial.epochs=7", "trial.optimiser.lr=0.06", log=log)
    wait_until(lambda: "Note:" in log.read_text() or "Ray dashboard" in log.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    note = "has results of this question by another description: trial.optimiser.lr 0.01 there, 0.06 here;"
    assert f"Note: {folder} {note} trial.epochs 6 there, 7 here." in log.read_text()
    assert content(folder) == before
    assert study_folder(folder.parent)
    assert len(list(folder.parent.glob("small-*"))) == 2


@pytest.mark.slow
def test_code_that_changes_while_a_study_runs_ends_it_and_fails_no_trial(tmp_path, repository):
    space, trapped = trapped_study(tmp_path, "wait", at=STEPS_PER_EPOCH + 1)
    module = repository / "dks_study" / "training" / "metrics.py"
    original = module.read_text()
    alone = f"trial.resources.cpus_per_worker={os.cpu_count()}"  # no process that has the old code takes over
    process = start(space, tmp_path / "results", alone, root=repository, cwd=repository)
    pid = trapped_process(trapped, process)
    module.write_text(original + "# another line\n")
    os.kill(pid, signal.SIGKILL)  # the process that takes its place has the new code
    _, err = process.communicate(timeout=PATIENCE_S)
    folder = study_folder(tmp_path / "results")
    assert process.returncode == 2
    assert err.startswith(f"run_study: {folder}: dks_study must be the same code on every node, got ")
    assert len(err.splitlines()) == 1, err
    assert all(record.outcome.status == "complete" for record in records(folder))
    module.write_text(original)
    finish(space, tmp_path / "results", alone, root=repository, cwd=repository)
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 4
