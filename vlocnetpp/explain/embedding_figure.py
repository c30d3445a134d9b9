"""Embedded features beside the true path, both coloured by time (paper, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.explain.embedding import Embedding
from vlocnetpp.explain.figures import new_figure, save
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.figures import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNIT = "feature distance"


def plot_embeddings(
    path: Path,
    embeddings: Mapping[str, Embedding],
    pose_N7: Floats,
    sequence_N: NDArray[np.int64],
    view: View,
    pdf: bool = False,
) -> None:
    """Draw a row for each model: the features in three and in two dimensions, and the true positions from above.

    sequence_N: the sequence that each frame is of; lines join frames of one.
    Raises DataError if a file cannot be written.
    """
    count = len(embeddings)
    figure = new_figure(11.0, 3.5 * count + 0.3, gap=0.06)
    ends = np.flatnonzero(np.diff(sequence_N)) + 1
    time = np.arange(len(pose_N7))
    look: dict[str, Any] = {"c": time, "cmap": "cividis", "linewidths": 0}
    axes: list[Axes] = []
    for row, (name, each) in enumerate(embeddings.items()):
        solid: Any = figure.add_subplot(count, 3, 3 * row + 1, projection="3d")
        for line in np.split(each.points_N3, ends):
            solid.plot(*line.T, color="0.8", linewidth=0.6)
        solid.scatter(*each.points_N3.T, s=12, depthshade=False, **look)
        solid.set_title(f"{name}: features in 3D\nstress {each.stress_3:.2f}", fontsize=9)
        solid.set_box_aspect(np.maximum(np.ptp(each.points_N3, axis=0), 1e-9), zoom=0.9)
        solid.tick_params(labelsize=6, pad=-2)
        solid.set_xlabel(f"1 [{UNIT}]", fontsize=7, labelpad=-6)
        solid.set_ylabel("2", fontsize=7, labelpad=-6)
        solid.set_zlabel("3", fontsize=7, labelpad=-6)
        flat, place = (figure.add_subplot(count, 3, 3 * row + column) for column in (2, 3))
        ranks = f"rank correlation with position {each.rank_position:.2f}, rotation {each.rank_rotation:.2f}"
        flat.set_title(f"{name}: features in 2D, stress {each.stress_2:.2f}\n{ranks}", fontsize=9)
        place.set_title("true positions from above", fontsize=9)
        for axis, points, labels in (
            (flat, each.points_N2, (f"1 [{UNIT}]", f"2 [{UNIT}]")),
            (place, pose_N7[:, [view.right, view.up]], view.labels),
        ):
            for line in np.split(points, ends):
                axis.plot(line[:, 0], line[:, 1], color="0.8", linewidth=0.6, zorder=1)
            dots = axis.scatter(points[:, 0], points[:, 1], s=12, zorder=2, **look)
            axis.set_aspect("equal", adjustable="datalim")
            axis.set_xlabel(labels[0], fontsize=8)
            axis.set_ylabel(labels[1], fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(color="#EEEEEE", linewidth=0.8)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            axes.append(axis)
    bar = figure.colorbar(dots, ax=axes, fraction=0.03, pad=0.02, ticks=[0, len(pose_N7) - 1])
    bar.ax.set_yticklabels(["first", "last"], fontsize=8)
    bar.set_label("frame, in order of time", fontsize=8, labelpad=-12)
    bar.outline.set_visible(False)  # type: ignore[operator]  # matplotlib's stub has the wrong type here
    save(figure, path, pdf)
