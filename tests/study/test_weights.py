"""The weights that a study starts from: said, on record, and refused when they have changed since."""

import hashlib
import json

import pytest
import torch
from studies import ARMS, small_study

from dks_study import run
from dks_study.cli import main
from dks_study.method.backbones import build_backbone
from dks_study.spec.backbone import ResNetSpec
from dks_study.spec.cohort import PeerSpec
from dks_study.spec.study import arm_trial
from dks_study.study.identity import identity, origin_of
from dks_study.study.merging import _write_origins
from dks_study.study.mixing import read_sides
from dks_study.study.provenance import new_session, read_provenance, write_provenance
from dks_study.study.weights import look_at_weights
from dks_study.training.arm_checks import StudyError

HERE = {"torch": "2.14", "device": "cpu"}
BACKBONE = {"name": "resnet", "depth": 8, "base_channels": 4}


def save(path, classes=10, seed=5):
    torch.save(build_backbone(ResNetSpec(**BACKBONE), 1, classes, seed).state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def study_from(path, **study):
    return small_study(trials=0, backbone={**BACKBONE, "weights": str(path)}, **study)


def test_each_file_is_told_once_with_its_hash_its_arms_and_what_is_left_out(tmp_path):
    for classes, rest in (
        (10, "all of it fits"),
        (7, "without head.fc.weight, head.fc.bias, which are of other classes"),
    ):
        digest, notes = save(tmp_path / "net.pt", classes), []
        assert look_at_weights(study_from(tmp_path / "net.pt"), tmp_path, notes.append) == {
            str(tmp_path / "net.pt"): digest
        }
        assert notes == [f"Weights: {tmp_path / 'net.pt'} (sha256 {digest}), {rest} ({', '.join(ARMS)})."]
    assert look_at_weights(small_study(), tmp_path, notes.append) == {}


def test_a_study_whose_weights_changed_does_not_go_on(tmp_path):
    path = tmp_path / "net.pt"
    before, study = save(path), study_from(path)
    weights = look_at_weights(study, tmp_path, str)
    write_provenance(tmp_path, study, [], new_session(0), weights=weights)
    assert read_provenance(tmp_path)["weights"] == {str(path): before}
    assert look_at_weights(study, tmp_path, str) == weights
    after = save(path, seed=6)
    with pytest.raises(StudyError, match=f"must not change.*net.pt had sha256 {before}, has {after}; put them back"):
        look_at_weights(study, tmp_path, str)


def test_a_changed_file_of_weights_is_another_trial(tmp_path):
    weights = {"own": tmp_path / "own.pt", "peer": tmp_path / "peer.pt"}
    own, peer = (ResNetSpec(**BACKBONE, weights=str(path)) for path in weights.values())
    plain = arm_trial(small_study(), "baseline", {}, epochs=1, phase="search", seed=0)
    trial = plain.model_copy(update={"backbone": own, "peers": (PeerSpec(backbone=peer), PeerSpec())})
    assert origin_of(trial, HERE) is None, "nobody can say what is in a file that is not there"
    for path in weights.values():
        path.write_bytes(b"one")
    names = {identity(trial, "data", origin_of(trial, HERE))}
    for path in weights.values():
        path.write_bytes(b"two")
        names.add(identity(trial, "data", origin_of(trial, HERE)))
    assert len(names) == 3
    assert {"backbone.weights", "peers.0.backbone.weights"} <= origin_of(trial, HERE).keys()


def test_merged_studies_keep_them_on_record(tmp_path):
    sides = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_provenance(tmp_path / name, small_study(), [], new_session(0), weights={"net.pt": "abc"})
        sides.append(tmp_path / name)
    _write_origins(small_study(), read_sides(sides), tmp_path, [])
    assert read_provenance(tmp_path)["weights"] == {"net.pt": "abc"}


@pytest.mark.slow
def test_no_trial_is_adopted_that_began_with_other_weights(tmp_path):
    save(tmp_path / "net.pt")

    def adopted(seeds):
        study = study_from(tmp_path / "net.pt", arms=("baseline",), report_seeds=seeds, epochs=1)
        results = run(study, tmp_path / "results")
        assert (results.trials["status"] == "complete").all()
        return int(results.trials["adopted_from"].notna().sum()), results

    _, first = adopted((0,))
    origin = json.loads((first.folder / "trials" / "baseline-confirm-seed0" / "origin.json").read_text())["origin"]
    assert read_provenance(first.folder)["weights"] == {str(tmp_path / "net.pt"): origin["backbone.weights"]}
    save(tmp_path / "net.pt", seed=6)
    assert adopted((0, 1))[0] == 0


def test_weights_that_do_not_fit_or_are_not_there_are_refused_by_arm_and_key(tmp_path):
    with pytest.raises(StudyError, match=r"^arms\.baseline: trial\.backbone\.weights: must be a file, got"):
        look_at_weights(study_from(tmp_path / "no.pt"), tmp_path, str)
    save(tmp_path / "net.pt")
    peer = {"backbone": {**BACKBONE, "depth": 14, "weights": str(tmp_path / "net.pt")}}
    with pytest.raises(
        StudyError, match=r"^arms\.baseline: trial\.peers\.0\.backbone\.weights: must be those of resnet"
    ):
        look_at_weights(small_study(trials=0, peers=[peer]), tmp_path, str)


def test_the_plan_says_what_is_left_out_and_one_line_what_does_not_fit(tmp_path, capsys):
    digest = save(tmp_path / "net.pt", 7)
    backbone = f"trial.backbone={{name: resnet, depth: 8, base_channels: 4, weights: {tmp_path / 'net.pt'}}}"
    words = ["--space", "does_it_help", "--dry-run", "--results", str(tmp_path / "results"), "--set", backbone]
    assert main(words) == 0
    assert f"(sha256 {digest}), without head.fc.weight, head.fc.bias" in capsys.readouterr().out
    (tmp_path / "net.pt").write_bytes(b"junk")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "backbone.weights: must be a file of weights" in error
    assert error.count("\n") == 1
