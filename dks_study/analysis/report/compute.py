"""What a study took: trials, hours, machines and energy, search and lost trials included."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from dks_study.study.results import Results

TIME, HOUR_S, KWH_J = "time/train_s", 3600, 3.6e6
PHASES = {"search": "search", "race": "races", "confirm": "confirmation", "back": "one at a time"}


def hours_by_phase(results: Results) -> pd.DataFrame:
    """Return trials, those without a result, those stopped early, epochs and hours, by phase and by who trained them.

    Hours are those of training alone, of every epoch on record, also of trials that were lost later; `unknown` counts
    the trials with a result whose epochs were not kept. `device` is hours times the GPUs, or else the CPUs, of a trial.
    """
    trials = results.trials.drop_duplicates("trial")
    if not len(trials):
        return pd.DataFrame()
    adopted = trials["adopted_from"].notna() if "adopted_from" in trials else pd.Series(False, index=trials.index)
    frame = pd.DataFrame({"phase": trials["phase"], "adopted": adopted, "trials": 1})
    frame["lost"] = ~trials["status"].isin(["complete", "stopped"])
    frame["stopped"] = trials["status"] == "stopped"
    by_trial = results.epochs.groupby("trial")[TIME] if len(results.epochs) else pd.Series(dtype=float).groupby([])
    frame["epochs"] = trials["trial"].map(by_trial.size()).fillna(0)
    frame["hours"] = trials["trial"].map(by_trial.sum()).fillna(0.0) / HOUR_S
    frame["unknown"] = (frame["epochs"] == 0) & ~frame["lost"]
    resources = results.study.trial.resources
    frame["device"] = frame["hours"] * (resources.gpus or resources.cpus)
    order = {phase: at for at, phase in enumerate(PHASES)}
    found = frame.groupby(["phase", "adopted"], as_index=False).sum()
    return found.sort_values(["adopted", "phase"], key=lambda each: each.map(order) if each.name == "phase" else each)


def session_hours(sessions: Sequence[Mapping[str, Any]]) -> float:
    """Return how long the command ran in all sessions that have ended."""
    ended = [session for session in sessions if session.get("ended")]
    spans = [datetime.fromisoformat(session["ended"]) - datetime.fromisoformat(session["started"]) for session in ended]
    return sum(span.total_seconds() for span in spans) / HOUR_S


def machines(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in words the machines that the command ran on, each once."""
    parts = "{cpus} CPUs ({cpu}), {memory_gib} GiB of memory, {gpus} GPUs, {system}"
    return list(dict.fromkeys(parts.format(**session["hardware"]) for session in sessions))


def energy(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Return in words how much energy the machine of the command took, or that it was not measured."""
    kinds = list(dict.fromkeys(kind for session in sessions for kind in session.get("energy_j") or {}))
    return "; ".join(_energy(kind, sessions) for kind in kinds) or "not measured"


def _energy(kind: str, sessions: Sequence[Mapping[str, Any]]) -> str:
    known = [session["energy_j"][kind] for session in sessions if kind in (session.get("energy_j") or {})]
    text = f"{sum(known) / KWH_J:.3g} kWh by the {kind.upper()}s"
    return text if len(known) == len(sessions) else f"{text} (not measured in {len(sessions) - len(known)} sessions)"


def peak_memory(results: Results) -> Iterator[str]:
    """Yield in words the most GPU memory that a trial took, if it is known."""
    column = "cost/peak_memory_mib"
    if column in results.trials and results.trials[column].notna().any():
        yield f"at most {results.trials[column].max():,.0f} MiB of GPU memory in a trial"
