"""What a Tune trial's process brings in; the rest is tested with Ray running, in whole studies."""

import subprocess
import sys


def test_a_trial_s_process_imports_nothing_that_takes_seconds_and_is_not_needed():
    check = "import sys, dks_study.engine.cell; print(*sorted({'torchvision', 'sklearn', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
