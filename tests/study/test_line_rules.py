"""Lines of a ledger that are JSON and yet no records: file, line, key, rule and value on one line."""

import json

import pytest
from studies import small_study

from dks_study import cli
from dks_study.spec.objectives import ACCURACY
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, LedgerError, Outcome, Record, outcome_in, read_ledger, read_outcome
from dks_study.study.provenance import new_session, write_provenance
from dks_study.study.sealing import Plan

STUDY = small_study(arms=("baseline", "dense"))
RECORD = Record(
    Cell("dense", "search", 0, seed=9, epochs=2, setting={"optimiser.lr": 0.1}),
    Outcome("complete", {ACCURACY: 50.0}, steps=[50.0], seconds=1.5),
    *("abc", "2026-01-01T00:00:00+00:00"),
    plan=Plan((0, 1), {"dense": "abc"}, "", "def", None),
)


def line_with(path, value):
    """The line of a record in which what stands at a dotted path is `value`."""
    fields = json.loads(json.dumps(vars(RECORD), default=lambda each: dict(vars(each))))
    *sections, last = path.split("/")
    place = fields
    for section in sections:
        place = place[section]
    place[last] = value
    return json.dumps(fields)


WRONG = [
    ("cell", [], "cell must be an object, got []"),
    ("cell/arm", 3, "cell.arm must be a text, got 3"),
    ("cell/phase", "bogus", "cell.phase must be one of search, race, confirm, got 'bogus'"),
    ("cell/phase", ["search"], "cell.phase must be one of search, race, confirm, got ['search']"),
    ("cell/index", -1, "cell.index must be a whole number of at least 0, got -1"),
    ("cell/index", True, "cell.index must be a whole number of at least 0, got True"),
    ("cell/seed", 1.5, "cell.seed must be a whole number of at least 0, got 1.5"),
    ("cell/epochs", "six", "cell.epochs must be a whole number of at least 1, got 'six'"),
    ("cell/epochs", 0, "cell.epochs must be a whole number of at least 1, got 0"),
    ("cell/setting", [1], "cell.setting must be an object, got [1]"),
    ("cell/setting", {"lr": [1]}, "cell.setting.lr must be a number, a text, true or false, got [1]"),
    ("cell/member", None, "cell.member must be a whole number of at least 0, got None"),
    ("cell/repeat", "1", "cell.repeat must be a whole number of at least 0, got '1'"),
    ("cell/choice", "mine", "cell.choice must be one of written, tuned, both, back, got 'mine'"),
    ("cell/back", 1, "cell.back must be a text, got 1"),
    ("cell/colour", "red", "cell.colour must be left out: there are arm, phase, index"),
    ("outcome", None, "outcome must be an object, got None"),
    ("outcome/status", "weird", "outcome.status must be one of complete, stopped, diverged"),
    ("outcome/metrics", [], "outcome.metrics must be an object, got []"),
    ("outcome/metrics", {ACCURACY: "good"}, f"outcome.metrics.{ACCURACY} must be a number, got 'good'"),
    ("outcome/metrics", {"a": True}, "outcome.metrics.a must be a number, got True"),
    ("outcome/error", 3, "outcome.error must be a text, got 3"),
    ("outcome/steps", {}, "outcome.steps must be a list, got {}"),
    ("outcome/steps", [1.0, "x"], "outcome.steps.1 must be a number, got 'x'"),
    ("outcome/accumulate", 1.5, "outcome.accumulate must be a whole number of at least 1, got 1.5"),
    ("outcome/seconds", "a", "outcome.seconds must be a number, got 'a'"),
    ("trial_hash", None, "trial_hash must be a text, got None"),
    ("ended", 3, "ended must be a text, got 3"),
    ("data", 3, "data must be a text, got 3"),
    ("identity", [], "identity must be a text, got []"),
    ("adopted_from", {}, "adopted_from must be a text, got {}"),
    ("tries", 0, "tries must be a whole number of at least 1, got 0"),
    ("plan", "x" * 99, "plan must be an object, got 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    ("plan/seeds", ["a"], "plan.seeds.0 must be a whole number, got 'a'"),
    ("plan/arms", {"a": 1}, "plan.arms.a must be a text, got 1"),
    ("plan/margin", "1", "plan.margin must be a number, got '1'"),
    ("plan/splits", 0, "plan.splits must be a whole number of at least 1, got 0"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_value_that_is_none_of_its_key_is_told(tmp_path, path, value, message):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(RECORD)
    with ledger.path.open("a") as file:
        file.write(line_with(path, value) + "\n")
    with pytest.raises(LedgerError) as caught:
        list(read_ledger(ledger.path))
    assert str(caught.value).startswith(f"{ledger.path}:2: not a record of a trial: {message}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "it must be JSON, got none at character 1 (Expecting value)"),
        ('"text"', "it must be an object, got 'text'"),
        ("{}", "cell must be there, got none"),
        ('{"try_again": 3}', "try_again must be a text, got 3"),
        ('{"try_again": "a", "b": 1}', "b must be left out: there are try_again"),
        ('{"sealed": 3}', "sealed must be an object, got 3"),
        ('{"sealed": {"seeds": []}}', "sealed.arms must be there, got none"),
        ("[" * 100_000, "it must be nested less deeply"),
    ],
)
def test_a_line_that_is_no_record_is_told_in_plain_words(tmp_path, line, message):
    path = tmp_path / "ledger.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(LedgerError) as caught:
        list(read_ledger(path))
    assert str(caught.value) == f"{path}:1: not a record of a trial: {message}"


def test_an_outcome_of_other_values_has_not_happened(tmp_path):
    (tmp_path / "outcome.json").write_text('{"status": "complete", "metrics": {"epoch": "one"}}')
    assert read_outcome(tmp_path) is None
    assert outcome_in(b'{"status": "weird", "metrics": {}}') is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cell/arm", "ds", "cell.arm must be one of the study's (baseline, dense), got 'ds'"),
        ("outcome/metrics", {}, f"outcome.metrics.{ACCURACY} must be there of a complete trial, got none"),
    ],
)
def test_every_command_refuses_what_is_none_of_the_study(tmp_path, capsys, path, value, message):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        write_provenance(folder, STUDY, [], new_session(0))
        (folder / "ledger.jsonl").write_text(line_with("tries", 1) + "\n")
    one, other = map(str, folders)
    ledger = folders[0] / "ledger.jsonl"
    ledger.write_text(line_with("plan", None) + "\n")
    assert [record.cell.id for record in Ledger(ledger, STUDY).records] == ["dense-search-0"]
    ledger.write_text(line_with(path, value) + "\n")
    with pytest.raises(LedgerError):
        Ledger(ledger, STUDY)
    for words in (["--status", one], ["diff", one, other], ["clean", one], ["merge", one, other]):
        assert cli.main([*words]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"dks-study: {ledger}:1: not a record of a trial: {message}\n")
