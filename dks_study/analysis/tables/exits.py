"""Early exits: accuracy against multiply-accumulates, of every exit alone and of leaving by confidence for a budget."""

import pandas as pd

from dks_study.analysis.rows import TUNED, choice_of, full_confirmations, table_rows
from dks_study.analysis.tables.costs import short
from dks_study.analysis.tables.grid import Cell, Grid, number
from dks_study.spec.pairing import MAIN
from dks_study.study.results import Results

EXIT, BUDGET = "exit", "budget"  # kinds of prediction
_ALONE = "exit/macs/"
_SHOWN = (20, 40, 60, 80)  # budgets in a table; the curve has all


def exit_table(results: Results) -> pd.DataFrame:
    """Return how good and how dear predictions are in the arms as tuned: arm, kind, name, macs, mean, std, n.

    kind `exit`: the network cut at the classifier `name`. kind `budget`: images leave by confidence, with thresholds
    that validation chose for a budget; `name` says how far that is from the first exit's cost to the last one's, in
    percent. macs: multiply-accumulates per image, mean over seeds; mean and std: of the test error (%), over n seeds.
    Empty unless the study asked for its exits (`trial.exits`).
    """
    trials = full_confirmations(results)
    trials = trials[choice_of(trials) == TUNED] if len(trials) else trials
    predictions = _predictions(trials)
    lines = []
    for row in table_rows(results):
        mine = trials[trials["row"] == row.name] if row.choice == TUNED and len(trials) else trials[:0]
        for kind, name, macs, accuracy in predictions:
            known = mine[[macs, accuracy]].dropna()
            if len(known):
                errors = 100 - known[accuracy]
                line = {"arm": row.name, "kind": kind, "name": name, "macs": known[macs].mean()}
                lines.append(line | {"mean": errors.mean(), "std": errors.std(), "n": len(known)})
    return pd.DataFrame(lines)


def _predictions(trials: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Return kind, name, and the columns of cost and accuracy, of every prediction on record: exits shallow to deep."""
    columns = [str(column) for column in trials.columns]
    names = [column.removeprefix(_ALONE) for column in columns if column.startswith(_ALONE)]
    names.sort(key=lambda name: float(trials[f"exit/macs_through/{name}"].max()))
    exits = [(EXIT, name, _ALONE + name, f"test/top1/{name}") for name in names]
    ways = [column.split("/")[1] for column in columns if column.startswith("budget/") and column.endswith("/macs")]
    return exits + [(BUDGET, way, f"budget/{way}/macs", f"budget/{way}/top1") for way in ways]


def exit_grid(results: Results) -> Grid:
    """Return the exits, and some of the budgets, as a table."""
    table, rows, breaks = exit_table(results), list[tuple[Cell, ...]](), list[int]()
    for arm, mine in table.groupby("arm", sort=False) if len(table) else ():
        whole = float(mine.loc[(mine["kind"] == EXIT) & (mine["name"] == MAIN), "macs"].iloc[0])
        breaks += [len(rows)] if rows else []
        for line in mine.to_dict("records"):
            if line["kind"] == BUDGET and int(line["name"]) not in _SHOWN:
                continue
            how = line["name"] if line["kind"] == EXIT else f"by confidence, {line['name']} %"
            cost = Cell(short(float(line["macs"]))), number(float(line["macs"]) / whole)
            rows.append((Cell(str(arm)), Cell(str(how)), *cost, number(float(line["mean"]), float(line["std"]))))
    notes = (
        "An exit is the network cut there: the backbone up to it and its own branch. MACs: multiply-accumulates of"
        " convolutions and linear layers, one image, forward; relative to the arm's whole backbone.",
        "By confidence: exits are asked from shallow to deep, and an image leaves where its largest probability is over"
        " that exit's threshold, which validation chose for a budget: so far from the first exit's cost to the last"
        " one's, all exits before it included (MSDNet, Huang et al. 2018). MACs are then means over the test images.",
    )
    header = ("arm", "prediction", "MACs", f"MACs / {MAIN}", "test error (%)")
    return Grid("Early exits", header, tuple(rows), notes if rows else (), tuple(breaks))
