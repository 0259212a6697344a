"""One style for all figures."""

from collections.abc import Callable
from typing import Literal

from matplotlib.lines import Line2D

from mica.report.cells.series import Series

Width = Literal["page", "column"]
INCHES: dict[Width, float] = {"page": 7.4, "column": 3.5}
"""Of a page between its margins, and of one of its two columns."""
MarkerOf = Callable[[Series], str]

STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.6,
    # Ids in the SVG are hashed from this; without it they differ from run to run.
    "svg.hashsalt": "mica",
    # Letters as letters, not as drawings: a paper's readers may search for them.
    "pdf.fonttype": 42,
}


def own_marker(series: Series) -> str:
    """Where lines of several distributions meet."""
    return series.marker


def family_marker(series: Series) -> str:
    """Where all lines are of one distribution."""
    return series.family_marker


def key(series: Series, label: str, colour: str, marker_of: MarkerOf = own_marker) -> Line2D:
    """A series in a legend."""
    look = {"linestyle": series.line, "linewidth": 1.2, "marker": marker_of(series), "markersize": 4.2}
    return Line2D([], [], color=colour, label=label, **look)  # type: ignore[arg-type]
