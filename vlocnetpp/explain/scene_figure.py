"""The estimated trajectory against the true one, inside of the scene, from two views (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vlocnetpp.explain.figures import new_figure, save
from vlocnetpp.explain.scene import Cloud
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.figures import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUTH, ESTIMATE = "#000000", "#E69F00"
DRAWN_POINTS = 80_000
ELEVATION_DEG, AZIMUTH_DEG = 40.0, 35.0
"""Of the second view: above the ground, and turned from the first one's right."""
CUT_ABOVE = 0.1
"""Points higher than this above the highest camera, as a share of the scene's extent, are cut off: ceilings hide
rooms."""


class Eye(NamedTuple):
    """An orthographic view: unit vectors in the map."""

    right_3: Floats
    up_3: Floats
    towards_3: Floats
    """From the scene to the viewer."""

    def project(self, points_N3: Floats) -> Floats:
        """(N, 2) metres on the page."""
        return points_N3 @ np.stack((self.right_3, self.up_3), axis=1)


def eyes(view: View) -> tuple[Eye, Eye]:
    """The view straight down, and one from above at an angle."""
    right, ahead = np.eye(3)[view.right], np.eye(3)[view.up]
    vertical = np.cross(right, ahead)
    azimuth, elevation = np.radians(AZIMUTH_DEG), np.radians(ELEVATION_DEG)
    across = np.cos(azimuth) * right + np.sin(azimuth) * ahead
    away = np.cross(vertical, across)
    side = Eye(
        across,
        np.cos(elevation) * vertical + np.sin(elevation) * away,
        np.sin(elevation) * vertical - np.cos(elevation) * away,
    )
    return Eye(right, ahead, vertical), side


def plot_scene(
    path: Path,
    cloud: Cloud,
    truth: Sequence[Floats],
    estimate: Sequence[Floats],
    view: View,
    title: str,
    pdf: bool = False,
) -> None:
    """Draw positions (N, 3) of each sequence, metres in the map, true and estimated, over the points of the scene.

    view: in which the ground lies flat, from `view_from_above`.
    Raises DataError if a file cannot be written.
    """
    above, side = eyes(view)
    every = np.concatenate(truth)
    shown = visible(cloud, every, above.towards_3)
    sizes = [np.ptp(around(eye, shown, every), axis=0) for eye in (above, side)]
    shapes = [size[0] / size[1] for size in sizes]
    height = float(np.clip(10.0 / sum(shapes), 2.5, 6.0))
    figure = new_figure(height * sum(shapes) + 1.0, height + 1.1)
    first, second = figure.subplots(1, 2, width_ratios=shapes)
    for axis, eye, text in ((first, above, "from above"), (second, side, "from the side")):
        draw(axis, eye, shown, truth, estimate)
        axis.set_title(f"{title}, {text}", fontsize=9, loc="left")
    first.set_xlabel(view.labels[0], fontsize=9)
    first.set_ylabel(view.labels[1], fontsize=9)
    first.tick_params(labelsize=8)
    second.set(xticks=[], yticks=[])
    scale_bar(second, float(sizes[1][0]))
    for axis in (first, second):
        axis.spines[:].set_visible(False)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path, pdf)


def visible(cloud: Cloud, camera_N3: Floats, vertical_3: Floats) -> Cloud:
    """The part of the cloud that is drawn: its core, below the ceiling, and no more points than a page needs."""
    points = cloud.points_N3
    if not len(points):
        return cloud
    low, high = np.minimum(cloud.core_23[0], camera_N3.min(axis=0)), np.maximum(cloud.core_23[1], camera_N3.max(axis=0))
    ceiling = float((camera_N3 @ vertical_3).max()) + CUT_ABOVE * float((high - low).max())
    kept = ((points >= low) & (points <= high)).all(axis=1) & (points @ vertical_3 <= ceiling)
    chosen = np.flatnonzero(kept)
    if len(chosen) > DRAWN_POINTS:
        chosen = np.random.default_rng(0).choice(chosen, DRAWN_POINTS, replace=False)
    return Cloud(points[chosen], cloud.colors_N3[chosen], cloud.core_23)


def around(eye: Eye, cloud: Cloud, camera_N3: Floats) -> Floats:
    """Lower and upper corner (2, 2) of the picture, metres on the page: all that is drawn, with a margin."""
    page = eye.project(np.concatenate((cloud.points_N3, camera_N3)))
    low, high = page.min(axis=0), page.max(axis=0)
    # At least half a metre, so that a robot that stands still leaves a picture, too.
    margin = 0.03 * float((high - low).max()) + 0.25 * (not len(cloud.points_N3))
    return np.stack((low - margin, high + margin))


def draw(axis: Axes, eye: Eye, cloud: Cloud, truth: Sequence[Floats], estimate: Sequence[Floats]) -> None:
    """One view: the cloud back to front, then both trajectories on top, so that no wall hides them."""
    from matplotlib.patheffects import withStroke

    (left, bottom), (right, top) = around(eye, cloud, np.concatenate(truth))
    axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    if len(cloud.points_N3):
        order = np.argsort(cloud.points_N3 @ eye.towards_3)
        page = eye.project(cloud.points_N3[order])
        # Colours are lightened so that the lines stand out.
        colors = 0.75 * cloud.colors_N3[order] / 255 + 0.25
        axis.scatter(page[:, 0], page[:, 1], s=2.6, c=colors, marker="s", linewidths=0, rasterized=True)
    for lines, color, width, name in ((truth, TRUTH, 1.8, "ground truth"), (estimate, ESTIMATE, 1.2, "estimate")):
        for i, line in enumerate(lines):
            axis.plot(
                *eye.project(line).T,
                color=color,
                linewidth=width,
                solid_joinstyle="round",
                path_effects=[withStroke(linewidth=width + 1.6, foreground="white")],
                label=name if i == 0 else None,
            )


def scale_bar(axis: Axes, width_m: float) -> None:
    """A line whose length is written beside it: a slanted view has no axes to read metres from."""
    length = 10 ** np.floor(np.log10(width_m / 3))
    length *= next(factor for factor in (5, 2, 1) if factor * length <= width_m / 3)
    left, bottom = axis.get_xlim()[0], axis.get_ylim()[0]
    x, y = left + 0.03 * width_m, bottom + 0.03 * width_m
    axis.plot([x, x + length], [y, y], color="black", linewidth=2.5, solid_capstyle="butt")
    axis.annotate(f"{length:g} m across the page", (x, y), (0, 4), textcoords="offset points", fontsize=8, va="bottom")
