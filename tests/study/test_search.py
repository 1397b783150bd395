"""Suggestions are a pure function of seed, index and history."""

import json

import optuna
import pytest
from studies import small_study

from dks_study.spec.study import StudySpec
from dks_study.study.choosing import Tried
from dks_study.study.search import optuna_suggest

AXES = {
    "optimiser.lr": {"float": [0.01, 0.2], "log": True},
    "optimiser.batch_size": {"int": [64, 256]},
    "branches.recipe": {"choice": ["paper", "linear"]},
}


def study(trials=12):
    values = small_study(trials=trials).model_dump(mode="json", by_alias=True)
    values["search"]["axes"] = AXES
    return StudySpec.model_validate_json(json.dumps(values))


def history(values):
    settings = [{"optimiser.lr": 0.01 + 0.015 * i, "optimiser.batch_size": 64 + i, "branches.recipe": "paper"}
                for i in range(len(values))]  # fmt: skip
    return [Tried(setting, value) for setting, value in zip(settings, values, strict=True)]


@pytest.mark.parametrize("index", [1, 5, 11])
def test_a_suggestion_is_within_the_axes_and_repeatable(index):
    tried = history([80.0 + i for i in range(index)])
    first, again = (optuna_suggest(study())(("dense", 0), index, tried, ()) for _ in range(2))
    assert first == again
    assert 0.01 <= first["optimiser.lr"] <= 0.2
    assert 64 <= first["optimiser.batch_size"] <= 256
    assert first["branches.recipe"] in ("paper", "linear")


def test_arms_get_the_same_random_start_and_then_follow_their_own_results():
    suggest = optuna_suggest(study())
    assert suggest(("ds", 0), 1, history([1.0]), ()) == suggest(("dense", 0), 1, history([99.0]), ())
    rising, falling = [float(i) for i in range(10)], [float(-i) for i in range(10)]
    assert suggest(("ds", 0), 10, history(rising), ()) != suggest(("ds", 0), 10, history(falling), ())


def test_tpe_searches_where_results_were_good():
    suggest = optuna_suggest(study(trials=40))
    tried = [Tried({"optimiser.lr": 0.01 + 0.005 * i, "optimiser.batch_size": 100, "branches.recipe": "paper"},
                   100 - abs(i - 30)) for i in range(38)]  # fmt: skip
    rates = [suggest(("dense", 0), index, tried, ())["optimiser.lr"] for index in range(20, 40)]
    assert sorted(rates)[10] > 0.1, "the optimum is at 0.16"


@pytest.mark.parametrize(
    "search",
    [
        {"sampler": "tpe"},
        {"sampler": "tpe", "objectives": ["val/top1/main", "cost/macs_train"]},
        {"sampler": "tpe", "constraints": ["optimiser.batch_size < 200"]},
        {"sampler": "gp"},
        {"sampler": "random"},
        {"sampler": "cmaes"},
        {"sampler": "qmc"},
        {"sampler": "nsga2"},
    ],
    ids=str,
)
def test_what_is_kept_between_suggestions_changes_none(search):
    values = study(trials=30).model_dump(mode="json", by_alias=True)
    values["search"] |= search
    values["search"]["axes"]["loss.branch_weight"] = {"float": [0.2, 2.0], "when": {"branches.recipe": "paper"}}
    made = StudySpec.model_validate_json(json.dumps(values))
    more = (1.0,) * (len(made.search.objectives) - 1)
    suggest, ended = optuna_suggest(made), []
    for index in range(15 if search["sampler"] != "gp" else 6):
        shown = [trial if i < index - index % 3 else Tried(trial.setting, None) for i, trial in enumerate(ended)]
        setting = suggest(("dense", 0), index, shown, ())
        assert setting == optuna_suggest(made)(("dense", 0), index, shown, ()), "the same as without a past"
        steps = (70.0, 60.0 + index) if index % 4 == 1 and not more else ()
        failed = steps or index % 5 == 4
        ended.append(Tried(setting, None, steps=steps) if failed else Tried(setting, 80.0 + index % 6, more))
    assert suggest(("dense", 0), 4, ended[:4], ()) == optuna_suggest(made)(("dense", 0), 4, ended[:4], ()), (
        "another past than before"
    )


def test_a_sequence_is_not_gone_through_again_for_each_suggestion(monkeypatch):
    values = study(trials=30).model_dump(mode="json", by_alias=True)
    values["search"]["sampler"] = "qmc"
    made = StudySpec.model_validate_json(json.dumps(values))
    asked = []
    ask = optuna.Study.ask
    monkeypatch.setattr(optuna.Study, "ask", lambda study: asked.append(study) or ask(study))
    suggest, tried = optuna_suggest(made), []
    for index in range(12):
        setting = suggest(("dense", 0), index, tried, ())
        tried.append(Tried(setting, 80.0 + index) if index % 3 else Tried(setting, None))
    assert len(asked) == 12
    assert suggest(("dense", 0), 12, tried, ()) == optuna_suggest(made)(("dense", 0), 12, tried, ())


def test_running_and_failed_trials_do_not_break_a_suggestion():
    assert optuna_suggest(study())(("dense", 0), 6, history([80.0, None, 81.0, None, None, 70.0]), ())
