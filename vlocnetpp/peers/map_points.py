"""From pixels of training frames to map points by depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.peers.peer import pose_of
from vlocnetpp.poses import Floats, transform

FEWEST_INLIERS = 12
"""With fewer a peer gives no pose."""


def camera_points(frame: Frame, pixels_N2: Floats, size_2: tuple[int, int], depth_HW: NDArray[np.float32]) -> Floats:
    """Points (N, 3) in the camera, metres, of pixels of an image of (width, height); a depth of 0 where it is unknown.

    A depth image may be smaller than its image. The depth is that of the nearest pixel.
    """
    last = np.array(depth_HW.shape[::-1]) - 1
    # Pixel centres lie on integers.
    scale = np.array(depth_HW.shape[::-1]) / size_2
    column_N, row_N = np.rint((pixels_N2 + 0.5) * scale - 0.5).astype(int).clip(0, last).T
    z_N1 = depth_HW[row_N, column_N, None].astype(np.float64)
    focal, centre = frame.K_33[[0, 1], [0, 1]], frame.K_33[:2, 2]
    return np.hstack([(pixels_N2 - centre) / focal * z_N1, z_N1])


def lift(frame: Frame, pixels_N2: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Map points (N, 3) of a training frame's pixels by its depth, and which of them (N,) have a depth at all."""
    image_HW3, depth_HW = frame.image(), frame.depth()
    assert depth_HW is not None, "only frames with depth are mapped"
    camera_N3 = camera_points(frame, pixels_N2, (image_HW3.shape[1], image_HW3.shape[0]), depth_HW)
    return transform(pose_of(frame), camera_N3), camera_N3[:, 2] > 0
