"""What a table says of trials that were lost and ran again (`--retry`)."""

from dks_study.study.results import Results


def tried_again(results: Results) -> list[str]:
    """Return a note that names the complete confirmation trials with more than one try, and the rule; or nothing."""
    trials = results.trials
    if "tries" not in trials:  # no trial at all, or results from before this was recorded
        return []
    counted = trials[(trials["phase"] == "confirm") & (trials["status"] == "complete") & (trials["tries"] > 1)]
    if not len(counted):
        return []
    names = ", ".join(dict.fromkeys(counted["trial"].astype(str)))
    return [f"Tried again, having been lost: {names}. The last try counts; no trial with a result is tried again."]
