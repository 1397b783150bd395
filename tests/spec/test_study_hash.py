"""The hash of a study stands for its whole description, and for nothing else."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import small_study
from test_files import SPACE

from dks_study.spec.files import load_study
from dks_study.spec.space import arm_space
from dks_study.spec.study import arm_run, arm_trial


def shuffled(value, draw):
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], draw) for key in draw(st.permutations(sorted(value)))}


@settings(max_examples=15, derandomize=True)
@given(st.data(), st.lists(st.text("abc: #[]{}", max_size=20), max_size=3))
def test_neither_the_order_of_keys_nor_comments_change_the_hash(tmp_path_factory, data, comments):
    path = tmp_path_factory.mktemp("hash") / "mine.yaml"
    path.write_text(SPACE)
    first = load_study(str(path)).content_hash()
    text = yaml.safe_dump(shuffled(yaml.safe_load(SPACE), data.draw), sort_keys=False)
    path.write_text("".join(f"# {line}\n" for line in comments) + text)
    assert load_study(str(path)).content_hash() == first


def test_whatever_changes_the_content_changes_the_hash():
    changes = [
        "trial.optimiser.momentum=0.8",
        "trial.optimiser.gamma=0.3",
        "trial.data.split_seed=1",
        "arms.dense.loss.synergy_weight=1.0",
        "search.axes.optimiser.lr.log=false",
        "search.seed=1001",
        "report_seeds=[0, 1, 2, 3, 4, 5, 6, 8]",
        "question=Another?",
        "table.reference=ds",
        "out_of_memory=accumulate",
    ]
    studies = [load_study("dense_vs_oneway", None, [change]) for change in changes] + [load_study("dense_vs_oneway")]
    assert len({study.content_hash() for study in studies}) == len(studies)
    for same in ("trial.epochs=10", "max_failures=9", "keep=none"):  # what can change while a study runs
        assert load_study("dense_vs_oneway", None, [same]).content_hash() == studies[-1].content_hash()


@pytest.mark.parametrize(
    "arm", ["{loss: {pairing: dense, branch_weight: 1.0}}", "{loss.branch_weight_by_tap: {stage1: 1.0}}"]
)
def test_a_searched_value_never_stays_in_the_study(tmp_path, arm):
    key = "loss.branch_weight" if "pairing" in arm else "loss.branch_weight_by_tap.stage1"
    path = tmp_path / "mine.yaml"
    text = SPACE.replace("dense: {loss.pairing: dense}", f"dense: {arm}")
    path.write_text(text.replace("optimiser.lr: {float: [0.01, 0.3]", f"{key}: {{arms: [dense], float: [0.25, 2.0]"))
    study = load_study(str(path))
    before = study.content_hash()
    assert arm_space(study, "dense").completed({})[key] == 1.0
    arm_run(study, "dense", {key: 0.5})
    assert arm_space(study, "dense").completed({})[key] == 1.0
    assert study.content_hash() == before


def test_keys_that_came_later_leave_the_hash_of_descriptions_without_them_alone():
    trial = arm_trial(small_study(trials=0), "dense", {}, epochs=2, phase="confirm", seed=1)
    assert trial.content_hash() == "de9cd3f70c"  # as it was before there were any
    assert trial.model_copy(update={"exits": True}).content_hash() != "de9cd3f70c"
