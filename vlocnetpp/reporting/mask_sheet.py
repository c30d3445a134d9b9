"""A picture of the segmentation: images beside their masks and, where there is one, the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.reporting.files import replacing

Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]
"""Image (H, W, 3) RGB, predicted ids (H, W), true ids (H, W) or None."""


def colored(mask_HW: NDArray[np.uint8], classes: Sequence[tuple[str, tuple[int, int, int]]]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB in the colours of the classes; what is unlabelled or unknown is black."""
    palette = np.zeros((256, 3), np.uint8)
    for i, (_, color) in enumerate(classes):
        palette[i] = color
    return palette[mask_HW]


def plot_masks(path: Path, rows: Sequence[Row], classes: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Draw a sheet of frames, a row each, with a legend of the classes, as PNG.

    Raises ValueError without a row and DataError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not rows:
        raise ValueError("a sheet needs at least one frame")
    titles = ["image", "segmentation"] + ["ground truth"] * any(truth is not None for _, _, truth in rows)
    height, width = rows[0][0].shape[:2]
    figure = Figure(figsize=(3.0 * len(titles), 3.0 * len(rows) * height / width + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for number, (line, (image, mask, truth)) in enumerate(zip(axes, rows, strict=True)):
        pictures = [image, colored(mask, classes), colored(truth, classes) if truth is not None else None]
        for axis, title, picture in zip(line, titles, pictures, strict=False):
            axis.set_axis_off()
            if picture is not None:
                axis.imshow(picture, interpolation="nearest")
            if number == 0:
                axis.set_title(title, fontsize=10)
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*color), edgecolor="0.4", label=name) for name, color in classes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
