"""Structure-based localization: ORB keypoints lifted to the map by depth, and the camera pose from them by PnP.

Candidates by image retrieval, then 2D-3D matches, AP3P in RANSAC and Levenberg-Marquardt on the inliers: the scheme of
Sattler et al. 2017 and of hloc, with OpenCV's methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.peers.orb import find_keypoints, match
from vlocnetpp.peers.peer import Image, Peer, PeerMap, pose_of
from vlocnetpp.peers.vlad import build_index
from vlocnetpp.poses import Floats, rotate
from vlocnetpp.progress import track

CANDIDATES = 5
"""Training images whose points are matched."""
INLIER_PX = 3.0
MIN_INLIERS = 12
"""With fewer there is no answer."""
ITERATIONS = 1000
REFINED_WITHIN_PX = (3 * INLIER_PX, 2 * INLIER_PX, INLIER_PX)
"""Rounds of least squares. On a wall two poses see nearly the same; the wider set leads out of the wrong one."""


class Landmarks(NamedTuple):
    """The keypoints of a training image that have a depth."""

    points_N3: NDArray[np.float32]
    """In the map, metres."""
    descriptors_N32: NDArray[np.uint8]


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """A map of the training frames that have depth; the others are left out."""
    mapped = [frame for frame in train_frames if frame.depth_path is not None]
    index = build_index(mapped, ORB_PNP.name)
    landmarks = [find_landmarks(frame) for frame in track(mapped, f"{ORB_PNP.name}: landmarks")]

    def locate(frame: Frame, image_HW3: Image) -> Floats | None:
        descriptor = index.describe(image_HW3)
        if descriptor is None:
            return None
        here = find_keypoints(image_HW3)
        points, pixels = [], []
        for candidate in index.frame_N[index.nearest(descriptor, CANDIDATES)]:
            pairs = match(here.descriptors_N32, landmarks[candidate].descriptors_N32)
            pixels.append(here.pixels_N2[pairs[:, 0]])
            points.append(landmarks[candidate].points_N3[pairs[:, 1]])
        return solve_pose(np.concatenate(points).astype(np.float64), np.concatenate(pixels), frame.K_33)

    return PeerMap(locate, index.nbytes + sum(array.nbytes for each in landmarks for array in each))


def find_landmarks(frame: Frame) -> Landmarks:
    """Lift a training frame's keypoints by the depth of the nearest pixel; those without depth are dropped."""
    image_HW3, depth_HW = frame.image(), frame.depth()
    assert depth_HW is not None, "only frames with depth are mapped"
    found = find_keypoints(image_HW3)
    last = np.array(depth_HW.shape[::-1]) - 1
    # A depth image may be smaller than its image; pixel centres lie on integers.
    scale = np.array(depth_HW.shape[::-1]) / image_HW3.shape[1::-1]
    column_N, row_N = np.rint((found.pixels_N2 + 0.5) * scale - 0.5).astype(int).clip(0, last).T
    z_N1 = depth_HW[row_N, column_N, None].astype(np.float64)
    focal, centre = frame.K_33[[0, 1], [0, 1]], frame.K_33[:2, 2]
    camera_N3 = np.hstack([(found.pixels_N2 - centre) / focal * z_N1, z_N1])
    pose = pose_of(frame)
    map_N3 = rotate(np.tile(pose[3:], (len(camera_N3), 1)), camera_N3) + pose[:3]
    known = z_N1[:, 0] > 0
    return Landmarks(map_N3[known].astype(np.float32), found.descriptors_N32[known])


def solve_pose(points_N3: Floats, pixels_N2: Floats, K_33: Floats) -> Floats | None:
    """The camera-to-world pose (7,) from which map points are seen at pixels; None with too few inliers."""
    if len(points_N3) < MIN_INLIERS:
        return None
    solved, turn, shift, _ = cv2.solvePnPRansac(
        points_N3, pixels_N2, K_33, None, iterationsCount=ITERATIONS, reprojectionError=INLIER_PX, confidence=0.9999,
        flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not solved:
        return None
    for within_px in REFINED_WITHIN_PX:
        inlier_N = inliers(points_N3, pixels_N2, K_33, turn, shift, within_px)
        if inlier_N.sum() < MIN_INLIERS:
            return None
        turn, shift = cv2.solvePnPRefineLM(points_N3[inlier_N], pixels_N2[inlier_N], K_33, None, turn, shift)
    if inliers(points_N3, pixels_N2, K_33, turn, shift, INLIER_PX).sum() < MIN_INLIERS:
        return None
    T_44 = np.eye(4)
    T_44[:3, :3] = cv2.Rodrigues(turn)[0].T
    T_44[:3, 3] = -T_44[:3, :3] @ shift[:, 0]
    return pose_from_matrix(T_44, ORB_PNP.name)


def inliers(
    points_N3: Floats, pixels_N2: Floats, K_33: Floats, turn: NDArray, shift: NDArray, within_px: float
) -> NDArray[np.bool_]:
    """Which points (N,) lie before the camera and project to within so many pixels of where they were seen."""
    projected = cv2.projectPoints(points_N3, turn, shift, K_33, None)[0][:, 0]  # type: ignore[call-overload]
    depth_N = points_N3 @ cv2.Rodrigues(turn)[0][2] + shift[2]
    return (depth_N > 0) & (np.linalg.norm(projected - pixels_N2, axis=1) < within_px)


ORB_PNP = Peer(
    "ORB + depth map + PnP",
    build,
    f"2D-3D matches with the {CANDIDATES} most similar training images, PnP in RANSAC, refined on the inliers",
    needs=("depth",),
)
