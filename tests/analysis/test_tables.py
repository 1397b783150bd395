"""The table of a made-up study whose numbers are known by hand."""

import json
import random
import statistics
from dataclasses import replace

import pandas as pd
import pytest
from studies import small_study

from dks_study.analysis.tables.study import arm_table, to_markdown, write_tables
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.study.provenance import new_session, read_sessions, write_provenance
from dks_study.study.results import ResultsError, load_results, write_results

SEEDS = (0, 1, 2, 3, 4, 5)
TOP1 = {
    "baseline": [70.0, 72.0, 71.0, 69.0, 70.0, 74.0],
    "ds": [71.0, 71.0, 72.0, 70.0, 69.0, 74.0],
    "dense": [75.0, 76.0, 77.0, 72.0, 75.0, 78.0],
}
COST = {
    "cost/params_train": 20.0,
    "cost/params_inference": 10.0,
    "cost/macs_train": 200.0,
    "cost/macs_inference": 100.0,
}


def records(broken=(), seeds=SEEDS, status="diverged"):
    for arm, values in TOP1.items():
        search = Cell(arm, "search", 0, 99, 1, {"optimiser.lr": 0.05})
        yield Record(search, Outcome("complete", {"epoch": 1.0, "val/top1/main": 60.0}), "h", "now")
        for position, seed in enumerate(seeds):
            cell = Cell(arm, "confirm", position, seed, 2, {"optimiser.lr": 0.05})
            good = Outcome("complete", {"epoch": 2.0, "test/top1/main": values[position], **COST})
            bad = Outcome(status, {}, "the training loss is not finite in epoch 1, step 3")
            yield Record(cell, bad if (arm, seed) in broken else good, "h", "now")


def results(folder, ledger, seeds=SEEDS):
    folder.mkdir(exist_ok=True)
    study = small_study(trials=1, report_seeds=seeds)
    book = Ledger(folder / "ledger.jsonl")
    for each in ledger:
        book.append(each)
        trial = folder / "trials" / each.cell.id
        trial.mkdir(parents=True)
        lines = [json.dumps({"epoch": float(epoch), "train/loss": 1.0 / epoch}) for epoch in (1, 2)]
        (trial / "epochs.jsonl").write_text("\n".join(lines) + "\n")
    write_provenance(folder, study, read_sessions(folder), new_session(0))
    write_results(folder)
    return load_results(folder)


def row(table, arm):
    return table.rows.set_index("arm").loc[arm]


def test_numbers_are_those_computed_by_hand(tmp_path):
    table = arm_table(results(tmp_path, records()))
    errors = {arm: [100 - value for value in values] for arm, values in TOP1.items()}
    for arm, values in errors.items():
        assert row(table, arm)["n"] == 6
        assert row(table, arm)["test_error_percent"] == pytest.approx(statistics.mean(values))
        assert row(table, arm)["std"] == pytest.approx(statistics.stdev(values))
    paired = [d - b for d, b in zip(errors["dense"], errors["baseline"], strict=True)]
    assert row(table, "dense")["difference_mean"] == pytest.approx(statistics.mean(paired))
    assert row(table, "dense")["difference_std"] == pytest.approx(statistics.stdev(paired))
    assert row(table, "dense")["difference_p"] == pytest.approx(2 / 64), "all six differences have one sign"
    assert row(table, "dense")["p_holm"] == pytest.approx(4 / 64)
    assert row(table, "dense")["difference_low"] < statistics.mean(paired) < row(table, "dense")["difference_high"] < 0
    assert pd.isna(row(table, "baseline")["difference_mean"])


def test_markdown_shows_best_in_bold_costs_settings_and_what_was_left_out(tmp_path):
    text = to_markdown(arm_table(results(tmp_path, records())))
    dense = next(line for line in text.splitlines() if line.startswith("| dense"))
    assert "**24.50 ± 2.07**" in dense
    assert "20 / 10" in dense
    assert "Left out: nothing." in text
    assert "| ds" in text
    assert text.count("0.05 ") >= 3, "the setting that search chose"


def test_a_diverged_trial_enters_no_cell_and_is_listed(tmp_path):
    table = arm_table(results(tmp_path, records(broken={("dense", 2)})))
    assert row(table, "dense")["n"] == 5
    shared = [v - b for i, (v, b) in enumerate(zip(TOP1["baseline"], TOP1["dense"], strict=True)) if i != 2]
    assert row(table, "dense")["difference_n"] == 5
    assert row(table, "dense")["difference_mean"] == pytest.approx(statistics.mean(shared))
    assert "Left out: dense-confirm-seed2 diverged: the training loss is not finite in epoch 1, step 3" in table.notes


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_arms_are_paired_on_the_seeds_that_both_have(tmp_path, status):
    table = arm_table(results(tmp_path, records(broken={("baseline", 0), ("dense", 5)}, status=status)))
    shared = [TOP1["baseline"][i] - TOP1["dense"][i] for i in (1, 2, 3, 4)]
    assert row(table, "dense")["n"] == 5
    assert row(table, "dense")["difference_n"] == 4
    assert row(table, "dense")["difference_mean"] == pytest.approx(statistics.mean(shared))
    assert row(table, "dense")["difference_p"] == pytest.approx(2 / 16)
    assert row(table, "ds")["difference_n"] == 5
    left_out = [note for note in table.notes if note.startswith("Left out: ")]
    assert [note.split()[2:4] for note in left_out] == [
        ["baseline-confirm-seed0", f"{status}:"],
        ["dense-confirm-seed5", f"{status}:"],
    ]


def test_a_pair_of_too_few_shared_seeds_is_warned_about(tmp_path):
    table = arm_table(results(tmp_path, records(broken={("dense", 2)})))
    assert row(table, "dense")["difference_p"] == pytest.approx(2 / 32), "five pairs cannot do better"
    assert any("cannot reach p < 0.05" in note for note in table.notes)


def test_one_shared_seed_is_no_comparison(tmp_path):
    broken = {("baseline", seed) for seed in (0, 1, 2)} | {("dense", seed) for seed in (3, 4)}
    table = arm_table(results(tmp_path, records(broken=broken)))
    assert row(table, "dense")["n"] == 4
    assert pd.isna(row(table, "dense")["difference_mean"])
    assert row(table, "ds")["difference_n"] == 3
    assert row(table, "ds")["p_holm"] == pytest.approx(row(table, "ds")["difference_p"]), "one comparison is left"
    assert "nan" not in to_markdown(table)


def test_a_study_without_any_result_has_a_table_of_notes(tmp_path):
    nothing = arm_table(results(tmp_path / "none", records(broken={(arm, seed) for arm in TOP1 for seed in SEEDS})))
    assert len(nothing.rows) == 0
    assert to_markdown(nothing).startswith("### Small\n")
    assert sum(note.startswith("Left out: arm ") for note in nothing.notes) == 3
    for name, ledger in (("empty", []), ("search", [each for each in records() if each.cell.phase == "search"])):
        table = arm_table(results(tmp_path / name, ledger))
        assert len(table.rows) == 0
        assert "Left out: arm ds: no complete confirmation trial." in table.notes
        assert "Left out: nothing." not in table.notes
        write_tables(load_results(tmp_path / name), tmp_path / name)


def test_search_trials_enter_no_cell(tmp_path):
    with_search = arm_table(results(tmp_path / "a", records()))
    without = arm_table(results(tmp_path / "b", [each for each in records() if each.cell.phase == "confirm"]))
    pd.testing.assert_frame_equal(with_search.rows, without.rows)


@pytest.mark.parametrize("arm", ["dense", "baseline"])
def test_an_arm_without_a_result_is_said_to_be_missing(tmp_path, arm):
    table = arm_table(results(tmp_path, records(broken={(arm, seed) for seed in SEEDS})))
    assert arm not in set(table.rows["arm"])
    assert f"Left out: arm {arm}: no complete confirmation trial." in table.notes
    assert "nan" not in to_markdown(table)


def test_few_seeds_are_warned_about_and_one_seed_is_shown_without_spread(tmp_path):
    five = arm_table(results(tmp_path / "5", records(seeds=SEEDS[:5]), SEEDS[:5]))
    wanted = "Warning: 5 seeds and 2 comparisons cannot reach p < 0.05 after Holm (at best 0.125): use 7 or more."
    assert wanted in five.notes
    one = to_markdown(arm_table(results(tmp_path / "1", records(seeds=(0,)), (0,))))
    assert "nan" not in one
    assert "1 report seed," in one
    six = arm_table(results(tmp_path / "6", records()))
    assert any("6 seeds and 2 comparisons cannot reach" in note for note in six.notes)
    alone = arm_table(results(tmp_path / "alone", records(broken={("ds", seed) for seed in SEEDS})))
    assert not any("cannot reach" in note for note in alone.notes), "six are enough for one comparison"


def test_a_table_of_one_seed_shows_its_errors_and_no_comparison(tmp_path):
    table = arm_table(results(tmp_path, records(seeds=(3,)), (3,)))
    assert table.rows["test_error_percent"].tolist() == [30.0, 29.0, 25.0]
    assert table.rows["n"].tolist() == [1, 1, 1]
    dense = next(line for line in to_markdown(table).splitlines() if line.startswith("| dense"))
    assert [cell.strip() for cell in dense.split("|")[2:5]] == ["1", "**25.00**", "20 / 10"]
    assert "| **30.00** " in to_markdown(table), "one seed tells nothing apart"


def test_markdown_and_csv_show_the_same_numbers(tmp_path):
    text = write_tables(results(tmp_path, records()), tmp_path)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    frame = pd.read_csv(tmp_path / "table.csv").set_index("arm")
    assert list(frame.index) == ["baseline", "ds", "dense"], "in the order of the study"
    shown = [line for line in text.splitlines() if line.startswith("| ") and "±" in line]
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in shown}
    assert set(lines) == set(frame.index)
    for arm, cells in lines.items():
        values = frame.loc[arm]
        assert cells[0] == str(int(values["n"]))
        assert cells[1].strip("*") == f"{values['test_error_percent']:.2f} ± {values['std']:.2f}"
        if arm == "baseline":
            assert cells[2:5] == ["", "", ""]
        else:
            assert cells[2] == f"{values['difference_mean']:+.2f} ± {values['difference_std']:.2f}"
            assert cells[3] == f"[{values['difference_low']:+.2f}, {values['difference_high']:+.2f}]"
            assert cells[4] == f"{values['p_holm']:.3f}"
        assert cells[5:] == ["20 / 10", "200 / 100"]


def test_the_order_of_finishing_does_not_show(tmp_path):
    ledger = list(records())
    first = write_tables(results(tmp_path / "a", ledger), tmp_path / "a")
    random.Random(0).shuffle(ledger)
    second = write_tables(results(tmp_path / "b", ledger), tmp_path / "b")
    assert first == second
    for name in ("table.md", "table.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(pd.read_csv(tmp_path / "a" / "table.csv")) == 3


def test_frames_are_tidy(tmp_path):
    found = results(tmp_path, records())
    assert len(found.trials) == 3 * 7
    assert set(found.trials["setting/optimiser.lr"]) == {0.05}
    assert len(found.epochs) == 3 * 7 * 2
    assert set(found.epochs["epoch"]) == {1, 2}
    assert found.study == small_study(trials=1, report_seeds=SEEDS)


def test_a_folder_without_results_says_what_is_missing(tmp_path):
    with pytest.raises(ResultsError, match=r"provenance\.json is missing"):
        load_results(tmp_path)


def test_an_arm_can_be_compared_with_another_than_the_reference(tmp_path):
    loaded = results(tmp_path / "r", records())
    table = loaded.study.table.model_copy(update={"against": {"dense": "ds"}})
    compared = arm_table(replace(loaded, study=loaded.study.model_copy(update={"table": table})))
    assert row(compared, "dense")["difference_mean"] == pytest.approx(
        statistics.mean(b - a for a, b in zip(TOP1["dense"], TOP1["ds"], strict=True))
    )
    assert pd.isna(row(compared, "ds")["difference_mean"]), "an arm that others are compared with stands for itself"
    text = to_markdown(compared)
    assert "Difference to the arm beside it" in text
    dense = next(line for line in text.splitlines() if line.startswith("| dense"))
    assert dense.split("|")[5].strip() == "ds"


def test_what_auto_came_to_is_said_where_it_is_not_the_published_branches(tmp_path):
    published = results(tmp_path / "published", records())
    assert not [note for note in arm_table(published).notes if "auto" in note]
    study = small_study(trials=1, report_seeds=SEEDS, backbone={"name": "vgg_bn", "depth": 11})
    notes = arm_table(replace(published, study=study)).notes
    assert "Recipe auto: tail at stage1, stage2 (ds, dense)." in notes
    named = study.trial.branches.model_copy(update={"recipe": "tail"})
    told = study.model_copy(update={"trial": study.trial.model_copy(update={"branches": named})})
    assert not [note for note in arm_table(replace(published, study=told)).notes if "auto" in note]
