"""SIFT keypoints with RootSIFT descriptors (Lowe 2004; Arandjelovic and Zisserman 2012)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.poses import Floats

KEYPOINTS = 1000
"""At most so many in an image, those with the highest contrast."""
CONTRAST = 0.04
"""OpenCV's own least contrast of a keypoint."""
LONG_SIDE = 640
"""Pixels to which larger images are reduced."""


class Features(NamedTuple):
    """Keypoints of an image; none where it has no texture."""

    pixels_N2: Floats
    """x, y in the whole image; pixel centres lie on integers."""
    descriptors_ND: NDArray[np.float32]
    """Of unit length, D = 128."""


def find_features(image_HW3: NDArray[np.uint8], keypoints: int = KEYPOINTS, contrast: float = CONTRAST) -> Features:
    """The keypoints of an RGB image, at most `keypoints`, of at least this contrast."""
    grey = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, LONG_SIDE / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    detector = cv2.SIFT.create(keypoints, contrastThreshold=contrast)
    found, descriptors = detector.detectAndCompute(grey, None)
    if not found:
        return Features(np.empty((0, 2)), np.empty((0, 128), np.float32))
    total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
    pixels = (np.array([each.pt for each in found], np.float64) + 0.5) / scale - 0.5
    return Features(pixels, np.sqrt(descriptors / total))
