"""The manual's reference names all that there is, and nothing else: files that ship, columns, statuses, commands."""

import importlib
import inspect
import json
import re

import pages
import pyarrow.parquet as pq
import pytest
import torch

from dks_study import cli
from dks_study.__main__ import EXIT_OUR_ERROR
from dks_study.analysis import differing
from dks_study.engine.interrupts import EXIT_LOST, INTERRUPTED
from dks_study.spec.shipped import SPACES
from dks_study.training.cost import ExitCost
from dks_study.training.early_exits import exit_metrics
from dks_study.verifying import EXIT_DIFFERS

REFERENCE = pages.ROOT / "docs/reference"
KEPT = pages.ROOT / "analysis/results"


def table_headed(name, *header):
    """Return the rows below a header on a page of the reference."""
    tables = pages.tables_in((REFERENCE / name).read_text("utf-8"))
    (found,) = [table for table in tables if table[0] == list(header)]
    return found[2:]


def coded(cells):
    return sorted(name for cell in cells for name in re.findall("`([^`]+)`", cell))


def test_every_question_and_every_scale_that_ships_is_in_its_table():
    questions = table_headed("questions.md", "question", "arms")
    assert coded(row[0] for row in questions) == sorted(path.stem for path in SPACES.glob("*.yaml"))
    scales = table_headed("questions.md", "scale", "data, network", "machine")
    assert coded(row[0] for row in scales) == sorted(path.stem for path in (SPACES / "profiles").glob("*.yaml"))


def test_the_scales_of_which_studies_are_kept_are_those_that_the_page_names():
    told = re.search(
        r"Whole studies are kept of \w+ scales\*\*: (.+?) \(", (REFERENCE / "questions.md").read_text("utf-8")
    )
    described = [json.loads(path.read_text("utf-8")) for path in KEPT.glob("*/provenance.json")]
    assert coded([told[1]]) == sorted({each["resolved"]["profile"] for each in described})


@pytest.mark.parametrize(("file", "title"), [("trials.parquet", "Of a trial"), ("epochs.parquet", "Of an epoch")])
def test_every_column_of_every_kept_study_is_told_and_none_is_told_that_no_study_has(file, title):
    own, metrics = set(pages.told("columns.md")[title]), pages.patterns_of_metrics()
    by_study = {path.parent.name: set(pq.read_schema(path).names) for path in sorted(KEPT.glob(f"*/{file}"))}
    assert len(by_study) > 10
    for study, names in by_study.items():
        rest = [name for name in names - own if not name.startswith("setting/")]
        assert [name for name in rest if not any(re.fullmatch(each, name) for each in metrics)] == [], study
    every = set().union(*by_study.values())
    assert own - every <= {"setting/KEY", "plan_changed"}  # the latter is there where a plan was changed
    unseen = {each for each in metrics if not any(re.fullmatch(each, name) for name in every)}
    assert unseen == {"cost/peak_memory_mib", r"(train|val|test|test_chosen)/top5/[\w.]+"}  # of GPUs, of many classes


def test_every_column_of_early_exits_is_told():
    answers = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    found = exit_metrics({"stage1": ExitCost(1, 1), "main": ExitCost(2, 3)}, answers, answers)
    shown = {re.sub(r"/(stage1|main)$", "/NAME", re.sub(r"^budget/\d+/", "budget/WAY/", name)) for name in found}
    assert shown == set(pages.told("columns.md")["Early exits"]) - {"trial.exits", "WAY"}


def test_the_exit_statuses_are_those_of_the_command_with_their_meaning():
    meant = {
        0: "done",
        cli.EXIT_FAILED_TRIALS: "by command",
        cli.EXIT_BAD_INPUT: "bad input",
        EXIT_LOST: "Ray was lost",
        cli.EXIT_UNFINISHED: "ended by the clock",
        EXIT_OUR_ERROR: "an error of ours",
        INTERRUPTED: "interrupted",
    }
    rows = {int(status): words for status, words in table_headed("exit-statuses.md", "exit status", "what")}
    assert rows.keys() == meant.keys()
    assert [(status, rows[status]) for status, words in meant.items() if words not in rows[status]] == []


# What a command's module uses of these is what its status 1 can mean.
MEANT_BY_1 = {"EXIT_FAILED_TRIALS": "no result", "run_and_print": "no result", "EXIT_DIFFERS": "differ|not come out"}


def test_what_status_1_means_is_told_of_every_command_that_can_end_with_it():
    assert cli.EXIT_FAILED_TRIALS == EXIT_DIFFERS == differing.EXIT_DIFFERS == 1
    sources = {f"dks-study {name}": importlib.import_module(module) for name, module in cli.COMMANDS.items()}
    meant = {"a study (--space)": MEANT_BY_1["run_and_print"]}
    for command, module in sources.items():
        source = inspect.getsource(module)
        assert "return 1" not in source, "a status has a name"
        used = [words for name, words in MEANT_BY_1.items() if re.search(rf"\b{name}\b", source)]
        if used:
            meant[command], *others = used
            assert not others, "two meanings"
    rows = table_headed("exit-statuses.md", "command", "1: done, but")
    told = {command.replace("`", ""): words for command, words in rows}
    assert told.keys() == meant.keys()
    assert [each for each, words in meant.items() if not re.search(words, told[each])] == []


def test_the_page_of_commands_has_them_all():
    text = (REFERENCE / "commands.md").read_text("utf-8")
    assert set(re.findall(r"^\| `dks-study (\w+)", text, re.MULTILINE)) == set(cli.COMMANDS)


def test_every_note_and_every_benchmark_that_is_told_of_is_there_and_linked():
    index = (pages.ROOT / "docs/how-fast/index.md").read_text("utf-8")
    assert re.findall(r"\[(\w+)\]\(\1\.md\)", index.partition("## The notes")[2]) == [note.stem for note in NOTES]
    told = {name for row in next(pages.tables_in(index))[2:] for name in re.findall(r"`(\w+)`", row[-1])}
    assert told <= {note.stem for note in NOTES}


def page_name(page):
    return str(page.relative_to(pages.ROOT))


NOTES = sorted((pages.ROOT / "benchmarks").glob("*.md"))


@pytest.mark.parametrize("page", [*pages.PAGES, *NOTES, KEPT / "README.md"], ids=page_name)
def test_every_row_stands_in_a_table_with_a_header(page):
    """A blank line between rows takes what follows out of the table: a browser shows its pipes."""
    for header, *rest in pages.tables_in(page.read_text("utf-8")):
        assert rest, header
        assert all(re.fullmatch(":?-{3,}:?", cell) for cell in rest[0]), f"no header: {header}"
        assert {len(row) for row in rest} == {len(header)}, header
