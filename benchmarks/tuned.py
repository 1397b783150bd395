"""Whether the default study tunes each arm as well as a full grid over its nuisance axes would.

Every arm is trained at every cell of a grid of learning rates and lengths on the study's report seeds, and the cell
with the lowest mean test error is compared with the tuned rows of studies that were run before. The best cell is chosen
by the errors that it is judged by, so it is a little too good.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from dks_study.spec.files import load_study
from dks_study.spec.study import StudySpec, arm_trial
from dks_study.study.results import load_results
from dks_study.training.data import load
from dks_study.training.team import Team
from dks_study.training.trainer import fit

LARGEST_EXCESS = 1.0  # points, of a tuned row above the best cell


def main() -> None:
    """Train the grid where it is not trained yet, and print it beside what studies chose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="dense_vs_oneway")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    parser.add_argument("--lengths", type=int, nargs="+", default=[4, 6, 8, 10])
    parser.add_argument("--cells", type=Path, required=True, help="CSV of what has been trained; it grows")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="folders of finished studies")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    study = load_study(options.space)
    cells = list(product(study.arms, options.rates, options.lengths, study.report_seeds))
    known = (
        pd.read_csv(options.cells) if options.cells.exists() else pd.DataFrame(columns=["arm", "lr", "epochs", "seed"])
    )
    done = set(zip(known["arm"], known["lr"], known["epochs"], known["seed"], strict=True))
    with ProcessPoolExecutor(options.processes) as pool:
        left = [cell for cell in cells if cell not in done]
        for cell, error in zip(left, pool.map(test_error, [study] * len(left), left), strict=True):
            line = pd.DataFrame([[*cell, error]], columns=["arm", "lr", "epochs", "seed", "error"])
            line.to_csv(options.cells, mode="a", header=not options.cells.exists(), index=False)
    print(compared(pd.read_csv(options.cells), options.results).round(2).to_markdown())
    print(f"target: no excess above {LARGEST_EXCESS}")


def test_error(study: StudySpec, cell: tuple[str, float, int, int]) -> float:
    """Return the test error of `main`, in percent, after training an arm at one rate, length and seed."""
    torch.set_num_threads(1)
    arm, rate, epochs, seed = cell
    trial = arm_trial(study, arm, {"optimiser.lr": rate}, epochs=epochs, phase="confirm", seed=seed)
    *_, last = fit(trial, load(trial.data), Team.here(torch.device("cpu")))
    return 100 - last.metrics["test/top1/main"]


def compared(cells: pd.DataFrame, results: Sequence[Path]) -> pd.DataFrame:
    """Return, by arm, the best cell of the grid and the mean of the tuned rows of studies, in percent test error."""
    grid = cells.groupby(["arm", "lr", "epochs"])["error"].mean()
    best = {arm: (of_arm.idxmin()[1:], of_arm.min()) for arm, of_arm in grid.groupby(level="arm", sort=False)}
    trials = pd.concat([load_results(folder).trials for folder in results]) if results else pd.DataFrame()
    rows = []
    for arm, ((rate, epochs), error) in best.items():
        row = {"arm": arm, "best cell": f"{rate:g}, {epochs}", "its error": error}
        if len(trials):
            mine = trials[(trials["row"] == arm) & (trials["phase"] == "confirm")]
            tuned = 100 - mine["test/top1/main"].mean()
            row |= {"as tuned": tuned, "excess": tuned - error}
        rows.append(row)
    return pd.DataFrame(rows).set_index("arm")


if __name__ == "__main__":
    main()
