"""The picture of a run: how its errors fell, stage after stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlocnetpp.losses import Term, term_names
from vlocnetpp.reporting.figures import plain_numbers
from vlocnetpp.reporting.files import replacing
from vlocnetpp.training.tables import TERM_WORDS, VALIDATED

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
"""Colours that hold for every kind of colour vision."""
CELL_ERRORS = {"distance_m": "off their places", "off_ray_m": "beside their rays"}
"""Errors of a stage that trains scene coordinates on cells, as the log has them beside the loss terms."""


class Panel(NamedTuple):
    """One of the diagrams."""

    title: str
    curves: dict[str, str]
    """Label and column of the log."""
    logarithmic: bool = True


def draw_curves(rows: list[dict[str, Any]], terms: Sequence[Term], path: Path) -> None:
    """Validations, errors of cells, loss terms, learned weights and learning rate over time, stages shaded in turn.

    Args:
        rows: of the log, the first one first.
        terms: of the run's losses; a likelihood, which may be negative, is not drawn.
    """
    from matplotlib.figure import Figure

    panels = [panel for panel in _panels(rows, terms) if panel.curves]
    if not panels:
        return
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, 2, squeeze=False).flat)
    for unused in axes[len(panels) :]:
        unused.remove()
    minutes = [row["total_s"] / 60 for row in rows]
    borders = [i for i in range(1, len(rows)) if rows[i]["stage"] != rows[i - 1]["stage"]]
    starts = [0.0, *(minutes[i - 1] for i in borders)]
    ends = [*starts[1:], minutes[-1]]
    names = [rows[0]["stage"], *(rows[i]["stage"] for i in borders)]
    for axis, panel in zip(axes, panels):
        axis.set_prop_cycle(color=OKABE_ITO)
        for label, key in panel.curves.items():
            first = rows[0][key] if is_weight(key) else 0.0
            points = [(at, row[key] - first) for at, row in zip(minutes, rows) if row.get(key) is not None]
            axis.plot(*zip(*points), label=label, marker="." if len(points) < 40 else "", linewidth=1.2)
        drawn = [row[key] for row in rows for key in panel.curves.values() if row.get(key) is not None]
        if panel.logarithmic and min(drawn) > 0:
            axis.set_yscale("log")
            low, high = axis.get_ylim()
            plain_numbers(axis.yaxis)
            if high < 4 * low:  # hardly a number at 1, 2 and 5
                axis.yaxis.set_minor_formatter("{x:g}")
        for number, (start, end, name) in enumerate(zip(starts, ends, names)):
            if number % 2:
                axis.axvspan(start, end, color="0.93", zorder=0)
            # The name of a short last stage ends at the frame instead of running over it.
            x, side = (end, "right") if number and number == len(names) - 1 else ((start + end) / 2, "center")
            axis.text(x, 0.98, name, transform=axis.get_xaxis_transform(), fontsize=7, ha=side, va="top", color="0.45")
        axis.set_xlim(0, max(minutes[-1], 1e-3))
        axis.set_title(panel.title, fontsize=10)
        axis.set_xlabel("minutes of training", fontsize=8)
        axis.tick_params(labelsize=8, which="both")
        axis.grid(color="0.9", linewidth=0.6, which="both")
        if len(panel.curves) > 1:
            axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100)


def is_weight(name: str) -> bool:
    """Whether a column of the log is a learned weight of a loss."""
    return name.rpartition(".")[2].startswith("s_")


def _panels(rows: list[dict[str, Any]], terms: Sequence[Term]) -> list[Panel]:
    """What the diagrams show, what a reader asks for first; only columns that have values."""
    panels = []
    for column in VALIDATED:
        key = f"val_{column.name}"
        last = next((row[key] for row in reversed(rows) if row.get(key) is not None), math.nan)
        title = f"held-out frames, {column.title.format(column.form.format(last))}"
        panels.append(Panel(title, {column.name: key}, logarithmic=column.name != "mean_iou"))
    drawn = term_names(term for term in terms if not term.likelihood)
    panels += [
        Panel("scene coordinates of training images, m", {text: f"loss_{name}" for name, text in CELL_ERRORS.items()}),
        Panel("loss terms", {TERM_WORDS.get(name, name): f"loss_{name}" for name in drawn}),
        Panel("learned weights s, change since the start", {name: name for name in rows[0] if is_weight(name)}, False),
        Panel("learning rate", {"learning rate": "learning_rate"}),
    ]
    return [
        panel._replace(curves={label: key for label, key in panel.curves.items() if _changes(rows, key)})
        for panel in panels
    ]


def _changes(rows: list[dict[str, Any]], key: str) -> bool:
    """Whether a column is worth drawing: losses and validations with any value, the others with more than one."""
    return len({row.get(key) for row in rows} - {None}) > (0 if key.startswith(("loss_", "val_")) else 1)
