"""What predictions come to: by hand, and by scikit-learn and statsmodels, which share no line with ours."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up import made_up
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar as other_mcnemar

from dks_study.analysis.plots.certainty import draw_certainty, refusal_curves, reliability
from dks_study.analysis.predicted import predicted
from dks_study.analysis.report.page import write_report
from dks_study.analysis.report.prose import without_predictions
from dks_study.analysis.statistics import predictions as told
from dks_study.analysis.tables.grid import markdown
from dks_study.analysis.tables.images import image_comparisons, image_grid
from dks_study.analysis.tables.predictions import class_grid, confused, quality, quality_grid
from dks_study.study.predictions import Predictions

CLASSES, IMAGES = 4, 200


@pytest.fixture
def said():
    random = np.random.default_rng(0)
    labels = random.integers(CLASSES, size=IMAGES)
    logits = random.standard_normal((IMAGES, CLASSES)) + 2 * np.eye(CLASSES)[labels]
    return told.log_probabilities(logits), labels


def test_likelihood_and_brier_are_those_of_scikit_learn(said):
    log_p, labels = said
    assert told.nll(log_p, labels) == pytest.approx(metrics.log_loss(labels, np.exp(log_p)))
    ones = np.eye(CLASSES)[labels]
    assert told.brier(log_p, labels) == pytest.approx(CLASSES * metrics.mean_squared_error(ones, np.exp(log_p)))
    guesses = log_p.argmax(1)
    assert (told.confusion(guesses, labels, CLASSES) == metrics.confusion_matrix(labels, guesses)).all()


def test_likelihood_and_brier_by_hand():
    log_p = np.log([[0.5, 0.5], [0.9, 0.1]])
    assert told.nll(log_p, np.array([0, 1])) == pytest.approx((math.log(2) + math.log(10)) / 2)
    assert told.brier(log_p, np.array([0, 1])) == pytest.approx((0.5 + 2 * 0.81) / 2)


def test_logits_far_apart_stay_finite():
    log_p = told.log_probabilities(np.array([[0.0, 2000.0]], dtype=np.float32))
    assert told.nll(log_p, np.array([0])) == 2000
    assert told.brier(log_p, np.array([0])) == 2


def test_calibration_by_hand():
    # Bins of two by confidence: (0.5, 0.7) of which one is right; (0.8, 1.0), both right.
    confidence, hits = np.array([1.0, 0.5, 0.8, 0.7]), np.array([True, False, True, True])
    found = told.calibration(confidence, hits, bins=2)
    assert found.expected == pytest.approx(100 * (0.5 * 0.1 + 0.5 * 0.1))
    assert found.squared == pytest.approx(1e4 * (0.5 * (0.01 - 0.25) + 0.5 * 0.01))


@pytest.mark.parametrize("least", [0.5, 0.8])
def test_where_confidence_is_right_the_corrected_measure_is_zero_on_average_and_the_plain_one_is_not(least):
    random = np.random.default_rng(3)
    found = []
    for _ in range(300):
        confidence = random.uniform(least, 1, 450)
        found.append(told.calibration(confidence, random.uniform(size=450) < confidence))
    squared = np.array([each.squared for each in found])
    assert abs(squared.mean()) < 3 * squared.std() / 300**0.5
    assert 4 < np.mean([each.expected for each in found]) < 6, "sampling alone, of 30 images in each bin"
    wrong = told.calibration(np.full(20_000, 0.9), random.uniform(size=20_000) < 0.5)
    assert wrong.squared**0.5 == pytest.approx(40, abs=1)


def test_classes_agreement_and_refusal_by_hand():
    matrix = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_allclose(told.class_errors(matrix), [25, 0, np.nan])
    guesses = np.array([[0, 1, 2, 2], [0, 1, 2, 0], [1, 1, 2, 0]])
    assert told.agreement(guesses) == pytest.approx(100 * (3 + 2 + 3) / 12)
    assert math.isnan(told.agreement(guesses[:1]))
    confidence, hits = np.array([0.9, 0.5, 0.6, 0.4]), np.array([True, False, True, False])
    assert told.refusing(confidence, hits, [0, 0.25, 0.49, 0.5, 0.75]) == pytest.approx([50, 100 / 3, 100 / 3, 0, 0])


def test_an_ensemble_is_the_mean_of_probabilities():
    one, other = np.log([[0.9, 0.1]]), np.log([[0.2, 0.8]])
    np.testing.assert_allclose(np.exp(told.ensemble(np.stack([one, other]))), [[0.55, 0.45]])


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 9), (8, 8), (40, 20)])
def test_mcnemar_is_that_of_statsmodels(counts):
    first = np.repeat([False, True, True, False], [*counts, 10, 5])
    second = np.repeat([True, False, True, False], [*counts, 10, 5])
    found = told.mcnemar(first, second)
    assert (found.first_wrong, found.second_wrong) == counts
    table = [[10, counts[1]], [counts[0], 5]]
    assert found.p == pytest.approx(other_mcnemar(table, exact=True).pvalue if sum(counts) else 1)


def with_predictions(seeds=4, **shares):
    """Return results whose trials say what their test errors are, of as many images: of arms in `shares`, or of all."""
    made, random = made_up(seeds=seeds, searches=0, noise=0), np.random.default_rng(1)
    labels, hard = random.integers(CLASSES, size=IMAGES), random.permutation(IMAGES)

    def say(trial):
        line = made.trials[made.trials["trial"] == trial].iloc[0]
        if line["arm"] not in (shares or line["arm"]) or line["phase"] != "confirm":
            return None
        wrong = hard[: round((100 - line["test/top1/main"]) / 100 * IMAGES)]  # the hardest ones, in every arm
        guesses = labels.copy()
        guesses[wrong] = (labels[wrong] + 1) % CLASSES
        logits = (3.0 * np.eye(CLASSES)[guesses]).astype(np.float32)
        names = ("stage1", "main") if line["arm"] == "dense" else ("main",)
        return Predictions(dict.fromkeys(names, logits), labels.astype(np.int32))

    return replace(made, predictions=say)


def test_tables_of_known_predictions():
    results = with_predictions()
    found = predicted(results)
    frame = quality(found)
    assert list(frame["row"].unique()) == ["baseline", "ds", "dense"]
    assert frame[frame["row"] == "baseline"]["error"].tolist() == [20, 21, 22, 23]
    sure = math.exp(3) / (math.exp(3) + 3)
    assert frame["nll"].iloc[0] == pytest.approx(-0.8 * math.log(sure) - 0.2 * math.log(sure / math.exp(3)))
    assert frame["branches"].notna().tolist() == [False] * 8 + [True] * 4
    # One image more is wrong in 200 with each seed: 0.5 % of images that two seeds in a row disagree on, times two.
    grid = quality_grid(found)
    agree = [cells[grid.header.index("agreement (%)")].mean for cells in grid.rows]
    assert agree[0] == pytest.approx(100 - np.mean([1, 1, 1, 2, 2, 3]))
    assert "Kumar" in markdown(grid)
    matrix = confused(found["baseline"])
    assert matrix.sum() == 4 * IMAGES
    assert matrix.diagonal().sum() == 4 * IMAGES * (1 - 0.215)
    classes = class_grid(found)
    assert [cells[0].text for cells in classes.rows] == ["0", "1", "2", "3"]
    assert classes.rows[3][3].text.startswith("0 (")


def test_what_is_drawn_of_certainty():
    results = with_predictions(seeds=1)
    said = predicted(results)
    told_ = replace(said["dense"], confidence=pd.DataFrame([np.linspace(0.2, 0.9, IMAGES)], index=[0]))
    wrong = told_.wrong.to_numpy()[0]
    curve = refusal_curves({"dense": told_}).set_index("refused")["error"]
    assert curve[0] == pytest.approx(12)
    assert curve[50] == pytest.approx(100 * wrong[IMAGES // 2 :].mean())
    frame = reliability({"dense": told_})
    assert len(frame) == 10
    assert frame["accuracy"].iloc[-1] == pytest.approx(100 - 100 * wrong[-IMAGES // 10 :].mean())
    assert frame["confidence"].iloc[-1] == pytest.approx(100 * np.linspace(0.2, 0.9, IMAGES)[-20:].mean())
    left, _ = draw_certainty(results, said).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["baseline", "ds", "dense"]


def test_arms_compared_image_by_image():
    results = with_predictions()
    frame = image_comparisons(results, predicted(results)).set_index("arm")
    assert list(frame.index) == ["ds", "dense"]
    line = frame.loc["dense"]
    assert (line["mean"], line["n"], line["images"]) == (-8, 4, IMAGES)
    assert (line["arm_alone"], line["base_alone"]) == (0, 16), "eight points of 200 images, all of them harder ones"
    assert line["mcnemar"] == 4
    assert line["mcnemar_p"] == pytest.approx([2 / 2**16] * 4)
    # Seeds agree on the difference, so that only the images spread it: 10 of 200 with every seed, 12 with some.
    assert line["seed_std"] == 0
    assert 100 * (0.05 * 0.95 / IMAGES) ** 0.5 < line["images_std"] < 100 * (0.08 * 0.92 / IMAGES) ** 0.5
    assert (line["low"], line["high"]) == (-np.inf, np.inf), "four seeds that agree to the last image are few"
    assert "4 of 4 seeds" in markdown(image_grid(frame.reset_index()))


def test_rows_without_predictions_are_left_out_and_counted():
    results = with_predictions(baseline=1, ds=1)
    found = predicted(results)
    assert list(found) == ["baseline", "ds"]
    assert image_comparisons(results, found)["arm"].tolist() == ["ds"]
    (text,) = without_predictions(results, found)
    assert text == "Of 12 confirmations 4 are without predictions, and not in these tables."
    assert without_predictions(with_predictions(), predicted(with_predictions())) == ()


def test_a_study_without_predictions_has_no_table_of_them():
    results = made_up(seeds=2, searches=0)
    found = predicted(results)
    assert found == {}
    assert not len(quality(found))
    for grid in (quality_grid(found), class_grid(found), image_grid(image_comparisons(results, found))):
        assert not grid.rows


@pytest.mark.slow
def test_the_report_has_a_section_of_them(tmp_path):
    text = write_report(with_predictions(baseline=1, ds=1), tmp_path).read_text(encoding="utf-8")
    assert "Of 12 confirmations 4 are without predictions, and not in these tables." in text
    assert "For new images of this kind: 200 test images" in text
    assert "<b>Certainty.</b>" in text
    assert "new_images" in (tmp_path / "latex" / "tables.tex").read_text()


def test_a_row_whose_seeds_were_tested_on_other_images_is_left_out():
    results = with_predictions()
    say, odd = results.predictions, Predictions({"main": np.zeros((9, CLASSES))}, np.zeros(9, dtype=np.int32))
    other = replace(results, predictions=lambda trial: odd if trial == "ds-confirm-2" else say(trial))
    assert list(predicted(other)) == ["baseline", "dense"]


def test_one_seed_has_no_comparison():
    results = with_predictions(seeds=1)
    assert isinstance(image_comparisons(results, predicted(results)), pd.DataFrame)
    assert not len(image_comparisons(results, predicted(results)))
