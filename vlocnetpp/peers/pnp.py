"""From pixels of training frames to map points by depth, and from map points seen at pixels to the camera's pose."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.peers.peer import pose_of
from vlocnetpp.poses import Floats, rotate

INLIER_PX = 3.0
MIN_INLIERS = 12
"""With fewer there is no answer."""
ITERATIONS = 1000
REFINED_WITHIN = (3, 2, 1)
"""Rounds of least squares, on the points within so many times `INLIER_PX`. On a wall two poses see nearly the same; the
wider set leads out of the wrong one."""


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


def map_points(pose_7: Floats, camera_N3: Floats) -> Floats:
    """Points (N, 3) in the map from points in a camera at this pose."""
    return rotate(np.tile(pose_7[3:], (len(camera_N3), 1)), camera_N3) + pose_7[:3]


def lift(frame: Frame, pixels_N2: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Map points (N, 3) of a training frame's pixels by its depth, and which of them (N,) have a depth at all."""
    image_HW3, depth_HW = frame.image(), frame.depth()
    assert depth_HW is not None, "only frames with depth are mapped"
    camera_N3 = camera_points(frame, pixels_N2, (image_HW3.shape[1], image_HW3.shape[0]), depth_HW)
    return map_points(pose_of(frame), camera_N3), camera_N3[:, 2] > 0


def solve_pose(points_N3: Floats, pixels_N2: Floats, K_33: Floats) -> Floats | None:
    """The camera-to-world pose (7,) from which map points are seen at pixels; None with too few inliers.

    AP3P in RANSAC, then Levenberg-Marquardt on the inliers.
    """
    if len(points_N3) < MIN_INLIERS:
        return None
    solved, turn, shift, _ = cv2.solvePnPRansac(
        points_N3, pixels_N2, K_33, None, iterationsCount=ITERATIONS, reprojectionError=INLIER_PX, confidence=0.9999,
        flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not solved:
        return None
    for times in REFINED_WITHIN:
        inlier_N = inliers(points_N3, pixels_N2, K_33, turn, shift, times * INLIER_PX)
        if inlier_N.sum() < MIN_INLIERS:
            return None
        turn, shift = cv2.solvePnPRefineLM(points_N3[inlier_N], pixels_N2[inlier_N], K_33, None, turn, shift)
    if inliers(points_N3, pixels_N2, K_33, turn, shift, INLIER_PX).sum() < MIN_INLIERS:
        return None
    T_44 = np.eye(4)
    T_44[:3, :3] = cv2.Rodrigues(turn)[0].T
    T_44[:3, 3] = -T_44[:3, :3] @ shift[:, 0]
    return pose_from_matrix(T_44, "PnP")


def inliers(
    points_N3: Floats, pixels_N2: Floats, K_33: Floats, turn: NDArray, shift: NDArray, within_px: float
) -> NDArray[np.bool_]:
    """Which points (N,) lie before the camera and project to within so many pixels of where they were seen."""
    projected = cv2.projectPoints(points_N3, turn, shift, K_33, None)[0][:, 0]  # type: ignore[call-overload]
    depth_N = points_N3 @ cv2.Rodrigues(turn)[0][2] + shift[2]
    return (depth_N > 0) & (np.linalg.norm(projected - pixels_N2, axis=1) < within_px)
