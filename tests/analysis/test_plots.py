"""Figures: the numbers behind them by hand, and that each one is drawn, saved and the same every time."""

import logging
import re
from itertools import combinations
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import ERRORS, made_up
from matplotlib import font_manager
from matplotlib.legend import Legend

from dks_study.analysis.collect import collect
from dks_study.analysis.plots import curves, effects, importance, searches, style, tuning
from dks_study.spec.looks import looks
from dks_study.spec.study import StudySpec
from dks_study.study.results import Results, load_results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results():
    return made_up(noise=0.0)


def test_that_fonts_are_listed_for_the_first_time_is_not_said_in_the_middle_of_a_study():
    logger, listing = logging.getLogger("matplotlib.font_manager"), "building the font cache"
    assert listing in Path(font_manager.__file__).read_text(encoding="utf-8")
    for text, shown in ((f"Matplotlib is {listing}; this may take a moment.", False), ("findfont: no such font", True)):
        assert bool(logger.filter(logger.makeRecord(logger.name, logging.WARNING, "", 0, text, (), None))) is shown


def test_learning_curves_are_means_with_the_range_over_seeds(results):
    frame = curves.learning_curves(results).set_index(["arm", "epoch"])
    assert frame.loc[("ds", 3)].tolist() == pytest.approx([20.5, 18.0, 23.0, 6])
    assert frame.loc[("ds", 1), "mean"] == pytest.approx(40.5)
    assert len(frame) == 3 * 3
    assert len(curves.learning_curves(results, "val/top5/main")) == 0


def test_classifiers_stand_from_shallow_to_deep_and_an_ensemble_after_main(results):
    with_ensemble = results.trials.assign(**{"test/top1/ensemble": 90.0})
    frame = curves.classifier_errors(Results(results.study, with_ensemble, results.epochs))
    assert list(pd.unique(frame["classifier"])) == ["stage1", "stage2", "main", "ensemble"]
    dense = frame[frame["arm"] == "dense"].set_index("classifier")["mean"]
    assert dense.to_dict() == pytest.approx({"stage1": 24.5, "stage2": 19.5, "main": 14.5, "ensemble": 10.0})
    assert set(frame.loc[frame["arm"] == "baseline", "classifier"]) == {"main", "ensemble"}


def test_kl_by_pair_and_epoch(results):
    frame = curves.kl_over_training(results)
    assert len(frame) == 2 * 3 * 6, "arms with branches, epochs, ordered pairs"
    assert frame.loc[frame["epoch"] == 2, "kl"].to_numpy() == pytest.approx(0.5)
    assert set(frame["teacher"]) == set(frame["student"]) == {"stage1", "stage2", "main"}


def test_the_front_has_the_arms_that_nobody_beats_in_both(results):
    frame = effects.trade_off(results).set_index("arm")
    assert frame["front"].to_dict() == {"baseline": True, "ds": False, "dense": True}
    assert frame["cost"].to_dict() == {"baseline": 1000, "ds": 3000, "dense": 3000}


def placement_study(seeds=3):
    values = made_up().study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    sets = {"none": [], "early": ["stage1"], "late": ["stage2"], "both": ["stage1", "stage2"]}
    values["arms"] = {name: {"branches.taps": taps} for name, taps in sets.items()}
    values["table"]["reference"], values["report_seeds"] = "none", list(range(seeds))
    values["search"] = {}
    study = StudySpec.model_validate(values, strict=False)
    base = made_up(seeds).trials.query("arm == 'baseline' and phase == 'confirm'")
    frames = [base.assign(arm=arm, **{"test/top1/main": 80.0 + 2 * at}) for at, arm in enumerate(sets)]
    return Results(study, pd.concat(frames, ignore_index=True), pd.DataFrame())


def test_placements_are_sorted_by_error():
    frame = effects.placements(collect([placement_study()]).trials)
    assert frame["taps"].tolist() == [("stage1", "stage2"), ("stage2",), ("stage1",), ()]
    assert frame["mean"].tolist() == [14.0, 16.0, 18.0, 20.0]
    labels = [text.get_text() for text in effects.draw_placements(frame).axes[0].get_yticklabels()]
    assert labels[0] == "14.00 ± 0.00"


def test_search_history_keeps_the_best_so_far(results):
    frame = searches.search_history(results)
    assert len(frame) == 3 * 4
    assert frame[frame["arm"] == "ds"][["error", "best"]].to_numpy() == pytest.approx(
        np.array([[18, 18], [19, 18], [20, 18], [21, 18]])
    )


def test_parallel_coordinates_lie_between_0_and_1_logarithmically(results):
    frame = searches.parallel_coordinates(results)
    assert frame[frame["arm"] == "ds"]["at/optimiser.lr"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (frame["at/error"].min(), frame["at/error"].max()) == (0, 1)


def two_axes(trials=60):
    """Return a search in which the error depends on the learning rate alone."""
    results = made_up(seeds=2, searches=trials, noise=0.0)
    values = results.study.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values["search"]["axes"]["loss.branch_weight"] = {"float": [0.25, 2.0]}
    study = StudySpec.model_validate(values, strict=False)
    random = np.random.default_rng(0).uniform(0.25, 2.0, len(results.trials))
    return Results(study, results.trials.assign(**{"setting/loss.branch_weight": random}), results.epochs)


def test_all_evaluators_find_the_axis_that_matters():
    frame = importance.importances(two_axes())
    assert set(frame["evaluator"]) == set(importance.MEANING) == set(importance.EVALUATORS)
    wide = frame.pivot_table(index=["arm", "evaluator"], columns="axis", values="importance")
    assert (wide["optimiser.lr"] > 2 * wide["loss.branch_weight"]).all()
    assert ((frame["importance"] >= 0) & (frame["importance"] <= 1 + 1e-9)).all()


def test_few_trials_have_no_importances(results):
    assert len(importance.importances(results)) == 0


def test_a_choice_stands_at_equal_distances_and_what_is_missing_nowhere():
    axis = StudySpec.model_validate(
        made_up().study.model_dump(mode="json", by_alias=True, exclude_unset=True)
        | {"search": {"seed": 99, "axes": {"loss.pairing": {"choice": ["none", "dense", "top_down"]}}}},
        strict=False,
    ).search.axes["loss.pairing"]
    places = [searches._place(value, axis) for value in ("none", "dense", "top_down", None)]
    assert places[:3] == [0, 0.5, 1]
    assert np.isnan(places[3])


@pytest.mark.parametrize(
    "draw",
    [
        curves.draw_learning_curves,
        curves.draw_classifier_errors,
        curves.draw_kl_over_training,
        effects.draw_forest,
        effects.draw_trade_off,
        searches.draw_search_history,
        searches.draw_parallel_coordinates,
    ],
)
def test_every_figure_is_drawn_the_same_twice_with_an_arms_own_colour(results, draw):
    figure = draw(results)
    assert style.svg(figure) == style.svg(draw(results))
    drawn = {line.get_label(): line.get_color() for axes in figure.axes for line in axes.get_lines()}
    for arm, look in looks(list(ERRORS)).items():
        assert drawn.get(arm, look.colour) == look.colour


def test_importances_are_drawn_for_every_arm():
    frame = importance.importances(two_axes(12))
    assert [axes.get_title() for axes in importance.draw_importances(frame).axes] == list(ERRORS)


@pytest.mark.parametrize("count", [2, 30])
def test_a_legend_below_fits_the_figure_and_leaves_the_panel_its_height(count):
    with style.styled():
        figure, (axes,) = style.blank(style.SINGLE_COLUMN_IN, 2.0)
        style.legend_below(figure, {f"an_arm_of_a_long_name_{at}": axes.plot([0, 1])[0] for at in range(count)})
        figure.draw_without_rendering()
    assert cut_off(figure) == []
    assert 1.2 < axes.get_position().height * figure.get_size_inches()[1] < 1.8


def cut_off(figure):
    """Return the words of a figure, but for those at ticks, that do not lie in it."""
    panels = [axes for axes in figure.axes if axes.get_visible()]
    words = [text for axes in panels for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    words += [text for legend in figure.findobj(Legend) for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in words if text.get_text()]
    width, height = figure.bbox.size
    return [text for text, box in boxes if min(box.x0, box.y0, width - box.x1, height - box.y1) < -1]


@pytest.mark.slow
@pytest.mark.parametrize("question", ["against_the_family", "controls"])
def test_with_many_arms_nothing_is_cut_off_and_no_names_overlap(question):
    kept_one = load_results(ROOT / "analysis" / "results" / question)
    for draw in (
        *(curves.draw_learning_curves, curves.draw_classifier_errors, curves.draw_kl_over_training),
        *(tuning.draw_nuisance_errors, tuning.draw_budget_curves, searches.draw_search_history),
        *(searches.draw_parallel_coordinates, effects.draw_forest, effects.draw_trade_off),
        lambda results: importance.draw_importances(importance.importances(results)),
    ):
        figure = draw(kept_one)
        with style.styled():
            figure.draw_without_rendering()
        assert cut_off(figure) == []
        for of in ("title", "yaxis.label"):
            texts = [attrgetter(of)(axes) for axes in figure.axes if axes.get_visible()]
            boxes = [text.get_window_extent() for text in texts if text.get_text()]
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2)), (draw, of)


def test_a_figure_is_saved_as_png_and_pdf(results, tmp_path):
    png, pdf = style.save(effects.draw_forest(results), tmp_path / "a.b")
    assert (png.name, pdf.name) == ("a.b.png", "a.b.pdf")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_arms_keep_their_look_and_no_two_look_alike():
    found = looks([f"arm{at}" for at in range(20)])
    assert len({(look.colour, look.line) for look in found.values()}) == 20
    assert len({(look.colour, look.marker) for look in found.values()}) == 20
    assert looks(["arm0", "arm1"])["arm1"] == found["arm1"]


def test_baseline_ds_and_dks_look_alike_in_all_studies():
    one, other = looks(["baseline", "ds", "dense"]), looks(["ds", "a", "b", "dks", "baseline", "dense"])
    assert (one["baseline"], one["ds"], one["dense"]) == (other["baseline"], other["ds"], other["dks"])
    assert list(other) == ["ds", "a", "b", "dks", "baseline", "dense"]
    assert len(set(other.values())) == 6


def test_axes_say_what_they_show(results):
    axes = effects.draw_trade_off(results).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("MACs per image, training", "test error (%), ± 1 std")
    assert effects.draw_forest(results).axes[0].get_xlabel().startswith("test error minus that of baseline (points)")


def renamed(results, **names):
    """The same results of a network that is tapped at modules."""
    pattern = "|".join(names)
    frames = [
        frame.rename(columns=lambda column: re.sub(pattern, lambda found: names[found[0]], str(column)))
        for frame in (results.trials, results.epochs)
    ]
    return Results(results.study, *frames)


def test_classifiers_at_modules_stay_in_the_order_of_the_network(results):
    at_modules = renamed(results, stage1="stem", stage2="layer2_0")
    as_trained = at_modules.trials[at_modules.trials.columns[::-1]]  # made-up columns begin with `main`
    at_modules = Results(results.study, as_trained, at_modules.epochs)
    frame = curves.classifier_errors(at_modules)
    assert list(pd.unique(frame["classifier"])) == ["stem", "layer2_0", "main"]
    assert curves.draw_classifier_errors(at_modules).axes
    assert curves.draw_kl_over_training(at_modules).axes


def test_placements_at_modules_are_drawn_in_the_order_of_the_fullest():
    frame = pd.DataFrame({"taps": [("b",), ("z", "b", "a"), ("z",)], "mean": [3.0, 2.0, 1.0], "std": 0.1, "n": 3})
    figure = effects.draw_placements(frame)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["z", "b", "a"]
