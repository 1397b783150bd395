"""Whatever is written in a file or after --set, the answer is a study or one line."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dks_study.spec.files import load_study
from dks_study.spec.yamldoc import SpecError, load_document

KEYS = [
    "trial",
    "trial.epochs",
    "trial.backbone",
    "trial.branches.taps",
    "trial.loss.pairing",
    "trial.data.root",
    "arms",
    "arms.ds",
    "arms.ds.data",
    "arms.ds.loss.pairing",
    "report_seeds",
    "table",
    "search",
    "search.axes",
    "search.axes.optimiser.lr",
    "search.axes.optimiser.lr.float",
    "search.axes.loss.branch_weight_by_tap.stage1",
    "search.axes.data.label_noise.x",
    "max_failures",
    "question",
    "recipe",
    "about",
    "x.y",
]
PARTS = ["arms", "trial", "search", "axes", "optimiser", "lr", "ds", "loss", "pairing", "data", "float", "report_seeds"]
ODD_KEYS = st.text(max_size=8) | st.lists(st.sampled_from(PARTS) | st.text(max_size=3), min_size=1).map(".".join)
FRAGMENTS = [*"[]{},:-?&*!#|>%@\"'\\\na1~=", "&a", "*a", "!!binary ", "!!set ", "!!int ", "1e-4", ".nan", "on", "<<"]
AXES = st.fixed_dictionaries(
    {},
    optional={
        "int": st.lists(st.integers(-2, 300), max_size=3),
        "float": st.lists(st.floats(-1, 2), min_size=2, max_size=2),
        "choice": st.lists(st.sampled_from(["dense", "none", 1, 0.5, True]), max_size=3),
        "log": st.booleans(),
        "arms": st.lists(st.sampled_from(["dense", "x"]), max_size=2),
    },
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def says_at_most_one_line(*overrides):
    said = ""
    try:
        load_study("dense_vs_oneway", None, overrides)
    except SpecError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


@settings(max_examples=25, derandomize=True)
@given(st.sampled_from(KEYS), st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=6).map("".join))
@example("report_seeds", "&a [*a]")
@example("question", "!!binary aGVsbG8=")
@example("recipe", '"a\\0b"')
@example("recipe", "README.md")
@example("trial", "!!set {a}")
def test_no_text_gets_more_than_one_line(key, text):
    says_at_most_one_line(f"{key}={text}")


@settings(max_examples=25, derandomize=True)
@given(st.sampled_from(KEYS), JUNK | AXES)
@example("search.axes.loss.branch_weight_by_tap.stage1", {"float": [0.5, 1.0]})
@example("search.axes.data.label_noise.x", {"int": [1, 2]})
def test_no_value_gets_more_than_one_line(key, value):
    says_at_most_one_line(f"{key}={json.dumps(value)}")


@settings(max_examples=25, derandomize=True)
@given(ODD_KEYS, JUNK)
@example("trial.epo\nchs", 3)
def test_no_key_gets_more_than_one_line(key, value):
    says_at_most_one_line(f"{key}={json.dumps(value)}")


@settings(max_examples=150, derandomize=True)
@given(st.lists(st.sampled_from([*FRAGMENTS, "a: ", "\n- ", "\n  b: "]), max_size=10).map("".join))
def test_no_file_gets_more_than_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "junk.yaml"
    path.write_text(text)
    said = ""
    try:
        json.dumps(load_document(path).values)
    except SpecError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
