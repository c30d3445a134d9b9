"""Frames, their segmentation and the activation maps of the pose, side by side (paper, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.explain.figures import new_figure, save
from vlocnetpp.explain.streamed_features import FrameExplanation
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.mask_sheet import colored

Classes = Sequence[tuple[str, tuple[int, int, int]]]
COLUMN_IN = 2.2


class SheetRow(NamedTuple):
    """One frame, its masks and the models' activation maps."""

    name: str
    image_HW3: NDArray[np.uint8]
    truth_HW: NDArray[np.uint8] | None
    explanations: dict[str, FrameExplanation]
    """By the models' names, the same in every row."""


def plot_activations(path: Path, rows: Sequence[SheetRow], classes: Classes, scalar: str, pdf: bool = False) -> None:
    """Draw a row for each frame: image, true and answered masks, and each model's map at each layer over the image.

    Every map is scaled to its own maximum. Masks are drawn only where there are any. Raises ValueError without a row
    and DataError if a file cannot be written.
    """
    from matplotlib.patches import Patch

    if not rows:
        raise ValueError("a sheet needs at least one frame")
    models = rows[0].explanations
    layers = list(next(iter(models.values())).maps)
    masked = [name for name in models if any(row.explanations[name].mask_HW is not None for row in rows)]
    truth = any(row.truth_HW is not None for row in rows)
    titles = ["image", *["true classes"] * truth, *(f"classes\n{name}" for name in masked)]
    titles += [f"{scalar}, {layer}\n{name}" for name in models for layer in layers]
    height, width = rows[0].image_HW3.shape[:2]
    legend = 0.5 if truth or masked else 0.0
    figure = new_figure(COLUMN_IN * len(titles) + 0.7, (COLUMN_IN * height / width + 0.05) * len(rows) + 0.6 + legend)
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    heat = None
    for number, (line, row) in enumerate(zip(axes, rows, strict=True)):
        pictures: list[NDArray[np.uint8] | None] = [row.image_HW3]
        pictures += [row.truth_HW if row.truth_HW is None else colored(row.truth_HW, classes)] * truth
        for name in masked:
            mask = row.explanations[name].mask_HW
            pictures.append(mask if mask is None else colored(mask, classes))
        for axis, picture in zip(line, pictures):
            if picture is not None:
                axis.imshow(picture, interpolation="nearest")
        maps = [(insight, insight.maps[layer]) for insight in row.explanations.values() for layer in layers]
        for axis, (insight, map_hw) in zip(line[len(pictures) :], maps, strict=True):
            grey = cv2.cvtColor(row.image_HW3, cv2.COLOR_RGB2GRAY)
            axis.imshow(grey, cmap="gray", vmin=0, vmax=255)
            heat = axis.imshow(
                shares(map_hw), cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=insight.view, interpolation="bilinear"
            )
        for axis, title in zip(line, titles, strict=True):
            axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if number == 0:
                axis.set_title(title, fontsize=9)
        line[0].set_ylabel(row.name, fontsize=7, color="0.35")
    if heat is not None:
        bar = figure.colorbar(heat, ax=axes[:, -1].tolist(), fraction=0.05, pad=0.02)
        bar.set_label("activation, share of the map's maximum", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        bar.solids.set_alpha(1)  # type: ignore[union-attr]  # made by the line above
        bar.outline.set_visible(False)  # type: ignore[operator]  # matplotlib's stub has the wrong type here
    if legend:
        patches = [
            Patch(facecolor="#{:02x}{:02x}{:02x}".format(*color), edgecolor="0.4", label=name)
            for name, color in classes
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    save(figure, path, pdf)


def shares(map_hw: Floats) -> Floats:
    """A map divided by its maximum; a map of zeros stays zero."""
    return map_hw / max(float(map_hw.max()), 1e-30)
