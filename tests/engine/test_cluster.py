"""How many trials fit into a cluster that changes, and what is refused; without Ray running."""

import pytest

from dks_study.engine import cluster
from dks_study.engine.cluster import NodeError, Slots, check_node, check_possible, concurrency
from dks_study.spec.trial import ResourceSpec
from dks_study.study.home import home_of
from dks_study.study.provenance import PROVENANCE, code_hash
from dks_study.study.storage import Files
from dks_study.training.arm_checks import StudyError


@pytest.fixture
def size(monkeypatch):
    """The cluster's size, and a clock that is moved by hand."""
    now = {"CPU": 2.0, "GPU": 0.0, "clock": 100.0}
    monkeypatch.setattr(cluster, "present", lambda: [{"CPU": now["CPU"], "GPU": now["GPU"]}])
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now["clock"])
    return now


def test_what_fits_is_counted_and_the_impossible_refused():
    assert concurrency(ResourceSpec(), [{"CPU": 2.0}]) == 2
    assert concurrency(ResourceSpec(workers=2), [{"CPU": 5.0}]) == 2
    assert concurrency(ResourceSpec(gpus_per_worker=0.25), [{"CPU": 16.0, "GPU": 2.0}]) == 8
    with pytest.raises(StudyError, match=r"trial\.resources.cpus_per_worker: a trial needs 4 CPU, but there are 2"):
        check_possible(ResourceSpec(cpus_per_worker=4), [{"CPU": 2.0}])
    with pytest.raises(StudyError, match="needs 1 GPU, but there are 0"):
        check_possible(ResourceSpec(gpus_per_worker=1), [{"CPU": 2.0}])


@pytest.mark.parametrize(
    ("share", "gpus", "trials"),
    [(1, 3, 3), (0.5, 1, 2), (0.2, 1, 5), (0.1, 1, 10), (0.05, 1, 20), (0.2, 8, 40), (0.3, 4, 12), (0.01, 1, 100)],
)
def test_a_part_of_a_gpu_is_of_one_card(share, gpus, trials):
    assert concurrency(ResourceSpec(gpus_per_worker=share), [{"CPU": 128.0, "GPU": gpus}]) == trials


def test_a_trial_and_a_worker_are_on_one_node():
    three = [{"CPU": 32.0, "GPU": 8.0}] * 3
    assert concurrency(ResourceSpec(cpus_per_worker=20), three) == 3
    assert concurrency(ResourceSpec(workers=2, cpus_per_worker=20), three) == 1
    assert concurrency(ResourceSpec(workers=24, cpus_per_worker=4, gpus_per_worker=1), three) == 1
    check_possible(ResourceSpec(workers=24, cpus_per_worker=4, gpus_per_worker=1), three)
    with pytest.raises(
        StudyError, match=r"^trial\.resources: a trial needs 64 CPU, each worker on one node, but no nod"
    ):
        check_possible(ResourceSpec(cpus_per_worker=64), three)
    apart = [{"CPU": 4.0}, {"CPU": 1.0, "GPU": 1.0}]
    with pytest.raises(StudyError, match=r"^trial\.resources: a trial needs 2 CPU and 1 GPU, each worker on one node"):
        check_possible(ResourceSpec(cpus_per_worker=2, gpus_per_worker=1), apart)
    with pytest.raises(StudyError, match="a trial needs 2 workers of 3 CPU each, each worker on one node"):
        check_possible(ResourceSpec(workers=2, cpus_per_worker=3), [{"CPU": 5.0}, {"CPU": 2.0}])


def test_gpus_that_nobody_asked_for_are_told(size):
    notes = []
    size["GPU"] = 2.0
    Slots(ResourceSpec(), notes.append, growing=False)
    assert notes[0] == "Note: 2 GPUs stay idle, as trial.resources.gpus_per_worker is 0."


def test_a_change_is_noted_once_and_asked_for_every_two_seconds(size):
    notes = []
    slots = Slots(ResourceSpec(), notes.append, growing=False)
    assert (slots.now(), notes) == (2, ["2 trials at a time"])
    size["CPU"] = 5.0
    assert slots.now() == 2, "not asked yet"
    size["clock"] += cluster.ASKED_EVERY_S
    assert (slots.now(), slots.now()) == (5, 5)
    size["CPU"], size["clock"] = 0.0, size["clock"] + 2
    assert slots.now() == 0
    size["CPU"], size["clock"] = 5.0, size["clock"] + 2
    assert slots.now() == 5
    assert notes[1:] == ["5 trials at a time", "no trial fits now: waiting for the cluster", "5 trials at a time"]


def test_a_study_that_can_never_run_is_refused(size):
    with pytest.raises(StudyError, match="a trial needs 3 CPU, but there are 2"):
        Slots(ResourceSpec(cpus_per_worker=3), print, growing=False)


def test_where_an_autoscaler_waits_for_waiting_trials_there_are_some(size):
    notes = []
    slots = Slots(ResourceSpec(cpus_per_worker=3), notes.append, growing=True)
    assert (slots.now(), notes) == (1, ["no trial fits now: waiting for the cluster"])
    size["CPU"], size["clock"] = 12.0, size["clock"] + 2
    assert (slots.now(), notes[1:]) == (4 + 4, ["4 trials at a time"])


def test_a_node_without_the_results_or_with_other_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "host", lambda: "there")
    place = Files(tmp_path, None).place("dense-search-0")
    with pytest.raises(NodeError, match="must be a folder that every node sees; it is not there on there"):
        check_node(place, code_hash())
    check_node(Files(tmp_path, home_of(str(tmp_path / "home"), "study")).place("dense-search-0"), code_hash())
    (tmp_path / PROVENANCE).touch()
    check_node(place, code_hash())
    with pytest.raises(NodeError, match=f"same code on every node, got {code_hash()} on there instead of other"):
        check_node(place, "other")
