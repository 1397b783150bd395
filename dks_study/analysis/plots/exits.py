"""Early exits as a picture: test error against what a prediction costs."""

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dks_study.analysis.plots.style import SINGLE_COLUMN_IN, blank, legend_beside, row_looks, styled
from dks_study.analysis.tables.exits import BUDGET, EXIT, exit_table
from dks_study.study.results import Results


def draw_exits(results: Results) -> Figure:
    """Draw a marker for every exit alone, and a line for leaving by confidence, one colour per arm."""
    table = exit_table(results)
    with styled():
        figure, (axes,) = blank(SINGLE_COLUMN_IN * 1.35, 2.7)
        for arm, mine in table.groupby("arm", sort=False):
            look = row_looks(results)[str(arm)]
            alone, budgets = (mine[mine["kind"] == kind].sort_values("macs") for kind in (EXIT, BUDGET))
            spread = alone["std"].fillna(0)
            axes.errorbar(
                alone["macs"], alone["mean"], spread, fmt=look.marker, color=look.colour, label=arm, ms=5, elinewidth=1
            )
            axes.plot(budgets["macs"], budgets["mean"], look.line, color=look.colour)
        axes.set(xlabel="MACs per image", ylabel="test error (%), ± 1 std", ylim=(0, None), xlim=(0, None))
        axes.xaxis.set_major_formatter(EngFormatter())
        legend_beside(figure, axes)
    return figure
