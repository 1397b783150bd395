"""How much energy a machine takes while a study runs, where it tells: RAPL for processors, NVML for NVIDIA's GPUs.

It is that of the machine that the command runs on, with everything else that runs there. By default Linux lets root
alone read RAPL.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

RAPL = Path("/sys/class/powercap")
EVERY_S = 60.0  # a processor's counter starts again from 0 after some minutes at full power


@dataclass(frozen=True)
class Meter:
    """A counter of energy.

    Attributes:
        kind: what it measures: cpu or gpu.
        read: what it says, in joules.
        range: at how many joules it starts again from 0; None: never.
    """

    kind: str
    read: Callable[[], float]
    range: float | None = None


class Energy:
    """Adds up what counters say."""

    def __init__(self, meters: list[Meter]) -> None:
        """Begin now; a counter that cannot be read tells nothing."""
        self._joules, self._last = dict[str, float](), list[tuple[Meter, float]]()
        for meter in meters:
            with suppress(Exception):  # whatever a driver raises
                self._last.append((meter, meter.read()))
                self._joules.setdefault(meter.kind, 0.0)

    def look(self) -> Mapping[str, float]:
        """Return by kind how many joules it has been since the beginning; what cannot be measured is not there."""
        for index, (meter, before) in enumerate(self._last):
            with suppress(Exception):
                now = meter.read()
                again = meter.range if now < before and meter.range else 0.0
                self._joules[meter.kind] += now - before + again
                self._last[index] = meter, now
        return dict(self._joules)


@contextmanager
def measured(rapl: Path = RAPL, every_s: float = EVERY_S) -> Iterator[Callable[[], Mapping[str, float]]]:
    """Measure until the end; give out what returns by kind how many joules it has been so far."""
    lock, over = threading.Lock(), threading.Event()
    with _gpus() as gpus:
        energy = Energy([*processors(rapl), *gpus])

        def look() -> Mapping[str, float]:
            with lock:
                return energy.look()

        def look_on() -> None:
            while not over.wait(every_s):
                look()

        thread = threading.Thread(target=look_on, daemon=True)
        thread.start()
        try:
            yield look
        finally:
            over.set()
            thread.join()


def processors(rapl: Path) -> list[Meter]:
    """Return the counters of whole processors; what is inside of them (cores, memory) is in theirs."""
    found = []
    for place in sorted(rapl.glob("intel-rapl:*")):  # AMD's are called so, too
        with suppress(OSError, ValueError):
            if (place / "name").read_text().startswith("package"):
                found.append(Meter("cpu", _reader(place / "energy_uj"), _joules(place / "max_energy_range_uj")))
    return found


def _reader(path: Path) -> Callable[[], float]:
    return lambda: _joules(path)


def _joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


@contextmanager
def _gpus() -> Iterator[list[Meter]]:
    if (nvml := _opened()) is None:
        yield []
        return
    try:
        yield [_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    finally:
        nvml.nvmlShutdown()


def _opened() -> ModuleType | None:
    """Return NVIDIA's library, begun; a study that runs while its error is handled tells it with each of its own."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # not installed, or there is no driver
        return None
    return nvml


def _gpu(nvml: ModuleType, index: int) -> Meter:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Meter("gpu", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
