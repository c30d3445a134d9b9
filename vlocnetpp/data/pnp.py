"""The pose of a camera from points of the map and the pixels where it sees them (PnP)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.poses import Floats

INLIER_PX = 3.0
ITERATIONS = 1000
REFINED_WITHIN = (3, 2, 1)
"""Rounds of least squares, on the points within so many times the distance of an inlier. On a wall two poses see nearly
the same; the wider set leads out of the wrong one."""


def solve_pnp(
    points_N3: Floats, pixels_N2: Floats, K_33: Floats, fewest: int, inlier_px: float | None = None
) -> tuple[Floats, NDArray[np.bool_]] | None:
    """The camera-to-world pose (7,) from which map points are seen at pixels, and which points (N,) are its inliers.

    AP3P in RANSAC, then Levenberg-Marquardt on the inliers, which are within `inlier_px`, by default `INLIER_PX`. None
    with fewer than `fewest` of them.
    """
    inlier_px = INLIER_PX if inlier_px is None else inlier_px
    if len(points_N3) < fewest:
        return None
    solved, turn, shift, _ = cv2.solvePnPRansac(
        points_N3, pixels_N2, K_33, None, iterationsCount=ITERATIONS, reprojectionError=inlier_px, confidence=0.9999,
        flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not solved:
        return None
    for times in REFINED_WITHIN:
        inlier_N = _inliers(points_N3, pixels_N2, K_33, turn, shift, times * inlier_px)
        if inlier_N.sum() < fewest:
            return None
        turn, shift = cv2.solvePnPRefineLM(points_N3[inlier_N], pixels_N2[inlier_N], K_33, None, turn, shift)
    inlier_N = _inliers(points_N3, pixels_N2, K_33, turn, shift, inlier_px)
    if inlier_N.sum() < fewest:
        return None
    T_44 = np.eye(4)
    T_44[:3, :3] = cv2.Rodrigues(turn)[0].T
    T_44[:3, 3] = -T_44[:3, :3] @ shift[:, 0]
    return pose_from_matrix(T_44, "PnP"), inlier_N


def _inliers(
    points_N3: Floats, pixels_N2: Floats, K_33: Floats, turn: NDArray, shift: NDArray, within_px: float
) -> NDArray[np.bool_]:
    """Which points (N,) lie before the camera and project to within so many pixels of where they were seen."""
    projected = cv2.projectPoints(points_N3, turn, shift, K_33, None)[0][:, 0]  # type: ignore[call-overload]
    depth_N = points_N3 @ cv2.Rodrigues(turn)[0][2] + shift[2]
    return (depth_N > 0) & (np.linalg.norm(projected - pixels_N2, axis=1) < within_px)
