"""Arms compared image by image: what the draw of the test images adds, and which images one arm alone gets wrong."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dks_study.analysis.predicted import Told
from dks_study.analysis.rows import TUNED, TableRow, table_rows
from dks_study.analysis.statistics.images import draw_of_images, for_new_images
from dks_study.analysis.statistics.predictions import mcnemar
from dks_study.analysis.tables.comparisons import can_compare, effect_of, interval_text, repeats_by_seed, shares_of
from dks_study.analysis.tables.grid import Cell, Grid, number, p_value
from dks_study.spec.study import StudySpec
from dks_study.spec.table import LEVEL
from dks_study.study.results import Results

NOTES = (
    "Points of test error of main after the last epoch, paired by seed and by image. For new images: the interval and p"
    " of another draw of as many test images of this kind, too, where all other tables hold the test images fixed"
    " (seeds crossed with images; analysis of variance, Student's t with Satterthwaite's degrees of freedom), never"
    " surer than where they are held. p is not adjusted for the number of comparisons. Choice,"
    " seed: standard deviations of a single difference; images: that of the mean difference between sets of as many"
    " test images, whatever the number of seeds.",
    "Arm alone, other alone: images that one of the two alone gets wrong, mean over seeds. McNemar: with how many seeds"
    f" so uneven numbers have an exact p below {LEVEL:g}: each says something of two networks, not of two methods.",
)


def image_comparisons(results: Results, found: Mapping[str, Told]) -> pd.DataFrame:
    """Return one line per row of the table but the references, over the seeds of which both have predictions.

    Columns, in points of error: arm, base, n (seeds), images, mean; estimand, low, high, p: of the claim for new
    images; choice_std, seed_std, images_std; arm_alone and base_alone (images wrong, mean over seeds), mcnemar (seeds
    with an exact p below 0.05) and mcnemar_p (all of them). Empty where fewer than two seeds are shared.
    """
    repeats, lines = repeats_by_seed(results), []
    for row in table_rows(results):
        if row.name != row.base and row.name in found and row.base in found:
            shared = found[row.name].guesses.index.intersection(found[row.base].guesses.index)
            mine, base = found[row.name].wrong.loc[shared], found[row.base].wrong.loc[shared]
            if can_compare(results.study, mine):
                lines.append(_line(results.study, row, mine, base, repeats))
    return pd.DataFrame(lines)


def _line(
    study: StudySpec, row: TableRow, mine: pd.DataFrame, base: pd.DataFrame, repeats: "pd.Series[int]"
) -> dict[str, Any]:
    differences = 100 * (mine.astype(float) - base.astype(float))
    by_seed, drawn = differences.mean(axis=1), draw_of_images(differences.to_numpy())
    searches = (repeats[by_seed.index] * (row.choice == TUNED)).tolist()
    known = effect_of(study, by_seed, searches, (row.name, row.base))
    looks = shares_of(study, by_seed) if study.table.looks else ()
    whole = for_new_images(float(by_seed.mean()), known.claim, drawn, looks)
    pairs = [mcnemar(~mine.loc[seed].to_numpy(), ~base.loc[seed].to_numpy()) for seed in by_seed.index]
    alone = pd.DataFrame([vars(each) for each in pairs])
    return {
        **{"arm": row.name, "base": row.base, "n": len(by_seed), "images": differences.shape[1]},
        **{"mean": float(by_seed.mean()), "estimand": known.estimand},
        **{key: getattr(whole, key) for key in ("low", "high", "p")},
        **{"choice_std": known.components.choice, "seed_std": known.components.seed, "images_std": drawn.std},
        **{"arm_alone": float(alone["first_wrong"].mean()), "base_alone": float(alone["second_wrong"].mean())},
        **{"mcnemar": int((alone["p"] < LEVEL).sum()), "mcnemar_p": alone["p"].tolist()},
    }


def image_grid(frame: pd.DataFrame) -> Grid:
    """Return `image_comparisons` as a table."""
    spread = ("choice", "seed", "images")
    tests = ("95 % interval (new images)", "p", *spread, "arm alone", "other alone", "McNemar")
    header = ("arm", "against", "n", "difference", *tests)
    rows = tuple(
        (
            *(Cell(str(line[key])) for key in ("arm", "base", "n")),
            number(line["mean"], signed=True),
            Cell(interval_text(line["low"], line["high"])),
            p_value(line["p"]),
            *(number(line[f"{name}_std"]) for name in spread),
            *(number(line[f"{name}_alone"], digits=1) for name in ("arm", "base")),
            Cell(f"{line['mcnemar']} of {line['n']} seeds"),
        )
        for line in frame.to_dict("records")
    )
    images = f": {frame['images'].iloc[0]} test images" if rows else ""
    return Grid(f"For new images of this kind{images}", header, rows, NOTES if rows else ())
