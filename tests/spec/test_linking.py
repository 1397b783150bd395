"""A teacher that teaches nobody, and peers that learn alone, are refused; one arm that has use for them will do."""

import pytest

from dks_study.spec.files import load_study
from dks_study.spec.yamldoc import SpecError

TEACHER = "trial.teacher={own: average, ema_decay: 0.9}"
PEER = "trial.peers=[{}]"


@pytest.mark.parametrize(
    "sets",
    [
        [TEACHER, "arms.dks.loss.pairing=[teacher>main]"],
        [TEACHER, "arms.ds.loss.terms.hint={kind: hint, pairs: [teacher.stage1>stage1]}"],
        [TEACHER, "arms.ds.loss.terms.dkd={kind: dkd, pairs: [cross]}"],
        [PEER, "arms.dks.loss.pairing=[dense, cross]"],
        [PEER, "arms.dks.loss.pairing=[main>peer1.main]"],
        [PEER, "search.axes.loss.pairing={choice: [dense, cross], arms: [dks]}"],
        ["trial.peers=[{}, {}]", "arms.dks.loss.pairing=[peer1.main>peer2.main]"],
    ],
)
def test_one_arm_that_uses_them_is_enough(sets):
    assert load_study("does_it_help", None, sets)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            [TEACHER],
            "--set: trial.teacher: must teach in some arm, in loss.pairing or loss.terms (teacher>main), got no",
        ),
        ([PEER], "--set: trial.peers: must teach or be taught in some arm, in loss.pairing (cross) or loss.terms"),
        (["trial.peers=[{}, {}]", "arms.ds.loss.pairing=[main>peer1.main]"], "got nobody whom peer2 does"),
        (["arms.ds.teacher={own: start}"], "--set: arms.ds.teacher: must teach in some arm"),
        ([PEER, "search.axes.loss.pairing={choice: [dense, top_down], arms: [dks]}"], "trial.peers: must teach or be"),
    ],
)
def test_those_whom_no_arm_uses_are_refused(sets, message):
    with pytest.raises(SpecError) as caught:
        load_study("does_it_help", None, sets)
    assert message in str(caught.value)
