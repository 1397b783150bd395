"""Studies of seconds through the real command: two trials on one GPU, a group by NCCL, and a GPU that is too small.

One kind in each run of this step. What is judged is what the study left behind: ledger, logs and checkpoints.
"""

import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from dks_study.study.ledger import Record, read_ledger
from gpu_steps.commands import run_command
from gpu_steps.saying import Verdicts, asked, device_of, quote, say

BATCH, SMALL_SHARE = 64, 0.25
TRIAL: dict[str, Any] = {
    "backbone": {"name": "resnet", "depth": 8, "base_channels": 8},
    "data": {"name": "digits"},
    "optimiser": {"lr": 0.1, "batch_size": BATCH},
}
DENSE = {"branches.taps": ["stage1", "stage2"], "loss.pairing": "dense"}
NONE = {"branches.taps": [], "loss.pairing": "none"}


def run(
    folder: Path, verdicts: Verdicts, trial: dict[str, Any], arms: dict[str, Any], seeds: int, **study: object
) -> list[Record]:
    """Run a study in `folder` by the command; return its ledger. How it did not end well is shown."""
    profile = {"about": "seconds", "trial": trial, "search": {"trials": 0}, "report_seeds": list(range(seeds)), **study}
    table = {"title": "Nothing", "reference": next(iter(arms))}
    space = {"question": "Does it run here?", "profile": str(folder / "tiny.yaml"), "arms": arms, "table": table}
    (folder / "tiny.yaml").write_text(json.dumps(profile), encoding="utf-8")  # JSON is YAML
    (folder / "small.yaml").write_text(json.dumps(space), encoding="utf-8")
    words = ["--space", str(folder / "small.yaml"), "--results", str(folder / "results")]
    ended = run_command([sys.executable, "-m", "dks_study", *words])
    verdicts.check(ended.status == 0, f"the study's command {ended}")
    ledgers = list(folder.glob("results/*/ledger.jsonl"))
    return [record for ledger in ledgers for record in read_ledger(ledger)]


def show_trials(folder: Path) -> None:
    """Show what trials that did not end well have left: errors, and what happened when."""
    for trial in sorted(folder.glob("results/*/trials/*")):
        for path in (trial / "error.txt", trial / "log.txt"):
            if path.exists():
                quote(f"{trial.name}/{path.name}", path.read_text(encoding="utf-8", errors="replace"))


def logs(folder: Path) -> list[list[tuple[datetime, str]]]:
    """Return what each trial logged, and when."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("results/*/trials/*/log.txt"))]
    split = [[line.split(" ", 1) for line in text.splitlines() if line[:2] == "20"] for text in texts]
    return [[(datetime.fromisoformat(when), what) for when, what in lines] for lines in split]


def device_in(folder: Path) -> str:
    """Return the devices that trials say they train on."""
    return ", ".join(sorted({what.rpartition(" on ")[2] for lines in logs(folder) for _, what in lines[:1]}))


def shared(folder: Path, device: torch.device, verdicts: Verdicts) -> None:
    """Two trials at a time, each with half of the GPU."""
    half = {"gpus_per_worker": 0.5} if device.type == "cuda" else {}
    epochs = 60 if half else 20
    records = run(folder, verdicts, {**TRIAL, "epochs": epochs, "resources": half}, {"dense": DENSE}, seeds=2)
    judge(records, 2, folder, device, verdicts)
    times = [(lines[0][0], lines[-1][0]) for lines in logs(folder) if lines]
    at_once = len(times) == 2 and max(start for start, _ in times) <= min(end for _, end in times)
    verdicts.check(at_once, f"both trained at the same time, half of the {device.type.upper()} each")


def group(folder: Path, device: torch.device, verdicts: Verdicts) -> None:
    """Ray Train with one worker: NCCL on a GPU, Gloo on a CPU."""
    resources = {"workers": 1, **({"gpus_per_worker": 1} if device.type == "cuda" else {})}
    records = run(folder, verdicts, {**TRIAL, "epochs": 3, "resources": resources}, {"dense": DENSE}, seeds=1)
    judge(records, 1, folder, device, verdicts)


def too_small(folder: Path, device: torch.device, verdicts: Verdicts) -> None:
    """A batch that asks for one and a half times the memory that there is, among trials that do not."""
    if device.type == "cuda":
        room = SMALL_SHARE * torch.cuda.get_device_properties(device).total_memory
        resources = {"gpus_per_worker": SMALL_SHARE}
    else:
        room, resources = float(psutil.virtual_memory().total), {}
    each = int(1.5 * room / BATCH)
    trial = {**TRIAL, "backbone": {"name": "gpu_steps.greedy:Greedy"}, "epochs": 2, "resources": resources}
    arms = {"modest": NONE, "greedy": {**NONE, "backbone.options": {"bytes_per_image": each}}}
    records = run(folder, verdicts, trial, arms, seeds=1, out_of_memory="accumulate")
    judge(records, 2, folder, device, verdicts)
    parts = {record.cell.arm: record.outcome.accumulate for record in records}
    wanted = {"modest": None, "greedy": 2}
    verdicts.check(
        parts == wanted, f"a batch of {BATCH} that needs 1.5 times the memory is trained in two parts: {parts}"
    )


def judge(records: list[Record], trials: int, folder: Path, device: torch.device, verdicts: Verdicts) -> None:
    """Say how the trials of a study ended, and where they were trained."""
    ended = [f"{record.cell.id}: {record.outcome.status} {record.outcome.error or ''}".strip() for record in records]
    complete = sum(record.outcome.status == "complete" for record in records)
    verdicts.check(complete == trials == len(records), f"{trials} trials complete ({'; '.join(ended) or 'none'})")
    where = device_in(folder)
    verdicts.check(device.type in where, f"trained on {where or 'nothing'}")
    peaks = [record.outcome.metrics.get("cost/peak_memory_mib") for record in records]
    if any(peak is not None for peak in peaks):
        say(f"- peak memory of each: {', '.join(f'{peak:,.0f} MiB' for peak in peaks if peak is not None)}")


KINDS = {"shared": shared, "group": group, "too_small": too_small}


def main() -> None:
    """Run the studies of one kind."""
    options = asked(__doc__, kind=list(KINDS))
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory(prefix="dks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        verdicts.attempt(options.kind, lambda: KINDS[options.kind](folder, device_of(options), verdicts))
        if verdicts.failed:
            show_trials(folder)
    verdicts.end()


if __name__ == "__main__":
    main()
