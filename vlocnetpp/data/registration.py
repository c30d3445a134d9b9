"""Depth images reprojected from a depth camera into the colour camera beside it.

Some recordings, 7-Scenes among them, give the K and the poses of the depth camera, and depth images that are not
registered to the colour images. For labels that combine the two, the error reaches degrees at the border of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.errors import DataError

NEAREST_M = 0.05
"""Points closer than this to the colour camera are not seen."""


@dataclass(frozen=True)
class DepthCameraConfig:
    """Where the depth camera of a recording is, whose depth is not registered to the colour images."""

    focal: float = 1.0
    """Its focal lengths as a share of those of the colour camera; 1 where depth is registered."""
    offset_m: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Metres: its place in the colour camera, x right, y down, z forward."""

    def __post_init__(self) -> None:
        if not 0 < self.focal <= 10 or len(self.offset_m) != 3:
            raise DataError("data.depth_camera: focal must be positive, at most 10, offset_m three numbers")


REGISTERED = DepthCameraConfig()
"""Depth is registered to colour."""


def register_depth(
    depth_HW: NDArray[np.float32], K_33: NDArray[np.float64], camera: DepthCameraConfig
) -> NDArray[np.float32]:
    """Depth (H, W) in metres along the colour camera's axis, 0 = unknown, at the colour camera's pixels.

    Each pixel is drawn as a point into the four pixels around where it falls; the nearest point is seen.

    Args:
        depth_HW: metres, 0 = unknown, of the depth camera.
        K_33: of the colour camera; the depth camera has the same centre and `camera.focal` times the focal lengths.
    """
    height, width = depth_HW.shape
    v, u = np.nonzero(depth_HW)
    z = depth_HW[v, u].astype(np.float64)
    (fx, fy), (cx, cy) = K_33[[0, 1], [0, 1]], K_33[:2, 2]
    points_N3 = np.column_stack([(u - cx) / (fx * camera.focal) * z, (v - cy) / (fy * camera.focal) * z, z])
    points_N3 += camera.offset_m
    points_N3 = points_N3[points_N3[:, 2] > NEAREST_M]
    across = points_N3[:, 0] / points_N3[:, 2] * fx + cx
    down = points_N3[:, 1] / points_N3[:, 2] * fy + cy
    seen = np.full((height, width), np.inf)
    for column in (np.floor(across), np.ceil(across)):
        for row in (np.floor(down), np.ceil(down)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            np.minimum.at(seen, (row[inside].astype(int), column[inside].astype(int)), points_N3[inside, 2])
    return np.where(np.isfinite(seen), seen, 0).astype(np.float32)
