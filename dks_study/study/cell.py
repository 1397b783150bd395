"""A trial's place in the plan of a study, how it is called, and the seeds of searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Literal, get_args

from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting
from dks_study.study.line_rules import TEXT, keys, one_of, values, whole

Phase = Literal["search", "race", "confirm"]
Choice = Literal["written", "tuned", "both", "back"]
_SETTING = values(dict, {bool, int, float, str}, "a number, a text, true or false")
# What JSON keeps of a cell; keys that came later may be left out.
CELL_RULE = keys(
    {
        **{"arm": TEXT, "phase": one_of(get_args(Phase)), "index": whole(0), "seed": whole(0), "epochs": whole(1)},
        "setting": _SETTING,
    },
    {"member": whole(0), "repeat": whole(0), "choice": one_of(get_args(Choice)), "back": TEXT},
)


@dataclass(frozen=True)
class Cell:
    """A trial to run: search trial `index` of an arm, a finalist on a further seed, or a confirmation on a report seed.

    Attributes:
        index: position in the arm's search, in its race, or of the seed among the report seeds.
        member: of several settings of the arm that are confirmed (a Pareto front), which: 1, 2, ...; 0: the only one.
        repeat: which of the arm's independent searches it belongs to.
        choice: of a confirmation: the arm as written, what its search chose, or both where that is the arm as written.
            An arm without a search has nothing but `tuned`. `back`: what it chose, but for one axis.
        back: the axis whose value as written was put back.
    """

    arm: str
    phase: Phase
    index: int
    seed: int
    epochs: int
    setting: Setting
    member: int = 0
    repeat: int = 0
    choice: Choice = "tuned"
    back: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """What JSON keeps of it; `back` came later and is left out where nothing was put back."""
        return {key: value for key, value in vars(self).items() if key != "back" or value}

    @property
    def id(self) -> str:
        """Readable, unique in the study, safe as a folder name."""
        if self.phase == "search":
            return search_id(self.arm, self.index, self.repeat)
        if self.phase == "race":
            return f"{self.arm}-race{self.repeat or ''}-{self.index}"
        which = {"tuned": f"confirm{self.member or ''}", "back": f"back-{self.back}"}.get(self.choice, "written")
        return f"{self.arm}-{which}-seed{self.seed}"

    @property
    def name(self) -> str:
        """What people read, such as `dense/confirm/seed3`, `dense/written/seed3` or `dense/search/2`."""
        if self.phase != "confirm":
            return f"{self.arm}/{self.phase}{self.repeat or ''}/{self.index}"
        tuned = f"{self.arm}#{self.member}" if self.member else self.arm
        which = {"tuned": f"{tuned}/confirm", "back": f"{self.arm}/back {self.back}"}
        return f"{which.get(self.choice, f'{self.arm}/written')}/seed{self.seed}"

    @property
    def rows(self) -> Mapping[str, str]:
        """From each choice that this confirmation counts for to the row of a table that it belongs to."""
        rows = {
            "written": f"{self.arm} (as written)",
            "tuned": f"{self.arm}#{self.member}" if self.member else self.arm,
        }
        if self.choice == "back":
            return {"back": f"{self.arm} ({self.back} put back)"}
        return rows if self.choice == "both" else {self.choice: rows[self.choice]}


def search_id(arm: str, index: int, repeat: int = 0) -> str:
    """Return the id of search trial `index` of `arm` in one of its independent searches."""
    return f"{arm}-search{repeat or ''}-{index}"


def search_seed(study: StudySpec, repeat: int, position: int, most: int) -> int:
    """Return seed `position` of at most `most` of one of the independent searches; never a report seed, never that of
    another search.

    A setting's first trial has seed 0 of its search, the next one with the same setting seed 1, and so on; the race
    has those that come after as many as there are trials. Where a study grows by whole searches, seeds do not depend on
    how many there may be: those of its first look share theirs as in a study without looks, later ones come after.
    """
    looks, place = study.table.looks, position * study.search.repeats + repeat
    if looks and study.searches > 1:
        among = looks.first // study.seeds_of_search
        place = position * among + repeat if repeat < among else repeat * most + position
    seeds = (seed % 2**31 for seed in count(study.search.seed) if seed % 2**31 not in study.report_seeds)
    return next(islice(seeds, place, None))
