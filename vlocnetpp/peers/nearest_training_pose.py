"""The bound of image retrieval: the best pose of any training image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlocnetpp.data.frames import Frame
from vlocnetpp.metrics import pose_errors
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap, pose_of, poses_of
from vlocnetpp.poses import Floats

METRES_PER_DEGREE = 0.01
"""Metres per degree in a combined distance of poses: 5 cm count as much as 5 degrees."""


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """ORACLE: the training pose nearest to the ground truth, in metres plus 0.01 m per degree."""
    train = poses_of(train_frames)

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats:
        metres, degrees = pose_errors(train, np.tile(pose_of(frame), (len(train), 1)))
        return train[np.argmin(metres + METRES_PER_DEGREE * degrees)]

    return PeerMap(locate, train.nbytes)


NEAREST_TRAINING_POSE = Peer(
    "nearest training pose", build, "looks at the ground truth: no retrieval of one image does better", oracle=True
)
