"""ORB keypoints and their matches between two images (Rublee et al. 2011; the ratio test is Lowe's)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.peers.peer import Image
from vlocnetpp.poses import Floats

KEYPOINTS = 2000
"""At most so many in an image."""
FAST_THRESHOLD = 7
"""Threshold of a corner in grey levels; OpenCV's 20 finds none on indoor walls."""
RATIO = 0.8
"""The best match must be that much nearer than the second best."""


class Keypoints(NamedTuple):
    """Corners of an image."""

    pixels_N2: Floats
    """x, y in the whole image."""
    descriptors_N32: NDArray[np.uint8]


def find_keypoints(image_HW3: Image) -> Keypoints:
    """The corners of an image; N is 0 where it has no texture or is smaller than ORB's patch."""
    orb = cv2.ORB_create(KEYPOINTS, fastThreshold=FAST_THRESHOLD)  # type: ignore[attr-defined]
    found, descriptors = orb.detectAndCompute(cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY), None)
    if descriptors is None:
        return Keypoints(np.empty((0, 2)), np.empty((0, 32), np.uint8))
    return Keypoints(np.array([each.pt for each in found], np.float64), descriptors)


def match(here_N32: NDArray[np.uint8], there_M32: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pairs (P, 2) of indices into both sets, of descriptors that match unambiguously."""
    if not len(here_N32) or len(there_M32) < 2:  # the ratio test needs a second best
        return np.empty((0, 2), np.int64)
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(here_N32, there_M32, k=2)
    kept = [(best.queryIdx, best.trainIdx) for best, second in pairs if best.distance < RATIO * second.distance]
    return np.array(kept, np.int64).reshape(-1, 2)
