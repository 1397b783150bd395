"""What Tune is handed."""

import io

from ray import cloudpickle
from rich.console import Console
from studies import small_study

from dks_study.engine.hands import Hands
from dks_study.engine.tuning import PlannedSearch, _Listener
from dks_study.study.planner import Planner
from dks_study.study.search import optuna_suggest
from dks_study.watch.display import LiveDisplay, make_display


def test_tune_can_pickle_its_searcher_whatever_shows_the_study():
    study = small_study()
    display = make_display(study, Console(file=io.StringIO(), force_terminal=True))
    assert type(display) is LiveDisplay, "which cannot be pickled"
    hands = Hands(*(None,) * 5, display, "code", None, None)
    searcher = PlannedSearch(study, Planner(study, optuna_suggest(study)), hands)
    assert vars(cloudpickle.loads(cloudpickle.dumps(searcher))) == {}


def test_a_process_that_starts_for_a_trial_is_not_given_up_for_one_that_another_trial_has_left():
    # Tune hands such a process to the trial that its scheduler chooses.
    assert _Listener(PlannedSearch.__new__(PlannedSearch)).choose_trial_to_run(None) is None
