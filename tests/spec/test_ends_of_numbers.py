"""Every whole number ends somewhere: what is absurd is one line, before anything overflows or fills the memory."""

import json

import pytest
from studies import small_study
from test_wording import SCHEMA

from dks_study.spec.files import load_study
from dks_study.spec.yamldoc import SpecError
from dks_study.study.matching import MatchError, matched
from dks_study.training.arm_checks import StudyError, check_memory

LARGEST = 2**63 - 1  # that a file can hold
FREE = {("ExternalSpec", "options"), ("ExternalSpec", "output"), ("SearchSpec", "points")}
FREE |= {("AxisSpec", "choice"), ("AxisSpec", "when")}  # checked as what they are values of, or somebody else's
AXIS = "search.axes.backbone.base_channels"


def whole_numbers(node, path=()):
    """Yield the place of every whole number in a schema, and its rules."""
    if isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            yield path, node
        for key, inner in node.items():
            yield from whole_numbers(inner, (*path, key))
    elif isinstance(node, list):
        for inner in node:
            yield from whole_numbers(inner, path)


def test_every_whole_number_of_a_study_has_two_ends():
    found = [(path, rules) for path, rules in whole_numbers(SCHEMA) if (path[1], *path[3:4]) not in FREE]
    assert len(found) > 30
    for path, rules in found:
        assert {"maximum", "exclusiveMaximum"} & rules.keys(), path
        assert {"minimum", "exclusiveMinimum"} & rules.keys(), path


@pytest.mark.parametrize("value", [LARGEST, 10**12, -LARGEST])
@pytest.mark.parametrize(
    "key",
    [
        *("trial.epochs", "trial.backbone.depth", "trial.backbone.base_channels", "trial.optimiser.batch_size"),
        *("trial.resources.workers", "trial.resources.cpus_per_worker", "trial.data.decode_workers", "max_failures"),
        *("search.trials", "search.repeats", "search.parallel", "splits", "trial.data.train_images"),
    ],
)
def test_a_number_beyond_them_is_told_with_its_key(key, value):
    with pytest.raises(SpecError, match=rf"^--set: {key}: must be (at most|below|at least) \d+, got {value}"):
        load_study("dense_vs_oneway", None, [f"{key}={value}"])


@pytest.mark.parametrize("axis", [{"int": [8, 10**12]}, {"int": [-LARGEST, LARGEST]}, {"choice": [8, LARGEST]}])
def test_so_are_the_ends_of_an_axis(axis):
    with pytest.raises(SpecError, match=rf"{AXIS}\S*: must be at (most|least) -?\d+, got -?\d+"):
        load_study("dense_vs_oneway", None, [f"{AXIS}={json.dumps(axis)}"])


def test_an_arm_that_another_one_s_cost_would_make_train_too_long_is_refused():
    epochs = "arms.dense.epochs={match: baseline, by: time, seconds: [0.00001, 1]}"
    study = load_study("dense_vs_oneway", None, [epochs, "search={}"])
    rule = "must come to at most 1000000 epochs, 100 of baseline being matched, got 10000000"
    with pytest.raises(MatchError, match=f"^arms.dense.epochs: {rule}$"):
        matched(study.model_copy(update={"trial": study.trial.model_copy(update={"epochs": 100})}))
    with pytest.raises(SpecError, match=r"arms.dense.epochs.seconds: must be two numbers from 1e-6 to 1e6"):
        load_study("dense_vs_oneway", None, [epochs.replace("0.00001", "1e-300"), "search={}"])


def test_a_time_limit_ends_too():
    with pytest.raises(SpecError, match=r"trial.time_limit: the rule is a number above 0 and below a million"):
        load_study("dense_vs_oneway", None, [f"trial.time_limit={'9' * 400}h"])


def test_the_last_split_has_a_seed_too():
    sets = ["search.trials=0", "splits=2", f"trial.data.split_seed={2**31 - 2}"]
    assert load_study("does_it_help", None, sets).trial.data.split_seed == 2**31 - 2
    rule = "must be at most 2147483646, as each of 2 splits has the next one, got 2147483647"
    with pytest.raises(SpecError, match=f"^--set: trial.data.split_seed: {rule}$"):
        load_study("does_it_help", None, [*sets[:2], f"trial.data.split_seed={2**31 - 1}"])


def test_a_network_that_is_larger_than_the_machine_s_memory_is_refused(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 2**30}))
    check_memory(small_study(), {"dense": 2**30})
    rule = r"must be a network that fits in this machine's memory \(1.0 GiB\), got weights and moments of 8.0 GiB"
    with pytest.raises(StudyError, match=f"^arms.dense: trial.backbone: {rule}$"):
        check_memory(small_study(), {"baseline": 2**20, "dense": 2**33})
    check_memory(small_study(resources={"gpus_per_worker": 1}), {"dense": 2**33})
