"""Structure-based localization: ORB keypoints lifted to the map by depth, and the camera pose from them by PnP.

Candidates by image retrieval, then 2D-3D matches, AP3P in RANSAC and Levenberg-Marquardt on the inliers: the scheme of
Sattler et al. 2017 and of hloc, with OpenCV's methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.pnp import solve_pnp
from vlocnetpp.peers.map_points import FEWEST_INLIERS, lift
from vlocnetpp.peers.orb import find_keypoints, match
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap
from vlocnetpp.peers.vlad import build_index
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track

CANDIDATES = 5
"""Training images whose points are matched."""


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

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        descriptor = index.describe(image_HW3)
        if descriptor is None:
            return None
        here = find_keypoints(image_HW3)
        points, pixels = [], []
        for candidate in index.frame_N[index.nearest(descriptor, CANDIDATES)]:
            pairs = match(here.descriptors_N32, landmarks[candidate].descriptors_N32)
            pixels.append(here.pixels_N2[pairs[:, 0]])
            points.append(landmarks[candidate].points_N3[pairs[:, 1]])
        solved = solve_pnp(
            np.concatenate(points).astype(np.float64), np.concatenate(pixels), frame.K_33, FEWEST_INLIERS
        )
        return None if solved is None else solved[0]

    return PeerMap(locate, index.nbytes + sum(array.nbytes for each in landmarks for array in each))


def find_landmarks(frame: Frame) -> Landmarks:
    """The keypoints of a training frame in the map; those without depth are dropped."""
    found = find_keypoints(frame.image())
    points_N3, known_N = lift(frame, found.pixels_N2)
    return Landmarks(points_N3[known_N].astype(np.float32), found.descriptors_N32[known_N])


ORB_PNP = Peer(
    "ORB + depth map + PnP",
    build,
    f"2D-3D matches with the {CANDIDATES} most similar training images, PnP in RANSAC, refined on the inliers",
    needs=("depth",),
)
