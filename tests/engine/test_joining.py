"""Joining Ray: what is no Ray, and what keeps Ray from starting, is told in one line and soon."""

from contextlib import ExitStack

import pytest

from dks_study.engine.joining import join
from dks_study.training.arm_checks import StudyError


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ray://127.0.0.1:10001", "must be auto or HOST:PORT"),
        ("local", "must be auto or HOST:PORT"),
        ("127.0.0.1:1", "^--address 127.0.0.1:1: cannot be joined: .*refused"),
        ("127.0.0.1:99999", "cannot be joined"),
        ("no-such-host.invalid:6379", "cannot be joined"),
    ],
)
def test_an_address_where_nobody_listens_is_refused_at_once(address, why, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(StudyError, match=why), ExitStack() as undo:
        join(address, print, undo)
