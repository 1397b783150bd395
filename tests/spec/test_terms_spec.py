"""What a description may say of named terms, and the line that it gets if it may not."""

import pytest
from studies import small_study

from dks_study.spec.files import load_study
from dks_study.spec.loss import LossSpec
from dks_study.spec.study import arm_run
from dks_study.spec.yamldoc import SpecError


def told(*settings):
    """The line about the family's study with FitNets' arm, changed."""
    with pytest.raises(SpecError) as caught:
        load_study("against_the_family", None, [f"arms.{setting}" for setting in settings])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ds.loss.terms.h={kind: hunt, pairs: [stage2>stage1]}", "h.kind: must be hint, attention, fsp, "),
        ("ds.loss.terms.h={kind: hint}", "h.pairs: the key is missing"),
        ("ds.loss.terms.h={kind: hint, pairs: []}", "h.pairs: must hold at least 1 value, got []"),
        ("ds.loss.terms.h={kind: hint, pairs: stage2>stage1}", "h.pairs: must be a list"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage2]}", "a pair is written 'teacher>student', two different"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage2>stage2]}", "two different classifiers, got 'stage2>stage2'"),
        ("ds.loss.terms.h={kind: hint, pairs: [a>b, a > b]}", "each pair is listed once, got 'a>b' twice"),
        ("ds.loss.terms.h={kind: hint, pairs: [dense]}", "h.pairs: must be written 'teacher>student' with kind hint"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage4>stage1]}", "must name taps of resnet (stage1 to stage3), got 's"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage2>stage1.1]}", "must name taps of resnet (stage1 to stage3)"),
        ("ds.loss.terms.h={kind: hint, pairs: [teacher.stage2>stage2]}", "must name networks that there are (teacher:"),
        ("ds.loss.terms.h={kind: hint, pairs: [peer1.stage2>stage2]}", "got 'peer1.stage2' in 'peer1.stage2>stage2'"),
        ("kd.loss.terms.h={kind: hint, pairs: [teacher>stage2]}", "must name a tap of the network (teacher.stage1)"),
        ("kd.loss.terms.h={kind: hint, pairs: [stage2>teacher.stage2]}", "the frozen teacher is nobody's student, got"),
        ("kd.loss.terms.h={kind: hint, pairs: [teacher.stage2.2>stage2]}", "inside them such as stage1.1 of 2 blocks"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage3>stage2], weight: -1}", "h.weight: must be above 0, got -1"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage3>stage2], warmup: 1}", "h.warmup: must be below 1, got 1"),
        (
            "ds.loss.terms.h={kind: hint, pairs: [stage3>stage2], temperature: 2}",
            "temperature: must be left out with ki",
        ),
        ("ds.loss.terms.h={kind: hint, pairs: [stage3>stage2], adapter: mlp}", "h.adapter: must be auto, pool or conv"),
        (
            "ds.loss.terms.h={kind: attention, pairs: [stage3>stage2], adapter: conv}",
            "must be left out with kind attent",
        ),
        (
            "ds.loss.terms.h={kind: fsp, pairs: [stage3>stage2]}",
            "must have two taps joined by + (stage1+stage2) on each",
        ),
        (
            "ds.loss.terms.h={kind: hint, pairs: [stage1+stage2>stage3]}",
            "must have one tap on each side with kind hint",
        ),
        ("ds.loss.terms.h={kind: embedding, pairs: [stage3>stage1]}", "got 'stage3' in 'stage3>stage1'"),
        (
            "baseline.loss.terms.h={kind: embedding, pairs: [from_main]}",
            "must stand for at least one pair of main, got [",
        ),
        ("kd.loss.terms.h={kind: dkd, pairs: [teacher>main], temperature: 0}", "h.temperature: must be above 0, got 0"),
        ("ds.loss.terms.h={kind: dkd, pairs: [teacher>main]}", "got 'teacher' in 'teacher>main'"),
        ("ds.loss.terms.h={kind: hint, pairs: [stage3>stage2], wieght: 1}", "unknown key, did you mean weight?"),
        ("ds.loss.terms.H={kind: hint, pairs: [stage3>stage2]}", "must be a name of at most 40 of a-z"),
        ("ds.loss.terms=3", "loss.terms: must be a section of keys, got 3"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(setting, message):
    line = told(setting)
    assert message in line, line
    assert line.startswith("--set: arms."), line


def test_the_line_names_the_whole_key():
    line = told("ds.loss.terms.h={kind: hint, pairs: [stage9>stage1]}")
    assert line.startswith("--set: arms.ds.loss.terms.h.pairs: must name taps of resnet"), line


def test_decoupled_kd_needs_one_true_class():
    line = told("dkd={data.mixup_alpha: 0.2, loss.terms.d: {kind: dkd, pairs: [stage1>main]}}")
    assert "loss.terms.d.kind: must not be dkd, which needs one true class" in line, line


def test_an_arm_and_an_axis_may_change_one_key_of_a_term():
    term = {"kind": "hint", "pairs": ["stage3>stage2"], "weight": 2.0}
    study = small_study(trials=0, loss={"terms": {"h": term}})
    key = "loss.terms.h.weight"
    changed = arm_run(study, "ds", {key: 0.5}).loss.terms["h"]
    assert (changed.weight, changed.kind, changed.pairs) == (0.5, "hint", ("stage3>stage2",))
    axis = {"search.trials": "4", f"search.axes.{key}": "{float: [0.1, 10.0], log: true, arms: [fitnets]}"}
    family = load_study("against_the_family", None, [f"{k}={v}".replace(".h.", ".hint.") for k, v in axis.items()])
    assert "loss.terms.hint.weight" in family.axes_of("fitnets")


def test_terms_survive_json_and_are_part_of_the_identity():
    loss = LossSpec.model_validate_json(f'{{"terms": {{"h": {HINT_JSON}}}}}')
    assert LossSpec.model_validate_json(loss.model_dump_json()) == loss
    assert loss.content_hash() != LossSpec().content_hash()
    assert loss.terms["h"].pairs == ("stage2>stage1",)


HINT_JSON = '{"kind": "hint", "pairs": [" stage2 > stage1"]}'
