"""What a CameraInfo says of the images beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo


@dataclass(frozen=True)
class Camera:
    """What a CameraInfo says of the images beside it."""

    K_33: NDArray[np.float64]
    """Pinhole intrinsics, pixels."""
    width: int
    height: int


def camera(message: CameraInfo, image_topic: str) -> Camera | None:
    """The intrinsics of a CameraInfo, or None where the camera is not calibrated (fx or fy is not positive).

    A driver that rectifies may leave K unchanged, or out: for a distorted camera or without K, and a topic with "rect"
    in its name, P has the image's intrinsics. Bags are converted to training data by the same rule.
    """
    K_33: NDArray[np.float64] = np.asarray(message.k, dtype=np.float64).reshape(3, 3)
    if (any(message.d) or not K_33[0, 0] > 0) and "rect" in image_topic and message.p[0] > 0:
        K_33 = np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3]
    if not np.isfinite(K_33).all() or K_33[0, 0] <= 0.0 or K_33[1, 1] <= 0.0:
        return None
    return Camera(K_33, message.width, message.height)
