"""Picture of a benchmark on several splits: every method's errors, split after split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vlocnetpp.benchmark.figures import (
    COLOURS,
    MARKERS,
    MOST_LINES,
    PANELS,
    new_figure,
    save,
    tidy,
)
from vlocnetpp.benchmark.rows import Row
from vlocnetpp.errors import DataError
from vlocnetpp.metrics import percentile
from vlocnetpp.reporting.figures import plain_numbers

GROUP = 0.76
"""Width of the marks of one split; 1 is the distance to the next split."""
DECADES = 4
"""Largest extent of the logarithmic axis below the largest median; smaller ones are drawn at its lower edge."""


def plot_error_by_split(path: Path, rows: Mapping[str, Sequence[Row]], title: str) -> None:
    """Median and quartiles of each method's errors by split, metres above and degrees below, on a logarithmic axis.

    An arrow at the upper edge is an infinite median: half of the frames have no answer. Peers that look at the
    truth are dashed lines across their split. Of many methods the best are drawn, by their ranks on the splits. Raises
    DataError without a row.
    """
    shown = best_names(rows)
    if not shown:
        raise DataError(f"{path}: there is no method to draw")
    offsets = np.linspace(-GROUP / 2, GROUP / 2, len(shown)) if len(shown) > 1 else np.zeros(1)
    figure = new_figure((7.2, 5.4))
    axes = figure.subplots(2, 1, sharex=True)
    for number, (axis, (label, _)) in enumerate(zip(axes, PANELS, strict=True)):
        medians = [percentile(row.pooled()[number], 50) for found in rows.values() for row in found]
        finite = [value for value in medians if np.isfinite(value) and value > 0] or [1.0]
        high = max(finite) * 1.6
        low = max(min(finite) / 1.6, high / 10**DECADES)
        for place, found in enumerate(rows.values()):
            for row in found:
                errors = row.pooled()[number]
                quarter, middle, most = (percentile(errors, share) for share in (25, 50, 75))
                if row.greyed and not row.learned:
                    ends = [place - GROUP / 2 - 0.06, place + GROUP / 2 + 0.06]
                    axis.plot(ends, [middle] * 2, color="#777777", linewidth=1.2, dashes=(3, 2), zorder=1)
                if row.name not in shown:
                    continue
                index = shown.index(row.name)
                x, colour = place + offsets[index], COLOURS[index]
                axis.plot([x, x], np.clip([quarter, most], low, high), color=colour, linewidth=1.6, alpha=0.45)
                none = np.isinf(middle)
                axis.plot(x, np.clip(middle, low, high), color=colour, clip_on=False, linestyle="none", markersize=5,
                          marker=6 if none else MARKERS[index],
                          markerfacecolor=colour if row.learned or none else "w")  # fmt: skip
            if place:
                axis.axvline(place - 0.5, color="#E5E5E5", linewidth=0.7, zorder=0)
        axis.set(yscale="log", ylim=(low, high), ylabel=label, xlim=(-0.5, len(rows) - 0.5))
        plain_numbers(axis.yaxis)
        tidy(axis, "y")
    axes[1].set_xticks(range(len(rows)), list(rows))
    from matplotlib.lines import Line2D

    learned = {row.name: row.learned for found in rows.values() for row in found}
    handles = [
        Line2D([], [], color=COLOURS[i], marker=MARKERS[i], markersize=5, linewidth=1.6, label=name,
               markerfacecolor=COLOURS[i] if learned[name] else "w")
        for i, name in enumerate(shown)
    ]  # fmt: skip
    bounds = dict.fromkeys(row.name for found in rows.values() for row in found if row.greyed and not row.learned)
    for name in bounds:
        label = f"{name} (truth)"
        handles.append(Line2D([], [], color="#777777", linewidth=1.2, dashes=(3, 2), label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    heading = f"{title}: median and quartiles by split (filled: trained here)"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=9, fontweight="bold")
    save(figure, path)


def best_names(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Up to seven methods that do not look at the truth, in the order of the tables: those with the best mean rank."""
    ranks: dict[str, list[int]] = {}
    for found in rows.values():
        judged = [row for row in found if not row.greyed]
        for row in judged:
            ranks.setdefault(row.name, [])
        for rank, row in enumerate(sorted(judged, key=lambda each: percentile(each.pooled()[0], 50))):
            ranks[row.name].append(rank)
    best = sorted(ranks, key=lambda name: float(np.mean(ranks[name])))[:MOST_LINES]
    return [name for name in ranks if name in best]
