"""Images of another camera as the training camera would have taken them from the same place.

Both are pinholes at one point, so the change is exact: x' = K_training inv(K) x for every pixel, whatever the depth.
What the other camera does not see stays black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.encodings import VOID
from vlocnetpp_ros.frames import Floats

SAME = 1e-3
"""Relative difference of intrinsics below which nothing is remapped."""


@dataclass(frozen=True)
class View:
    """Maps pixels of one camera to the training camera's image of the same size, and masks back."""

    forward_map: tuple[NDArray[np.float32], NDArray[np.float32]]
    """(H, W) columns and rows of the image for each pixel of the training camera."""
    backward_map: tuple[NDArray[np.float32], NDArray[np.float32]]
    covered: float
    """Share of the training camera's view that the image fills, 0 to 1."""

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) or (H, W, C) uint8, bilinear, black outside."""
        return np.asarray(cv2.remap(image, *self.forward_map, cv2.INTER_LINEAR), np.uint8)

    def depth(self, depth_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W) metres, nearest, so that surfaces do not mix; 0, unknown, outside. Depth is along z: it stays."""
        return np.asarray(cv2.remap(depth_HW, *self.forward_map, cv2.INTER_NEAREST), np.float32)

    def mask(self, mask_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of the training camera's view, mapped to the pixels of the image; 255 outside the view."""
        border: Any = VOID
        mapped = cv2.remap(
            mask_HW, *self.backward_map, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=border
        )
        return np.asarray(mapped, np.uint8)


def view(K_33: Floats, training_K_33: Floats, height: int, width: int) -> View | None:
    """The mapping from a camera with `K_33` to the training camera's intrinsics at this image size; None if they
    agree.
    """
    if np.allclose(K_33, training_K_33, rtol=SAME, atol=SAME * width):
        return None
    forward_map = _map(training_K_33, K_33, height, width)
    inside = [(each >= 0) & (each <= limit - 1) for each, limit in zip(forward_map, (width, height))]
    covered = float((inside[0] & inside[1]).mean())
    return View(forward_map, _map(K_33, training_K_33, height, width), covered)


def _map(from_33: Floats, to_33: Floats, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each pixel of a camera with `from_33`, where the same ray lies in a camera with `to_33`."""
    columns = to_33[0, 0] * (np.arange(width) - from_33[0, 2]) / from_33[0, 0] + to_33[0, 2]
    rows = to_33[1, 1] * (np.arange(height) - from_33[1, 2]) / from_33[1, 1] + to_33[1, 2]
    x_HW, y_HW = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return x_HW, y_HW
