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
    now = {"CPU": 2.0, "clock": 100.0}
    monkeypatch.setattr(cluster, "present", lambda: {"CPU": now["CPU"]})
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now["clock"])
    return now


def test_what_fits_is_counted_and_the_impossible_refused():
    assert concurrency(ResourceSpec(), {"CPU": 2.0}) == 2
    assert concurrency(ResourceSpec(workers=2), {"CPU": 5.0}) == 2
    assert concurrency(ResourceSpec(gpus_per_worker=0.25), {"CPU": 16.0, "GPU": 2.0}) == 8
    with pytest.raises(StudyError, match=r"trial\.resources.cpus_per_worker: a trial needs 4 CPU, but there are 2"):
        check_possible(ResourceSpec(cpus_per_worker=4), {"CPU": 2.0})
    with pytest.raises(StudyError, match="needs 1 GPU, but there are 0"):
        check_possible(ResourceSpec(gpus_per_worker=1), {"CPU": 2.0})


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
