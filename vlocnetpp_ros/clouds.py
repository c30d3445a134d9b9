"""Point clouds: the map from the model file, and the camera's view, coloured by class."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from vlocnetpp_ros.frames import Floats

STRIDE = 4
"""Of a depth image every so many rows and columns become points: 14400 of 720p."""
FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "rgb"))
]
"""As RViz and Foxglove read colours: 0x00RRGGBB in the bits of a float."""


def cloud_message(header: Header, xyz_N3: NDArray[np.floating], rgb_N3: NDArray[np.uint8]) -> PointCloud2:
    """A PointCloud2 of coloured points, metres in the header's frame; those that are not finite are left out."""
    kept = np.isfinite(xyz_N3).all(axis=1)
    packed = np.zeros((int(kept.sum()), 4), np.float32)
    packed[:, :3] = xyz_N3[kept]
    red, green, blue = rgb_N3[kept].astype(np.uint32).T
    packed[:, 3] = (red << 16 | green << 8 | blue).view(np.float32)
    count = len(packed)
    message = PointCloud2(header=header, height=1, width=count, fields=FIELDS, is_dense=True)
    message.point_step, message.row_step = 16, 16 * count
    message.data = packed.tobytes()
    return message


def points_of_depth(depth_HW: NDArray[np.float32], K_33: Floats) -> NDArray[np.float32]:
    """(H, W, 3) points in the optical frame, NaN where the depth is unknown (0 or NaN)."""
    height, width = depth_HW.shape
    x_W = (np.arange(width) - K_33[0, 2]) / K_33[0, 0]
    y_H = (np.arange(height) - K_33[1, 2]) / K_33[1, 1]
    known_HW = np.where(depth_HW > 0, depth_HW, np.nan)
    return np.stack((x_W[None] * known_HW, y_H[:, None] * known_HW, known_HW), axis=-1).astype(np.float32)


def at_size(colors_HW3: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Colours at the size of the points, each that of the nearest pixel."""
    return np.asarray(cv2.resize(colors_HW3, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
