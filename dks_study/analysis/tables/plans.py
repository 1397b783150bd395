"""What a table says where its plan was changed after results were seen, or has not been carried out to its end."""

import re
from collections.abc import Iterator

import pandas as pd

from dks_study.analysis.rows import TUNED, full_confirmations, growth_of
from dks_study.analysis.statistics.margins import UNDECIDED
from dks_study.study.results import Results
from dks_study.study.sealing import RULE

HOLDS = f"by t with bounds that hold at all looks together ({RULE})"
_MORE_SEEDS = re.compile(r"seeds? [\d, ]+ added; looks .* in place of none")
_NO = "Intervals and p do not allow for such a look."
_FIRST = (
    "Intervals and p allow for that as their first look, but not for what was claimed then: the error of both together"
    " is that of both added."
)


def plan_changed(results: Results) -> list[str]:
    """Return a note that says what was changed when so many of the confirmations were known; or nothing."""
    trials = full_confirmations(results)
    if "plan_changed" not in trials:  # no trial was first seen under another plan, or nobody knows
        return []
    each = trials.drop_duplicates("trial")
    known = each["plan_changed"].dropna().value_counts(sort=False)
    if not len(known):
        return []
    told = [
        f"{changed}, when {count} of {len(each)} confirmation trials were known" for changed, count in known.items()
    ]
    times = f" {len(known)} times" if len(known) > 1 else ""
    allowed = _FIRST if _began_to_look(results, each) else _NO
    return [f"Plan changed{times} after results were seen: {'; '.join(told)}. {allowed}"]


def _began_to_look(results: Results, trials: pd.DataFrame) -> bool:
    """Was all that was seen before there were looks what the first one sees, and nothing else changed?"""
    looks = results.study.table.looks
    before = trials[trials["plan_changed"].notna()]
    first = set(results.study.report_seeds[: looks.first]) if looks else set()
    alone = all(_MORE_SEEDS.fullmatch(changed) for changed in before["plan_changed"])
    return alone and set(before["seed"]) == first


def looked(results: Results, compared: pd.DataFrame) -> Iterator[str]:
    """Say when a study that grows until its arms are decided was looked at, and which of them are."""
    study, found = results.study, growth_of(results)
    if study.table.looks is None or not len(compared):
        return
    tuned, total = compared[compared["choice"] == TUNED], len(study.report_seeds)
    ended = found.over and not unfinished(results)
    times = [time for time in study.table.looks.after(total) if time < found.known or (ended and time == found.known)]
    many = f"{len(times)} look{'' if len(times) == 1 else 's'}"
    after = f", after {', '.join(map(str, times))}" if times else ""
    stops = [
        f"{arm} {verdict} after {found.seeds[arm]}"
        for arm, verdict in zip(tuned["arm"], tuned["verdict"], strict=True)
        if verdict != UNDECIDED
    ]
    left = ", ".join(tuned.loc[tuned["verdict"] == UNDECIDED, "arm"])
    told = f" Decided: {', '.join(stops)}." if stops else ""
    told += f" Undecided {'at the maximum' if total in times else 'so far'}: {left}." if left else ""
    yield f"Grown until decided: {many}{after} of at most {total} report seeds.{told}"


def unfinished(results: Results) -> list[str]:
    """Return a note that names the report seeds of which no trial has ended yet; or nothing."""
    trials = results.trials
    begun = set(trials.loc[trials["phase"] == "confirm", "seed"]) if len(trials) else set()
    wanted = results.study.report_seeds[: max(growth_of(results).seeds.values())]
    left = [seed for seed in wanted if seed not in begun]
    if not left:
        return []
    return [f"Not finished: no trial yet with the report seeds {', '.join(map(str, left))}; the study can go on."]
