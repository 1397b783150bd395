"""The sentences below a study's table: what its columns are, what its seeds can show, what is not in it."""

from collections.abc import Iterator

import pandas as pd

from dks_study.analysis.rows import (
    WRITTEN,
    full_confirmations,
    growth_of,
    left_out,
    planned_epochs,
    repeat_of,
    table_rows,
)
from dks_study.analysis.statistics.signflip import pairs_to_reach, smallest_p
from dks_study.analysis.tables.comparisons import CHOSEN
from dks_study.analysis.tables.plans import HOLDS, looked, plan_changed, unfinished
from dks_study.analysis.tables.settings import edges
from dks_study.analysis.tables.tries import tried_again
from dks_study.spec.table import LEVEL
from dks_study.spec.telling import auto_recipes_by_arm, matches_in_words
from dks_study.study.results import Results

ENOUGH_SEARCHES = 4  # below, t has so few degrees of freedom that the interval of the procedure is hardly of use
FLIPS = "by the exact sign-flip test (Hartigan 1969; below six, by t)"
BOLD = "Bold: not told apart from the lowest error of the rows that it is compared with (paired, Holm, 5 % level)."


def notes(results: Results, reference: str, errors: pd.DataFrame, compared: pd.DataFrame) -> tuple[str, ...]:
    """Return the notes of the table of `results` with its `errors` by seed and its comparisons."""
    return (
        _setup(results),
        *_claims(results, reference, compared),
        BOLD,
        *(f"Matched in cost, {line}." for line in matches_in_words(results.study)),
        *_warnings(results, compared),
        *looked(results, compared),
        *plan_changed(results),
        *unfinished(results),
        *_short_trials(results),
        *edges(results),
        *(f"Recipe auto: {text}." for text in _unpublished(results)),
        *_in_parts(full_confirmations(results)),
        *tried_again(results),
        *_left_out(results, errors),
    )


def _setup(results: Results) -> str:
    study, trials = results.study, full_confirmations(results)
    lengths = planned_epochs(results)[trials.index] if len(trials) else pd.Series([study.trial.epochs])
    length = f"{lengths.min():g}" if lengths.nunique() == 1 else f"{lengths.min():g} to {lengths.max():g}"
    seeds = ("At most " if study.table.looks else "") + _count(len(study.report_seeds), "report seed")
    searches = repeat_of(trials).nunique() if len(trials) else 1
    spread = f" spread over {searches} searches of each arm" if searches > 1 else ""
    if study.splits > 1:
        spread = f" spread over {study.splits} splits of the data" + (f" and {spread[13:]}" if spread else "")
    both = " and after the epoch that validation chose" if CHOSEN in trials else ""
    return (
        f"{seeds}{spread}, {length} epochs, {study.trial.data.name}; test error of `main` after the last epoch{both}."
    )


def _claims(results: Results, reference: str, compared: pd.DataFrame) -> Iterator[str]:
    """Say what is compared, by which method, and what of."""
    if not len(compared):
        return
    tuned = compared[compared["choice"] != WRITTEN]
    text = f"Difference to {reference} after the last epoch, paired by seed"
    if results.study.splits > 1:
        others = ", other searches" if (tuned["estimand"] == "procedure").any() else ""
        text += f" and split; 95 % interval and p of other seeds, other splits{others}, {_how(results)}."
    elif (tuned["estimand"] == "procedure").any():
        few, looks = (tuned["freedom"] < tuned["n"] - 1).any(), results.study.table.looks
        how = "by t on the means of the searches" if few else FLIPS
        if looks:
            how = f"{'on the means of the searches, ' if few else ''}{HOLDS}"
        inside = few and not looks
        given = "; of the settings: with the choices that were made, by t inside searches" if inside else ""
        text += f"; 95 % interval and p of the procedure (other searches, other seeds) {how}{given}."
    else:
        searched = results.study.search.axes and results.study.search.trials != 0
        alone = " of one search, whose luck is not in it" if searched else ""
        text += f"; 95 % interval and p of the settings{alone}: other seeds, {_how(results)}."
    yield f"{text} p is adjusted by Holm."
    if results.study.table.looks:
        yield f"Verdict: {_inside(results)}better or worse if p (Holm) is below 0.05; else undecided."
    elif "verdict" in compared and results.study.splits > 1:
        yield f"Verdict: {_inside(results)}better or worse if p (Holm) is below 0.05; else it cannot be told."
    elif "verdict" in compared:
        yield (
            f"Verdict: {_inside(results)}better or worse if p (Holm) is below 0.05; else it cannot"
            " be told, and n seeds would decide if mean and spread stay what they are, each with a search of its own"
            " where there are several."
        )
    if len(tuned) < len(compared):
        yield (
            "As written: nothing chosen, compared and adjusted among themselves; interval and p of the settings, "
            f"{_how(results)}. What helps is what differs as tuned."
        )


def _inside(results: Results) -> str:
    if (margin := results.study.table.margin) is None:
        return ""
    ruled_out = f"a difference of {margin:g} points or more, either way, is ruled out"
    return f"equivalent if {ruled_out} (two one-sided t tests, Schuirmann 1987, Holm, 5 % level); else "


def _how(results: Results) -> str:
    study = results.study
    if study.splits == 1:
        return HOLDS if study.table.looks else FLIPS
    every = [each for arm in study.arms if (each := study.test_to_training([arm])) is not None]
    if not every:
        return "by t on the means of the splits, of which all have the same test images"
    overlap = " to ".join(dict.fromkeys(f"{end(every):.2f}" for end in (min, max)))
    variance = f"variance x (1/{study.splits} + {overlap})"
    return f"by t on the means of the splits ({variance}, as they share training images: Nadeau and Bengio 2003)"


def _unpublished(results: Results) -> list[str]:
    """Return what the recipe `auto` came to in the arms, where that is not the published branches alone."""
    by_text = auto_recipes_by_arm(results.study)
    return [f"{text} ({', '.join(arms)})" for text, arms in by_text.items() if ";" in text or "paper" not in text]


def _warnings(results: Results, compared: pd.DataFrame) -> Iterator[str]:
    """Say what so few seeds or searches cannot show."""
    if 1 < results.study.splits < ENOUGH_SEARCHES:
        yield (
            f"Warning: {results.study.splits} splits of the data bound an effect badly"
            f" ({_count(results.study.splits - 1, 'degree')} of freedom): use {ENOUGH_SEARCHES} or more."
        )
    if results.study.table.looks or results.study.splits > 1:
        return  # t has no smallest p, and searches are enough
    flips = compared[compared["freedom"] == compared["n"] - 1] if len(compared) else compared
    seeds = len(results.study.report_seeds)
    fewest = int(flips["n"].min()) if len(flips) else seeds
    count = max(1, int(flips["choice"].value_counts().max())) if len(flips) else 1
    least = min(1.0, count * smallest_p(fewest))
    if least >= LEVEL and (len(flips) or not len(compared)):
        many = f" and {count} comparisons" if count > 1 else ""
        yield (
            f"Warning: {_count(fewest, 'seed')}{many} cannot reach p < {LEVEL:g}{' after Holm' if many else ''}"
            f" (at best {least:.3g}): use {pairs_to_reach(count)} or more."
        )
    searches = results.study.searches
    if 1 < searches < min(ENOUGH_SEARCHES, seeds):
        yield (
            f"Warning: {searches} searches of each arm bound the procedure's effect badly"
            f" ({_count(searches - 1, 'degree')} of freedom): use {ENOUGH_SEARCHES} or more."
        )


def _short_trials(results: Results) -> Iterator[str]:
    """Say where trials chose that were shorter than what they chose for, as in studies of the old protocol."""
    study = results.study
    if study.search.axes and study.search.trials != 0 and study.search.epochs not in (None, study.trial.epochs):
        yield (
            f"Chosen by trials of {study.search.epochs} epochs for trainings of {study.trial.epochs}, which may rank"
            " settings otherwise."
        )


def _in_parts(trials: pd.DataFrame) -> Iterator[str]:
    """Say which trials that the table rests on were trained with their batches in more parts."""
    if "accumulate" not in trials:  # no trial at all, or results from before this was recorded
        return
    retrained = trials[trials["accumulate"].notna()]
    names = [f"{trial['trial']} (in {int(trial['accumulate'])})" for _, trial in retrained.iterrows()]
    if names:
        yield f"Retrained with each batch in parts, having run out of memory: {', '.join(names)}."


def _left_out(results: Results, errors: pd.DataFrame) -> Iterator[str]:
    seeds = len(results.study.report_seeds)
    lost = [f"Left out: {reason}" for reason in left_out(results)]
    lost += [
        f"Left out: arm {row.name}: no complete confirmation trial."
        for row in table_rows(results)
        if row.name not in errors
    ]
    lost += [f"Left out: {arm}: no trial with the report seeds {each}." for arm, each in _without_a_trial(results)]
    yield from lost
    whole = all(errors[name].notna().sum() == seeds for name in errors)
    if not lost and (whole or (results.study.table.looks and not unfinished(results))):
        yield "Left out: nothing."


def _without_a_trial(results: Results) -> Iterator[tuple[str, str]]:
    """Name the seeds of which other arms have a trial and one of the table has none, as its search left nothing."""
    confirmed = results.trials[results.trials["phase"] == "confirm"] if len(results.trials) else results.trials
    grown, seeds = growth_of(results).seeds, results.study.report_seeds
    for arm in results.study.arms if len(confirmed) else ():
        mine = set(confirmed.loc[confirmed["row"] == arm, "seed"])
        begun = set(confirmed["seed"]) & set(seeds[: grown.get(arm, len(seeds))])
        if mine and begun - mine:
            yield arm, ", ".join(map(str, sorted(begun - mine)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
