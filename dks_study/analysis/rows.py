"""The rows of a study's table: arms as tuned and as written, and the complete confirmation trials behind each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from dks_study.study.deciding import ERROR, Growth, growth
from dks_study.study.results import Results

TUNED, WRITTEN = "tuned", "written"
LENGTH = "setting/epochs"


@dataclass(frozen=True)
class TableRow:
    """A row of a study's table: an arm, or one of its settings; `base` is the row it is compared with, or itself.

    `choice` is TUNED for what a search chose, and for everything in a study that chooses nothing; WRITTEN for an arm
    as it is written beside its tuned row.
    """

    name: str
    arm: str
    base: str
    choice: str = TUNED


def table_rows(results: Results) -> tuple[TableRow, ...]:
    """Return the rows of the study's table, tuned ones before those as written, each in the order of the arms.

    Rows without a complete trial are among them. An arm has one tuned row, or one for each member of its Pareto front
    that was confirmed. Of several rows of the arm that others are compared with, the first, which is the most
    accurate in the search, stands for it; where an arm as written has no such row to be compared with, the arm's only
    row does.
    """
    study, found = results.study, _names_by_choice(results.trials)
    tuned = {arm: [arm] for arm in study.arms} | found[TUNED]
    bases = {TUNED: tuned, WRITTEN: tuned | found[WRITTEN]}
    return tuple(
        TableRow(name, arm, bases[choice][study.table.reference_of(arm)][0], choice)
        for choice, names_of in ((TUNED, tuned), (WRITTEN, found[WRITTEN]))
        for arm in study.arms
        for name in names_of.get(arm, ())
    )


def _names_by_choice(trials: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Return the rows by arm that have confirmation trials, as tuned and as written, in the order of their trials."""
    found: dict[str, dict[str, list[str]]] = {TUNED: {}, WRITTEN: {}}
    if not len(trials):
        return found
    confirmed = trials[trials["phase"] == "confirm"]
    columns = (choice_of(confirmed), confirmed["arm"], confirmed["row"])
    for choice, arm, row in dict.fromkeys(zip(*columns, strict=True)):
        found[choice].setdefault(arm, []).append(row)
    return found


def arm_of(row: str) -> str:
    """Return the arm of a row of a table: of `dense#2`, `dense (as written)` or `dense, epoch chosen` it is dense."""
    return re.split("[ #,]", row)[0]


def choice_of(trials: pd.DataFrame) -> "pd.Series[str]":
    """Return TUNED or WRITTEN for each confirmation trial; studies from before there were both have TUNED alone."""
    if "choice" not in trials:
        return pd.Series(TUNED, index=trials.index)
    return trials["choice"].fillna(TUNED)


def repeat_of(trials: pd.DataFrame) -> "pd.Series[int]":
    """Return which of the arm's independent searches each trial belongs to: 0 where there was one."""
    if "repeat" not in trials:
        return pd.Series(0, index=trials.index)
    return trials["repeat"].fillna(0).astype(int)


def names(results: Results) -> list[str]:
    """Return the names of arms, then those of tuned rows that are no arm: what has a look of its own in figures."""
    tuned = (row.name for row in table_rows(results) if row.choice == TUNED)
    return list(dict.fromkeys([*results.study.arms, *tuned]))


def full_confirmations(results: Results, *keys: str) -> pd.DataFrame:
    """Return the complete confirmation trials that ran all epochs that they were meant to, or some columns of them."""
    trials = results.trials
    if not len(trials):
        return trials
    kept = (trials["phase"] == "confirm") & (trials["status"] == "complete")
    return (trials[list(keys)] if keys else trials)[kept & (trials["epochs"] == planned_epochs(results))]


def growth_of(results: Results) -> Growth:
    """Return how far each arm has grown, in a study whose arms are decided one by one; in any other all its seeds."""
    study, trials = results.study, results.trials
    found: dict[str, dict[int, float | None]] = {}
    if len(trials):
        tuned = trials[(trials["phase"] == "confirm") & (choice_of(trials) == TUNED)]
        whole = set(full_confirmations(results)["trial"])
        for trial in tuned.to_dict("records"):
            error = 100 - trial[ERROR] if trial["trial"] in whole else None
            found.setdefault(trial["arm"], {})[study.report_seeds.index(trial["seed"])] = error
    return growth(study, found or {arm: {} for arm in study.arms})


def planned_epochs(results: Results) -> "pd.Series[float]":
    """Return the length of each confirmation trial: what its search chose, or else what the study says.

    In an arm that trains as long as another one costs it is stretched.
    """
    study, trials = results.study, results.trials
    common = float(study.trial.epochs)
    if LENGTH not in trials:
        lengths = pd.Series(common, index=trials.index)
    else:
        lengths = trials[LENGTH].astype(float).fillna(common)
    for arm, match in study.matches.items() if len(trials) else ():
        stretched = pd.Series([float(match.epochs(int(length))) for length in lengths], index=lengths.index)
        lengths = lengths.where(trials["arm"] != arm, stretched)
    return lengths


def confirmed_epochs(results: Results) -> pd.DataFrame:
    """Return the epochs of `full_confirmations`; their `arm` is the row of the table that a trial belongs to.

    A trial that is both its arm's tuned row and the row as written is there twice.
    """
    trials = full_confirmations(results)
    if not len(trials) or not len(results.epochs):
        return pd.DataFrame()
    rows = trials[["trial", "row"]].rename(columns={"row": "arm"})
    epochs = results.epochs[results.epochs["phase"] == "confirm"]  # few of a search's
    return epochs.drop(columns="arm").merge(rows, on="trial")


def left_out(results: Results) -> Iterator[str]:
    """Name each confirmation trial that may not enter a table, and why."""
    trials = results.trials
    confirmed = trials[trials["phase"] == "confirm"] if len(trials) else trials
    confirmed = confirmed.assign(planned=planned_epochs(results)[confirmed.index])
    for _, trial in confirmed.drop(full_confirmations(results).index).iterrows():
        short = trial["status"] == "complete"
        reason = f"only {trial['epochs']} of {trial['planned']:g} epochs" if short else trial["error"]
        yield f"{trial['trial']} {trial['status']}: {reason}"
