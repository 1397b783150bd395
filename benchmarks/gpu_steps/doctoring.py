"""What `dks-study doctor` says of this machine, and whether Ray sees its GPU as well: first of all."""

import re
import sys
import tempfile

from gpu_steps.commands import run_command
from gpu_steps.saying import Verdicts, asked, quote


def main() -> None:
    """Run the command, and read what it says."""
    options = asked(__doc__)
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory(prefix="dks-") as folder:
        ended = run_command([sys.executable, "-m", "dks_study", "doctor", "--results", folder])
    if ended.status == 0:
        quote("`dks-study doctor`", ended.said)
    verdicts.check(ended.status == 0, f"a study can run here: `dks-study doctor` {ended}")
    seen = re.search(r"^Ray .* sees \S+ CPUs and (\S+) GPUs", ended.said, re.MULTILINE)
    gpus = float(seen[1]) if seen else 0.0
    if not options.rehearse:
        trains = re.search(r"^cuda:0 .*takes training steps", ended.said, re.MULTILINE)
        verdicts.check(bool(trains), "PyTorch takes training steps on cuda:0")
        verdicts.check(gpus >= 1, f"Ray sees the GPU: {gpus:g}")
    verdicts.end()


if __name__ == "__main__":
    main()
