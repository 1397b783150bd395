"""Whatever can change a number changes the identity of a trial, and nothing else does."""

import json
import os
import typing
from types import UnionType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from studies import small_study

from dks_study.spec import backbone as families
from dks_study.spec.base import Spec
from dks_study.spec.branches import BranchSpec
from dks_study.spec.cohort import PeerSpec, TeacherSpec
from dks_study.spec.loss import LossSpec
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.spec.terms import TermSpec
from dks_study.spec.trial import TrialSpec
from dks_study.study.identity import (
    Kept,
    environment,
    identity,
    keep_origin,
    origin_of,
    own_modules,
    read_origin,
    write_origin,
)
from dks_study.study.trial import run_trial
from dks_study.training.team import Team

CPU = torch.device("cpu")
HERE = {"torch": "2.14", "device": "cpu"}
BACKBONES = (
    families.ResNetSpec(name="resnet", depth=8),
    families.PreActResNetSpec(name="preact_resnet", depth=8),
    families.WRNSpec(name="wrn", depth=10, width=1),
    families.DenseNetSpec(name="densenet", depth=7),
    families.MobileNetSpec(name="mobilenet"),
    families.VGGSpec(name="vgg_bn"),
    families.ExternalSpec(name="own_networks:WithStages", options={"width": 4}),
)


def trial_of(**trial):
    return arm_trial(small_study(trials=0, **trial), "dense", {}, epochs=2, phase="confirm", seed=1)


def whole(backbone=BACKBONES[0]):
    """A trial with everything that a trial can have: also what it seldom has."""
    other = {"teacher": TeacherSpec(weights="teacher.pt", backbone=backbone)}
    other["peers"] = (PeerSpec(backbone=backbone, branches=BranchSpec(taps=("stage1",))),)
    loss = LossSpec(terms={"it": TermSpec(kind="dkd", pairs=("teacher>main",))})
    return trial_of().model_copy(update={"backbone": backbone, "loss": loss, **other})


def others(annotation, value):
    """Yield values of a type that are not `value`, and stand for all of them."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, UnionType):
        for kind in inner:
            yield from others(kind, value)
    elif origin is typing.Annotated:
        yield from others(inner[0], value)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from changed(value) if isinstance(value, annotation) else ()
    elif origin is dict and isinstance(inner[1], type) and issubclass(inner[1], BaseModel):
        yield {}
        yield from ({**value, name: each} for name, part in value.items() for each in changed(part))
    elif origin is typing.Literal:
        yield from (each for each in inner if each != value)
    elif annotation is type(None):
        yield from () if value is None else (None,)
    else:
        yield _other(annotation, origin, inner, value)


def _other(annotation, origin, inner, value):
    if annotation is bool:
        return not value
    if annotation in (int, float):
        return value * 1.5 + 0.25 if annotation is float and value else (value or 0) + annotation(7)
    if annotation is str:
        return f"{value}x"
    if origin is tuple:
        return (*(value or ()), _some(inner[0])) if Ellipsis in inner else (_some(inner[0]), *value[1:])
    return {**(value if isinstance(value, dict) else {}), "main>stage1": _some(inner[1])}


def _some(annotation):
    """Return any value of the type of an item."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is tuple:
        return (_some(typing.get_args(annotation)[0]),)
    if annotation in (int, str):
        return annotation(7)
    return PeerSpec() if annotation is PeerSpec else 0.5


def changed(spec):
    """Yield copies of a description that differ in one value, for every key of it and of its sections."""
    for name, field in type(spec).model_fields.items():
        for value in others(field.annotation, getattr(spec, name)):
            yield spec.model_copy(update={name: value})


def keys_of(model):
    """Return every key of a description's schema, as Section.key."""
    keys, inner = {f"{model.__name__}.{name}" for name in model.model_fields}, set()
    for field in model.model_fields.values():
        inner |= specs_in(field.annotation)
    return keys.union(*(keys_of(each) for each in inner))


def specs_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return {annotation}
    return set().union(*(specs_in(each) for each in typing.get_args(annotation)))


def differing(one, other):
    """Return the keys, as Section.key, in which two descriptions and their sections differ."""
    found = set()
    for name in type(one).model_fields:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            found.add(f"{type(one).__name__}.{name}")
            if isinstance(mine, Spec) and type(mine) is type(theirs):
                found |= differing(mine, theirs)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                shared = [(mine[key], theirs[key]) for key in mine.keys() & theirs.keys()]
                found = found.union(*(differing(*pair) for pair in shared if isinstance(pair[0], Spec)))
    return found


def test_every_key_of_a_trial_changes_its_identity():
    seen = set()
    for backbone in BACKBONES:
        trial = whole(backbone)
        before = identity(trial, "data", HERE)
        for other in changed(trial):
            assert identity(other, "data", HERE) != before
            seen |= differing(trial, other) | differing(trial.peers[0], other.peers[0])
        for peer in changed(trial.peers[0]):
            assert identity(trial.model_copy(update={"peers": (peer,)}), "data", HERE) != before
            seen |= differing(trial.peers[0], peer)
    families_own = {f"{type(backbone).__name__}.name" for backbone in BACKBONES[:-1]}  # one value each: see below
    assert keys_of(TrialSpec) - seen == families_own
    assert len({identity(whole(backbone), "data", HERE) for backbone in BACKBONES}) == len(BACKBONES)


def test_the_order_of_keys_is_immaterial():
    trial = trial_of(loss={"pairing": {"main>stage1": 0.5, "stage1>main": 0.25}})
    again = json.loads(trial.model_dump_json(), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert identity(TrialSpec.model_validate_json(json.dumps(again)), "data", HERE) == identity(trial, "data", HERE)
    assert identity(trial, "data", dict(reversed(HERE.items()))) == identity(trial, "data", HERE)


def test_data_and_every_part_of_the_origin_change_the_identity():
    trial = trial_of()
    before = identity(trial, "data", HERE)
    assert identity(trial, "other data", HERE) != before
    for key in HERE:
        assert identity(trial, "data", {**HERE, key: "other"}) != before
        assert identity(trial, "data", {name: HERE[name] for name in HERE if name != key}) != before


RUNS = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.sampled_from([0.05, 0.1]),
        "batch_size": st.sampled_from([64, 128]),
        "momentum": st.sampled_from([0.0, 0.9]),
        "schedule": st.sampled_from(["cosine", "constant"]),
    },
)
STUDIES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["one", "two"]),
        "arm": st.sampled_from(["dense", "renamed"]),
        "run": RUNS,
        "seed": st.integers(0, 2),
        "title": st.sampled_from(["A", "B"]),
        "data": st.sampled_from(["d1", "d2"]),
        "code": st.sampled_from(["c1", "c2"]),
    }
)


def made(study):
    values = small_study(trials=0).model_dump(mode="json", exclude_unset=True, by_alias=True)
    values |= {"name": study["name"], "arms": {study["arm"]: {"loss.pairing": "dense"}}}
    values["table"] = {"title": study["title"], "reference": study["arm"]}
    values["trial"]["optimiser"] |= study["run"]
    spec = StudySpec.model_validate_json(json.dumps(values))
    return arm_trial(spec, study["arm"], {}, epochs=2, phase="confirm", seed=study["seed"])


@settings(max_examples=300)
@given(STUDIES, STUDIES)
def test_equal_identity_means_equal_trial_data_and_code_whatever_the_study_is_called(one, other):
    trials = made(one), made(other)
    same = trials[0] == trials[1] and (one["data"], one["code"]) == (other["data"], other["code"])
    names = [
        identity(trial, each["data"], {"code": each["code"]}) for trial, each in zip(trials, (one, other), strict=True)
    ]
    assert (names[0] == names[1]) == same


def test_the_origin_names_code_versions_machine_own_modules_and_weights(tmp_path):
    weights = tmp_path / "teacher.pt"
    weights.write_bytes(b"one")
    trial = whole(BACKBONES[-1])
    trial = trial.model_copy(update={"teacher": trial.teacher.model_copy(update={"weights": str(weights)})})
    assert own_modules(trial) == ["own_networks"]
    origin = origin_of(trial, environment(CPU))
    assert origin is not None
    assert {"python", "torch", "numpy", "processor", "instructions", "kernels", "device"} <= origin.keys()
    assert {"code of dks_study", "code of own_networks", "teacher.weights"} <= origin.keys()
    weights.write_bytes(b"two")
    assert origin_of(trial, environment(CPU))["teacher.weights"] != origin["teacher.weights"]
    weights.unlink()
    assert origin_of(trial, environment(CPU)) is None


def test_a_compiled_trial_has_no_origin():
    trial = trial_of(compute={"compile": True})
    assert origin_of(trial, environment(CPU)) is None


def one_of_two(rank, folder, unlike):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    if unlike and rank:
        os.environ["MKL_CBWR"] = "COMPATIBLE"
    keep_origin(folder, trial_of(), Team(rank, 2, CPU), anew=True)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("unlike", [False, True])
def test_a_group_has_an_origin_if_all_of_its_workers_are_alike(tmp_path, unlike):
    torch.multiprocessing.spawn(one_of_two, (tmp_path, unlike), nprocs=2)
    assert read_origin(tmp_path) == Kept(None if unlike else origin_of(trial_of(), environment(CPU)))


def test_networks_of_torchvision_and_timm_are_known_by_version():
    for name in ("torchvision:resnet18", "timm:resnet18"):
        assert own_modules(whole(families.ExternalSpec(name=name))) == []


def test_settings_that_choose_kernels_are_part_of_the_origin(monkeypatch):
    environment.cache_clear()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert environment(CPU)["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    environment.cache_clear()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    assert "ONEDNN_MAX_CPU_ISA" not in environment(CPU)


def test_a_trial_leaves_its_origin(tmp_path):
    trial = trial_of()
    run_trial(trial, tmp_path, CPU, lambda metrics: None)
    assert read_origin(tmp_path) == Kept(origin_of(trial, environment(CPU)), None)


def test_a_trial_that_goes_on_elsewhere_has_no_origin(tmp_path):
    trial, team = trial_of(), Team(0, 1, CPU)
    keep_origin(tmp_path, trial, team, anew=True)
    own = read_origin(tmp_path)
    keep_origin(tmp_path, trial, team, anew=False)
    assert read_origin(tmp_path) == own
    write_origin(tmp_path, Kept({**own.origin, "torch": "1.0"}))
    keep_origin(tmp_path, trial, team, anew=False)
    assert read_origin(tmp_path) == Kept(None, None)
    keep_origin(tmp_path, trial, team, anew=False)  # nor does it get one by going on once more
    assert read_origin(tmp_path) == Kept(None, None)
    keep_origin(tmp_path, trial, team, anew=True)
    assert read_origin(tmp_path) == own


def test_a_trial_that_began_before_there_were_origins_has_none(tmp_path):
    keep_origin(tmp_path, trial_of(), Team(0, 1, CPU), anew=False)
    assert read_origin(tmp_path) == Kept(None, None)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"origin": {}, "more": 1}'])
def test_a_damaged_origin_is_none(tmp_path, damage):
    (tmp_path / "origin.json").write_text(damage)
    assert read_origin(tmp_path) == Kept(None, None)
