"""From raw pixels of any size and colour order to the network's input; part of the exported file.

The same functions resize the frames that the trainer reads, so that training and running see equal pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vlocnetpp.geometry import central_view, scale_intrinsics
from vlocnetpp.network.config import ViewConfig
from vlocnetpp.network.resize import antialiased, nearest


def resize_image(image_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize of 0..255 values, rounded as a stored 8-bit image would be."""
    if image_BCHW.shape[-2] == height and image_BCHW.shape[-1] == width:
        return image_BCHW
    return round_levels(antialiased(image_BCHW, height, width))


def round_levels(image_BCHW: Tensor) -> Tensor:
    """Round to whole levels of 0..255, the same in every runtime. Where two sizes have a common factor, a resize puts
    many pixels exactly between two levels, and the rounding error of each runtime decides. A small shift before
    rounding avoids that: it is larger than this error, about 0.00003, and coincides with no likely fraction of a
    resize.
    """
    return (image_BCHW + 0.0007).round().clamp(0.0, 255.0)


def resize_depth(depth_B1HW: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour resize: depths of two surfaces are never mixed, and unknown stays unknown."""
    return nearest(depth_B1HW, height, width)


class Preprocess(nn.Module):
    """Channel order, resize, centre crop; intrinsics and depth follow."""

    def __init__(self, height: int, width: int, whole: bool, focal_correction: float = 1.0) -> None:
        super().__init__()
        self.height, self.width, self.whole = height, width, whole
        self.focal_correction = focal_correction

    def forward(
        self, image_BHWC: Tensor, channels_3: Tensor, K_B33: Tensor, depth_B1HW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Network input (B, 3, h, w) RGB 0..255, intrinsics (B, 3, 3) and depth (B, 1, h, w) at its resolution.

        Args:
            image_BHWC: uint8 as the camera gave it.
            channels_3: which channel of the image is red, green, blue, e.g. 2, 1, 0 for bgra8.
            depth_B1HW: metres, aligned with the image, of any resolution; (B, 1, 1, 1) zeros where there is none.
        """
        height, width = image_BHWC.shape[1], image_BHWC.shape[2]
        rows, columns, top, left = central_view(height, width, self.height, self.width, self.whole)
        image = image_BHWC.index_select(3, channels_3).permute(0, 3, 1, 2).to(K_B33.dtype)
        image = resize_image(image, rows, columns)[:, :, top : top + self.height, left : left + self.width]
        depth = resize_depth(depth_B1HW, rows, columns)[:, :, top : top + self.height, left : left + self.width]
        K = correct_focal(K_B33, self.focal_correction)
        K = scale_intrinsics(K, columns / width, rows / height, float(left), float(top))
        return torch.clone(image), K, depth


def correct_focal(K_B33: Tensor, factor: float) -> Tensor:
    """Intrinsics (..., 3, 3) with both focal lengths multiplied."""
    K = K_B33.clone()
    K[..., 0, 0] = K[..., 0, 0] * factor
    K[..., 1, 1] = K[..., 1, 1] * factor
    return K


def network_intrinsics(
    view: ViewConfig, K_33: NDArray[np.float64], height: int, width: int
) -> tuple[tuple[float, ...], ...]:
    """Intrinsics at the network's resolution of a camera whose images are `height` x `width`."""
    rows, columns, top, left = central_view(height, width, view.height, view.width_px, view.resize == "whole")
    K = scale_intrinsics(torch.from_numpy(np.asarray(K_33, np.float64)), columns / width, rows / height, left, top)
    return tuple(tuple(row) for row in K.tolist())
