"""Tune does not import what it would count callbacks by."""

import sys

from ray.air._internal import usage
from ray.tune import tune

from dks_study.engine.uncounted import callbacks_uncounted


def test_tune_counts_no_callbacks_meanwhile_and_does_again_after_it(monkeypatch):
    counted = []
    monkeypatch.setattr(usage, "_count_callbacks", lambda callbacks: counted.append(callbacks) or {})
    with callbacks_uncounted():
        tune.air_usage.tag_callbacks([1])  # by the name that tune.run calls it by
    assert counted == []
    tune.air_usage.tag_callbacks([2])
    assert counted == [[2]]


def test_another_ray_may_lack_what_is_put_aside(monkeypatch):
    monkeypatch.delattr(usage, "tag_callbacks")
    with callbacks_uncounted():
        assert not hasattr(usage, "tag_callbacks")
    monkeypatch.delitem(sys.modules, usage.__name__)
    with callbacks_uncounted():
        assert usage.__name__ not in sys.modules
