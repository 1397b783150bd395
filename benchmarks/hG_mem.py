"""Where the driver's memory grows: smaps by kind, malloc's own count, tracemalloc if asked."""
import ctypes, gc, json, os, sys, tempfile, tracemalloc

from dks_study.engine.ray_settings import use_ray_settings
use_ray_settings(alone=True)
from pathlib import Path
from measuring.instant import Clock, instant_study, run_instant
from dks_study.engine.session import Where
import psutil

class M(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc = ctypes.CDLL("libc.so.6"); libc.mallinfo2.restype = M

def smaps():
    kinds = {}
    name = None
    for line in open("/proc/self/smaps"):
        p = line.split()
        if len(p) >= 5 and "-" in p[0] and not p[0].endswith(":"):
            name = p[5] if len(p) > 5 else "anon"
            name = "heap" if name == "[heap]" else "anon" if name == "anon" else "shm" if "/dev/shm" in name or "plasma" in name else "file"
        elif line.startswith("Rss:"):
            kinds[name] = kinds.get(name, 0) + int(p[1])
    return {k: round(v / 1024, 1) for k, v in kinds.items()}

class Recorder(Clock):
    n = 0
    def settled(self, cell, outcome, *, earlier=False):
        super().settled(cell, outcome, earlier=earlier)
        Recorder.n += 1
        if Recorder.n % EVERY == 0:
            m = libc.mallinfo2()
            say = {"n": Recorder.n, "rss": round(psutil.Process().memory_info().rss / 2**20, 1), "inuse": round((m.uordblks + m.hblkhd) / 2**20, 1), "free": round(m.fordblks / 2**20, 1), **smaps()}
            if TRACE:
                say["traced"] = round(tracemalloc.get_traced_memory()[0] / 2**20, 1)
                if Recorder.n in (EVERY, 3 * EVERY): SNAPS.append(tracemalloc.take_snapshot())
            print(json.dumps(say), file=sys.stderr, flush=True)
TRIALS, EVERY, TRACE, SNAPS = int(sys.argv[1]), int(sys.argv[2]), "trace" in sys.argv, []
address = sys.argv[3]
if TRACE: tracemalloc.start(1)
seeds = TRIALS // 5 // 8
with tempfile.TemporaryDirectory(prefix="dks-") as folder:
    study = instant_study(TRIALS // 5 - 2 * seeds, seeds, arms=5)
    run_instant(study, Path(folder) / "study", Recorder(), Where(address if address != "none" else None))
if len(SNAPS) == 2:
    for s in SNAPS[1].compare_to(SNAPS[0], "lineno")[:25]: print(s, file=sys.stderr)
gc.collect(); r0 = psutil.Process().memory_info().rss; libc.malloc_trim(0); print("trim", r0 / 2**20, psutil.Process().memory_info().rss / 2**20, file=sys.stderr)
