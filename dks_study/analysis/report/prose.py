"""The sentences of a report: what was asked and found, how it was done, what was left out, where it comes from."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dks_study.analysis.collect import backbone_name
from dks_study.analysis.predicted import Told
from dks_study.analysis.rows import TUNED, full_confirmations
from dks_study.analysis.statistics.planning import trials_for_gain
from dks_study.analysis.tables.grid import p_value
from dks_study.analysis.tables.study import ERROR, ArmTable
from dks_study.spec.base import Spec
from dks_study.spec.search import LENGTH
from dks_study.spec.study import StudySpec
from dks_study.spec.telling import matches_in_words
from dks_study.study.results import Results
from dks_study.study.sealing import RULE

SIGNIFICANT = 0.05
HARDLY = 0.5  # points
CLAIMS = {
    "settings": "a statement about these settings, trained with other seeds",
    "procedure": "a statement about searching and training, done again",
}


def answer(table: ArmTable) -> str:
    """Return what the table says, no stronger than it is, from the rows as tuned alone."""
    if not len(table.rows):
        return "No confirmation trial is complete: there is no answer yet."
    tuned = table.rows[table.rows["choice"] == TUNED]
    as_tuned = " as tuned" if len(tuned) < len(table.rows) else ""
    groups = tuned.groupby("against", sort=False) if "against" in tuned else [("", tuned)]
    best = [_lowest(group, table.reference) for _, group in groups if len(group)]
    where = "" if tuned["n"].nunique() == 1 else ", on the seeds that an arm shares with what it is compared with"
    text = f"Lowest mean test error{as_tuned}{where}: {'; '.join(_best(row, table.reference) for row in best)}"
    if "p_holm" not in tuned or tuned["p_holm"].isna().all():
        return f"{text}. Nothing was compared."
    what = table.reference if "against" not in tuned else "what they are compared with"
    sure = tuned[tuned["p_holm"] < SIGNIFICANT]
    found = [
        f"{', '.join(rows['arm'])} {'has' if len(rows) == 1 else 'have'} {word} error than {what}"
        for word, rows in (
            ("less", sure[sure["difference_mean"] < 0]),
            ("more", sure[sure["difference_mean"] > 0]),
        )
        if len(rows)
    ]
    told = " and ".join(found) or f"no arm is told apart from {what}"
    claim = "; ".join(CLAIMS[estimand] for estimand in pd.unique(tuned["estimand"].dropna()))
    return f"{text}. Adjusted for the number of comparisons, {told} at the 5 % level: {claim}."


def _lowest(rows: pd.DataFrame, reference: str) -> "pd.Series[Any]":
    """Return the row of the lowest mean error, or, where rows have other seeds, of the lowest difference."""
    key = rows[ERROR]
    if rows["n"].nunique() > 1 and "difference_mean" in rows:
        is_base = rows["arm"] == rows.get("against", reference)
        key = rows["difference_mean"].where(~is_base, 0.0)
    return rows.iloc[(key if key.notna().any() else rows[ERROR]).argmin()]


def _best(row: "pd.Series[Any]", reference: str) -> str:
    text = f"{row['arm']} with {row[ERROR]:.2f} %"
    if pd.isna(row.get("difference_mean")):
        return text
    low, high = (row[f"difference_{row['estimand']}_{end}"] for end in ("low", "high"))
    interval = f"95 % interval of the {row['estimand']} {low:+.2f} to {high:+.2f}"
    to, p = row.get("against", reference), p_value(row["p_holm"]).shown
    return f"{text}, {row['difference_mean']:+.2f} points to {to} ({interval}, Holm-adjusted p {p})"


def protocol(study: StudySpec) -> tuple[str, ...]:
    """Return the experimental setup as paragraphs."""
    trial, data = study.trial, study.trial.data
    noise = f" {data.wrong_labels}." if data.label_noise else ""
    parts: dict[str, Spec] = {"Optimiser": trial.optimiser, "Branches": trial.branches, "Loss": trial.loss}
    chosen = {name: _given(part.model_dump(exclude_unset=True)) or "the defaults" for name, part in parts.items()}
    setup = (
        f"What no arm changes, or what it is if an arm does not change it. Data: {data.name};"
        f" {100 * data.validation_fraction:g} % of the training images are the validation set, cut off stratified by"
        f" split seed {data.split_seed}.{noise} Backbone: {backbone_name(trial)}."
        f" {' '.join(f'{name}: {values}.' for name, values in chosen.items())}"
    )
    seeds = ", ".join(map(str, study.report_seeds))
    confirmation = (
        f"Confirmation: at most {trial.epochs} epochs on the report seeds {seeds}, which all arms share: a seed fixes"
        " the backbone's initial weights, data order, augmentation and label noise. The test set is looked at once,"
        " at the end, with the weights of the last epoch and, where the table has them, those of the epoch that"
        " validation chose."
    )
    if data.tests:
        places = ", ".join(f"{name} ({place})" for name, place in data.tests.items())
        confirmation += f" Looked at then, too, with the weights of the last epoch: {places}."
    if study.splits > 1:
        confirmation += f" The seeds are spread over {study.splits} splits of the data, the same for all arms."
    if looks := study.table.looks:
        confirmation += (
            f" Looked at after {looks.first} report seeds and then after every {looks.every}: an arm that was decided"
            f" took no more of them{', nor of the searches' if study.searches > 1 else ''} ({RULE})."
        )
    confirmation += "".join(f" Matched in cost, {line}." for line in matches_in_words(study))
    return setup, _arms(study), _search(study), confirmation


def data(recorded: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what provenance.json says of the data, as a paragraph: () if the study is from before it did."""
    known = recorded.get("data")
    if not known:
        return ()
    return (f"Images: {known['found']} Fingerprint of the data: {known['fingerprint']}.",)


def _arms(study: StudySpec) -> str:
    mine = {arm: {k: v for k, v in changes.items() if k != LENGTH} for arm, changes in study.arms.items()}
    arms = "; ".join(f"{arm} ({_given(changes) or 'as it is'})" for arm, changes in mine.items())
    return f"Arms, by what each changes: {arms}."


def _search(study: StudySpec) -> str:
    search = study.search
    if search.trials == 0 or not search.axes:
        return "Nothing was searched: the arms ran as they are written."
    count = "every cell of its space once" if search.trials is None else f"{search.trials} trials"
    length = "as long as what they choose for" if search.epochs is None else f"of {search.epochs} epochs"
    often = f", {search.repeats} times from other seeds" if search.repeats > 1 else ""
    stopping = f", early stopping by {search.early_stopping.kind}" if search.early_stopping.kind != "none" else ""
    return (
        f"{_axes(study)} Search: {count} {length} in every arm that has an axis{often}{stopping}, each with a sampler"
        f" of its own from seed {search.seed}. Trial 0 is the arm as written. {_kept(study)} No search trial enters a"
        " table."
    )


def _axes(study: StudySpec) -> str:
    kinds = {"nuisance": "Tuned in every arm", "scientific": "Searched in the arms that are about it"}
    found = {
        text: ", ".join(key for key, axis in study.search.axes.items() if axis.role == role)
        for role, text in kinds.items()
    }
    return " ".join(f"{text}: {keys}." for text, keys in found.items() if keys)


def _kept(study: StudySpec) -> str:
    search, aims = study.search, ", ".join(study.search.objectives)
    if len(search.objectives) > 1:
        return f"At most {search.confirm_at_most} settings on the Pareto front of {aims} are kept."
    if not search.race_seeds:
        return f"The best setting by {aims} is kept."
    return (
        f"The best {search.finalists} settings by {aims}, the arm as written among them, are trained on"
        f" {search.race_seeds} further seeds; of those that beat the arm as written by more than the standard error"
        " of the paired difference the one with the best mean is chosen, else the arm as written."
    )


def tuning_needed(curves: pd.DataFrame) -> str:
    """Return after how many trials more of them hardly help an arm; `curves` are those of `plots.tuning`."""
    found = []
    for arm, curve in curves.groupby("arm", sort=False):
        trials = trials_for_gain(curve["expected"].tolist(), HARDLY)
        found.append(f"{arm} {trials or f'more than {len(curve) // 2}'}")
    text = f"Twice as many search trials make the expected error less than {HARDLY:g} points smaller from"
    return f"{text}: {', '.join(found)}."


def without_predictions(results: Results, found: Mapping[str, Told]) -> tuple[str, ...]:
    """Return how many confirmations have no predictions, in a sentence; () where all have them."""
    confirmed = full_confirmations(results)
    without = len(confirmed) - sum(len(told.guesses) for told in found.values())
    text = f"Of {len(confirmed)} confirmations {without} are without predictions, and not in these tables."
    return (text,) if without else ()


def left_out(table: ArmTable, trials: pd.DataFrame) -> tuple[str, ...]:
    """Return every note about what is not in the tables, failed and stopped searches included."""
    notes = [note for note in table.notes if note.startswith("Left out")]
    for phase in ("search", "race"):
        ended = trials.loc[trials["phase"] == phase, "status"] if len(trials) else pd.Series(dtype=str)
        stopped, lost = int((ended == "stopped").sum()), int((~ended.isin(("complete", "stopped"))).sum())
        if stopped:
            notes.append(f"{_trials(stopped, phase, 'was', 'were')} stopped early and not chosen from.")
        if lost:
            notes.append(f"{_trials(lost, phase, 'has', 'have')} no result and could not be chosen from.")
    return tuple(notes)


def _trials(count: int, phase: str, one: str, more: str) -> str:
    return f"{count} {phase} trial {one}" if count == 1 else f"{count} {phase} trials {more}"


def provenance(results: Results, sessions: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return study, code, machine and package versions as sentences, the last session's where several ran."""
    study = results.study
    texts = [f"Study {study.name}, profile {study.profile}, content hash {study.content_hash()}."]
    texts += _adopted(results.trials)
    if sessions:
        last = sessions[-1]
        revision = last.get("git_revision") or "unknown"
        dirty = " with uncommitted changes" if last.get("git_dirty") else ""
        many = f" ({len(sessions)} sessions; this is the last one)" if len(sessions) > 1 else ""
        texts.append(
            f"Code: revision {revision}{dirty}. Started {last['started']}, ended {last['ended'] or '?'}{many}."
        )
        machine = last["hardware"]
        texts.append(
            f"Machine: {machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB of memory,"
            f" {machine['gpus']} GPUs, {machine['system']}."
        )
        texts.append("Packages: " + ", ".join(f"{name} {version}" for name, version in last["packages"].items()) + ".")
    return tuple(texts)


def _adopted(trials: pd.DataFrame) -> list[str]:
    """Return how many trials other studies have trained, in a sentence, or nothing."""
    if "adopted_from" not in trials or not trials["adopted_from"].notna().any():
        return []
    trials = trials.drop_duplicates("trial")
    names = trials["adopted_from"].value_counts()
    where = ", ".join(f"{name} ({count})" if len(names) > 1 else str(name) for name, count in names.items())
    return [f"{names.sum()} of {len(trials)} trials were adopted from {where}, whose identity they share."]


def _given(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in values.items() if value is not None)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
