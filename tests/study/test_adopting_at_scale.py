"""Many trials adopted by what a session adopts with: killed half way, two at once, chains; Ray has no part in it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import adoption
import pytest

from dks_study.study.ledger import Ledger, read_epochs, read_ledger, read_outcome
from dks_study.study.results import load_results, write_results

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("random", 3, 10, 20)
ADOPT = (
    "import sys; from pathlib import Path; import adoption;"
    "study = adoption.study_of('random', 3, 10, int(sys.argv[1]), name=sys.argv[2]);"
    "adoption.adopt(study, Path(sys.argv[3]), [Path(word) for word in sys.argv[4:]])"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("donors") / "donor"
    adoption.make_up(adoption.study_of(*SIZE), folder)
    return folder


def start(folder, *donors, name="grown", seeds=20):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))}
    words = [sys.executable, "-c", ADOPT, str(seeds), name, str(folder), *map(str, donors)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)


def records(folder):
    return {record.cell.id: record for record in read_ledger(folder / "ledger.jsonl")}


def is_whole(folder, donor):
    """Whether a study holds what the donor does, and every line of its ledger stands for a whole trial."""
    mine, theirs = records(folder), records(donor)
    assert {name: (r.cell, r.outcome, r.identity) for name, r in mine.items()} == {
        name: (r.cell, r.outcome, r.identity) for name, r in theirs.items() if name in mine
    }
    for name, record in mine.items():
        place = folder / "trials" / name
        assert read_outcome(place) == record.outcome
        assert list(read_epochs(place))[-1] == record.outcome.metrics
        assert record.adopted_from == donor.name
    return len(mine) == len(theirs)


def test_everything_is_adopted_and_each_line_says_from_where(made, tmp_path):
    assert adoption.adopt(adoption.study_of(*SIZE, name="grown"), tmp_path / "grown", [made]) == []
    assert is_whole(tmp_path / "grown", made)


@pytest.mark.slow
def test_killed_again_and_again_while_adopting_it_ends_with_the_same(made, tmp_path):
    folder, kills, trials = tmp_path / "grown", 0, len(records(made))
    while True:
        process = start(folder, made)
        known = len(records(folder)) if folder.exists() else 0
        while process.poll() is None and len(records(folder)) < min(known + 15, trials):
            time.sleep(0.002)
        process.kill()
        process.wait()
        if len(records(folder)) == trials:
            break
        kills += process.returncode == -signal.SIGKILL
        is_whole(folder, made)
    assert kills >= 3
    assert start(folder, made).wait() == 0
    assert is_whole(folder, made)
    assert not (folder / ".tune" / "adopted").exists()


@pytest.mark.slow
def test_two_studies_adopt_from_one_another_at_once(made, tmp_path):
    """Each has a half of the seeds of the other's arms; nobody gets a trial that nobody trained."""
    halves = tmp_path / "one", tmp_path / "two"
    for number, half in enumerate(halves):
        half.mkdir()
        shutil.copytree(made / "trials", half / "trials", copy_function=os.link)
        for record in records(made).values():
            if record.cell.phase == "search" or record.cell.seed % 2 == number:
                Ledger(half / "ledger.jsonl").append(record)
            else:
                shutil.rmtree(half / "trials" / record.cell.id)
    processes = [start(halves[0], halves[1]), start(halves[1], halves[0])]
    assert [process.wait() for process in processes] == [0, 0]
    for half, other in zip(halves, reversed(halves), strict=True):
        found = records(half)
        assert len(found) == len(records(made))
        assert {r.adopted_from for r in found.values()} == {None, other.name}
        numbers = {name: record.outcome for name, record in found.items()}
        assert numbers == {name: record.outcome for name, record in records(made).items()}


@pytest.mark.slow
def test_a_donor_that_is_deleted_meanwhile_gives_whole_trials_or_none(made, tmp_path):
    donor = shutil.copytree(made, tmp_path / "donor")
    process = start(tmp_path / "grown", donor)
    while process.poll() is None and len(records(tmp_path / "grown")) < 10:
        time.sleep(0.002)
    shutil.rmtree(donor)
    assert process.wait() == 0
    is_whole(tmp_path / "grown", made)
    assert len(records(tmp_path / "grown")) >= 10


def test_more_seeds_adopt_what_is_there_and_name_the_rest(made, tmp_path):
    left = adoption.adopt(adoption.study_of("random", 3, 10, 22, name="grown"), tmp_path / "grown", [made])
    assert {trial.seed for _, trial in left} == {20, 21}
    assert is_whole(tmp_path / "grown", made)


def test_more_search_trials_adopt_the_earlier_ones(made, tmp_path):
    left = adoption.adopt(adoption.study_of("random", 3, 12, 20, name="grown"), tmp_path / "grown", [made])
    assert {cell.id for cell, _ in left} == {f"arm{number}-search-{10}" for number in range(3)}
    assert sum(record.cell.phase == "search" for record in records(tmp_path / "grown").values()) == 30


def test_results_say_who_trained_a_trial(made, tmp_path):
    folder = tmp_path / "grown"
    adoption.adopt(adoption.study_of(*SIZE, name="grown"), folder, [made])
    (folder / "provenance.json").write_text((made / "provenance.json").read_text())
    write_results(folder)
    assert set(load_results(folder).trials["adopted_from"]) == {"donor"}
