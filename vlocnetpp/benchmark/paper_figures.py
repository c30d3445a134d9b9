"""Figures 2 and 3 of the paper in their shape: bars of this run, and a mark for the number that the paper has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlocnetpp.benchmark import published
from vlocnetpp.benchmark.figures import LEARNED, PEER, new_figure, save, tidy
from vlocnetpp.benchmark.published import HEADINGS
from vlocnetpp.benchmark.rows import Row
from vlocnetpp.reporting.tables import format_cell

FIGURE_2 = (
    "SCoRe forest",
    "Active Search + PnP",
    "ORB + depth map + PnP",
    "dsac",
    "dsacpp",
    "posenet2",
    "nnnet",
    "vlocnet",
    "stl_pose",
    "mtl",
    "stl_coordinates",
    "robot",
)
"""Methods of Fig. 2, those without a network first, and ours beside them."""
FIGURE_3 = ("stl_pose", "mtl_input_concat", "mtl_mid_concat", "mtl_shared", "mtl")
"""Variants of Fig. 3."""


class Panel(NamedTuple):
    """One group of bars."""

    label: str
    key: str
    """Of the metrics of localization."""
    scale: float
    printed: Mapping[str, float]
    """The paper's number by our name."""


def figure_2(path: Path, rows: Sequence[Row], dataset: str) -> bool:
    """Median errors, and frames within 5 cm and 5 deg. Returns False where no method of the figure was measured.

    The paper shows the average over the seven scenes of 7-Scenes; a run is of one dataset. Raises DataError if the file
    cannot be written.
    """
    theirs = published.table_i(dataset).values
    first, second = ({name: each[i] for name, each in theirs.items() if isinstance(each, tuple)} for i in (0, 1))
    panels = (
        Panel("median position error [m]", "median_translation_m", 1, first),
        Panel("median rotation error [deg]", "median_rotation_deg", 1, second),
        Panel("within 5 cm and 5 deg [%]", "recall_5cm_5deg", 100, published.RECALL),
    )
    title = f"{dataset}: localization, as Fig. 2; printed: {published.table_i(dataset).where}, share on average"
    return _draw(path, rows, FIGURE_2, panels, title)


def figure_3(path: Path, rows: Sequence[Row], dataset: str) -> bool:
    """Median errors of the multitask variants. Returns False where fewer than two were measured.

    Raises DataError if the file cannot be written.
    """
    if sum(row.name in FIGURE_3 for row in rows) < 2:
        return False
    first, second = ({name: each[i] for name, each in published.FIGURE_3.items()} for i in (0, 1))
    panels = (
        Panel("median position error [m]", "median_translation_m", 1, first),
        Panel("median rotation error [deg]", "median_rotation_deg", 1, second),
    )
    return _draw(path, rows, FIGURE_3, panels, f"{dataset}: multitask variants, as Fig. 3; printed: DeepLoc")


def _draw(path: Path, rows: Sequence[Row], names: Sequence[str], panels: Sequence[Panel], title: str) -> bool:
    known = {row.name: row for row in rows if row.errors}
    shown = [known[name] for name in names if name in known]
    if not shown:
        return False
    figure = new_figure((7.2, 1.3 + 0.26 * len(shown)))
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    places = np.arange(len(shown))[::-1]
    for axis, panel in zip(axes, panels, strict=True):
        values = [panel.scale * row.mean("localization", panel.key) for row in shown]
        marks = [panel.printed.get(row.name, math.nan) for row in shown]
        highest = max((value for value in (*values, *marks) if math.isfinite(value)), default=0.0) or 1.0
        for place, row, value, mark in zip(places, shown, values, marks, strict=True):
            answers = math.isfinite(value)
            colour = LEARNED if row.learned else PEER
            axis.barh(place, value if answers else highest, 0.62, color=colour if answers else "#DDDDDD")
            axis.plot([mark] * 2, [place - 0.4, place + 0.4], color="#000000", linewidth=1.6, solid_capstyle="butt")
            text = format_cell(value) if answers else "no answer"
            text += f" [{mark:g}]" if math.isfinite(mark) else ""
            axis.text(1.01, place, text, transform=axis.get_yaxis_transform(), fontsize=6.5, va="center")
        axis.set(xlim=(0, 1.05 * highest), xlabel=panel.label)
        axis.locator_params("x", nbins=5)
        tidy(axis, "x")
    axes[0].set_yticks(places, [HEADINGS.get(row.name, row.name) for row in shown])
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = {"trained here": (LEARNED, True), "needs no network": (PEER, False)}
    handles: list[Any] = [
        Patch(color=colour, label=text)
        for text, (colour, learned) in kinds.items()
        if any(row.learned == learned for row in shown)
    ]
    handles.append(Line2D([], [], color="#000000", linewidth=1.6, label="[printed, other data]"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    save(figure, path)
    return True
