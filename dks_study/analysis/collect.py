"""From the results of one or several studies to one tidy frame of trials that may enter a table.

Beside the columns of `Results.trials` it has
    study, dataset, backbone      what a trial belongs to
    KEY (dotted)                  the resolved value of every key that an arm, a search or a study changes
    recipe/KEY split/KEY budget/KEY   what must be the same in all trials that a table compares
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dks_study.analysis.rows import TUNED, choice_of, full_confirmations, left_out, repeat_of
from dks_study.spec.base import Problem
from dks_study.spec.branches import only_recipe
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.trial import RunSpec
from dks_study.study.results import Results

CONTEXT = ("dataset", "backbone")
SPLIT = ("data.validation_fraction", "data.split_seed", "data.image_pixels", "data.evaluation")
METHOD = ("branches.", "ensemble", "loss.", "peers", "teacher")
# Not part of a recipe: what is compared, and what changes no number.
NOT_RECIPE = ("backbone", *METHOD, "resources.cpus_per_worker", "resources.gpus")
NOT_RECIPE_DATA = ("data.name", "data.root", "data.download", "data.decode_workers", "data.in_memory")


@dataclass(frozen=True)
class Collected:
    """Complete confirmation trials at full budget, and one line for each trial that is not among them."""

    trials: pd.DataFrame
    left_out: tuple[str, ...]


def collect(studies: Sequence[Results]) -> Collected:
    """Return the trials of `studies` that may enter a table, those of tuned rows where arms as written were run, too.

    Search trials are passed over without a word.
    """
    bases = [_flat(study.study.trial.model_dump(mode="json")) for study in studies]
    told = (key for key in set().union(*bases) if _recipe(key) or key.startswith(METHOD))
    changed = {key for key in told if len({_text(base.get(key)) for base in bases}) > 1}
    frames = [_study_trials(each, base, changed) for each, base in zip(studies, bases, strict=True)]
    notes = [
        f"{each.study.name}: {note}" if len(studies) > 1 else note
        for each in studies
        for note in (left_out(each) if len(each.trials) else ["no trial has ended."])
    ]
    filled = [frame for frame in frames if len(frame)]
    return Collected(pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(), tuple(notes))


def backbone_name(run: RunSpec) -> str:
    """Return a backbone as a table names it: wrn-28-10, resnet-8 (base_channels 8)."""
    given: dict[str, Any] = run.backbone.model_dump(mode="json", exclude_unset=True)
    head = "-".join(str(given.pop(key)) for key in ("name", "depth", "width") if given.get(key) is not None)
    options: dict[str, Any] = given.pop("options", None) or {}
    rest = ", ".join(f"{key} {value}" for key, value in {**given, **options}.items() if value is not None)
    return f"{head} ({rest})" if rest else head


def confirmed_setting(results: Results, row: str, repeat: int) -> dict[str, Any]:
    """Return the searched values that a row of the table was confirmed with after search `repeat`, by dotted key.

    Raises:
        Problem: if no trial of that row was confirmed after that search.
    """
    trials = results.trials
    mine = trials[(trials["phase"] == "confirm") & (trials["row"] == row)]
    after = mine[repeat_of(mine) == repeat]
    if after.empty:
        known = ", ".join(map(str, sorted(set(repeat_of(mine)))))
        raise Problem(f"repeat: must be a search of {row} ({known}), got {repeat}")
    return _setting(results.study, after.iloc[0])


def _study_trials(results: Results, base: Mapping[str, Any], changed: set[str]) -> pd.DataFrame:
    study, order = results.study, {arm: at for at, arm in enumerate(results.study.arms)}
    trials = full_confirmations(results)
    if not len(trials):
        return pd.DataFrame()
    tuned = trials[choice_of(trials) == TUNED]
    trials = tuned.sort_values(["arm", "seed"], key=lambda each: each.map(order).fillna(each))
    keys = changed | {key for arm in study.arms.values() for key in arm} | set(study.search.axes)
    keys -= {"epochs"}  # a column already: that of the trial itself
    known: dict[str, dict[str, Any]] = {}
    described = []
    for _, trial in trials.iterrows():
        setting = _setting(study, trial)
        text = f"{trial['arm']} {setting}"
        known[text] = known.get(text) or _describe(study, str(trial["arm"]), setting, keys)
        described.append(known[text])
    common = {f"recipe/{key}": _text(value) for key, value in base.items() if _recipe(key)}
    common |= {f"split/{key}": _text(base.get(key)) for key in SPLIT}
    common |= {"split/splits": str(study.splits)}
    common |= {"budget/epochs": str(study.trial.epochs), "budget/search.trials": str(study.search.trials)}
    common |= {"budget/search.epochs": str(study.search.epochs), "study": study.name}
    extra = pd.DataFrame([{**common, **each} for each in described], index=trials.index)
    return pd.concat([trials, extra], axis=1)


def _describe(study: StudySpec, arm: str, setting: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    run = arm_run(study, arm, setting)
    flat = _flat(run.model_dump(mode="json"))
    flat["branches.recipe"] = only_recipe(run.backbone, run.branches)  # `auto` is no recipe to compare
    return {"dataset": run.data.name, "backbone": backbone_name(run), **{key: _value(flat.get(key)) for key in keys}}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and prefix + key not in ("loss.pairing", "loss.branch_weight_by_tap")
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def _recipe(key: str) -> bool:
    budget = key in ("epochs", *SPLIT)
    return not budget and not key.startswith((*NOT_RECIPE, "data.tests.")) and key not in NOT_RECIPE_DATA


def _value(value: object) -> object:
    """Return numbers as they are and everything else as text, so that it can be grouped by."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {weight:g}" for key, weight in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _setting(study: StudySpec, trial: "pd.Series[Any]") -> dict[str, Any]:
    """Return the searched values of a trial as they were: Parquet turns integers with gaps into floats."""
    found = {}
    for key, axis in study.axes_of(str(trial["arm"])).items():
        value = trial.get(f"setting/{key}")
        if value is None or pd.isna(value):
            continue
        axis = study.search.axes[axis.same_as] if axis.same_as else axis
        if axis.choice:
            found[key] = next(choice for choice in axis.choice if choice == value)
        else:
            found[key] = int(value) if axis.int_range else float(value)
    return found
