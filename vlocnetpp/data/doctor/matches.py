"""Evidence from the images alone: points found again in another frame, with their depth where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Frame

Floats = NDArray[np.float64]

FEATURES = 400
WORKING_WIDTH = 400
"""Larger images are searched at about this width, pixels; points come back in pixels of the stored image."""
LEAST_MATCHES = 20
"""A pair with fewer points in common is not used."""
_RATIO = 0.85
_CACHED = 1000


@dataclass(frozen=True)
class Pair:
    """Two frames of one sequence and the points that both show."""

    first: Frame
    second: Frame
    x1_N2: Floats
    """Pixels in the first image."""
    x2_N2: Floats
    z1_N: Floats
    """Metres along the optical axis at these pixels; NaN = unknown."""
    z2_N: Floats
    width: int
    """Of the images, pixels."""

    @property
    def has_depth(self) -> bool:
        """Whether enough points have a depth in the first image, to be moved by it."""
        return int(np.isfinite(self.z1_N).sum()) >= LEAST_MATCHES

    @property
    def has_both_depths(self) -> bool:
        """Whether enough points have a depth in both images."""
        return int((np.isfinite(self.z1_N) & np.isfinite(self.z2_N)).sum()) >= LEAST_MATCHES

    @property
    def displacement(self) -> float:
        """How far the points move, median, as a share of the image width."""
        return float(np.median(np.linalg.norm(self.x2_N2 - self.x1_N2, axis=1))) / self.width


@dataclass(frozen=True)
class Features:
    """Points of one image that can be found again."""

    x_N2: Floats
    z_N: Floats
    descriptors_ND: NDArray[np.float32]
    width: int


def match_frames(first: Frame, second: Frame) -> Pair | None:
    """Points of one frame found in another, without those that fit no rigid motion.

    None where they have fewer than `LEAST_MATCHES` in common or one of them cannot be read. Poses and K play no part.
    """
    a, b = features_of(first), features_of(second)
    if a is None or b is None or min(len(a.x_N2), len(b.x_N2)) < LEAST_MATCHES or a.width != b.width:
        return None
    pairs = _mutual(a.descriptors_ND, b.descriptors_ND)
    if len(pairs) < LEAST_MATCHES:
        return None
    x1, x2 = a.x_N2[pairs[:, 0]], b.x_N2[pairs[:, 1]]
    # A fundamental matrix is the weakest constraint of a rigid motion; a single wall fits many, which does no harm
    # here.
    _, inlier = cv2.findFundamentalMat(x1, x2, cv2.FM_RANSAC, 1.5 * max(a.width / WORKING_WIDTH, 0.7), 0.99, 1000)
    if inlier is None or int(inlier.sum()) < LEAST_MATCHES:
        return None
    kept = pairs[inlier.ravel().astype(bool)]
    return Pair(first, second, a.x_N2[kept[:, 0]], b.x_N2[kept[:, 1]], a.z_N[kept[:, 0]], b.z_N[kept[:, 1]], a.width)


def count_matches(first: Frame, second: Frame) -> int:
    """How many points of one frame look like one of another, whether or not they fit a rigid motion."""
    a, b = features_of(first), features_of(second)
    if a is None or b is None or min(len(a.x_N2), len(b.x_N2)) < LEAST_MATCHES:
        return 0
    return len(_mutual(a.descriptors_ND, b.descriptors_ND))


def features_of(frame: Frame) -> Features | None:
    """SIFT points (Lowe 2004) of a frame with their depths; None if its image cannot be read."""
    files = [path for path in (frame.image_path, frame.depth_path) if path is not None and path.is_file()]
    return _features(_Key(frame, tuple((path.resolve(), path.stat().st_mtime_ns) for path in files)))


@dataclass(frozen=True)
class _Key:
    """A frame in a cache: known by its files, because its arrays have no hash."""

    frame: Frame = field(compare=False)
    files: tuple[tuple[Path, int], ...]


@lru_cache(maxsize=_CACHED)
def _features(key: _Key) -> Features | None:
    frame = key.frame
    try:
        grey = cv2.cvtColor(frame.image(), cv2.COLOR_RGB2GRAY)
    except DataError:
        return None  # the survey of the images has a finding for it
    try:
        depth = frame.depth()
    except DataError:
        depth = None  # and for this; poses are then judged without it
    width = grey.shape[1]
    shrink = max(1, round(width / WORKING_WIDTH))
    if shrink > 1:
        grey = cv2.resize(grey, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT.create(FEATURES, contrastThreshold=0.02).detectAndCompute(grey, None)
    x = np.array([point.pt for point in points], np.float64).reshape(-1, 2)
    x = (x + 0.5) * shrink - 0.5
    z = np.full(len(x), np.nan)
    if depth is not None and depth.shape[1] == width and len(x):
        u, v = np.rint(x).astype(int).clip(0, (width - 1, depth.shape[0] - 1)).T
        z[:] = np.where(depth[v, u] > 0, depth[v, u], np.nan)
    if not len(points):
        return Features(x, z, np.empty((0, 128), np.float32), width)
    return Features(x, z, np.asarray(descriptors, np.float32), width)


def _mutual(a_ND: NDArray[np.float32], b_MD: NDArray[np.float32]) -> NDArray[np.intp]:
    """(P, 2) places of descriptors that are each other's nearest, clearly nearer than the second (Lowe's ratio)."""
    square_NM = (a_ND**2).sum(axis=1)[:, None] + (b_MD**2).sum(axis=1) - 2 * a_ND @ b_MD.T
    nearest = square_NM.argmin(axis=1)
    two = np.partition(square_NM, 1, axis=1)[:, :2]
    rows = np.arange(len(a_ND))
    good = (two[:, 0] < _RATIO**2 * two[:, 1]) & (square_NM.argmin(axis=0)[nearest] == rows)
    return np.column_stack([rows[good], nearest[good]])
