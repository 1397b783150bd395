"""Numbers that stand on more than one page are the same there, and those of kept studies are what these come to."""

import re

import pages
import pandas as pd
import pytest

KEPT = pages.ROOT / "analysis/results"


def text_of(name):
    return " ".join((pages.ROOT / name).read_text("utf-8").split())


def found(name, *patterns):
    """Return what each pattern finds on a page, which has it once."""
    return [match for pattern in patterns for (match,) in [re.findall(pattern, text_of(name))]]


def test_the_first_command_takes_as_long_on_the_first_page_as_in_the_readme():
    told = r"took (\d+) s on an AMD EPYC .+? \((20[\d-]+), n 1; (\d+) s earlier that day\), after an install of (\d+) s"
    ((study, date, earlier, install),) = found("docs/start/ten-minutes.md", told)
    readme = text_of("README.md").partition("## What it says")[0]
    for each in (f"{study} s on", date, f"{earlier} s", f"install of {install} s"):
        assert each in readme


def test_one_more_trial_of_a_group_takes_as_long_on_all_pages():
    note = text_of("benchmarks/group_cost.md")
    assert note.count("ours 0.3, 0.3, 0.3; 0.3, 0.3, 0.3 s") == note.count("ours 8.8, 8.9, 9.1; 8.6, 8.8, 8.9 s") == 1
    told = {
        "docs/guides/my-cluster.md": r"costs ([\d.]+) s, where it took (\d+) s before",
        "docs/how-fast/index.md": r"\(([\d.]+) s to its .{1,40}; before groups stayed (\d+) s, q\) \| `group_cost`",
        "CHANGELOG.md": r"one more trial costs ([\d.]+) s, (\d+) s before \(benchmarks/group_cost.md\)",
    }
    assert {name: found(name, pattern) for name, pattern in told.items()} == {name: [("0.3", "9")] for name in told}


def test_the_page_of_a_study_costs_what_its_note_says():
    rows = [[re.match(r"[\d.]+", cell) for cell in row] for row in next(tables("benchmarks/page_cost.md"))[2:]]
    ((_, first, first_large), (_, each, each_large), _) = [[cell and cell[0] for cell in row] for row in rows]
    page = text_of("docs/guides/watch.md")
    assert f"With 308 trials in the ledger it takes {first} s of CPU to start" in page
    assert f"and {each} s for each further page" in page
    assert f"with 1,998 trials {first_large} s and {each_large} s" in page
    assert f"| {each_large} s (308 trials: {each}; 2026-11-29) | `page_cost` |" in text_of("docs/how-fast/index.md")


def tables(name):
    return pages.tables_in((pages.ROOT / name).read_text("utf-8"))


def test_an_epoch_with_derivatives_takes_what_the_kept_study_took():
    epochs = pd.read_parquet(KEPT / "against_the_family/epochs.parquet", columns=["arm", "time/train_s"])
    by_arm = epochs.groupby("arm")["time/train_s"]
    seconds, counts = by_arm.median().round(1), by_arm.count()
    ((jacobian, gradient, low, high, least, most),) = re.findall(
        r"took ([\d.]+) s \(`jacobian`\) and ([\d.]+) s \(`gradient`\), with .+? teacher ([\d.]+) to ([\d.]+) s "
        r"\(medians of the (\d+) to (\d+) epochs",
        text_of("docs/method/family.md"),
    )
    others, arms = seconds[["at", "fsp", "fitnets"]], ["jacobian", "at_gradient", "at", "fsp", "fitnets"]
    assert [jacobian, gradient] == [str(seconds["jacobian"]), str(seconds["at_gradient"])]
    assert [low, high] == [str(others.min()), str(others.max())]
    assert [least, most] == [str(counts[arms].min()), str(counts[arms].max())]


def test_what_tuning_leaves_of_the_effect_is_what_the_kept_study_says():
    written, tuned = re.findall(
        r"DKS is ([\d.]+) points ahead of the baseline as written, and ([\d.]+) as tuned",
        text_of("docs/how/protocol.md"),
    )[0]
    table = {row[0]: row for row in next(tables("analysis/results/dense_vs_oneway/table.md"))}
    effects = [float(table[arm][4].split()[0]) for arm in ("dense (as written)", "dense")]
    assert [float(written), float(tuned)] == pytest.approx([-effect for effect in effects], abs=0.05)


def test_the_example_of_a_short_search_is_one_of_the_grid():
    grid = next(table for table in tables("benchmarks/tuned.md") if table[0][:2] == ["rate", "epochs"])
    cells = {(row[0], row[1]): dict(zip(grid[0], row, strict=True)) for row in grid[2:]}
    short, long = cells["0.1", "4"], cells["0.1", "10"]
    told = f"after 4 epochs ({short['dense']} against {short['baseline']} %)"
    assert f"{told} and ahead of it after 10 ({long['dense']} against {long['baseline']};" in text_of(
        "docs/how/protocol.md"
    )
