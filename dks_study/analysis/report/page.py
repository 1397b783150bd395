"""A study as one self-contained HTML file, with its tables for LaTeX: dks-study report RESULTS."""

import base64
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from matplotlib.figure import Figure

from dks_study.analysis.collect import collect
from dks_study.analysis.paper import published_grid
from dks_study.analysis.plots import certainty, curves, effects, exits, importance, searches, tuning, waterfall
from dks_study.analysis.plots.style import svg
from dks_study.analysis.predicted import Told, predicted
from dks_study.analysis.report import prose
from dks_study.analysis.tables.comparisons import CHOSEN, comparison_grid, comparisons
from dks_study.analysis.tables.costs import arm_costs, cost_grid
from dks_study.analysis.tables.exits import exit_grid
from dks_study.analysis.tables.further import further_grid
from dks_study.analysis.tables.gain import gain_grid, gains
from dks_study.analysis.tables.grid import Grid, html, write_latex
from dks_study.analysis.tables.images import image_comparisons, image_grid
from dks_study.analysis.tables.one_at_a_time import TITLE, put_back_grid
from dks_study.analysis.tables.pareto import pareto_grid, pareto_table
from dks_study.analysis.tables.predictions import class_grid, quality_grid
from dks_study.analysis.tables.settings import setting_grid
from dks_study.analysis.tables.study import ArmTable, arm_table, table_grid
from dks_study.spec.base import Problem, in_one_line, printable
from dks_study.study.bundles import opened
from dks_study.study.ledger import write_whole
from dks_study.study.provenance import recorded_of
from dks_study.study.results import Results, load_results

TEMPLATE = Path(__file__).parent / "report.html.jinja"
LEAST_PX_PER_IN = 75  # on a phone a wide figure scrolls in its box rather than shrinking below what can be read


@dataclass(frozen=True)
class Picture:
    """A figure inlined as SVG, `width_in` inches wide where there is room."""

    title: str
    caption: str
    source: str
    width_in: float
    least_px: int


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables (HTML) and figures."""

    title: str
    texts: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


def write_report(results: Results, folder: Path) -> Path:
    """Write report.html and latex/*.tex into `folder`; return the path of the report.

    Provenance comes from the provenance.json in `folder`, if there is one.

    Raises:
        OSError: if `folder` cannot be written.
    """
    table, recorded = arm_table(results), recorded_of(folder)
    grids = {"results": table_grid(table), "settings": setting_grid(table.settings)}
    grids |= {"comparisons": comparison_grid(results), "chosen_epoch": comparison_grid(results, CHOSEN)}
    grids["one_at_a_time"] = put_back_grid(results)
    grids |= {"gain": gain_grid(results), "costs": cost_grid(results), "exits": exit_grid(results)}
    said = predicted(results)
    grids |= {"predictions": quality_grid(said), "classes": class_grid(said), "further_tests": further_grid(results)}
    grids["new_images"] = image_grid(image_comparisons(results, said))
    sections = [
        _answer(results, table, grids),
        _gain(results, grids["gain"]),
        Section(TITLE, (), (html(grids["one_at_a_time"]),) if grids["one_at_a_time"].rows else ()),
        Section("Protocol", prose.protocol(results.study) + prose.data(recorded)),
        _training(results),
        _tuning(results),
        _search(results, grids["settings"]),
        _cost(results, grids["costs"]),
        _exits(results, grids["exits"]),
        _predictions(results, said, grids),
        Section("What was left out", prose.left_out(table, results.trials)),
        _published(results),
        Section("Provenance", prose.provenance(results, recorded["sessions"])),
    ]
    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    filled = [section for section in sections if section.texts or section.tables or section.pictures]
    text = page.render(title=table.title, question=results.study.question, answer=prose.answer(table), sections=filled)
    shown = {name: grid for name, grid in grids.items() if grid.rows and len(grid.header) > 1}
    write_latex(shown, folder / "latex")
    write_whole(folder / "report.html", text + "\n")
    return folder / "report.html"


def try_report(results: Results, folder: Path) -> str:
    """Write the report and say where it is, or why there is none: a report must not fail the study that it is about."""
    try:
        return f"report: {write_report(results, folder)}"
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"report: could not be written ({reason}); try: dks-study report {folder}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 2 bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: dks-study report RESULTS (the folder of one study, or its bundle)", file=sys.stderr)
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        print(f"report: {_report_of(Path(words[0]))}")
    except Problem as error:
        print(f"dks-study report: {printable(str(error))}", file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError) as error:
        why = in_one_line(error)
        print(f"dks-study report: {printable(words[0])}: cannot be read or written: {why}", file=sys.stderr)
        return 2
    return 0


def _report_of(path: Path) -> Path:
    """Write the report of the study in a folder into it, that of a bundle into a folder beside it; return its path."""
    with opened(path) as folder:
        report = write_report(load_results(folder), folder)
        if folder == path:
            return report
        beside = path.with_name(f"{path.stem}-report")
        beside.mkdir(exist_ok=True)
        shutil.copytree(folder / "latex", beside / "latex", dirs_exist_ok=True)
        return Path(shutil.copyfile(report, beside / report.name))


def _answer(results: Results, table: ArmTable, grids: dict[str, Grid]) -> Section:
    pictures = []
    if len(comparisons(results)):
        caption = (
            "Mean over seeds with its 95 % interval, of the procedure as tuned where searches were repeated, else of"
            " the settings; a tick for every seed. Left of zero: less error."
        )
        pictures.append(_picture("Paired differences", caption, effects.draw_forest, results))
    pictures += _placements(results)
    tables = tuple(
        html(grids[name]) for name in ("results", "comparisons", "chosen_epoch", "further_tests") if grids[name].rows
    )
    return Section("Results", () if tables else table.notes, tables, tuple(pictures))


def _gain(results: Results, grid: Grid) -> Section:
    frame = gains(results)
    if not len(frame):
        return Section(grid.title)
    caption = (
        "From the baseline's test error to the method's; bars are means of paired differences, whiskers their 95 %"
        " intervals. Below the dotted line: what is no part of the gain."
    )
    figures = {str(method): waterfall.draw_waterfall(each) for method, each in frame.groupby("method", sort=False)}
    drawn = tuple(_inlined(f"What {method} gains", caption, figure) for method, figure in figures.items())
    return Section(grid.title, (), (html(grid),), drawn)


def _placements(results: Results) -> list[Picture]:
    trials = collect([results]).trials
    if effects.TAPS not in trials or trials[effects.TAPS].nunique() < 3:
        return []
    try:
        frame = effects.placements(trials)
    except ValueError:  # the arms differ in more than their taps: no question of placement
        return []
    caption = "Each row is a set of taps that carry branches, best on top."
    return [_picture("Placement of the branches", caption, lambda _: effects.draw_placements(frame), results)]


def _training(results: Results) -> Section:
    drawn = []
    if len(curves.learning_curves(results)):
        caption = (
            "Validation error by epoch, arms as written: mean over seeds, band from the lowest to the highest; dotted:"
            " training."
        )
        drawn.append(_picture("Learning curves", caption, curves.draw_learning_curves, results))
    errors = curves.classifier_errors(results)
    if len(errors) and errors["classifier"].nunique() > 1:
        caption = "Shallow to deep; main is the one that ships. Branches are dropped for inference."
        drawn.append(_picture("Error of each classifier", caption, curves.draw_classifier_errors, results))
    if len(curves.kl_over_training(results)):
        caption = (
            "KL(teacher || student) on training images at the loss's temperature, mean over seeds: 0 where they agree."
        )
        drawn.append(_picture("How far the classifiers are apart", caption, curves.draw_kl_over_training, results))
    return Section("What happens during training", pictures=tuple(drawn))


def _tuning(results: Results) -> Section:
    drawn = []
    if len(tuning.nuisance_errors(results)):
        caption = (
            "Validation error of every setting that was trained at full length, mean over its seeds; rings: what the"
            " searches chose, larger where several chose it."
        )
        drawn.append(_picture("Error over what every arm tunes", caption, tuning.draw_nuisance_errors, results))
    texts: tuple[str, ...] = ()
    if len(curve := tuning.budget_curves(results)):
        texts = (prose.tuning_needed(curve),)
        caption = (
            "Expected lowest validation error of so many search trials, and the band that holds 80 of 100 searches"
            " (Dodge et al. 2019): how much tuning an arm needs."
        )
        drawn.append(_picture("Error against tuning budget", caption, tuning.draw_budget_curves, results))
    return Section("Tuning", texts, pictures=tuple(drawn))


def _search(results: Results, settings: Grid) -> Section:
    if not len(searches.search_history(results)):
        return Section("Search")
    caption = "Every complete search trial, and the best so far of each search."
    drawn = [_picture("Search history", caption, searches.draw_search_history, results)]
    caption = "A line per trial; the thick one is the lowest of its arm."
    drawn.append(_picture("What was tried", caption, searches.draw_parallel_coordinates, results))
    few = f"Importance of the axes: not shown, since it takes {importance.FEWEST_TRIALS} trials in an arm."
    frame = importance.importances(results)
    if len(frame):
        caption = "; ".join(f"{name}: {meaning}" for name, meaning in importance.MEANING.items()) + "."
        drawn.append(_picture("Importance of the axes", caption, lambda _: importance.draw_importances(frame), results))
    tables = [html(settings)] if len(settings.header) > 1 else []
    objectives = results.study.search.objectives
    if len(objectives) > 1:
        tables.append(html(pareto_grid(pareto_table(results), objectives)))
        caption = f"Every complete search trial by {objectives[0]} and {objectives[1]}, and what none beats in both."
        drawn.append(_picture("What accuracy costs", caption, searches.draw_search_front, results))
    return Section("Search", () if len(frame) else (few,), tuple(tables), tuple(drawn))


def _cost(results: Results, costs: Grid) -> Section:
    if not len(arm_costs(results)):
        return Section("Cost")
    caption = "Lower left is better; the front joins the arms that no other arm beats in both."
    return Section("Cost", (), (html(costs),), (_picture("Error and cost", caption, effects.draw_trade_off, results),))


def _exits(results: Results, grid: Grid) -> Section:
    if not grid.rows:
        return Section("Early exits")
    caption = (
        "Markers: the network cut at each exit, main last. Lines: images leave by confidence, with thresholds that"
        " validation chose for a budget. Lower left is better."
    )
    return Section("Early exits", (), (html(grid),), (_picture("Error of exits", caption, exits.draw_exits, results),))


def _predictions(results: Results, said: Mapping[str, Told], grids: dict[str, Grid]) -> Section:
    if not said:
        return Section("Predictions")
    tables = tuple(html(grids[name]) for name in ("predictions", "new_images", "classes") if grids[name].rows)
    caption = (
        "Left: the error when the least certain images are refused, mean over seeds. Right: accuracy by confidence, ten"
        " bins of equally many images, all seeds together; on the grey line confidence is right."
    )
    drawn = _picture("Certainty", caption, lambda _: certainty.draw_certainty(results, said), results)
    return Section("Predictions", prose.without_predictions(results, said), tables, (drawn,))


def _published(results: Results) -> Section:
    grid = published_grid(results.study.trial.data.name)
    if not grid.rows:
        return Section("Published numbers")
    text = (
        "As their sources give them, by other code, recipes and numbers of epochs: a place to look, not a comparison."
        " Trust: A the authors' own repository or README, A-fig read off its figures, N and S second-hand, R a"
        " re-implementation's own result."
    )
    return Section("Published numbers", (text,), (html(grid),))


def _picture(title: str, caption: str, draw: Callable[[Results], Figure], results: Results) -> Picture:
    return _inlined(title, caption, draw(results))


def _inlined(title: str, caption: str, figure: Figure) -> Picture:
    width = float(figure.get_size_inches()[0])
    source = "data:image/svg+xml;base64," + base64.b64encode(svg(figure)).decode()
    return Picture(title, caption, source, round(1.25 * width, 2), int(LEAST_PX_PER_IN * width))


if __name__ == "__main__":
    sys.exit(main())
