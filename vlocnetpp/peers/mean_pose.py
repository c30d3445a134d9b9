"""The weakest baseline: one pose for every frame."""

from __future__ import annotations

from collections.abc import Sequence

from vlocnetpp.data.frames import Frame
from vlocnetpp.peers.peer import Peer, PeerMap, poses_of
from vlocnetpp.poses import weighted_mean


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """The mean of the training positions and of their orientations."""
    mean = weighted_mean(poses_of(train_frames))
    return PeerMap(lambda frame, image_HW3, depth_HW: mean, mean.nbytes)


MEAN_POSE = Peer("mean pose", build, "one pose for every frame: knows where the training ran, and nothing else")
