"""Values are what the core schema of YAML 1.2 says, in files and after --set."""

import math

import pytest
import yaml

from dks_study.spec.files import SPACES, load_study
from dks_study.spec.yamldoc import SpecError, load_document, parse_value

# The examples of the specification (10.3.2), and what YAML 1.1 read otherwise.
CORE = {
    **{"null": None, "Null": None, "NULL": None, "~": None, "": None},
    **{"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False},
    **{"0": 0, "0o7": 7, "0x3A": 58, "-19": -19, "+12": 12, "010": 10, "-007": -7, "00": 0},
    **{"0.": 0.0, "-0.0": -0.0, ".5": 0.5, "+12e03": 12000.0, "-2E+05": -200000.0, "1e-4": 0.0001, "1.e3": 1000.0},
    **{".inf": math.inf, "-.Inf": -math.inf, "+.INF": math.inf},
    **{
        word: word
        for word in ("yes", "Yes", "no", "on", "Off", "y", "N", "1:30", "1:30.5", "1_000", "0b1", "2020-01-01")
    },
    **{word: word for word in ("1e", "e5", ".", "+.", "0o8", "0xg", "tRue", "nULL", "=", "1.2.3", "inf", "nan")},
    **{"'1e-4'": "1e-4", '"true"': "true", "!!str 010": "010", "!!int 010": 10, "!!float 1": 1.0},
}


@pytest.mark.parametrize("text", CORE)
def test_a_plain_value_is_what_the_core_schema_says(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text(f"a: {text}\n")
    values = [parse_value(text, "--set: a", ("a",), {}), load_document(path).values["a"]]
    assert [(type(value), value) for value in values] == [(type(CORE[text]), CORE[text])] * 2


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number_is_one(text):
    assert math.isnan(parse_value(text, "--set: a", ("a",), {}))


@pytest.mark.parametrize(
    "text", ["!!int 1:30", "!!int yes", "!!bool on", "!!null x", "!!float 1_0.0", "!!map x", "!!seq x"]
)
def test_a_tag_that_does_not_fit_is_refused_in_one_line(text):
    with pytest.raises(SpecError) as caught:
        parse_value(text, "--set: a", ("a",), {})
    assert str(caught.value).startswith("--set: a: not a plain value")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("path", sorted(SPACES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_what_ships_means_the_same_to_a_reader_of_the_old_yaml(path):
    assert load_document(path).values == yaml.safe_load(path.read_text())


def test_set_and_files_take_the_same_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (SPACES / "dense_vs_oneway.yaml").read_text()
    path.write_text(text.replace("\narms:", "\ntrial:\n  optimiser: {weight_decay: 5e-5}\narms:", 1))
    for found in (load_study(str(path)), load_study("dense_vs_oneway", None, ["trial.optimiser.weight_decay=5e-5"])):
        assert found.trial.optimiser.weight_decay == 0.00005
    assert load_study("dense_vs_oneway", None, ["trial.epochs=010"]).trial.epochs == 10
