"""What happens during training: error and KL by epoch, and the error of every classifier at the end."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dks_study.analysis.plots.style import (
    DOUBLE_COLUMN_IN,
    PLAIN,
    SINGLE_COLUMN_IN,
    SPARSE,
    blank,
    legend_below,
    legend_beside,
    named,
    row_looks,
    styled,
)
from dks_study.analysis.rows import TUNED, WRITTEN, choice_of, confirmed_epochs, full_confirmations, names, table_rows
from dks_study.spec.backbone import is_stage, tap_position
from dks_study.spec.pairing import MAIN, TEACHER, network_of
from dks_study.study.results import Results

ENSEMBLE = "ensemble"  # of the network's own classifiers


def learning_curves(results: Results, metric: str = "val/top1/main") -> pd.DataFrame:
    """Return by arm and epoch the mean over seeds, the lowest and the highest: arm, epoch, mean, low, high, n.

    Only complete confirmation trials count; accuracies become errors (%). Empty where the metric is not on record.
    Where arms were tuned it is theirs as written, which are all equally long.
    """
    epochs = _comparable_epochs(results)
    if metric not in epochs:
        return pd.DataFrame()
    values = epochs[["arm", "epoch"]].assign(value=100 - epochs[metric] if "/top" in metric else epochs[metric])
    grouped = values.dropna().groupby(["arm", "epoch"])["value"]
    return grouped.agg(mean="mean", low="min", high="max", n="count").reset_index()


def draw_learning_curves(results: Results) -> Figure:
    """Draw validation error (solid, with the range over seeds) and training error (dotted) by epoch."""
    held_out, training = learning_curves(results), learning_curves(results, "train/top1/main")
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.9)
        for arm, look in row_looks(results).items():
            mine, fitted = held_out[held_out["arm"] == arm], training[training["arm"] == arm]
            if not len(mine):
                continue
            axes.plot(mine["epoch"], mine["mean"], look.line, color=look.colour, label=arm)
            axes.fill_between(mine["epoch"], mine["low"], mine["high"], color=look.colour, alpha=0.15, linewidth=0)
            axes.plot(fitted["epoch"], fitted["mean"], ":", color=look.colour, linewidth=0.9)
        axes.set(xlabel="epoch", ylabel="error of main (%)", ylim=(0, None))
        title = "validation (dotted: training)"
        if len(arms := named([axes])) <= 8:
            axes.legend(loc="upper right", title=title, title_fontsize=7, ncols=2)
        else:  # it would lie on the curves
            legend_below(figure, arms, title)
    return figure


def _comparable_epochs(results: Results) -> pd.DataFrame:
    epochs = confirmed_epochs(results)
    written = [row.name for row in table_rows(results) if row.choice == WRITTEN]
    return epochs[epochs["arm"].isin(written)] if written and len(epochs) else epochs


def classifier_errors(results: Results, split: str = "test") -> pd.DataFrame:
    """Return the error (%) of every classifier after the last epoch, arms as tuned: arm, classifier, mean, std, n.

    Classifiers stand from shallow to deep, `main` last; what else is on record (an ensemble) follows.
    """
    trials, prefix = full_confirmations(results), f"{split}/top1/"
    trials = trials[choice_of(trials) == TUNED] if len(trials) else trials
    columns = [str(name) for name in trials.columns if str(name).startswith(prefix)]
    rows = []
    for name in _in_order([column.removeprefix(prefix) for column in columns]):
        found = (100 - trials.set_index("row")[prefix + name]).dropna().groupby(level=0)
        numbers = found.agg(mean="mean", std="std", n="count").rename_axis("arm").reset_index()
        rows.append(numbers.assign(classifier=name))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def draw_classifier_errors(results: Results) -> Figure:
    """Draw the test error of every classifier, arms side by side."""
    frame = classifier_errors(results)
    classifiers = list(pd.unique(frame["classifier"]))
    arms = [arm for arm in names(results) if arm in set(frame["arm"])]
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.6)
        for at, arm in enumerate(arms):
            look, mine = row_looks(results)[arm], frame[frame["arm"] == arm]
            x = mine["classifier"].map(classifiers.index) + 0.6 * ((at + 0.5) / len(arms) - 0.5)
            bars = mine["std"].fillna(0)
            axes.errorbar(x, mine["mean"], bars, fmt=look.marker, color=look.colour, label=arm, ms=4, elinewidth=1)
        axes.set_xticks(range(len(classifiers)), map(_two_lines, classifiers))
        axes.set(ylabel="test error (%), ± 1 std", ylim=(0, None), xlim=(-0.5, len(classifiers) - 0.5))
        legend_beside(figure, axes)
    return figure


def kl_over_training(results: Results, split: str = "train") -> pd.DataFrame:
    """Return the mean over seeds of KL(teacher || student) in nats: arm, teacher, student, epoch, kl.

    Of the same trials as `learning_curves`.
    """
    epochs, prefix = _comparable_epochs(results), f"{split}/kl/"
    columns = [str(name) for name in epochs.columns if str(name).startswith(prefix)]
    if not columns:
        return pd.DataFrame()
    means = epochs.groupby(["arm", "epoch"])[columns].mean().reset_index()
    long = means.melt(["arm", "epoch"], var_name="pair", value_name="kl").dropna()
    pairs = long.pop("pair").str.removeprefix(prefix).str.split(">", expand=True)
    return long.assign(teacher=pairs[0], student=pairs[1])


def draw_kl_over_training(results: Results) -> Figure:
    """Draw a K x K matrix of panels: how far the student (column) is from the teacher (row), epoch by epoch."""
    frame = kl_over_training(results)
    classifiers = _in_order(list(pd.unique(frame["teacher"])))
    size, width = len(classifiers), min(DOUBLE_COLUMN_IN, 1.2 + 1.9 * len(classifiers))
    with styled():
        figure, panels = blank(width, 0.8 * width, size, size)
        for at, axes in enumerate(panels):
            teacher, student = classifiers[at // size], classifiers[at % size]
            pair = frame[(frame["teacher"] == teacher) & (frame["student"] == student)]
            for arm, look in row_looks(results).items():
                if len(mine := pair[pair["arm"] == arm]):
                    axes.plot(mine["epoch"], mine["kl"], look.line, color=look.colour, linewidth=1, label=arm)
            _one_scale(axes, frame)
            axes.label_outer()
            if at < size:
                axes.set_title(_two_lines(student), fontsize=7)
            if at >= size * (size - 1):
                axes.set_xlabel("epoch")
            if at % size == 0:
                axes.set_ylabel(_two_lines(teacher), fontsize=7, rotation=0, ha="right", va="center")
            if teacher == student:
                axes.set_facecolor("#F4F4F4")
                axes.grid(visible=False)
        figure.suptitle("student", fontsize=8)
        figure.supylabel("teacher; KL (nats)", fontsize=8)
        lines = named(panels)
        legend_below(figure, {arm: lines[arm] for arm in row_looks(results) if arm in lines})
    return figure


def _one_scale(axes: Axes, frame: pd.DataFrame) -> None:
    """Give the panel the scale of all: axes that share theirs ask all others at every step, too slow for a hundred."""
    positive = frame.loc[frame["kl"] > 0, "kl"]
    axes.set_yscale("log")
    axes.set(xlim=_with_margin(frame["epoch"]), ylim=np.exp(_with_margin(np.log(positive))) if len(positive) else None)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_formatter(SPARSE)


def _with_margin(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin


def _two_lines(classifier: str) -> str:
    """Return the name with its network on a line of its own: that of a peer is too long for a panel."""
    network = network_of(classifier)
    return classifier.replace(f"{network}.", f"{network}\n") if network else classifier


def _in_order(names: Sequence[str]) -> list[str]:
    """Return classifiers from shallow to deep, those of teacher and peers before the own, their ensemble last.

    How deep a module lies is not in its name: modules stay as they are given, before `main`.
    """

    def place(name: str) -> tuple[bool, bool, str, tuple[float, float]]:
        network = network_of(name)
        own = name.removeprefix(f"{network}.")
        depth = tap_position(own) if is_stage(own) else (math.inf if own in (MAIN, TEACHER, ENSEMBLE) else 0, 0.0)
        return name == ENSEMBLE, not network, network, depth

    return sorted(names, key=place)
