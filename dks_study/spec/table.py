"""The table that answers a study's question, and when its arms count as decided."""

from pydantic import Field

from dks_study.spec.base import MOST_TRIALS, Extended, Name, Spec, Trials

LEVEL = 0.05  # of what a table decides
MOST_LOOKS = 50  # at results, before all report seeds are trained
LEAST_SEARCHES = 8  # of an arm that may be decided early: with fewer what is there is found too rarely (looking.md)


class LooksSpec(Spec):
    """When results are looked at before all report seeds are trained: an arm that is decided then takes no more seeds.

    Decided is what is told from the arm that it is compared with or, with a margin, equivalent to it, by a test that
    allows for looking so often. All other arms, and what they are compared with, go on to the last report seed.
    Where searches are repeated, seeds that belong to one search stand together, each look has whole searches, and an
    arm that is decided takes no more searches either.

    Attributes:
        first: the number of report seeds before the first look; of at least two searches, where those are repeated.
        every: how many more each later look has.
    """

    first: int = Field(default=8, ge=2, le=MOST_TRIALS)
    every: Trials = 1

    def after(self, seeds: int) -> tuple[int, ...]:
        """Return after how many report seeds there is a look, of `seeds` in all: the last one is after all of them."""
        return (*range(self.first, seeds, self.every), seeds)


class TableSpec(Extended):
    """The table that answers the question: one row per arm, each compared with the reference arm.

    Attributes:
        title: the heading of the table.
        reference: the arm that the others are compared with.
        against: another arm to compare with for some arms, such as the baseline at the same noise.
        margin: in points of error, the difference below which two arms count as equally good: each comparison is then
            better, worse, equivalent or cannot tell. It is part of a study's hash: choose it before there are results.
        one_at_a_time: searched arms of which each value that the search changed is put back in turn, the others as they
            were chosen, and trained on the report seeds: which change did it.
        looks: when arms may be decided before all report seeds are trained; by default none is.
    """

    LATER = ("looks", "one_at_a_time")

    title: str
    reference: str
    against: dict[str, str] = Field(default_factory=dict)
    margin: float | None = Field(default=None, gt=0, lt=100)
    looks: LooksSpec | None = None
    one_at_a_time: tuple[Name, ...] = ()

    def reference_of(self, arm: str) -> str:
        """Return the arm that `arm` is compared with; an arm that others are compared with stands for itself."""
        if arm in self.against.values():
            return arm
        return self.against.get(arm, self.reference)


def check_looks(looks: LooksSpec, seeds: int, searches: int) -> None:
    """Check that a study with so many report seeds, spread over so many searches of each arm, can be looked at so.

    Raises:
        ValueError: one line that names the key.
    """
    if looks.first >= seeds:
        raise ValueError(f"table.looks.first: must be below the number of report seeds ({seeds}), got {looks.first}")
    if (count := len(looks.after(seeds))) > MOST_LOOKS:
        rule = f"must leave at most {MOST_LOOKS} looks"
        raise ValueError(f"table.looks.every: {rule}, got {looks.every}, which leaves {count}")
    if searches == 1:
        return
    if searches < LEAST_SEARCHES:
        rule = f"must be 1 or at least {LEAST_SEARCHES} with table.looks, as fewer searches decide too little"
        raise ValueError(f"search.repeats: {rule}, got {searches}")
    if seeds % searches:
        rule = f"must divide the number of report seeds ({seeds}) with table.looks"
        raise ValueError(f"search.repeats: {rule}, got {searches}")
    each = seeds // searches
    for key, value, least in (("first", looks.first, 2), ("every", looks.every, 1)):
        if value % each or value < least * each:
            rule = f"must be the report seeds of {'two searches or more' if least > 1 else 'whole searches'}"
            raise ValueError(f"table.looks.{key}: {rule} ({each} each), got {value}")
