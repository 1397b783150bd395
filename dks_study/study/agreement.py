"""Whether a trial that was run twice came to the same."""

from collections.abc import Mapping

from dks_study.study.ledger import Record

_MEASURED = ("time/", "per_s", "memory")  # not the same in two runs of anything


def lasting(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return those of the metrics that a second run of the same must come to."""
    return {name: value for name, value in metrics.items() if not any(kind in name for kind in _MEASURED)}


def unlike(one: Record, other: Record) -> str | None:
    """Return in words in what two trials of one name differ, leaving out what is measured anew every time."""
    if one.cell != other.cell:
        return f"{one.cell.id}: {dict(one.cell.setting)} -> {dict(other.cell.setting)} (setting or place in the plan)"
    if one.outcome.status != other.outcome.status:
        return f"{one.cell.id}: {one.outcome.status} -> {other.outcome.status}"
    metrics = lasting(one.outcome.metrics), lasting(other.outcome.metrics)
    changed = [name for name in {**metrics[0], **metrics[1]} if metrics[0].get(name) != metrics[1].get(name)]
    if not changed:
        return None
    told = next((name for name in ("test/top1/main", "val/top1/main") if name in changed), changed[0])
    more = f", and {len(changed) - 1} more metrics" if len(changed) > 1 else ""
    return f"{one.cell.id}: {told} {metrics[0].get(told)} -> {metrics[1].get(told)}{more}"
