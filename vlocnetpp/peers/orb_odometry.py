"""Visual odometry of two views: the essential matrix of matched ORB keypoints.

Five points (Nister 2004) in MAGSAC++ (Barath et al. 2020), OpenCV's RANSAC that refines what it finds: between frames
of a video the parallax is a pixel or two, and the motion from five points alone is worse than none.
"""

from __future__ import annotations

import cv2
import numpy as np

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.peers.odometry import IDENTITY_7, OdometryPeer, Step
from vlocnetpp.peers.orb import Keypoints, find_keypoints, match
from vlocnetpp.peers.peer import Depth, Image, pose_of
from vlocnetpp.poses import Floats

MIN_MATCHES = 12
"""With fewer there is no answer."""
INLIER_PX = 0.5
FAR_BASELINES = 1e6
"""Largest distance of a point, in lengths of the motion, in the choice among the four motions of an essential matrix.
OpenCV's 50 are less than a metre between frames of a slow camera: no point would be left."""
STILL_PX = 0.5
"""Median displacement of the matches below which the camera stood still: any essential matrix would fit."""


def start() -> Step:
    """ORACLE for scale: the length of each motion is taken from the ground truth, since one camera cannot measure
    it.
    """
    last: tuple[Keypoints, Floats] | None = None

    def step(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        nonlocal last
        before, here = last, find_keypoints(image_HW3)
        last = here, pose_of(frame)
        if before is None:
            return None
        pairs = match(here.descriptors_N32, before[0].descriptors_N32)
        metres = float(np.linalg.norm(pose_of(frame)[:3] - before[1][:3]))
        return solve_motion(before[0].pixels_N2[pairs[:, 1]], here.pixels_N2[pairs[:, 0]], frame.K_33, metres)

    return step


def solve_motion(before_N2: Floats, here_N2: Floats, K_33: Floats, metres: float) -> Floats | None:
    """`inv(T_prev) @ T_cur` (7,) of that length from matched pixels; no motion if they stand still; None if too few."""
    if len(before_N2) < MIN_MATCHES:
        return None
    if np.median(np.linalg.norm(here_N2 - before_N2, axis=1)) < STILL_PX:
        return IDENTITY_7
    essential, inlier = cv2.findEssentialMat(
        before_N2, here_N2, K_33, method=cv2.USAC_MAGSAC, prob=0.999, threshold=INLIER_PX
    )
    if essential is None or essential.shape != (3, 3):  # degenerate: none, or several that fit as well
        return None
    _, R_33, direction, _, _ = cv2.recoverPose(
        essential, before_N2, here_N2, K_33, distanceThresh=FAR_BASELINES, mask=inlier
    )
    T_44 = np.eye(4)
    T_44[:3, :3], T_44[:3, 3] = R_33.T, -metres * (R_33.T @ direction[:, 0])
    return pose_from_matrix(T_44, ORB_ESSENTIAL.name)


ORB_ESSENTIAL = OdometryPeer(
    "ORB essential matrix",
    start,
    "length of each motion from the ground truth; direction and rotation from matched keypoints",
    oracle=True,
)
