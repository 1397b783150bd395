"""The sentences of a report: what was asked and found, how it was done, what was left out, where it comes from."""

from typing import Any

import pandas as pd

from analysis.collect import backbone_name
from analysis.tables import ERROR, ArmTable
from dks_study.results import Results
from dks_study.study_spec import StudySpec

SIGNIFICANT = 0.05


def answer(table: ArmTable) -> str:
    """Return what the table says in two sentences, no stronger than it is."""
    if not len(table.rows):
        return "No confirmation trial is complete: there is no answer yet."
    best = min(table.rows.to_dict("records"), key=lambda row: float(row[ERROR]))
    text = f"{best['arm']} has the lowest mean test error, {best[ERROR]:.2f} %"
    if pd.notna(best.get("difference_mean")):
        text += f": {best['difference_mean']:+.2f} points against {table.reference}"
        text += f" (95 % interval {best['difference_low']:+.2f} to {best['difference_high']:+.2f},"
        text += f" Holm-adjusted p {best['p_holm']:.3f})"
    if "p_holm" not in table.rows:
        return f"{text}. Nothing was compared."
    sure = list(table.rows.loc[table.rows["p_holm"] < SIGNIFICANT, "arm"])
    rest = f"Adjusted for the number of comparisons, {', '.join(sure)} differ from {table.reference} at the 5 % level."
    none = f"Adjusted for the number of comparisons, no arm differs from {table.reference} at the 5 % level."
    return f"{text}. {rest if sure else none}"


def protocol(study: StudySpec) -> tuple[str, ...]:
    """Return the experimental setup as paragraphs."""
    trial, data, optimiser = study.trial, study.trial.data, study.trial.optimiser
    seeds = ", ".join(map(str, study.report_seeds))
    noise = f" {100 * data.label_noise:g} % of the training labels are wrong ({data.label_noise_kind})."
    setup = (
        f"Data: {data.name}. {100 * data.validation_fraction:g} % of the training images are the validation set, cut"
        f" off stratified by split seed {data.split_seed}.{noise if data.label_noise else ''} Backbone:"
        f" {backbone_name(trial)}. Optimiser: {_given(optimiser.model_dump(exclude_unset=True)) or 'the defaults'}."
    )
    search = (
        f"Search: {study.search.trials} trials of {study.search.epochs} epochs in every arm that has an axis, each with"
        f" a sampler of its own from seed {study.search.seed}; the setting with the best validation accuracy of main is"
        " kept. Trial 0 is the arm as written. No search trial enters a table."
        if study.search.trials
        else "Nothing was searched: the arms ran as they are written."
    )
    confirmation = (
        f"Confirmation: {trial.epochs} epochs on the report seeds {seeds}, which all arms share: a seed fixes the"
        " backbone's initial weights, data order, augmentation and label noise. The test set is looked at once, after"
        " the last epoch, with the weights of that epoch."
    )
    return setup, search, confirmation


def left_out(table: ArmTable, study: StudySpec, trials: pd.DataFrame) -> tuple[str, ...]:
    """Return every note about what is not in the tables, failed searches included."""
    notes = tuple(note for note in table.notes if note.startswith("Left out"))
    lost = int(((trials["phase"] == "search") & (trials["status"] != "complete")).sum()) if len(trials) else 0
    searches = f"{lost} search trials have no result and were not chosen from." if lost else ""
    return (*notes, *([searches] if searches else []))


def provenance(results: Results, sessions: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return study, code, machine and package versions as sentences, the last session's where several ran."""
    study = results.study
    texts = [f"Study {study.name}, profile {study.profile}, content hash {study.content_hash()}."]
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


def _given(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
