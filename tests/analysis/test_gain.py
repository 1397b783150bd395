"""What a gain is made of: arms are told by what they train, and the steps add up."""

import json

import numpy as np
import pandas as pd
import pytest
from made_tuned import tuned
from made_up import made_up, write
from studies import small_study

from dks_study.analysis.controls import Controls, controls
from dks_study.analysis.plots.waterfall import bars, draw_waterfall
from dks_study.analysis.report.page import write_report
from dks_study.analysis.rows import planned_epochs
from dks_study.analysis.statistics.paired import holm, paired_difference
from dks_study.analysis.tables.gain import (
    COMPUTE,
    IN_ALL,
    KNOWLEDGE,
    PARAMETERS,
    REGULARISATION,
    STOPPING,
    SUPERVISION,
    gain_grid,
    gains,
)
from dks_study.analysis.tables.study import arm_table, to_markdown
from dks_study.spec.files import load_study
from dks_study.study.results import Results

# Names that say nothing, in no order: what they train says what they are.
ARMS = {
    "bert": {"loss.teacher_signal": "uniform"},
    "carl": {},
    "dora": {"branches.taps": [], "loss.pairing": "none"},
    "emil": {"loss.pairing": "none"},
    "fred": {"branches.taps": [], "loss.pairing": "none", "epochs": {"match": "carl", "by": "macs", "macs": [2, 5]}},
    "gina": {"loss.teacher_signal": "other_images", "loss.keep_gradient_size": True},
    "hans": {"branches.taps": [], "loss.pairing": "none", "optimiser.weight_decay": 0.1},
    "ida": {"branches.taps": [], "loss.pairing": "none", "backbone.base_channels": 9},
}
ERRORS = {"bert": 15.0, "carl": 11.0, "dora": 20.0, "emil": 18.0, "fred": 30.0, "gina": 16.0, "hans": 19.0, "ida": 17.0}
PARAMETERS_OF = {"dora": 100, "fred": 100, "hans": 100, "ida": 430}  # others 400


def study_of(arms=ARMS, **trial):
    values = small_study(trials=0, report_seeds=tuple(range(8)), epochs=10, **trial).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    values |= {"arms": arms, "table": {"title": "T", "reference": "dora"}}
    return type(small_study()).model_validate_json(json.dumps(values))


def results_of(arms=ARMS, seeds=8, parameters=PARAMETERS_OF):
    study, random = study_of(arms), np.random.default_rng(0)
    rows, epochs = [], []
    for arm in arms:
        for seed in range(seeds):
            error = ERRORS[arm] + seed + 0.3 * random.normal()
            trial = f"{arm}-confirm-seed{seed}"
            known = {"trial": trial, "arm": arm, "phase": "confirm", "seed": seed}
            length = study.epochs_of(arm, {}, search=False)
            costs = {f"cost/{name}_{when}": 5 for name in ("params", "macs") for when in ("train", "inference")}
            costs["cost/params_train"] = parameters.get(arm, 400)
            ends = {"test/top1/main": 100 - error, "test_chosen/top1/main": 100 - error + 3, "val/top1/main": 80.0}
            extra = {"row": arm, "index": seed, "status": "complete", "error": None, "choice": "tuned", "repeat": 0}
            rows.append({**known, **extra, "epochs": length, "accumulate": None, **costs, **ends})
            epochs += [
                {**known, "epoch": n, "val/top1/main": 80.0, "train/top1/main": 60.0, "time/train_s": 1.0}
                for n in range(1, length + 1)
            ]
    return Results(study, pd.DataFrame(rows), pd.DataFrame(epochs))


def test_arms_are_told_by_what_they_train():
    assert controls(study_of()) == (Controls("carl", "dora", "emil", ("bert", "gina"), ("ida",), ("fred",)),)


@pytest.mark.parametrize(
    "changes",
    [
        {"emil": {"loss.pairing": "none", "loss.branch_weight": 0.5}},  # other supervision
        {"dora": {"branches.taps": [], "loss.pairing": "none", "optimiser.lr": 0.01}},  # another recipe
        {"bert": {"loss.pairing": "top_down", "loss.teacher_signal": "uniform"}, "gina": ARMS["emil"]},
        {"carl": {"loss.synergy_weight": 0.5}},  # of which there is no placebo
    ],
)
def test_what_differs_in_more_than_one_thing_is_no_control(changes):
    assert controls(study_of({**ARMS, **changes})) == ()


def test_a_method_without_a_matched_baseline_is_split_all_the_same():
    arms = {name: changes for name, changes in ARMS.items() if name != "fred"}
    (found,) = controls(study_of(arms))
    assert found.matched == ()
    arms["fred"] = {**ARMS["fred"], "epochs": {"match": "emil", "by": "macs"}}
    assert controls(study_of(arms)) == (found,), "it matches another arm's cost"


def test_the_shipped_question_has_every_control():
    placebos = tuple(f"placebo_{kind}" for kind in ("images", "classes", "means", "uniform", "start"))
    wide, matched = ("baseline_wide",), ("baseline_matched",)
    assert controls(load_study("controls")) == (Controls("dks", "baseline", "ds", placebos, wide, matched),)
    assert controls(load_study("dense_vs_oneway")) == ()


@pytest.mark.parametrize(
    ("ida", "count", "shown"),
    [
        ({}, 440, True),
        ({}, 360, True),
        ({}, 441, False),  # more than a tenth larger than the method in training
        ({}, 359, False),
        ({"optimiser.lr": 0.01}, 400, False),
        ({"branches.taps": ["stage1"]}, 400, False),
        ({"backbone.weights": "a.pt"}, 400, False),
        ({"backbone.base_channels": 4}, 400, False),  # the baseline's own
        ({"epochs": {"match": "carl", "by": "macs", "macs": [4, 5]}}, 400, False),
    ],
)
def test_a_wider_baseline_is_as_large_as_the_method_and_differs_in_its_size_alone(ida, count, shown):
    arms = {**ARMS, "ida": {**ARMS["ida"], **ida}}
    frame = gains(results_of(arms, parameters={**PARAMETERS_OF, "ida": count}))
    assert (PARAMETERS in set(frame["step"])) == shown


def test_what_is_no_larger_than_the_baseline_is_no_wider_one():
    """Where branches are small, a tenth is more than they add."""
    frame = gains(results_of(parameters={**dict.fromkeys(ARMS, 105), "dora": 100, "ida": 100}))
    assert PARAMETERS not in set(frame["step"])


def test_each_step_is_a_paired_difference_and_they_add_up():
    results = results_of()
    frame = gains(results)
    assert list(zip(frame["step"], frame["of"], frame["minus"], strict=True)) == [
        (IN_ALL, "carl", "dora"),
        (SUPERVISION, "emil", "dora"),
        (REGULARISATION, "bert", "emil"),
        (KNOWLEDGE, "carl", "bert"),
        (REGULARISATION, "gina", "emil"),
        (KNOWLEDGE, "carl", "gina"),
        (PARAMETERS, "ida", "dora"),
        (COMPUTE, "fred", "dora"),
        (STOPPING, "dora, epoch chosen", "dora"),
    ]
    errors = 100 - results.trials.set_index(["seed", "arm"])["test/top1/main"].unstack()
    for line in frame[frame["step"] != STOPPING].to_dict("records"):
        by_hand = paired_difference(errors[line["of"]].tolist(), errors[line["minus"]].tolist())
        assert (line["mean"], line["low"], line["high"], line["p"]) == pytest.approx(
            (by_hand.mean, by_hand.low, by_hand.high, by_hand.p)
        )
    mean = frame[frame["step"] != KNOWLEDGE].set_index(["step", "arm"])["mean"]
    for placebo in ("bert", "gina"):
        parts = mean[SUPERVISION, "emil"] + mean[REGULARISATION, placebo]
        knowledge = frame[(frame["step"] == KNOWLEDGE) & (frame["minus"] == placebo)]["mean"].item()
        assert parts + knowledge == pytest.approx(mean[IN_ALL, "carl"])
    assert mean[STOPPING, "dora"] == pytest.approx(-3)
    assert frame["p_holm"].tolist() == pytest.approx(holm(frame["p"].tolist()))


def test_bars_lead_from_the_baseline_to_the_method():
    found = bars(gains(results_of()))
    assert [bar.label for bar in found][:4] == [
        *("dora", "supervision: emil", "regularisation: bert", "knowledge beyond bert"),
    ]
    levels = {bar.label: bar.end for bar in found if bar.whisker is None}
    assert list(levels) == ["dora", "carl"]
    supervision, regularisation, knowledge = found[1:4]
    assert supervision.start == pytest.approx(levels["dora"])
    assert regularisation.start == pytest.approx(supervision.end)
    assert knowledge.start == pytest.approx(regularisation.end)
    assert knowledge.end == pytest.approx(levels["carl"])
    assert all(bar.whisker[0] <= bar.end <= bar.whisker[1] for bar in found if bar.whisker)
    (axes,) = draw_waterfall(gains(results_of())).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [bar.label for bar in found]
    assert "+10.0" in {text.get_text().strip() for text in axes.texts}, "cut off, but said"


def test_where_there_are_no_controls_nothing_is_split():
    assert not len(gains(made_up()))
    assert gain_grid(made_up()).rows == ()
    assert len(gain_grid(results_of()).rows) == 9


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_the_report_shows_it_where_there_are_controls_alone(tmp_path, there):
    results = results_of() if there else made_up()
    folder = write(tmp_path / "study", results)
    text = write_report(results, folder).read_text(encoding="utf-8")
    assert ("What the gain is made of" in text) == ("<b>What carl gains.</b>" in text) == there
    assert (folder / "latex" / "gain.tex").exists() == there


def test_the_table_says_how_long_a_matched_arm_trained_and_lacks_nothing():
    results = results_of()
    assert set(planned_epochs(results)[results.trials["arm"] == "fred"]) == {25}
    table = arm_table(results)
    assert table.rows.set_index("arm")["epochs"].to_dict() == {arm: "25" if arm == "fred" else "10" for arm in ARMS}
    text = to_markdown(table)
    assert "Matched in cost, fred: 25 epochs cost what 10 epochs of carl do" in text
    assert "Left out: nothing." in text
    assert "epochs" not in arm_table(made_up()).rows, "all of one length, as ever"


def test_with_searches_rows_as_tuned_and_as_written_are_split_by_themselves():
    results = tuned(seeds=8, repeats=2)
    trials = results.trials.copy()
    placebo = trials[trials["arm"] == "ds"].replace("ds", "bert").replace("ds (as written)", "bert (as written)")
    study = results.study.model_copy(
        update={"arms": {**results.study.arms, "bert": {"loss.teacher_signal": "uniform"}}}
    )
    frame = gains(Results(study, pd.concat([trials, placebo], ignore_index=True), results.epochs))
    assert frame.groupby("choice", sort=False).size().to_dict() == {"tuned": 5, "written": 5}
    written = frame[frame["choice"] == "written"]
    assert written["of"].tolist()[:2] == ["dense (as written)", "ds (as written)"]
    assert set(frame[frame["choice"] == "tuned"]["estimand"]) == {"procedure"}
    assert set(written["estimand"]) == {"settings"}
    assert len(draw_waterfall(frame).axes) == 2
