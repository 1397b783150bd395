"""What a study knows of the checklist, and what it took, by hand."""

import shutil

import pandas as pd
import pytest
from made_up import made_up, write

from dks_study import cli
from dks_study.analysis.report.compute import energy, hours_by_phase, machines, session_hours

MACHINE = {"cpu": "Fast", "cpus": 8, "memory_gib": 31.0, "gpus": 0, "system": "Linux"}


def session(hours=1, energy_j=None, **hardware):
    ended = f"2026-01-01T{hours:02}:30:00+00:00"
    known = {"started": "2026-01-01T00:00:00+00:00", "ended": ended, "hardware": MACHINE | hardware}
    return known | ({} if energy_j is None else {"energy_j": energy_j})


def with_trials(results, trials, epochs):
    """Return `results` with rows (trial, phase, status, adopted_from) and epochs (trial, seconds)."""
    frame = pd.DataFrame(trials, columns=["trial", "phase", "status", "adopted_from"])
    return type(results)(results.study, frame, pd.DataFrame(epochs, columns=["trial", "time/train_s"]))


def test_hours_are_those_of_all_trials_lost_ones_too_and_adopted_ones_apart():
    trials = [
        ("a", "search", "complete", None),
        ("b", "search", "diverged", None),  # after one epoch
        ("c", "search", "stopped", None),
        ("d", "search", "failed", None),  # before its first
        ("e", "confirm", "complete", None),
        ("e", "confirm", "complete", None),  # counts for two rows of the table
        ("f", "confirm", "complete", "other-1"),
        ("g", "confirm", "complete", None),  # its epochs were not kept
    ]
    epochs = [("a", 900.0), ("a", 900.0), ("b", 360.0), ("c", 720.0), ("e", 3600.0), ("f", 7200.0)]
    frame = hours_by_phase(with_trials(made_up(), trials, epochs))
    columns = ["phase", "adopted", "trials", "lost", "stopped", "epochs", "unknown"]
    assert frame[columns].to_numpy().tolist() == [
        ["search", False, 4, 2, 1, 4, 0],
        ["confirm", False, 2, 0, 0, 1, 1],
        ["confirm", True, 1, 0, 0, 1, 0],
    ]
    assert frame["hours"].tolist() == pytest.approx([0.8, 1.0, 2.0])


def test_a_trial_on_several_cpus_takes_so_many_hours_of_them():
    results = with_trials(made_up(), [("a", "confirm", "complete", None)], [("a", 1800.0)])
    trial = results.study.trial
    more = trial.model_copy(update={"resources": trial.resources.model_copy(update={"cpus_per_worker": 3})})
    wider = type(results)(results.study.model_copy(update={"trial": more}), results.trials, results.epochs)
    assert hours_by_phase(wider)["device"].tolist() == pytest.approx([1.5])


def test_sessions_are_added_and_machines_named_once():
    sessions = [session(1), session(3), session(2, cpus=4) | {"ended": None}]
    assert session_hours(sessions) == pytest.approx(1.5 + 3.5)
    assert machines(sessions) == [
        "8 CPUs (Fast), 31.0 GiB of memory, 0 GPUs, Linux",
        "4 CPUs (Fast), 31.0 GiB of memory, 0 GPUs, Linux",
    ]


@pytest.mark.parametrize(
    ("sessions", "told"),
    [
        ([], "not measured"),
        ([session(), session(energy_j={})], "not measured"),
        ([session(energy_j={"cpu": 1.8e6}), session(energy_j={"cpu": 5.4e6})], "2 kWh by the CPUs"),
        (
            [session(energy_j={"cpu": 3.6e6, "gpu": 9e6}), session()],
            "1 kWh by the CPUs (not measured in 1 sessions); 2.5 kWh by the GPUs (not measured in 1 sessions)",
        ),
    ],
)
def test_energy_is_told_where_it_was_measured(sessions, told):
    assert energy(sessions) == told


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write(tmp_path_factory.mktemp("checked") / "study", made_up())


def test_the_five_items_are_filled_from_a_folder_and_from_its_bundle_alike(study, tmp_path, capsys):
    assert cli.main(["checklist", str(study)]) == 0
    text = capsys.readouterr().out
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert [title[4] for title in titles] == ["4", "5", "6", "7", "8"]
    answers = [line for line in text.splitlines() if line.startswith("Answer: ")]
    assert len(answers) == 5
    assert "paired over the arms" in text
    assert "Energy of the machine of the command: not measured" in text
    assert cli.main(["bundle", str(study), str(tmp_path / "b.zip"), "--licence", "MIT"]) == 0
    capsys.readouterr()
    assert cli.main(["checklist", str(tmp_path / "b.zip")]) == 0
    assert capsys.readouterr().out == text


def spoil(folder, name, content):
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (None, (), "the following arguments are required: RESULTS"),
        (None, ("STUDY", "b"), "unrecognized arguments: b"),
        (None, ("STUDY", "--all"), "unrecognized arguments: --all"),
        (None, ("nowhere",), "not the results of a study: provenance.json is missing"),
        (None, ("",), "not the results of a study: provenance.json is missing"),
        (None, ("STUDY/trials.parquet",), "is no bundle of a study, or damaged"),
        (("provenance.json", b"{"), ("STUDY",), "provenance.json: is damaged"),
        (("provenance.json", b"[]"), ("STUDY",), "provenance.json: is damaged"),
        (("trials.parquet", b"x"), ("STUDY",), "trials.parquet: is damaged"),
        (("epochs.parquet", b""), ("STUDY",), "epochs.parquet: is damaged"),
    ],
)
def test_wrong_words_and_folders_are_one_line(study, tmp_path, monkeypatch, capsys, change, words, message):
    copy = shutil.copytree(study, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    if change:
        spoil(copy, *change)
    assert cli.main(["checklist", *(word.replace("STUDY", str(copy)) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
