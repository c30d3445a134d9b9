"""Pictures of a benchmark: error bars by method, error against distance to the training poses, shares within an error.

Colours are those of Okabe and Ito, which hold for every kind of colour vision; each line has a marker of its own, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlocnetpp.benchmark.rows import Row
from vlocnetpp.errors import DataError
from vlocnetpp.metrics import percentile
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.figures import plain_numbers
from vlocnetpp.reporting.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNED, PEER, GREYED = "#0072B2", "#D55E00", "#999999"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_LINES = len(COLOURS)
"""Largest number of lines in one panel that can still be distinguished."""
BINS, FEWEST = 6, 8
"""Largest number of distance bins, with equal numbers of frames; smallest number of frames in each."""
NEAREST_M = 1e-3
"""Shorter distances are drawn at this one, since the axis is logarithmic."""
PANELS = (("translation error [m]", "metres_N"), ("rotation error [deg]", "degrees_N"))
UNITS, BOUNDS = ("m", "deg"), (0.05, 5.0)
"""Marks in the panels: the usual bounds of a good pose, 5 cm and 5 deg."""


def plot_error_bars(path: Path, rows: Sequence[Row], title: str) -> None:
    """Median and quartiles of each method's errors, one panel in metres and one in degrees, as the paper's Fig. 2, 3.

    Methods of which the quartile is infinite (frames without an estimate) have an arrow; the dots beside the median
    are the medians of single seeds. Raises DataError without a row or if the file cannot be written.
    """
    if not rows:
        raise DataError(f"{path}: there is no method to draw")
    figure = new_figure((7.2, 1.6 + 0.22 * len(rows)))
    axes = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))[::-1]
    for number, (axis, (label, field)) in enumerate(zip(axes, PANELS, strict=True)):
        quartiles = [[percentile(row.pooled()[number], share) for share in (25, 50, 75)] for row in rows]
        finite = [value for three in quartiles for value in three if np.isfinite(value) and value > 0]
        left, right = (min(finite) / 1.5, max(finite) * 1.6) if finite else (1e-3, 1.0)
        for place, row, (low, middle, high) in zip(places, rows, quartiles, strict=True):
            colour = GREYED if row.greyed else LEARNED if row.learned else PEER
            if np.isfinite(low):
                axis.plot([max(low, left), min(high, right)], [place, place], color=colour, linewidth=2.2, alpha=0.55)
            if not np.isfinite(high):
                axis.plot(right, place, marker=">", color=colour, markersize=5, clip_on=False)
            if len(row.errors) > 1:
                singles = [percentile(getattr(each, field), 50) for each in row.errors]
                axis.plot(singles, [place] * len(singles), "|", color=colour, markersize=8, markeredgewidth=1.0)
            if np.isfinite(middle):
                axis.plot(middle, place, "o", color=colour, markersize=5, markerfacecolor="w" if row.greyed else colour)
        axis.set(xscale="log", xlim=(left, right), xlabel=label)
        plain_numbers(axis.xaxis)
        tidy(axis, "x")
    axes[0].set_yticks(places, [_name(row) for row in rows])
    axes[0].set_ylim(-0.7, len(rows) - 0.3)
    from matplotlib.lines import Line2D

    kinds = [("trained here", LEARNED, LEARNED), ("needs no network", PEER, PEER), ("looks at the truth", GREYED, "w")]
    handles = [Line2D([], [], color=c, marker="o", markerfacecolor=face, label=text) for text, c, face in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{title}: median and quartiles", x=0.01, ha="left", fontsize=9, fontweight="bold")
    save(figure, path)


def plot_error_by_distance(path: Path, rows: Sequence[Row], distance_N: Floats, title: str) -> None:
    """Median translation error against the distance to the nearest training pose, one line for each method.

    The dashed diagonal is the error of the nearest training pose itself: below it a method interpolates. Methods
    without a network are on the left, those trained here on the right, each with the best of the other side.
    `distance_N` belongs to the frames of every row's errors. Raises DataError without a row or frame.
    """
    if not rows or not len(distance_N):
        raise DataError(f"{path}: there is nothing to draw")
    ranked = sorted((row for row in rows if not row.greyed), key=lambda row: percentile(row.pooled()[0], 50))
    sides = [row for row in ranked if not row.learned], [row for row in ranked if row.learned]
    edges = distance_bins(distance_N)
    centres, counts = bin_counts(distance_N, edges)
    centres = np.maximum(centres, NEAREST_M)
    ends = np.array([centres[0] / 1.3, centres[-1] * 1.3])
    seen = [*ends]
    entries = 2 + min(max(map(len, sides)), MOST_LINES)
    legend_in = 0.16 * entries + 0.1
    figure = new_figure((7.2, 3.5 + legend_in))
    axes, places = figure.subplots(2, 2, sharex="row", sharey="row", height_ratios=(3.0, legend_in))
    headings = ("without a network", "trained here")
    for side, (axis, place, heading) in enumerate(zip(axes, places, headings, strict=True)):
        mine = sides[side][:MOST_LINES]
        for row in [*sides[1 - side][:1], *mine]:
            medians = median_by_distance(row, distance_N, edges)
            shown = np.isfinite(medians)
            seen += list(medians[shown & (medians > 0)])
            style: dict[str, Any] = {"color": "#777777", "linestyle": ":", "linewidth": 1.8}
            if row in mine:
                index = mine.index(row)
                style = {"color": COLOURS[index], "marker": MARKERS[index], "markersize": 4, "linewidth": 1.3}
            axis.plot(centres[shown], medians[shown], label=_name(row), **style)
        axis.plot(ends, ends, color="#555555", linewidth=0.9, dashes=(5, 3), label="the nearest training pose itself")
        for centre, count in zip(centres, counts, strict=True):
            axis.text(centre, 0.99, f"{count}", transform=axis.get_xaxis_transform(), fontsize=6, color="#555555",
                      ha="center", va="top")  # fmt: skip
        left_out = f", the best {len(mine)} of {len(sides[side])}" if len(mine) < len(sides[side]) else ""
        axis.set_title(heading + left_out, fontsize=8, loc="left")
        axis.set(xlabel="distance to the nearest training pose [m]", xscale="log", yscale="log", xlim=ends)
        plain_numbers(axis.xaxis)
        plain_numbers(axis.yaxis)
        tidy(axis, "both")
        place.set_axis_off()
        place.legend(*axis.get_legend_handles_labels(), loc="upper left", fontsize=7, frameon=False, borderaxespad=0)
    axes[0].set(ylabel="median translation error [m]", ylim=(min(seen) / 1.3, max(seen) * 2.0))
    heading = f"{title}: error by distance to the training poses (small numbers: frames)"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=9, fontweight="bold")
    save(figure, path)


def plot_shares(path: Path, rows: Sequence[Row], title: str) -> None:
    """Share of the frames within an error, in metres and in degrees; a frame without an estimate is never within.

    Raises DataError without a row or if the file cannot be written.
    """
    shown = [row for row in rows if not row.greyed]
    if not shown:
        raise DataError(f"{path}: there is no method to draw")
    shown = sorted(shown, key=lambda row: percentile(row.pooled()[0], 50))
    trained, peers = ([row.name for row in shown if row.learned == learned] for learned in (True, False))
    # As many as can be distinguished: the best of both kinds, at least three of the trained ones where there are.
    mine = trained[: max(MOST_LINES - len(peers), MOST_LINES // 2)]
    kept = {*mine, *peers[: MOST_LINES - len(mine)]}
    shown = [row for row in shown if row.name in kept]
    figure = new_figure((7.2, 3.2))
    axes = figure.subplots(1, 2, sharey=True)
    for number, (axis, (label, _), unit) in enumerate(zip(axes, PANELS, UNITS, strict=True)):
        values = [np.sort(row.pooled()[number]) for row in shown]
        finite = np.concatenate([each[np.isfinite(each)] for each in values])
        low, high = np.quantile(finite, [0.01, 0.98]) if len(finite) else (BOUNDS[number],) * 2
        limits = np.clip(low, 1e-4, BOUNDS[number] / 1.5), max(high, BOUNDS[number] * 1.5)
        for index, (row, errors) in enumerate(zip(shown, values, strict=True)):
            share = 100 * np.arange(1, len(errors) + 1) / len(errors)
            axis.step(np.where(np.isfinite(errors), errors, np.nan), share, where="post", color=COLOURS[index],
                      linewidth=1.4, linestyle="-" if row.learned else (0, (4, 1.5)), label=_name(row))  # fmt: skip
        bound = BOUNDS[number]
        axis.axvline(bound, color="#BBBBBB", linewidth=0.8, zorder=0)
        axis.text(bound, 101, f"{bound:g} {unit}", fontsize=6, color="#777777", ha="center", va="bottom")
        axis.set(xscale="log", xlim=limits, ylim=(0, 100), xlabel=label)
        plain_numbers(axis.xaxis)
        tidy(axis, "both")
    axes[0].set_ylabel("share of the frames [%]")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    heading = f"{title}: share of the frames within an error (dashed: without a network)"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=9, fontweight="bold")
    save(figure, path)


def distance_bins(distance_N: Floats) -> Floats:
    """Edges (B + 1,) of up to six bins that hold about equally many frames, at least eight each where there are."""
    bins = max(1, min(BINS, len(distance_N) // FEWEST))
    edges = np.unique(np.quantile(distance_N, np.linspace(0, 1, bins + 1)))
    return edges if len(edges) > 1 else np.array([edges[0], edges[0]])


def _bin_of(distance_N: Floats, edges: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.clip(np.searchsorted(edges, distance_N, side="right") - 1, 0, max(len(edges) - 2, 0))


def bin_counts(distance_N: Floats, edges: Floats) -> tuple[Floats, list[int]]:
    """Median distance of the frames in each bin, and their number."""
    bins = _bin_of(distance_N, edges)
    numbers = np.unique(bins)
    return np.array([np.median(distance_N[bins == b]) for b in numbers]), [int((bins == b).sum()) for b in numbers]


def median_by_distance(row: Row, distance_N: Floats, edges: Floats) -> Floats:
    """Median translation error of the frames in each bin, over all seeds; infinite where half have no estimate."""
    bins = _bin_of(distance_N, edges)
    return np.array(
        [percentile(np.concatenate([each.metres_N[bins == b] for each in row.errors]), 50) for b in np.unique(bins)]
    )


def _name(row: Row) -> str:
    return f"{row.name} (truth)" if row.greyed else row.name


def new_figure(size: tuple[float, float]) -> Figure:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8}):
        figure = Figure(figsize=size, dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axis: Axes, grid: str) -> None:
    axis.grid(axis=grid, which="major", color="#E5E5E5", linewidth=0.7)  # type: ignore[arg-type]
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=7, length=2)
    axis.xaxis.label.set_fontsize(8)
    axis.yaxis.label.set_fontsize(8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_fontsize(7)
    with replacing(path) as partial:
        figure.savefig(partial)
