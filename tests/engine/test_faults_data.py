"""Data reach trials once per node: read by the driver, shared by all."""

import os

import pytest
import torch
from whole_studies import finish, records, untimed, write_study

from dks_study.spec.trial import TrialSpec
from dks_study.study.ledger import read_outcome
from dks_study.study.trial import run_trial

SPACE = """
question: Does it work?
profile: {profile}
arms:
  ds: {{loss.pairing: none}}
  dense: {{loss.pairing: dense}}
table: {{title: Small, reference: ds}}
"""
PROFILE = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  branches: {taps: [stage1]}
  data: {name: "counted:digits", root: "ROOT", label_noise: 0.4}
  optimiser: {lr: 0.05, batch_size: 256}
  epochs: 1
search: {trials: 0}
report_seeds: [0, 1, 2]
"""


@pytest.mark.slow
def test_the_data_are_read_once_whatever_the_number_of_trials(tmp_path):
    space = write_study(tmp_path, SPACE, PROFILE.replace("ROOT", str(tmp_path)))
    folder, _, err = finish(space, tmp_path / "results")
    assert err == ""
    assert len(records(folder)) == 6
    reads = (tmp_path / "reads").read_text().splitlines()
    assert len(reads) == 1, "by the driver, which looks at the data before anything starts"
    for record in records(folder)[:2]:
        trial = TrialSpec.model_validate_json((folder / "trials" / record.cell.id / "trial.json").read_text())
        run_trial(trial, tmp_path / record.cell.id, torch.device("cpu"), lambda metrics: None)
        assert untimed(read_outcome(tmp_path / record.cell.id).metrics) == untimed(record.outcome.metrics)
    assert (tmp_path / "reads").read_text().splitlines() == [*reads, str(os.getpid())], "a trial alone reads for itself"
