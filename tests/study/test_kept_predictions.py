"""Predictions on test images: what a confirmation leaves, who takes it along, and when there is none."""

import shutil

import adoption as many
import numpy as np
import pytest
import torch
from donors import CELL, CPU, TRIAL, adoption
from studies import small_study

from dks_study import cli
from dks_study.analysis.tables.bundle import bundle
from dks_study.spec.study import arm_trial
from dks_study.study.home import Home
from dks_study.study.ledger import read_outcome
from dks_study.study.predictions import FILE, read_predictions, write_predictions
from dks_study.study.results import load_results, write_results
from dks_study.study.storage import Files
from dks_study.study.trial import run_trial
from dks_study.training.arm_checks import prediction_sizes
from dks_study.training.predicting import OVERHEAD_BYTES, predicted_bytes

SHORT = arm_trial(small_study(trials=0), "dense", {}, epochs=1, phase="confirm", seed=1)


def accuracy(predictions, name):
    return 100 * float((predictions.logits[name].argmax(1) == predictions.labels).mean())


def trained(folder, keep, trial=SHORT):
    run_trial(trial, folder, CPU, lambda _: None, keep_predictions=keep)
    return folder


@pytest.fixture(scope="module")
def of_all(tmp_path_factory):
    """A trial that keeps the predictions of all classifiers."""
    return trained(tmp_path_factory.mktemp("all"), "all")


def test_logits_come_to_the_accuracies_on_record_to_the_last_image(of_all):
    found, metrics = read_predictions(of_all), read_outcome(of_all).metrics
    assert list(found.logits) == ["stage1", "stage2", "main"]
    for name, logits in found.logits.items():
        assert (logits.dtype, logits.shape) == (np.float32, (450, 10))
        assert accuracy(found, name) == metrics[f"test/top1/{name}"]
    probabilities = [torch.tensor(logits).softmax(-1) for logits in found.logits.values()]
    together = torch.stack(probabilities).mean(0).argmax(-1).numpy() == found.labels
    assert 100 * together.mean() == pytest.approx(metrics["test/top1/ensemble"])
    size = (of_all / FILE).stat().st_size
    assert predicted_bytes(3, 450, 10) - OVERHEAD_BYTES < size <= predicted_bytes(3, 450, 10)


def test_whether_they_are_kept_changes_nothing_else_of_a_trial(of_all, tmp_path):
    assert not (trained(tmp_path / "none", "none") / FILE).exists()
    search = SHORT.model_copy(update={"phase": "search"})
    assert not (trained(tmp_path / "search", "all", search) / FILE).exists(), "the test set is not looked at"
    one, other = (
        {
            name: value
            for name, value in read_outcome(folder).metrics.items()
            if "time/" not in name and "_s" not in name
        }
        for folder in (of_all, tmp_path / "none")
    )
    assert one == other
    assert (of_all / "trial.json").read_text() == (tmp_path / "none" / "trial.json").read_text()


def test_a_crash_after_the_last_epoch_loses_no_predictions(tmp_path):
    def crash(_metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(SHORT, tmp_path, CPU, crash, keep_predictions="main")
    run_trial(SHORT, tmp_path, CPU, lambda _: None, keep_predictions="main")  # nothing is left to do
    assert list(read_predictions(tmp_path).logits) == ["main"]
    assert accuracy(read_predictions(tmp_path), "main") == read_outcome(tmp_path).metrics["test/top1/main"]


@pytest.mark.parametrize("how", ["empty", "cut", "missing", "of others"])
def test_damaged_predictions_are_none(tmp_path, how):
    write_predictions(tmp_path, ["main"], np.zeros((1, 4, 3), np.float32), np.arange(4))
    path = tmp_path / FILE
    content = path.read_bytes()
    assert read_predictions(tmp_path) is not None
    if how == "of others":
        np.savez(path, classifiers=["main"], logits=np.zeros((1, 5, 3)), labels=np.arange(4))
    elif how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else content[: len(content) // 2])
    assert read_predictions(tmp_path) is None


def test_an_adopted_trial_brings_its_predictions_and_is_taken_without_them_too(donor, files):
    theirs = donor / "trials" / CELL.id / FILE
    assert adoption(files, donor).take(CELL, TRIAL, None)
    mine = files.trial(CELL.id)
    assert (mine / FILE).samefile(theirs)
    shutil.rmtree(mine)
    assert adoption(files, donor, predictions=False).take(CELL, TRIAL, None)
    assert not (mine / FILE).exists()
    shutil.rmtree(mine)
    theirs.unlink()
    assert adoption(files, donor).take(CELL, TRIAL, None), "a study of a time before there were any"
    assert not (mine / FILE).exists()


def test_a_study_s_home_keeps_them_too(tmp_path):
    files = Files(tmp_path / "results" / "small-1", Home((tmp_path / "home").as_uri()))
    with files.place("one").opened(writer=True) as (folder, push):
        write_predictions(folder, ["main"], np.zeros((1, 2, 3), np.float32), np.array([2, 0]))
        push()
    assert not files.trial("one").exists()
    files.fetch("one")
    assert read_predictions(files.trial("one")).labels.tolist() == [2, 0]


def test_the_disk_must_hold_the_predictions_of_all_confirmations():
    study = small_study()
    assert prediction_sizes(study) == dict.fromkeys(study.arms, 4 * 450 * 11 + OVERHEAD_BYTES)
    everything = prediction_sizes(study.model_copy(update={"keep_predictions": "all"}))
    assert everything["dense"] == 4 * 450 * 31 + OVERHEAD_BYTES
    assert set(prediction_sizes(study.model_copy(update={"keep_predictions": "none"})).values()) == {0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study, two of whose confirmations have predictions, and one damaged ones."""
    folder = tmp_path_factory.mktemp("results") / "donor-1"
    many.make_up(many.study_of("random", 2, 0, 2), folder)
    load = sorted(path.name for path in folder.glob("trials/*") if "seed" in path.name)
    for trial in load[:2]:
        write_predictions(folder / "trials" / trial, ["main"], np.eye(3, dtype=np.float32)[None], np.arange(3))
    (folder / "trials" / load[2] / FILE).write_bytes(b"damaged")
    write_results(folder)
    return folder, load


def test_results_read_what_there_is_and_a_bundle_brings_it_along(made, tmp_path):
    folder, (first, second, damaged, *_) = made
    found = load_results(folder).predictions
    assert found(first).labels.tolist() == [0, 1, 2]
    assert found(damaged) is None
    assert cli.main(["bundle", str(folder), str(tmp_path / "b.zip"), "--licence", "CC-BY-4.0"]) == 0
    assert load_results(tmp_path / "b.zip").predictions(second).logits["main"].tolist() == np.eye(3).tolist()
    bundle(folder, tmp_path / "small")
    assert load_results(tmp_path / "b.zip").predictions(damaged) is None
    assert load_results(tmp_path / "small").predictions(first).labels.tolist() == [0, 1, 2]


def test_clean_frees_predictions_where_it_is_asked(made, tmp_path, capsys):
    folder = shutil.copytree(made[0], tmp_path / "donor-1")
    assert cli.main(["clean", str(folder)]) == 0
    assert len(list(folder.glob(f"trials/*/{FILE}"))) == 3
    assert cli.main(["clean", str(folder), "--predictions"]) == 0
    assert not list(folder.glob(f"trials/*/{FILE}"))
    assert "predictions of finished trials: 0.0 MiB freed" in capsys.readouterr().out
