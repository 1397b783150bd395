"""What may be taken from another study, and that nothing wrong ever is."""

import json
import os
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from donors import CELL, CPU, STUDY, TRIAL, adoption

from dks_study.study.adoption import Adoption
from dks_study.study.donors import donors_in, studies_in
from dks_study.study.home import Home
from dks_study.study.identity import environment, read_origin
from dks_study.study.ledger import LOST, Ledger, read_epochs, read_outcome
from dks_study.study.likeness import why_not
from dks_study.study.provenance import write_provenance
from dks_study.study.stopping import Watch
from dks_study.study.storage import Files
from dks_study.training.checkpoint import load_state

ACCURACY = "val/top1/main"


def rewritten(donor, **outcome):
    """Let ledger and outcome of a donor agree on something else."""
    record = next(iter(Ledger(donor / "ledger.jsonl").records))
    record = replace(record, outcome=replace(record.outcome, **outcome))
    (donor / "ledger.jsonl").unlink()
    Ledger(donor / "ledger.jsonl").append(record)
    (donor / "trials" / CELL.id / "outcome.json").write_text(json.dumps(asdict(replace(record.outcome, seconds=None))))


def test_a_finished_trial_of_the_same_identity_is_taken_with_all_that_it_is(donor, files):
    assert adoption(files, donor).take(CELL, TRIAL, None)
    mine, theirs = files.trial(CELL.id), donor / "trials" / CELL.id
    assert read_outcome(mine) == read_outcome(theirs)
    for name in ("trial.json", "epochs.jsonl", "log.txt"):
        assert (mine / name).read_bytes() == (theirs / name).read_bytes()
    assert read_origin(mine).adopted_from == "small-donor"
    assert read_origin(mine).origin == read_origin(theirs).origin
    assert (mine / "last.pt").samefile(theirs / "last.pt")
    assert load_state(mine / "best.pt", TRIAL.content_hash()) is not None


def test_what_is_taken_outlives_its_donor(donor, files):
    adoption(files, donor).take(CELL, TRIAL, None)
    before = list(read_epochs(files.trial(CELL.id)))
    (donor / "trials" / CELL.id / "epochs.jsonl").write_text("spoiled")
    shutil.rmtree(donor)
    assert list(read_epochs(files.trial(CELL.id))) == before
    assert load_state(files.trial(CELL.id) / "last.pt", TRIAL.content_hash()).epoch == 3


def test_a_trial_is_taken_under_another_name_and_remembers_who_trained_it(donor, files, tmp_path):
    renamed = replace(CELL, arm="renamed", index=0)
    assert adoption(files, donor).take(renamed, TRIAL, None)
    record = next(iter(Ledger(donor / "ledger.jsonl").records))
    Ledger(files.folder / "ledger.jsonl").append(replace(record, cell=renamed, adopted_from="small-donor"))
    shutil.rmtree(donor)
    third = Files(tmp_path / "results" / "small-third", None)
    assert adoption(third, files.folder).take(CELL, TRIAL, None)
    assert read_origin(third.trial(CELL.id)).adopted_from == "small-donor"


def other(**update):
    return TRIAL.model_copy(update=update)


@pytest.mark.parametrize("trial", [other(seed=2), other(epochs=4), other(phase="search")])
def test_another_description_is_not_taken(donor, files, trial):
    assert not adoption(files, donor).take(CELL, trial, None)
    assert not files.trial(CELL.id).exists()


def seen_under(donor, files, cell=CELL, trial=TRIAL, **changes):
    """Return under which plan a trial was seen where `donor` is of STUDY with `changes`, and nothing is taken."""
    write_provenance(donor, STUDY.model_copy(update=changes), [], None)
    seen = donors_in([donor], files.folder, print)
    taking = Adoption(STUDY, files, (), seen, "other data", {}, checkpoints=False, predictions=False)
    assert taking.take(cell, trial, None) is None
    return taking.seen_under(cell, trial)


def test_what_was_seen_under_another_plan_stays_seen_though_it_is_trained_anew(donor, files):
    assert seen_under(donor, files) is None
    assert seen_under(donor, files, report_seeds=(1, 2, 3)).seeds == (1, 2, 3)
    for trained in ({"trial": other(seed=2)}, {"cell": replace(CELL, phase="search")}, {"name": "another_question"}):
        assert seen_under(donor, files, report_seeds=(1, 2, 3), **trained) is None
    again = shutil.copytree(donor, donor.parent / "small-again")
    write_provenance(again, STUDY, [], None)
    both = donors_in([donor, again], files.folder, print)
    taking = Adoption(STUDY, files, (), both, "other data", {}, checkpoints=False, predictions=False)
    assert taking.seen_under(CELL, TRIAL) is None, "it was seen under this plan, too"


def test_other_data_code_or_machine_is_not_taken(donor, files):
    assert not adoption(files, donor, data="other").take(CELL, TRIAL, None)
    for key in environment(CPU):
        assert not adoption(files, donor, there={**environment(CPU), key: "other"}).take(CELL, TRIAL, None)
    assert not files.trial(CELL.id).exists()


def damaged(path, how):
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "last byte": content[:-1],
            "first line lost": b"".join(lines[1:]),
            "digit": content.replace(b"1", b"2", 1) if b"1" in content else b"x",
            "doubled": content + content,
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "first line lost", "digit", "doubled"])
@pytest.mark.parametrize("name", ["trial.json", "epochs.jsonl", "outcome.json", "origin.json"])
def test_a_damaged_donor_is_not_taken(donor, files, name, how):
    damaged(donor / "trials" / CELL.id / name, how)
    taken = adoption(files, donor)
    assert not taken.take(CELL, TRIAL, None)
    assert not files.trial(CELL.id).exists()
    assert list(taken.unfit) == [CELL.id]


def test_a_last_line_cut_by_one_byte_is_damage(donor, files):
    damaged(donor / "trials" / CELL.id / "epochs.jsonl", "last byte")
    assert not adoption(files, donor).take(CELL, TRIAL, None)


@pytest.mark.parametrize("name", ["trial.json", "epochs.jsonl", "outcome.json", "origin.json", "."])
def test_a_donor_that_is_deleted_after_its_ledger_was_read_is_not_taken(donor, files, name):
    taken = adoption(files, donor)
    path = donor / "trials" / CELL.id / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not taken.take(CELL, TRIAL, None)
    assert not files.trial(CELL.id).exists()


def test_the_next_donor_is_taken_where_one_is_damaged(donor, files, trained):
    damaged(donor / "trials" / CELL.id / "epochs.jsonl", "cut")
    assert adoption(files, donor, trained).take(CELL, TRIAL, None)
    assert len(list(read_epochs(files.trial(CELL.id)))) == 3


@pytest.mark.parametrize(
    "outcome", [{"status": "stopped"}, {"accumulate": 2}, *({"status": each, "metrics": {}} for each in LOST)]
)
def test_only_complete_trials_in_one_piece_are_taken(donor, files, outcome):
    rewritten(donor, **outcome)
    assert not adoption(files, donor).take(CELL, TRIAL, None)


def test_a_ledger_that_is_another_trials_is_not_believed(donor, files):
    """The identity stands in the ledger: a folder that was swapped for another one must not get by."""
    spoiled = donor / "trials" / CELL.id / "trial.json"
    values = json.loads(spoiled.read_text())
    values["optimiser"]["lr"] = 0.06
    spoiled.write_text(json.dumps(values))
    assert not adoption(files, donor).take(CELL, TRIAL, None)


def steps_of(donor):
    return [epoch[ACCURACY] for epoch in read_epochs(donor / "trials" / CELL.id)]


def test_a_search_keeps_the_steps_that_it_would_have_kept(donor, files):
    adoption(files, donor).take(CELL, TRIAL, Watch(ACCURACY))
    assert read_outcome(files.trial(CELL.id)).steps == steps_of(donor)


def test_a_trial_that_a_bar_would_have_stopped_is_not_taken(donor, files):
    value = steps_of(donor)[1]
    taken = adoption(files, donor)
    assert not taken.take(CELL, TRIAL, Watch(ACCURACY, bars=((2, value + 0.01),)))
    assert "early_stopping would have ended it after epoch 2" in taken.unfit[CELL.id][0]
    assert taken.take(CELL, TRIAL, Watch(ACCURACY, bars=((2, value),)))


def test_a_search_for_cheap_networks_needs_their_costs(donor, files, monkeypatch):
    assert adoption(files, donor).take(CELL, TRIAL, Watch(None, costs=True))
    shutil.rmtree(files.folder)
    path = donor / "trials" / CELL.id / "epochs.jsonl"
    lines = [{k: v for k, v in line.items() if not k.startswith("cost/")} for line in read_epochs(path.parent)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rewritten(donor, metrics=lines[-1])
    taken = adoption(files, donor)
    assert not taken.take(CELL, TRIAL, Watch(None, costs=True))
    assert "costs" in taken.unfit[CELL.id][0]
    assert taken.take(CELL, TRIAL, Watch(None))


def test_an_objective_that_the_donor_did_not_measure_is_said(donor, files):
    taken = adoption(files, donor)
    assert not taken.take(CELL, TRIAL, Watch("val/loss/other"))
    assert "val/loss/other is not in its epochs" in taken.unfit[CELL.id][0]


def test_checkpoints_come_along_only_if_they_are_there_and_keep_all_insists(donor, files):
    (donor / "trials" / CELL.id / "best.pt").unlink()
    taken = adoption(files, donor, checkpoints=True)
    assert not taken.take(CELL, TRIAL, None)
    assert "keep: all" in taken.unfit[CELL.id][0]
    assert adoption(files, donor).take(CELL, TRIAL, None)
    assert not (files.trial(CELL.id) / "best.pt").exists()


def test_a_trial_that_has_begun_here_goes_on_here(donor, files):
    files.trial(CELL.id).mkdir(parents=True)
    assert not adoption(files, donor).take(CELL, TRIAL, None)
    assert list(files.trial(CELL.id).iterdir()) == []


def test_a_crash_while_copying_leaves_nothing_and_the_next_session_takes_it(donor, files, monkeypatch):
    for at in ("write_bytes", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(type(files.folder), at, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                adoption(files, donor).take(CELL, TRIAL, None)
        assert not files.trial(CELL.id).exists()
    assert adoption(files, donor).take(CELL, TRIAL, None)


def test_a_home_gets_every_file_and_the_outcome_last(donor, tmp_path):
    home = Home((tmp_path / "home").as_uri())
    files = Files(tmp_path / "results" / "small-mine", home)
    assert adoption(files, donor).take(CELL, TRIAL, None)
    there = tmp_path / "home" / "trials" / CELL.id
    assert {path.name for path in there.iterdir()} == {path.name for path in files.trial(CELL.id).iterdir()}
    newest = max(there.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "outcome.json"


def test_a_full_disk_is_not_taken_for_a_damaged_donor(donor, files, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(type(files.folder), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        adoption(files, donor).take(CELL, TRIAL, None)


def test_own_and_unreadable_ledgers_are_passed_over(donor, files, tmp_path):
    notes = []
    assert not donors_in([donor], donor, notes.append)
    (donor / "ledger.jsonl").write_text("{}\n")
    assert not adoption(files, donor, notes=notes)
    said = "not a record of a trial: cell must be there, got none"
    assert notes == [f"Note: no trial is adopted from {donor}: {donor}/ledger.jsonl:1: {said}"]


def test_trials_without_an_identity_are_no_donors(donor, files):
    record = next(iter(Ledger(donor / "ledger.jsonl").records))
    (donor / "ledger.jsonl").unlink()
    Ledger(donor / "ledger.jsonl").append(replace(record, identity=None))
    assert donors_in([donor], files.folder, print) == []


def test_studies_are_found_in_a_folder_of_them_and_one_by_itself(donor, tmp_path):
    assert studies_in(donor) == [donor]
    assert studies_in(donor.parent) == [donor]
    assert studies_in(tmp_path / "nowhere") == []


def test_what_cannot_be_taken_is_said_with_the_key_that_differs(donor, files):
    faster = TRIAL.model_copy(update={"optimiser": TRIAL.optimiser.model_copy(update={"lr": 0.06})})
    told = list(why_not(adoption(files, donor), [(CELL, faster)]))
    near = f"the nearest, small-donor/{CELL.id}, has optimiser.lr 0.05 there, 0.06 here"
    assert told == [f"Not adopted: 1 of the first 1 trials to train ({near})."]
    there = {**environment(CPU), "torch": "99.0"}
    assert f"torch '{torch.__version__}' there, '99.0' here" in next(
        why_not(adoption(files, donor, there=there), [(CELL, TRIAL)])
    )
    assert "data 'fingerprint' there, 'other' here" in next(
        why_not(adoption(files, donor, data="other"), [(CELL, TRIAL)])
    )


def test_another_machine_with_other_versions_is_said_however_much_differs(donor, files):
    there = {**environment(CPU), "torch": "99.0", "numpy": "99.0", "processor": "another", "instructions": "none"}
    (line,) = why_not(adoption(files, donor, there=there), [(CELL, TRIAL)])
    assert line.endswith("; 1 more).")


def test_nothing_is_said_of_what_has_nothing_like_it(donor, files):
    keys = {"lr": 0.06, "momentum": 0.8, "nesterov": True, "batch_size": 16}
    other = TRIAL.model_copy(update={"optimiser": TRIAL.optimiser.model_copy(update=keys)})
    assert list(why_not(adoption(files, donor), [(CELL, other)])) == []
    assert list(why_not(adoption(files), [(CELL, other)])) == []


def test_why_a_damaged_trial_was_not_taken_is_said(donor, files):
    damaged(donor / "trials" / CELL.id / "epochs.jsonl", "cut")
    taken = adoption(files, donor)
    taken.take(CELL, TRIAL, None)
    assert "epochs.jsonl is damaged" in next(why_not(taken, [(CELL, TRIAL)]))
