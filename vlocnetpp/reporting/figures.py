"""Pictures of results. Colours hold for every kind of colour vision: cividis and the Okabe-Ito palette."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.errors import DataError
from vlocnetpp.metrics import percentile, pose_errors
from vlocnetpp.poses import Floats, as_poses, rotate
from vlocnetpp.reporting.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUTH, TRAINING, MISSING = "#333333", "#C8C8C8", "#D55E00"
ARROWS = 24
"""About so many headings are drawn, spread evenly over the frames."""
MARGIN = 0.12
"""Margin of the picture around what is drawn, as a share of its extent."""
SHOWN, WIDEST = 0.95, 5.0
"""The picture reaches to this share of the estimates along each axis, and at most so many times the extent of the truth
beyond it: a failure is to be seen, and one estimate at a kilometre must not shrink everything else."""


class View(NamedTuple):
    """A look straight down one axis of the map, never mirrored: right x up on the page points at the viewer."""

    right: int
    up: int
    upright: bool = True
    """Whether it looks down the vertical axis; else cameras look anywhere, and it looks down that of least spread."""

    @property
    def words(self) -> str:
        """The view in words, for a title."""
        return "seen from above" if self.upright else f"seen along {'xyz'[3 - self.right - self.up]}"

    @property
    def labels(self) -> tuple[str, str]:
        return f"{'xyz'[self.right]} [m]", f"{'xyz'[self.up]} [m]"


def view_from_above(pose_N7: Floats) -> View:
    """The view in which the ground plane lies flat.

    Cameras are carried more or less upright, so the axis of the map along which their image columns run on average is
    the vertical one: z in a robot's map, y in a reconstruction that starts at a camera. Where no axis stands out, the
    two axes with the widest spread of the positions are shown.
    """
    down = np.zeros((len(pose_N7), 3))
    down[:, 1] = 1.0
    mean_down = rotate(pose_N7[:, 3:], down).mean(axis=0)
    vertical = int(np.argmax(np.abs(mean_down)))
    if abs(mean_down[vertical]) < 0.7:
        right, up = sorted(np.argsort(np.ptp(pose_N7[:, :3], axis=0), kind="stable")[1:].tolist())
        return View(right, up, upright=False)
    right, up = (vertical + 1) % 3, (vertical + 2) % 3
    return View(right, up) if mean_down[vertical] < 0 else View(up, right)


def plot_trajectory(
    path: Path,
    truth_N7: ArrayLike,
    estimated_N7: ArrayLike,
    title: str,
    training_N7: ArrayLike | None = None,
) -> None:
    """Draw ground truth against estimates, seen from above, as PNG, SVG or PDF by the suffix of `path`.

    Each estimate is coloured by its translation error in metres and tied to its ground truth by a thin line; arrows
    show headings now and then; crosses mark frames without an estimate (rows of NaN). Single estimates far outside
    are counted below the title instead of shrinking everything else.
    Raises DataError without any frame, if the lengths differ, or if the file cannot be written.
    """
    from matplotlib.collections import LineCollection

    metres, degrees = pose_errors(estimated_N7, truth_N7)
    truth, estimated = as_poses(truth_N7, "ground truth"), as_poses(estimated_N7, "estimates")
    training = as_poses([] if training_N7 is None else training_N7, "training poses")
    if not len(truth):
        raise DataError(f"{path}: there is no frame to draw")
    view = view_from_above(truth)
    plane = [view.right, view.up]
    answered = np.isfinite(metres)
    drawn = np.concatenate([truth, training])[:, plane]
    low, high = _limits(drawn, estimated[answered][:, plane])
    inside = answered & ((estimated[:, plane] >= low) & (estimated[:, plane] <= high)).all(axis=1)
    scale = max(percentile(metres[answered], 95), 1e-3) if answered.any() else 1.0

    figure, axes = _map_axes(view, low, high)
    if len(training):
        axes.scatter(
            training[:, view.right], training[:, view.up], s=5, color=TRAINING, linewidths=0, label="training", zorder=1
        )
    axes.plot(*_broken_at_jumps(truth[:, plane]).T, color=TRUTH, linewidth=1.4, label="ground truth", zorder=3)
    axes.add_collection(
        LineCollection(
            np.stack([truth[inside][:, plane], estimated[inside][:, plane]], axis=1).tolist(),
            colors="#999999",
            linewidths=0.5,
            alpha=0.6,
            zorder=2,
        )
    )
    dots = axes.scatter(
        estimated[inside, view.right],
        estimated[inside, view.up],
        c=metres[inside],
        cmap="cividis_r",
        vmin=0.0,
        vmax=scale,
        s=18,
        edgecolors="#00000066",
        linewidths=0.4,
        label="estimate" if answered.any() else None,
        zorder=4,
    )
    every = np.arange(0, len(truth), max(1, round(len(truth) / ARROWS)))
    headings(axes, truth[every], view, TRUTH)
    shown = every[inside[every]]
    headings(axes, estimated[shown], view, dots.cmap(dots.norm(metres[shown])))
    arrows_in_legend(axes)
    if not answered.all():
        x, y = truth[~answered][:, plane].T
        axes.scatter(x, y, s=26, marker="x", color=MISSING, linewidths=1.2, label=f"no estimate ({len(x)})", zorder=6)

    if answered.any():
        bar = figure.colorbar(dots, cax=axes.inset_axes((1.02, 0.0, 0.02, 1.0)), extend="max")
        bar.set_label("translation error [m]")
        bar.outline.set_visible(False)  # type: ignore[operator]  # matplotlib's stub has the wrong type here
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9, handletextpad=0.5, columnspacing=1.2)
    axes.set_title(f"{title}\n", loc="left", fontsize=12, fontweight="bold")
    outside = int((answered & ~inside).sum())
    summary = f"{view.words}; {_summary(metres, degrees)}" + (f"; {outside} outside the picture" if outside else "")
    axes.annotate(
        summary, (0.0, 1.0), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9, color="#555555"
    )
    with replacing(path) as partial:
        figure.savefig(partial, bbox_inches="tight", pad_inches=0.15)


def _map_axes(view: View, low_2: Floats, high_2: Floats) -> tuple[Any, Any]:
    """A figure with one pair of axes in metres, as wide and high as the limits need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = high_2 - low_2
    figure = Figure(figsize=(8.0, float(np.clip(1.4 + 6.2 * height / width, 3.2, 9.0))), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set(xlim=(low_2[0], high_2[0]), ylim=(low_2[1], high_2[1]), xlabel=view.labels[0], ylabel=view.labels[1])
    axes.grid(color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _summary(metres_N: Floats, degrees_N: Floats) -> str:
    frames = f"{len(metres_N)} frame{'' if len(metres_N) == 1 else 's'}"
    median, turn = percentile(metres_N, 50), percentile(degrees_N, 50)
    if not np.isfinite(median):
        return f"{frames}, {int(np.isinf(metres_N).sum())} of them without an estimate"
    return f"{frames}, median error {median:.3f} m and {turn:.2f}°, not aligned"


def _limits(points_N2: Floats, estimated_M2: Floats) -> tuple[Floats, Floats]:
    """Corners of the picture: around the points and, where many estimates lie farther out, most of those, too."""
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    if len(estimated_M2):
        reach = WIDEST * max(float((high - low).max()), 0.4)
        near = np.percentile(estimated_M2, (100 * (1 - SHOWN), 100 * SHOWN), axis=0)
        low = np.minimum(low, np.maximum(near[0], low - reach))
        high = np.maximum(high, np.minimum(near[1], high + reach))
    extent = float((high - low).max())
    # At least 0.4 m, so that a robot that stands still does not fill the picture with the rounding of its pose.
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, max(extent / 10, 0.2))
    return middle - half - MARGIN * extent, middle + half + MARGIN * extent


def _broken_at_jumps(points_N2: Floats) -> Floats:
    """Rows of NaN where one recording ends and the next begins: a step far beyond the usual one."""
    step = np.linalg.norm(np.diff(points_N2, axis=0), axis=1)
    moving = step[step > 0]
    if not len(moving):
        return points_N2
    jumps = np.flatnonzero(step > 10 * np.median(moving)) + 1
    return np.insert(points_N2, jumps, np.nan, axis=0)


def headings(axes: Axes, pose_N7: Floats, view: View, color: str | NDArray[np.float64]) -> None:
    """Arrows along the optical axis, as it lies in the picture; none for a camera looking along the line of sight. The
    legend says so once, by `arrows_in_legend`.
    """
    forward = np.zeros((len(pose_N7), 3))
    forward[:, 2] = 1.0
    heading = rotate(pose_N7[:, 3:], forward)[:, [view.right, view.up]]
    axes.quiver(
        *pose_N7[:, [view.right, view.up]].T,
        *heading.T,
        color=color,
        angles="xy",
        scale_units="inches",
        scale=1 / 0.22,
        width=0.0025,
        headwidth=4.5,
        headlength=5,
        zorder=5,
    )


def plain_numbers(axis: Any) -> None:
    """0.05 and 20 instead of powers of ten, at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def arrows_in_legend(axes: Axes) -> None:
    """Say in the legend what the arrows are; matplotlib has no legend for them."""
    axes.plot([], [], linestyle="", marker=r"$\rightarrow$", markersize=12, color=TRUTH, label="where the camera looks")
