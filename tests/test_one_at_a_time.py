"""Which change did it: each value that a search changed put back in turn, and really trained."""

import json
import random
from dataclasses import replace

import pytest
from made_tuned import tuned_study
from studies import small_study

from dks_study.analysis.tables.one_at_a_time import TITLE, put_back, put_back_grid
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.spec.files import changed_study, load_study
from dks_study.spec.yamldoc import SpecError
from dks_study.study.cell import Cell
from dks_study.study.ledger import Ledger, Outcome, Record
from dks_study.study.planned import planned
from dks_study.study.planner import Planner
from dks_study.study.provenance import new_session, write_provenance
from dks_study.study.results import load_results, write_results
from dks_study.study.trial_names import cell_of

STUDY = changed_study(tuned_study(seeds=6, repeats=1, finalists=1, race_seeds=0), ["table.one_at_a_time=[dense]"])
CHOSEN = {"optimiser.lr": 0.3, "epochs": 6}
WRITTEN = {"optimiser.lr": 0.05, "epochs": 10}
COSTS = {f"cost/{what}_{when}": 1.0 for what in ("params", "macs") for when in ("train", "inference")}


def error_of(setting):
    """The rate is worth three points, the length one."""
    return 20.0 - 3.0 * (setting["optimiser.lr"] == 0.3) - 1.0 * (setting["epochs"] == 6)


def records_of(study, chosen=CHOSEN, begun=()):
    planner, records = Planner(study, lambda *_: chosen, begun), list(begun)
    while isinstance(cell := planner.next(), Cell):
        noise = random.Random(f"{cell.arm}{cell.seed}{cell.setting}").gauss(0, 0.2) + cell.seed
        error = error_of(cell.setting) + (noise if cell.phase == "confirm" else 0.0)
        metrics = {"val/top1/main": 100 - error, "test/top1/main": 100 - error, "epoch": float(cell.epochs)} | COSTS
        planner.settle(cell.id, outcome := Outcome("complete", metrics))
        records.append(Record(cell, outcome, "hash", "now"))
    return records


def results_of(folder, study=STUDY, chosen=CHOSEN):
    ledger = Ledger(folder / "ledger.jsonl")
    for record in records_of(study, chosen):
        ledger.append(record)
    write_provenance(folder, study, [], new_session(0))
    write_results(folder)
    return load_results(folder)


def test_each_change_is_put_back_alone_on_every_report_seed():
    cells = [record.cell for record in records_of(STUDY) if record.cell.choice == "back"]
    assert {(cell.arm, cell.back) for cell in cells} == {("dense", "optimiser.lr"), ("dense", "epochs")}
    for key in CHOSEN:
        mine = [cell for cell in cells if cell.back == key]
        assert [cell.seed for cell in mine] == list(STUDY.report_seeds)
        assert all(cell.setting == {**CHOSEN, key: WRITTEN[key]} for cell in mine)
        assert all(cell.epochs == cell.setting["epochs"] for cell in mine)
    assert len(records_of(STUDY)) <= sum(sum(plan.values()) for plan in planned(STUDY).values())


def test_a_trial_is_found_again_by_its_name_and_its_line():
    cell = next(record.cell for record in records_of(STUDY) if record.cell.back == "optimiser.lr")
    assert cell.id == f"dense-back-optimiser.lr-seed{cell.seed}"
    assert cell_of(cell.id, cell.seed, cell.epochs, STUDY.report_seeds) == replace(cell, setting={})
    assert Cell(**json.loads(json.dumps(cell.fields))) == cell
    assert "back" not in replace(cell, choice="tuned", back="").fields


def test_interrupted_it_trains_the_same_trials():
    whole = records_of(STUDY)
    for begun in (3, len(whole) - 9, len(whole) - 1):
        again = records_of(STUDY, begun=whole[:begun])
        assert [record.cell for record in again] == [record.cell for record in whole]


def test_what_each_change_is_worth_is_said(tmp_path):
    results = results_of(tmp_path)
    lines = put_back(results).set_index("key")
    assert lines.loc["optimiser.lr", "mean"] == pytest.approx(-3, abs=0.4)
    assert lines.loc["epochs", "mean"] == pytest.approx(-1, abs=0.4)
    assert lines["n"].tolist() == lines["changed"].tolist() == [6, 6]
    assert lines.loc["optimiser.lr", "p_holm"] < 0.07, "six seeds, two values"


@pytest.mark.slow
def test_the_report_has_a_table_of_it_where_it_was_asked_for(tmp_path):
    from dks_study.analysis.report.page import write_report  # a second of imports

    results = results_of(tmp_path)
    assert TITLE in write_report(results, tmp_path).read_text()
    (tmp_path / "plain").mkdir()
    plain = results_of(tmp_path / "plain", changed_study(STUDY, ["table.one_at_a_time=[]"]))
    assert TITLE not in write_report(plain, tmp_path / "plain").read_text()
    assert to_markdown(arm_table(results)) == to_markdown(arm_table(plain)), "the table stays as it was"


def test_one_change_alone_is_the_arm_as_written_put_back(tmp_path):
    results = results_of(tmp_path, chosen={"optimiser.lr": 0.3, "epochs": 10})
    assert not (results.trials["phase"] == "back").any()
    lines = put_back(results).set_index("key")
    assert lines.loc["optimiser.lr", "mean"] == pytest.approx(-3, abs=0.4)
    assert (lines.loc["epochs", "mean"], lines.loc["epochs", "changed"]) == (0, 0)
    assert put_back_grid(results).rows[0][2].text == "6"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("[dks, dks]", "table.one_at_a_time: must list each arm once, got ['dks', 'dks']"),
        ("[nobody]", "table.one_at_a_time: must name arms that search something (baseline, ds, dks), got 'nobody'"),
        ("[dks, nobody]", "got 'nobody'"),
    ],
)
def test_arms_that_search_nothing_are_refused(override, told):
    with pytest.raises(SpecError) as refused:
        load_study("does_it_help", None, [f"table.one_at_a_time={override}"])
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_with_looks_it_is_refused():
    with pytest.raises(SpecError, match=r"must be left out with looks or several objectives \(table\.looks\)"):
        load_study("does_it_help", None, ["table.one_at_a_time=[dks]", "table.looks={first: 4}", "search.repeats=1"])


def test_it_is_left_out_of_the_hashes_of_studies_without_it():
    assert "one_at_a_time" not in small_study().hashed()["table"]
    assert changed_study(STUDY, ["table.one_at_a_time=[]"]).content_hash() != STUDY.content_hash()
