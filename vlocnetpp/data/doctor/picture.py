"""The picture: all trajectories from above, the splits in their colours, the test by its distance to the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlocnetpp.data.doctor.matches import Floats
from vlocnetpp.data.doctor.splits import TRAIN, nearest_poses
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.reporting.figures import arrows_in_legend, headings, view_from_above

COLORS = {TRAIN: "#8A8A8A", "val": "#009E73"}
"""Okabe-Ito and grey, apart for every kind of colour vision."""
OTHER = "#0072B2"
ARROWS = 24
"""View directions drawn for each split, about."""


def plot_splits(path: Path, study: Study) -> None:
    """Draw all frames with a pose seen from above, in metres; arrows show where the camera looks.

    Frames of other splits than `train` and `val` are coloured by their distance to the nearest training pose. Raises
    OSError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    posed = {
        split: [[examined for examined in sequence if examined.frame.pose_7 is not None] for sequence in sequences]
        for split, sequences in study.splits.items()
    }
    every = _poses([examined for sequences in posed.values() for sequence in sequences for examined in sequence])
    view = view_from_above(every)
    right, up = view.right, view.up
    train = _poses([examined for sequence in posed.get(TRAIN, []) for examined in sequence])
    low, high = every[:, [right, up]].min(axis=0), every[:, [right, up]].max(axis=0)
    width, height = np.maximum(high - low, 0.3 * max(float((high - low).max()), 0.1))
    figure = Figure(figsize=(8.5, float(np.clip(1.8 + 6.0 * height / width, 3.5, 9.0))), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set(xlabel=view.labels[0], ylabel=view.labels[1])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    dots = None
    distances = {
        split: nearest_poses(train, _poses([examined for sequence in sequences for examined in sequence]))[0]
        for split, sequences in posed.items()
        if split not in COLORS and len(train) and any(sequences)
    }
    # One scale for all splits, since they share the bar.
    farthest = max([0.01, *(float(metres.max()) for metres in distances.values())])
    for split, sequences in posed.items():
        poses = _poses([examined for sequence in sequences for examined in sequence])
        if not len(poses):
            continue
        label = f"{split}: {len(poses)} frames, {len(sequences)} sequence{'s' * (len(sequences) != 1)}"
        color = COLORS.get(split, OTHER)
        for sequence in sequences:
            line = _poses(sequence)
            axes.plot(line[:, right], line[:, up], color=color, linewidth=1.0, alpha=0.8, zorder=2)
        if split not in distances:
            axes.scatter(poses[:, right], poses[:, up], s=5, color=color, linewidths=0, label=label, zorder=3)
        else:
            dots = axes.scatter(
                poses[:, right], poses[:, up], c=distances[split], cmap="cividis_r", vmin=0.0, vmax=farthest,
                s=20, label=label, zorder=4, edgecolors="#00000066", linewidths=0.4,
            )  # fmt: skip
        every_nth = poses[:: max(1, len(poses) // ARROWS)]
        headings(axes, every_nth, view, color if split in COLORS else "#222222")
    arrows_in_legend(axes)
    if dots is not None:
        bar = figure.colorbar(dots, ax=axes, pad=0.02)
        bar.set_label("from the nearest training pose [m]", fontsize=9)
    axes.set_title(f"{study.dataset.root.name}, {view.words}", loc="left", fontsize=12, fontweight="bold")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path)


def _poses(frames: list[ExaminedFrame]) -> Floats:
    return np.array([examined.frame.pose_7 for examined in frames], np.float64).reshape(-1, 7)
