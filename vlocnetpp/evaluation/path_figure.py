"""A picture of estimates alone: the path from above, and the predicted uncertainty along it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.evaluation.answers import jumps
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.reporting.figures import view_from_above
from vlocnetpp.reporting.files import replacing

POSITION, ROTATION, JUMP = "#0072B2", "#D55E00", "#999999"


def plot_path(
    path: Path, stamp_ns_N: NDArray[np.int64], answers: Streamed, title: str, starts: NDArray[np.int64]
) -> None:
    """Draw poses from above, coloured by their 68 % bound, beside bounds and jumps against odometry over time.

    `starts` are the numbers of the frames at which a sequence begins: time between sequences is left out.
    Raises ValueError without a pose and DataError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = np.asarray(np.isfinite(answers.pose_N7)).all(axis=1).reshape(-1)
    if not known.any():
        raise ValueError("there is no pose to draw")
    view = view_from_above(answers.pose_N7[known])
    steps_ns = np.diff(stamp_ns_N, prepend=stamp_ns_N[:1])
    inner_ns = np.delete(steps_ns, starts)
    steps_ns[starts[1:]] = np.median(inner_ns) if len(inner_ns) else 0
    seconds = np.cumsum(steps_ns) * 1e-9
    sigma_m, sigma_deg = answers.sigma_N2[:, 0], np.degrees(answers.sigma_N2[:, 1])
    jump_m, jump_deg = jumps(answers)

    figure = Figure(figsize=(10.0, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2)
    above = left.subplots()
    dots = above.scatter(
        answers.pose_N7[known, view.right], answers.pose_N7[known, view.up], c=sigma_m[known], cmap="cividis_r", s=12
    )
    above.set_aspect("equal", adjustable="datalim")
    above.set(xlabel=view.labels[0], ylabel=view.labels[1])
    above.grid(color="#EEEEEE", linewidth=0.8)
    above.set_axisbelow(True)
    left.colorbar(dots, ax=above, label="68 % bound of position [m]", shrink=0.8)
    frames = f"{title}: {int(known.sum())} of {len(known)} frames"
    above.set_title(f"{frames}\n{view.words}", loc="left", fontsize=10, fontweight="bold")
    panels = right.subplots(2, 1, sharex=True)
    for axes, sigma, jump, label, colour in (
        (panels[0], sigma_m, jump_m, "position [m]", POSITION),
        (panels[1], sigma_deg, jump_deg, "rotation [deg]", ROTATION),
    ):
        if np.isfinite(jump).any():
            axes.plot(seconds, jump, color=JUMP, linewidth=0.7, label="against odometry")
        # A line alone would not show a sequence of one frame.
        axes.plot(seconds, sigma, color=colour, linewidth=1.2, marker=".", markersize=2, label="68 % bound")
        for start in starts[1:]:
            axes.axvline(seconds[start], color="#BBBBBB", linewidth=0.8, linestyle="--")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(color="#EEEEEE", linewidth=0.8)
        axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    panels[1].set_xlabel("time [s]" + ("; dashed: a sequence begins" if len(starts) > 1 else ""))
    for axes in (above, *panels):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    with replacing(path) as partial:
        figure.savefig(partial)
