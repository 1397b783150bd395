"""What a table says where its plan was changed after results were seen, or has not been carried out to its end."""

from dks_study.analysis.rows import full_confirmations
from dks_study.study.results import Results


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
    return [f"Plan changed after results were seen: {'; '.join(told)}. Intervals and p do not allow for such a look."]


def unfinished(results: Results) -> list[str]:
    """Return a note that names the report seeds of which no trial has ended yet; or nothing."""
    trials = results.trials
    begun = set(trials.loc[trials["phase"] == "confirm", "seed"]) if len(trials) else set()
    left = [seed for seed in results.study.report_seeds if seed not in begun]
    if not left:
        return []
    return [f"Not finished: no trial yet with the report seeds {', '.join(map(str, left))}; the study can go on."]
