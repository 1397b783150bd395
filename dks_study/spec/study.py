"""The frozen, validated description of a study: a question's arms and search, and the scale they are run at."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dks_study.spec.base import MOST_TRIALS, SEEDS, Extended, Name, Seed, Trials, hash_of
from dks_study.spec.dotted import set_dotted
from dks_study.spec.matching import MatchSpec, read_matches
from dks_study.spec.search import LENGTH, AxisSpec, SearchSpec
from dks_study.spec.table import TableSpec, check_looks
from dks_study.spec.trial import KeepPredictions, RunSpec, Setting, TrialSpec

_TIME, _SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)([smh])"), {"s": 1, "m": 60, "h": 3600}


def _check_time(text: str) -> str:
    if not (match := _TIME.fullmatch(text)) or float(match[1]) == 0:
        raise ValueError("the rule is a number above 0 and below a million with its unit, such as 90s, 30m or 2h")
    return text


class CommonRunSpec(RunSpec):
    """What the training runs of a study have in common.

    Attributes:
        time_limit: how long a trial may train at a stretch, such as 90s, 30m or 2h: one that hangs is killed then,
            listed as timed_out and not tried again by itself. It changes no number: a study can go on with another.
    """

    time_limit: Annotated[str, AfterValidator(_check_time)] | None = None

    @property
    def time_limit_s(self) -> float | None:
        """The limit in seconds."""
        match = _TIME.fullmatch(self.time_limit or "")
        return float(match[1]) * _SECONDS[match[2]] if match else None


# What no arm and no axis may change: a table compares equal budgets on the same split. The length of training alone may
# be tuned, in every arm alike and up to the common `trial.epochs`: with one length for all, an arm that suffers from
# training too long loses to one that does not, whatever else it does. An arm may also train as long as another costs
# (`epochs: {match: ARM, by: macs}`): then budgets are equal in multiply-accumulates, or in seconds, not in epochs.
COMMON = {
    *("epochs", "resources", "compute", "exits", "time_limit"),
    *("data.name", "data.root", "data.validation_fraction", "data.split_seed"),
    *("data.in_memory", "data.image_pixels", "data.evaluation", "data.tests"),
}


# They change no number: a study can go on with others.
UNHASHED = {"max_failures", "keep", "keep_predictions", "trial.time_limit"}
_LEFT_OUT: Mapping[str, Any] = {  # the same, as pydantic takes it
    **dict.fromkeys(("max_failures", "keep", "keep_predictions"), True),
    "trial": {"time_limit": True},
}


class StudySpec(Extended):
    """A question and its scale: arms (dotted overrides of `trial`), search, report seeds, table.

    Attributes:
        name: what the results folder is called; the name of the space's file if left out.
        question: what the study asks, in one sentence; heads the plan and the report.
        profile: the file in search_spaces/profiles/, or a path, whose values lie under those of this file.
        trial: what all arms have in common: a whole training run.
        arms: the rows of the table, by name: what each changes, as dotted keys of `trial` (`loss.pairing: none`);
            `epochs: {match: ARM, by: macs}` trains an arm as long as another one costs, `by: time` as long as it takes.
        search: what is searched in each arm, and how.
        report_seeds: the seeds of the confirmation, the same in every arm: the n of the table.
        splits: into how many splits of the data the report seeds are spread, the same for all arms: the p-th seed is
            trained with `data.split_seed` + p % splits. With 1 nothing is said of other splits.
        table: the table that answers the question.
        max_failures: how often a trial that raised, or whose process or node died, is started again.
        out_of_memory: what becomes of a trial that ran out of memory: it has failed, or it is trained anew with the
            same batches in twice as many parts (`optimiser.accumulate`), and again until there are two images in each.
        keep: checkpoints that stay when a trial has ended: of the best confirmed trial of each row, all, or none.
        keep_predictions: whose logits of the test images every confirmation keeps: of main, of all classifiers of the
            network that ships, or of none.
    """

    LATER = ("splits",)

    name: Name
    question: str = Field(min_length=1)
    profile: Name
    trial: CommonRunSpec
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    search: SearchSpec = SearchSpec()
    report_seeds: tuple[Seed, ...] = Field(min_length=1)
    splits: Trials = 1
    max_failures: int = Field(default=1, ge=0, le=MOST_TRIALS)
    out_of_memory: Literal["fail", "accumulate"] = "fail"
    keep: Literal["best_per_arm", "all", "none"] = "best_per_arm"
    keep_predictions: KeepPredictions = "main"
    table: TableSpec

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if len(set(self.report_seeds)) < len(self.report_seeds):
            raise ValueError("report_seeds: each seed is listed once")
        if self.search.trials != 0 and self.search.axes and self.search.seed in self.report_seeds:
            raise ValueError(f"search.seed: must not be one of report_seeds, got {self.search.seed}")
        if self.table.reference not in self.arms:
            raise ValueError(f"table.reference: must be an arm ({', '.join(self.arms)}), got {self.table.reference!r}")
        for arm in (*self.table.against, *self.table.against.values()):
            if arm not in self.arms:
                raise ValueError(f"table.against: must pair arms ({', '.join(self.arms)}), got {arm!r}")
        if alone := [arm for arm, other in self.table.against.items() if arm == other]:
            raise ValueError(f"table.against.{alone[0]}: must be another arm, got {alone[0]!r}")
        for key, axis in self.search.axes.items():
            for arm in axis.arms or ():
                if arm not in self.arms:
                    raise ValueError(f"search.axes.{key}.arms: must be arms ({', '.join(self.arms)}), got {arm!r}")
        return self

    @model_validator(mode="after")
    def _no_key_is_written_twice(self) -> Self:
        for arm, settings in self.arms.items():
            for section, key in permutations(settings, 2):
                if key.startswith(f"{section}."):
                    rule = f"holds {key}, which is written beside it: one of the two goes"
                    raise ValueError(f"arms.{arm}.{section}: {rule}")
        return self

    @model_validator(mode="after")
    def _budgets_and_splits_are_common(self) -> Self:
        matches = read_matches(self.arms)
        if matches and self.search.as_arms:
            rule = f"must be left out where an arm matches the cost of another ({next(iter(matches))})"
            raise ValueError(f"search.as_arms: {rule}, got {list(self.search.as_arms)}")
        keys = [(f"arms.{arm}", key) for arm, settings in self.arms.items() for key in settings if key != LENGTH]
        keys += [("search.axes", key) for key in self.search.axes if key != LENGTH]
        for section, key in keys:
            if any(key == c or key.startswith(f"{c}.") or c.startswith(f"{key}.") for c in COMMON):
                raise ValueError(f"{section}.{key}: must be the same in the whole study (trial.{key}), got it here")
        return self

    @model_validator(mode="after")
    def _every_search_has_report_seeds(self) -> Self:
        if self.search.trials != 0 and self.search.repeats > len(self.report_seeds):
            rule = f"must be at most the number of report seeds ({len(self.report_seeds)})"
            raise ValueError(f"search.repeats: {rule}, got {self.search.repeats}")
        return self

    @model_validator(mode="after")
    def _length_has_a_common_maximum(self) -> Self:
        axis = self.search.axes.get(LENGTH) if self.search.trials != 0 else None
        if axis and max(map(int, axis.ends)) > self.trial.epochs:
            rule = f"must end at trial.epochs ({self.trial.epochs}), the common maximum"
            raise ValueError(f"search.axes.{LENGTH}: {rule}, got {list(axis.ends)}")
        if axis and axis.widen_to and axis.widen_to[1] > self.trial.epochs:
            rule = f"must end at trial.epochs ({self.trial.epochs}), the common maximum"
            raise ValueError(f"search.axes.{LENGTH}.widen_to: {rule}, got {list(axis.widen_to)}")
        return self

    @model_validator(mode="after")
    def _splits_are_equal(self) -> Self:
        seeds, repeats = len(self.report_seeds), self.search.repeats
        if seeds % self.splits:
            raise ValueError(f"splits: must divide the number of report seeds ({seeds}), got {self.splits}")
        if (first := self.trial.data.split_seed) + self.splits > SEEDS:
            rule = f"must be at most {SEEDS - self.splits}, as each of {self.splits} splits has the next one"
            raise ValueError(f"trial.data.split_seed: {rule}, got {first}")
        if self.splits > 1 and self.table.looks:
            raise ValueError(f"splits: must be left out with table.looks, got {self.splits}")
        if self.search.trials != 0 and self.search.axes and repeats % self.splits:
            rule = f"must be a multiple of splits ({self.splits}): each search sees one of them"
            raise ValueError(f"search.repeats: {rule}, got {repeats}")
        return self

    @model_validator(mode="after")
    def _can_be_decided_early(self) -> Self:
        if (looks := self.table.looks) is None:
            return self
        check_looks(looks, len(self.report_seeds), self.searches)
        if all(self.table.reference_of(arm) == arm for arm in self.arms):
            rule = "must be left out where no arm is compared with another"
            raise ValueError(f"table.looks: {rule}, got the arm {self.table.reference} alone")
        if self.search.trials != 0 and self.search.axes and len(self.search.objectives) > 1:
            rule = "must be one with table.looks, which decides about one setting of an arm"
            raise ValueError(f"search.objectives: {rule}, got {self.search.objectives}")
        return self

    @property
    def searches(self) -> int:
        """How many independent searches of an arm the report seeds are spread over."""
        return self.search.repeats if self.search.trials != 0 and self.search.axes else 1

    @property
    def seeds_of_search(self) -> int:
        """How many report seeds a search has at least."""
        return len(self.report_seeds) // self.searches

    def search_of(self, position: int) -> int:
        """Return which of an arm's searches the report seed at `position` belongs to."""
        return position // self.seeds_of_search if self.table.looks else position % self.searches

    @property
    def written(self) -> dict[str, Any]:
        """What `trial` says, and no defaults: those of one backbone family must not follow an arm into another."""
        return self.trial.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude={"time_limit"})

    @property
    def matches(self) -> dict[str, MatchSpec]:
        """The arms that train as long as another one costs."""
        return read_matches(self.arms)

    def epochs_of(self, arm: str, setting: Setting, *, search: bool) -> int:
        """Return how long a trial of `setting` trains; `search`: in the search, which old studies cut short.

        An arm that matches another one's cost trains as many epochs as cost what this length costs there.

        Raises:
            ValueError: if it is not known yet how many those are (see `study.matching`).
        """
        length = setting.get(LENGTH, self.search.epochs if search else None)
        epochs = self.trial.epochs if length is None else int(length)
        return self.matches[arm].epochs(epochs) if arm in self.matches else epochs

    def content_hash(self) -> str:
        """Return 10 hex digits that depend on every value but those of UNHASHED."""
        return hash_of(self.hashed(exclude=_LEFT_OUT))

    def counting(self) -> dict[str, Any]:
        """Return every value but those of UNHASHED, under its key in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude=dict(_LEFT_OUT))

    def test_to_training(self, arms: Iterable[str]) -> float | None:
        """Return the largest `data.test_to_training` of some arms; None: their test images are fixed."""
        found = (arm_run(self, arm, {}).data.test_to_training for arm in arms)
        return max((each for each in found if each is not None), default=None)

    def axes_of(self, arm: str) -> dict[str, AxisSpec]:
        """Return the axes that are searched in `arm`, by dotted key."""
        return {key: axis for key, axis in self.search.axes.items() if axis.arms is None or arm in axis.arms}


def arm_run(study: StudySpec, arm: str, setting: Setting, epochs: int | None = None) -> RunSpec:
    """Return the run of `arm` with the searched values of `setting` (dotted keys) and, if given, other epochs.

    Else the epochs of an arm that matches another one's cost are those before they are stretched.

    Raises:
        pydantic.ValidationError: if the values do not make a valid run.
        KeyError: if a dotted key leads through something that is not a section.
    """
    return RunSpec.model_validate_json(json.dumps(_arm_values(study, arm, setting, epochs)))


def arm_trial(
    study: StudySpec,
    arm: str,
    setting: Setting,
    *,
    epochs: int,
    phase: Literal["search", "confirm"],
    seed: int,
    split: int = 0,
) -> TrialSpec:
    """Return the whole truth about one trial of `arm` on split 0, 1, ... of the data; raises as `arm_run` does."""
    values = _arm_values(study, arm, setting, epochs) | {"phase": phase, "seed": seed}
    if split:
        values["data"] = {**values["data"], "split_seed": study.trial.data.split_seed + split}
    return TrialSpec.model_validate_json(json.dumps(values))


def _arm_values(study: StudySpec, arm: str, setting: Setting, epochs: int | None) -> dict[str, Any]:
    values = study.written
    changes = {key: value for key, value in study.arms[arm].items() if key != LENGTH}
    for dotted, value in {**changes, **setting}.items():
        set_dotted(values, dotted, value)
    if epochs is not None:
        values["epochs"] = epochs
    return values
