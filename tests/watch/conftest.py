"""What tests of running studies share."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def token():
    """Got as the README says."""
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([str(ray), "get-auth-token"], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()[-1]
