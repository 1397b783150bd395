"""Everything that only a GPU can tell, in one dated note: python benchmarks/gpu_check.py.

Each step is a command of its own (gpu_steps/) under its own limit, and the note is written anew after every one, so
that a run that is cut still says what it found. What says most comes first; what does not fit into --within seconds is
cut or left out, and said. --install first installs the project into a fresh environment, which needs nothing but
Python, and runs the steps there: 8 minutes with the install, which is the first row. --rehearse runs every step on the
CPU with small networks: it shows that they run, its times mean nothing.

Exit status: 0 all steps done, 1 some failed or were cut, 2 there is no GPU, or no folder for the note.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from gpu_steps.installing import commands, install, python_in
from gpu_steps.running import ROOT, Done, Step, run

sys.path.append(str(ROOT))  # not only where dks_study is installed

from dks_study.study.machine import processor, versions

WITHIN_S, WITH_INSTALL_S = 360.0, 480.0
INSTALL_SHARE = 0.75  # of all the time may an install take: after that the steps that say most still run
PATIENCE = 5  # times as long may a rehearsal take: two busy cores are no GPU
REHEARSE = "--rehearse"
RESULTS = ROOT / "results"  # of this machine, and no part of the project until somebody commits a note to benchmarks/


def _module(title: str, words: str, limit_s: float) -> Step:
    name, *options = words.split()
    return Step(title, (sys.executable, "-m", f"gpu_steps.{name}", *options), limit_s)


# What says most comes first, what takes longest last: the limits together are more than there is time.
STEPS = (
    _module("What dks-study doctor says, and whether Ray sees the GPU", "doctoring", 60),
    _module("Loss and gradients against the CPU", "agreement", 40),
    _module("Two trials share one GPU by fractions", "studies --kind shared", 70),
    _module("Ray Train with one worker (NCCL)", "studies --kind group", 70),
    _module("Resume on the device", "resuming", 60),
    _module("Out of memory", "studies --kind too_small", 70),
    _module("Step time and memory, WRN-28-10", "precision --network wrn --ways steps", 60),
    _module("Step time and memory, ResNet-50", "precision --network resnet --ways steps", 60),
    _module("Images per second", "feeding", 50),
    _module("Four seeds as one network", "seeds", 40),
    _module("Compiled, WRN-28-10", "precision --network wrn --ways compiled", 100),
    _module("Compiled, ResNet-50", "precision --network resnet --ways compiled", 100),
)


INSTALL = Step("Install into a fresh environment", (), INSTALL_SHARE * WITH_INSTALL_S)


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


def heading(gpu: str | None, *, installed: bool = False) -> str:
    """Return the beginning of the note: date, machine, versions, and whether this is a rehearsal."""
    known = versions(("torch", "torchvision", "ray", "optuna", "triton", "nvidia-nccl-cu13"))
    software = ", ".join(f"{name} {version}" for name, version in known.items())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    on = gpu or "**a rehearsal on the CPU: small networks, its times mean nothing**"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    words = ["python benchmarks/gpu_check.py", *(["--install"] if installed else []), *([] if gpu else [REHEARSE])]
    machine = f"{processor()}, {cores} cores, {memory:.1f} GiB"
    return f"# What a GPU says\n\n`{' '.join(words)}`, {when}: {on}.\n{machine}; {software}."


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a step's session ends with us
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", type=Path, help="the file to write (results/gpu_check.md, or gpu_rehearsal.md)")
    often = f"for all steps together ({WITHIN_S:.0f}; {WITH_INSTALL_S:.0f} with --install, which is part of it)"
    parser.add_argument("--within", type=float, metavar="SECONDS", help=often)
    parser.add_argument("--install", action="store_true", help="into a fresh environment first, and run there")
    parser.add_argument(REHEARSE, action="store_true", help="on the CPU, with small networks")
    parser.add_argument("--installed", type=float, help=argparse.SUPPRESS)  # in so many seconds, by --install
    options = parser.parse_args()
    name = "gpu_rehearsal.md" if options.rehearse else "gpu_check.md"  # never in the place of a real one
    path = options.note or RESULTS / name
    if options.note and not path.parent.is_dir():
        return refuse(f"--note: must be in a folder that is there, got {path}")
    wanted = not (options.rehearse or options.install)  # before there is an install nothing can look for one
    gpu = gpu_here() if wanted else None
    if wanted and gpu is None:
        return refuse("PyTorch sees no CUDA device here (see nvidia-smi); --rehearse runs on the CPU")
    path.parent.mkdir(exist_ok=True)
    most_s = WITH_INSTALL_S if options.install else WITHIN_S
    within_s = options.within or most_s * (PATIENCE if options.rehearse else 1)
    if options.install:
        return run_installed(path, within_s, rehearse=options.rehearse)
    steps = [rehearsed(step) for step in STEPS] if options.rehearse else STEPS
    note = Note(path, steps, heading(gpu, installed=options.installed is not None))
    if options.installed is not None:
        note.steps = [INSTALL, *steps]
        note.results[INSTALL.title] = Done("done", options.installed)
    return run_all(steps, note, within_s)


def run_installed(path: Path, within_s: float, *, rehearse: bool) -> int:
    """Install the project into a fresh environment, and run all steps there; return the exit status."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dks-", ignore_cleanup_errors=True) as folder:
        done = install(commands(Path(folder)), INSTALL_SHARE * within_s)
        print(f"{INSTALL.title}: {done.state}, {done.seconds:.0f} s", flush=True)
        if done.state != "done":
            Note(path, [INSTALL, *STEPS], heading("no GPU was looked for", installed=True)).keep(INSTALL, done)
            return 1
        left = within_s - (time.monotonic() - started)
        words = [python_in(Path(folder)), __file__, "--note", str(path), "--within", str(left)]
        words += ["--installed", str(done.seconds), *([REHEARSE] if rehearse else [])]
        with subprocess.Popen(words) as steps:
            try:
                return steps.wait()
            finally:
                steps.terminate()


def refuse(why: str) -> int:
    """Say in a line why nothing runs; return the exit status."""
    print(f"gpu_check: {why}", file=sys.stderr)
    return 2


def rehearsed(step: Step) -> Step:
    """Return `step` as it is rehearsed."""
    return replace(step, words=(*step.words, REHEARSE), limit_s=PATIENCE * step.limit_s)


if __name__ == "__main__":
    sys.exit(main())
