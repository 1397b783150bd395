"""Everything that only a GPU can tell, in one dated note: python benchmarks/gpu_check.py.

Each step is a command of its own (gpu_steps/) under its own limit, and the note is written anew after every one, so
that a run that is cut still says what it found. At most 8 minutes with the install before it: what does not fit into
--within seconds is cut or left out, and said. --rehearse runs every step on the CPU with small networks: it shows that
they run, its times mean nothing.

Exit status: 0 all steps done, 1 some failed or were cut, 2 there is no GPU, or no folder for the note.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # not only where dks_study is installed

from dks_study.study.machine import processor, versions  # noqa: E402

WITHIN_S = 360.0
PATIENCE = 5  # times as long may a rehearsal take: two busy cores are no GPU
REHEARSE = "--rehearse"


@dataclass(frozen=True)
class Step:
    """One command that prints Markdown, and how long it may take."""

    title: str
    words: tuple[str, ...]
    limit_s: float


def _module(title: str, words: str, limit_s: float) -> Step:
    name, *options = words.split()
    return Step(title, (sys.executable, "-m", f"gpu_steps.{name}", *options), limit_s)


# What says most comes first, what takes longest last.
STEPS = (
    _module("Loss and gradients against the CPU", "agreement", 40),
    _module("Step time and memory, WRN-28-10", "precision --network wrn --ways steps", 80),
    _module("Resume on the device", "resuming", 60),
    _module("Two trials share one GPU by fractions", "studies --kind shared", 70),
    _module("Out of memory", "studies --kind too_small", 70),
    _module("Ray Train with one worker (NCCL)", "studies --kind group", 70),
    _module("Step time and memory, ResNet-50", "precision --network resnet --ways steps", 80),
    _module("Images per second", "feeding", 50),
    _module("Four seeds as one network", "seeds", 40),
    _module("Compiled, WRN-28-10", "precision --network wrn --ways compiled", 100),
    _module("Compiled, ResNet-50", "precision --network resnet --ways compiled", 100),
)


@dataclass(frozen=True)
class Done:
    """How a step ended, and what it printed until then."""

    state: str = "not run"
    seconds: float = 0.0
    said: str = ""


@dataclass
class Note:
    """The Markdown file: a row for each step from the beginning on, and below what each has said."""

    path: Path
    steps: Sequence[Step]
    title: str
    results: dict[str, Done] = field(default_factory=dict)

    def keep(self, step: Step, done: Done) -> None:
        """Write the whole file anew, or leave the one that is there."""
        self.results[step.title] = done
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        temporary.write_text(self._text(), encoding="utf-8")
        temporary.replace(self.path)

    def _text(self) -> str:
        every = {step: self.results.get(step.title, Done()) for step in self.steps}
        rows = [
            f"| {step.title} | {done.state} | {done.seconds:.0f} | {step.limit_s:.0f} |" for step, done in every.items()
        ]
        table = "\n".join(["| step | how it ended | s | limit, s |", "|---|---|---|---|", *rows])
        parts = [f"## {step.title}\n\n{done.said.strip()}" for step, done in every.items() if done.said.strip()]
        return "\n\n".join([self.title, table, *parts]) + "\n"


def run(step: Step, limit_s: float) -> Done:
    """Run `step` for at most `limit_s`, and end all that it has started."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    more = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "RAY_USAGE_STATS_ENABLED": "0"}
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = subprocess.Popen(step.words, stdout=out, stderr=err, env={**os.environ, **more})
        try:
            status = process.wait(limit_s)
            state = "done" if status == 0 else f"**failed** (status {status})"
        except subprocess.TimeoutExpired:
            state = f"**cut** after {limit_s:.0f} s"
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        said, complaints = out.read(), err.read()
    if state != "done" and complaints.strip():
        said += f"\n\nThe end of its standard error:\n\n```\n{complaints.strip()[-1500:]}\n```"
    return Done(state, time.monotonic() - started, said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a step that still runs, and what it has started: Ray's processes outlive their parents."""
    if process.poll() is None:
        tree = [process, *psutil.Process(process.pid).children(recursive=True)]
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def run_all(steps: Sequence[Step], note: Note, within_s: float) -> int:
    """Run every step that time is left for, keeping the note; return the exit status."""
    end = time.monotonic() + within_s
    for step in steps:
        limit_s = min(step.limit_s, end - time.monotonic())
        if limit_s <= 0:
            note.keep(step, Done(f"**not run**: {within_s:.0f} s were over"))
            continue
        note.keep(step, Done("running"))
        done = run(step, limit_s)
        note.keep(step, done)
        print(f"{step.title}: {done.state}, {done.seconds:.0f} s", flush=True)
    return 0 if all(done.state == "done" for done in note.results.values()) else 1


def heading(gpu: str | None) -> str:
    """Return the beginning of the note: date, machine, versions, and whether this is a rehearsal."""
    known = versions(("torch", "torchvision", "ray", "optuna", "triton", "nvidia-nccl-cu13"))
    software = ", ".join(f"{name} {version}" for name, version in known.items())
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    on = gpu or "**a rehearsal on the CPU: small networks, its times mean nothing**"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = "`python benchmarks/gpu_check.py`" if gpu else "`python benchmarks/gpu_check.py --rehearse`"
    return f"# What a GPU says\n\n{command}, {when}: {on}.\n{processor()}, {cores} cores, {memory:.1f} GiB; {software}."


def gpu_here() -> str | None:
    """Return name, memory and CUDA of the first GPU; None: PyTorch can use none."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    count = torch.cuda.device_count()
    return f"{count} x {found.name}, {found.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", type=Path, help="the file to write (benchmarks/gpu_check.md, or gpu_rehearsal.md)")
    parser.add_argument("--within", type=float, metavar="SECONDS", help=f"for all steps together ({WITHIN_S:.0f})")
    parser.add_argument(REHEARSE, action="store_true", help="on the CPU, with small networks")
    options = parser.parse_args()
    name = "gpu_rehearsal.md" if options.rehearse else "gpu_check.md"  # never in the place of a real one
    path = options.note or ROOT / "benchmarks" / name
    if not path.parent.is_dir():
        return refuse(f"--note: must be in a folder that is there, got {path}")
    gpu = None if options.rehearse else gpu_here()
    if gpu is None and not options.rehearse:
        return refuse("PyTorch sees no CUDA device here (see nvidia-smi); --rehearse runs on the CPU")
    steps = [rehearsed(step) for step in STEPS] if options.rehearse else STEPS
    within_s = options.within or WITHIN_S * (PATIENCE if options.rehearse else 1)
    return run_all(steps, Note(path, steps, heading(gpu)), within_s)


def refuse(why: str) -> int:
    """Say in a line why nothing runs; return the exit status."""
    print(f"gpu_check: {why}", file=sys.stderr)
    return 2


def rehearsed(step: Step) -> Step:
    """Return `step` as it is rehearsed."""
    return replace(step, words=(*step.words, REHEARSE), limit_s=PATIENCE * step.limit_s)


if __name__ == "__main__":
    sys.exit(main())
