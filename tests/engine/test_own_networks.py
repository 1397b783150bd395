"""A study of a network of one's own that is no chain of modules, from the command line to its table."""

import json

import pytest
from faulty import group_of
from whole_studies import PROFILE, SPACE, command, finish, records, write_study

from dks_study.cli import main
from dks_study.engine.session import _leaving_nothing
from dks_study.study.export import export
from dks_study.study.holder import LOCK

NETWORK = "backbone: {name: 'own_networks:TupleOut'}"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    question = SPACE.replace("stage1, stage2", "a, b")
    profile = PROFILE.replace("backbone: {name: resnet, depth: 8, base_channels: 4}", NETWORK)
    assert NETWORK in profile
    return write_study(tmp_path_factory.mktemp("space"), question, profile)


def test_the_plan_says_what_auto_comes_to(space, tmp_path, capfd):
    assert main([*command(space, tmp_path / "results")[2:], "--dry-run"]) == 0
    assert "recipe auto: bottleneck at a, b (dense)" in capfd.readouterr().out


def refused_at(folder, recorded=""):
    with _leaving_nothing(folder):
        (folder / "contents").mkdir()
        (folder / "ledger.jsonl").write_text(recorded)
        raise SystemExit(0)


def test_whatever_ends_a_study_before_a_trial_leaves_an_empty_folder_and_no_results_are_deleted(tmp_path):
    new, begun = tmp_path / "new", tmp_path / "begun"
    for folder in (new, begun):
        folder.mkdir()
        (folder / LOCK).touch()
    with pytest.raises(SystemExit):
        refused_at(new)
    assert not list(new.iterdir())
    with pytest.raises(SystemExit):
        refused_at(begun, recorded="{}\n")  # with --storage, trials leave nothing else here
    assert (begun / "ledger.jsonl").read_text() == "{}\n"


def test_check_data_refuses_a_batch_that_the_study_would_refuse(space, tmp_path, capfd):
    run = [*command(space, tmp_path / "results")[2:], "--set", "trial.data.train_images=12", "--check-data"]
    assert main(run) == 2
    out, err = capfd.readouterr()
    assert "optimiser.batch_size: must be at most the 12 training images" in err
    assert "Nothing would be refused" not in out


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_searched_confirmed_and_exported(space, tmp_path, workers):
    folder, out, _ = finish(space, tmp_path / "results", *group_of(workers), "keep=all")
    assert {record.outcome.status for record in records(folder)} == {"complete"}
    assert "Recipe auto: bottleneck at a, b (dense)." in (folder / "table.md").read_text()
    assert "Left out: nothing." in out
    recorded = json.loads((folder / "provenance.json").read_text())["recipe_auto"]
    assert recorded == {"bottleneck at a, b": ["dense"]}
    # One that was trained as written, or with what the search chose: both, unless the search chose the arm as written.
    confirmed = next(each for each in records(folder) if (each.cell.arm, each.cell.phase) == ("dense", "confirm"))
    named = {"test/top1/a", "test/top1/b", "test/top1/main", "train/kl/main>a"}
    assert named <= confirmed.outcome.metrics.keys()
    assert "logits equal those of `main`" in export(folder / "trials" / confirmed.cell.id, "weights")


@pytest.mark.slow
def test_a_tap_that_is_not_there_ends_it_before_anything_trains(space, tmp_path):
    _, _, err = finish(space, tmp_path / "results", "arms.dense={branches.taps: [a, z]}", code=2)
    rule = "branches.taps: must be modules that run and put out feature maps [B, C, H, W], [B, H, W, C] or tokens"
    assert rule in err
    assert "a, b, c; got 'z'" in err
    assert len(err.strip().splitlines()) == 1
