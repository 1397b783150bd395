"""What this machine has, what of it works, and what a study would choose here: dks-study doctor.

Nothing is believed that can be tried: a network takes a training step on every device, Ray starts and ends, files are
written where a study writes them. What keeps a study from running is a problem; what only makes it slower is told.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dks_study.engine.ray_settings import use_ray_settings
from dks_study.spec.base import Problem, in_one_line, printable
from dks_study.spec.compute import Computation, ComputeSpec, Precision
from dks_study.spec.options import OptionParser, add_results
from dks_study.spec.trial import ResourceSpec
from dks_study.study.machine import processor, versions

GIB = 2**30
LEAST_FREE_GIB = 1.0
SMALL_SHM_GIB, FEW_FILES = 1.0, 4096
EXIT_HEALTHY, EXIT_PROBLEMS = 0, 2


@dataclass
class Findings:
    """What was found: lines by subject, and what keeps a study from running."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def tell(self, subject: str, text: str) -> None:
        """Add a line."""
        self.lines.append((subject, text))

    def attempt(self, subject: str, action: Callable[[], str]) -> bool:
        """Add what `action` says, or the problem that it meets; return whether it worked."""
        try:
            self.tell(subject, action())
        except (Exception, SystemExit) as error:  # whatever is broken
            why = str(error) if isinstance(error, Problem) else f"{subject}: {in_one_line(error)}"
            self.problems.append(printable(" ".join(why.split())))
            self.tell(subject, "does not work")
            return False
        return True


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 if a study can run here, 2 otherwise, with one line for each problem."""
    parser = OptionParser(
        prog="dks-study doctor", description="What this machine has, what works, what is chosen here."
    )
    add_results(parser, "where studies would be kept (results)")
    found = examine(Path(parser.parse_args(list(words)).results))
    width = max(len(subject) for subject, _ in found.lines)
    for subject, text in found.lines:
        print(f"{subject:{width}}  {text}")
    for problem in found.problems:
        print(f"dks-study doctor: {problem}", file=sys.stderr)
    return EXIT_PROBLEMS if found.problems else EXIT_HEALTHY


def examine(results: Path) -> Findings:
    """Look at this machine, and try what a study with its results in `results` would need."""
    found, cores = Findings(), _cores()
    memory = psutil.virtual_memory()
    found.tell("machine", f"{processor()}, {cores} cores for this process (of {os.cpu_count()})")
    found.tell("memory", f"{memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} GiB of it available")
    found.attempt("results", lambda: _writable("--results", _nearest(results)))
    found.attempt("temporary", lambda: _writable("TMPDIR", Path(tempfile.gettempdir())))
    found.tell("limits", _limits())
    software = versions(("dks_study", "torch", "torchvision", "ray", "optuna"))
    found.tell("versions", ", ".join(f"{name} {version}" for name, version in software.items()))
    computes = found.attempt("cpu", lambda: _training("cpu"))
    gpus = _look_at_gpus(found) if computes else 0
    if found.attempt("Ray", _starts_ray):
        _tell_choice(found, {"CPU": cores, "GPU": gpus})
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nearest(folder: Path) -> Path:
    """Return the folder in which `folder` would be made, or itself if it is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _writable(name: str, folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"written by dks-study doctor")
            file.flush()
    except OSError as error:
        raise Problem(f"{name}: must be a folder that can be written, got {folder} ({error.strerror})") from error
    free = shutil.disk_usage(folder).free / GIB
    if free < LEAST_FREE_GIB:
        raise Problem(f"{name}: must have {LEAST_FREE_GIB:g} GiB free, got {free:.2f} GiB in {folder}")
    return f"{folder}: can be written, {free:.1f} GiB free"


def _limits() -> str:
    """Return what Ray works with, and is slower with less of."""
    told = []
    shm = Path("/dev/shm")
    if shm.is_dir():
        total = shutil.disk_usage(shm).total / GIB
        told.append(f"/dev/shm {total:.1f} GiB" + (" (small: Ray keeps data on disk)" if total < SMALL_SHM_GIB else ""))
    if sys.platform != "win32":
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        few = f" (few for many trials at a time: ulimit -n {FEW_FILES})" if 0 <= files < FEW_FILES else ""
        told.append(f"{'no limit of' if files < 0 else files} open files{few}")
    return ", ".join(told)


def _training(device: str) -> str:
    """Return in which number formats a training step of a small network works on `device`; in float32 it must."""
    train_step(device, "float32")
    works: list[Precision] = ["float32"]
    others: tuple[Precision, ...] = ("bfloat16", "float16")
    for name in others:
        try:
            train_step(device, name)
        except (RuntimeError, Problem):
            continue
        works.append(name)
    return f"takes training steps; compute.precision: {', '.join(works)}"


def train_step(device: str, precision: Precision) -> None:
    """Take a training step of a small network on `device`, in a number format of `compute.precision`.

    Raises:
        Problem: if its loss is not finite.
        RuntimeError: what PyTorch raises.
    """
    import torch

    from dks_study.training.compute import precision as number_format

    where = torch.device(device)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5)
    network = torch.nn.Sequential(*layers).to(where)
    with number_format(Computation(precision, channels_last=False), where):
        logits = network(torch.ones(2, 3, 8, 8, device=where))
    loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1], device=where))
    loss.backward()  # type: ignore[no-untyped-call]
    if not torch.isfinite(loss).item():
        raise Problem(f"{device}: a training step in {precision} must have a finite loss, got {loss.item()}")


def _look_at_gpus(found: Findings) -> int:
    """Tell of every GPU that PyTorch sees; return how many there are."""
    import torch

    if not torch.cuda.is_available():
        why = (
            f"this PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this PyTorch has no CUDA"
        )
        found.tell("GPU", f"none that PyTorch can use ({why})")
        return 0
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        device = f"cuda:{number}"
        found.tell(device, f"{card.name}, {card.total_memory / GIB:.1f} GiB, CUDA {torch.version.cuda}")
        found.attempt(device, lambda device=device: _training(device))  # type: ignore[misc]
    return torch.cuda.device_count()


def _starts_ray() -> str:
    """Start Ray as a study does, and end it."""
    use_ray_settings(alone=True)
    from dks_study.engine.cluster import present, total
    from dks_study.engine.joining import ending_ray, join

    started = time.monotonic()
    with ending_ray() as undo:
        join(None, lambda _: None, undo)
        seconds, there = time.monotonic() - started, present()
        return f"starts in {seconds:.1f} s, sees {total(there, 'CPU'):g} CPUs and {total(there, 'GPU'):g} GPUs"


def _tell_choice(found: Findings, present: Mapping[str, float]) -> None:
    """Tell what a study with the default resources does here, and what else could be asked for."""
    from dks_study.engine.cluster import concurrency

    def at_a_time(resources: ResourceSpec) -> str:
        trials = concurrency(resources, [present])
        return "one trial at a time" if trials == 1 else f"{trials} trials at a time"

    here, there = (ComputeSpec().chosen(on_gpu=on_gpu) for on_gpu in (False, True))
    alone = f"resources.workers 0: {at_a_time(ResourceSpec())}, in {here}"
    found.tell("a study", f"trains on CPUs unless told otherwise, {alone}")
    for share in (1, 0.5) if present["GPU"] else ():
        asked = ResourceSpec(gpus_per_worker=share)
        found.tell("on GPUs", f"--set trial.resources.gpus_per_worker={share:g}: {at_a_time(asked)}, in {there}")
    compiler = shutil.which("g++") or shutil.which("clang++")
    found.tell(
        "compile", f"compute.compile can be used ({compiler})" if compiler else "there is no C++ compiler for it"
    )
