"""What is remembered of a trial that ran out of memory."""

import pytest
from plain import plain_trial

from dks_study.spec.trial import ResourceSpec
from dks_study.study.ledger import OUTCOME, Outcome, read_outcome, write_outcome
from dks_study.study.trial import in_parts, most_parts, read_parts, train_in_parts


def test_a_trial_in_parts_differs_in_nothing_else():
    trial = plain_trial()
    changed = in_parts(trial, 4)
    assert changed.optimiser.accumulate == 4
    assert in_parts(changed, trial.optimiser.accumulate) == trial
    assert changed.content_hash() != trial.content_hash(), "its checkpoints are others"


@pytest.mark.parametrize(("workers", "most"), [(0, 50), (1, 50), (3, 16)])
def test_two_images_are_in_each_part_of_a_workers_share(workers, most):
    trial = plain_trial(batch_size=100).model_copy(update={"resources": ResourceSpec(workers=workers)})
    assert most_parts(trial) == most


def test_a_trial_begins_anew_and_remembers_in_how_many_parts(tmp_path):
    assert read_parts(tmp_path) is None
    for name in ("last.pt", "best.pt"):
        (tmp_path / name).touch()
    write_outcome(tmp_path, Outcome("out_of_memory", {}))
    train_in_parts(tmp_path, 2)
    assert read_parts(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"parts.json"}
    train_in_parts(tmp_path, 4)
    assert read_parts(tmp_path) == 4


def test_a_crash_in_between_repeats_the_attempt_and_skips_no_number(tmp_path, monkeypatch):
    write_outcome(tmp_path, Outcome("out_of_memory", {}))
    monkeypatch.setattr("dks_study.study.trial.write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train_in_parts(tmp_path, 2)
    assert read_parts(tmp_path) is None
    assert read_outcome(tmp_path) is None
    assert not (tmp_path / OUTCOME).exists()


@pytest.mark.parametrize("content", ["", "tw", "{}", "null"])
def test_a_damaged_number_is_none(tmp_path, content):
    (tmp_path / "parts.json").write_text(content)
    assert read_parts(tmp_path) is None
