"""Draw the README's figure of the method: python -m dks_study.analysis.plots.method_figure [PATH]."""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

DEFAULT = Path(__file__).resolve().parents[3] / "analysis" / "figures" / "method.png"
SHIPPED, DROPPED, TEACHING = "#0072B2", "#999999", "#D55E00"  # Okabe-Ito: safe for colour-blind readers
STAGES = {"images": 0.0, "stage1": 2.2, "stage2": 4.4, "stage3": 6.6}
CLASSIFIERS = {"stage1": 2.2, "stage2": 5.3, "main": 8.8}


def draw(path: Path) -> None:
    """Write the figure to `path`."""
    figure, axes = plt.subplots(figsize=(9, 4.1))
    axes.set_xlim(-1.1, 10.1)
    axes.set_ylim(-0.75, 4.75)
    axes.axis("off")
    for name, x in STAGES.items():
        _box(axes, x, 0, name, SHIPPED)
    for left, right in zip(list(STAGES.values())[:-1], list(STAGES.values())[1:], strict=True):
        _arrow(axes, (left + 0.75, 0), (right - 0.75, 0), SHIPPED)
    for tap, x in (("stage1", CLASSIFIERS["stage1"]), ("stage2", CLASSIFIERS["stage2"])):
        _arrow(axes, (STAGES[tap], 0.35), (x, 1.15), DROPPED)
        _box(axes, x, 1.5, "branch", DROPPED)
        _arrow(axes, (x, 1.85), (x, 2.45), DROPPED)
    _arrow(axes, (STAGES["stage3"] + 0.75, 0.1), (CLASSIFIERS["main"], 2.45), SHIPPED)
    for name, x in CLASSIFIERS.items():
        _box(axes, x, 2.8, f"{name}: $p$", SHIPPED if name == "main" else DROPPED)
    names = list(CLASSIFIERS.values())
    for left, right, bend in ((0, 1, 0.25), (1, 2, 0.25), (0, 2, 0.28)):
        _arrow(axes, (names[left], 3.18), (names[right], 3.18), TEACHING, both=True, bend=-bend)
    axes.text(
        5.5, 4.55, "each pair: KL(teacher || student), both ways (dense)", color=TEACHING, ha="center", va="center"
    )
    axes.text(0.0, 2.8, "cross-entropy with\nthe label at each $p$", ha="center", va="center")
    axes.text(0.0, -0.62, "blue ships", color=SHIPPED, ha="center")
    axes.text(5.3, -0.62, "grey is dropped for inference", color="#666666", ha="center")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    patch = FancyBboxPatch((x - 0.7, y - 0.3), 1.4, 0.6, boxstyle="round,pad=0.05", fc="white", ec=colour, lw=2)
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center")


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    both: bool = False,
    bend: float = 0.0,
) -> None:
    style = "<|-|>" if both else "-|>"
    curve = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle=style, color=colour, lw=1.8, mutation_scale=14, connectionstyle=curve)
    )


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
