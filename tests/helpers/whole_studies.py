"""Whole studies through the command line: started, waited for, ended, and read."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from dks_study.study.ledger import read_ledger

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 400  # other work may share the machine
SPACE = """
question: Does it work?
profile: {profile}
arms:
  baseline: {{branches.taps: [], loss.pairing: none}}
  dense: {{branches.taps: [stage1, stage2], loss.pairing: dense}}
search:
  axes:
    optimiser.lr: {{float: [0.01, 0.3], log: true}}
table: {{title: Small, reference: baseline}}
"""
PROFILE = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  data: {name: digits, label_noise: 0.4}
  optimiser: {lr: 0.01, batch_size: 256} # too low: no search chooses it
  epochs: 6
search: {trials: 2, seed: 99}
report_seeds: [0, 1, 2]
"""
TRIALS = 2 * (2 + 3 + 3)  # two arms: search, confirmation as written and as tuned
_STARTED: list[subprocess.Popen[str]] = []


def write_study(folder, space=SPACE, profile=PROFILE):
    """Write a space with its profile; return the space."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(profile)
    path = folder / "small.yaml"
    path.write_text(space.format(profile=folder / "tiny.yaml"))
    return path


def command(space, results, *sets, options=(), root=ROOT):
    overrides = [word for each in sets for word in ("--set", each)]
    words = [sys.executable, str(root / "run_study.py"), "--space", str(space), "--results", str(results)]
    return [*words, *overrides, *options]


def start(space, results, *sets, cwd=None, options=(), root=ROOT, log=None, outlives_test=False):
    """Start a study in a session of its own; its output goes to the file `log`, or to pipes.

    It is killed at the end of the test, unless several tests look at it (`outlives_test`): then the caller ends it.
    """
    paths = [str(root), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    output = log.open("a") if log else nullcontext(subprocess.PIPE)
    with output as out:
        process = subprocess.Popen(
            command(space, results, *sets, options=options, root=root),
            cwd=cwd, text=True, env=environment, start_new_session=True,
            stdout=out, stderr=subprocess.STDOUT if log else out,
        )  # fmt: skip
    if not outlives_test:
        _STARTED.append(process)
    return process


def end_what_was_started():
    """Kill the studies that a failed test left running."""
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def finish(space, results, *sets, code=0, cwd=None, options=(), root=ROOT):
    """Run to the end; return (results folder, stdout, stderr)."""
    process = start(space, results, *sets, cwd=cwd, options=options, root=root)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, f"{out}\n{err}"
    return study_folder(Path(cwd or ".", results)), out, err


def study_folder(results):
    return next(Path(results).glob("small-*"), None)


def records(folder):
    return list(read_ledger(folder / "ledger.jsonl"))


def lasting(folder):
    """What must not depend on when a trial ran: outcomes without measured times."""
    return {r.cell.id: (r.cell, r.outcome.status, untimed(r.outcome.metrics)) for r in records(folder)}


def untimed(metrics):
    return {key: value for key, value in metrics.items() if not _timed(key)}


def _timed(key):
    return "time/" in key or "per_s" in key


def wait_until(condition, process=None):
    """Wait for a condition, as long as `process` runs; return what made it true."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise TimeoutError("it did not come so far")


def wait_for(results, condition, process):
    """Wait until a study's folder is there and fulfils a condition; return the folder."""
    return wait_until(lambda: (folder := study_folder(results)) and condition(folder) and folder, process)


def in_search(folder):
    return any(folder.glob("trials/*-search-0/outcome.json")) and len(records(folder)) > 0


def in_confirmation(folder):
    return len(records(folder)) >= 5 and any(folder.glob("trials/*confirm*/last.pt"))


def same_tables(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("table.md", "table.csv"))
