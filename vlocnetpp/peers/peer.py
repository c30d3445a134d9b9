"""The interface of every peer: a localization method without a network, from posed training frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.errors import DataError
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Depth = NDArray[np.float32]
"""(H, W) metres, 0 = unknown."""


class PeerMap(NamedTuple):
    """A peer's map of the training frames."""

    locate: Callable[[Frame, Image, Depth | None], Floats | None]
    """A frame, its image, and its depth where the peer reads it -> the camera-to-world pose (7,), or None: no answer.
    Only an oracle looks at the frame's pose.
    """
    map_bytes: int
    """Size of the map: every array that `locate` needs."""


class Peer(NamedTuple):
    """A row of the benchmark table."""

    name: str
    build: Callable[[Sequence[Frame]], PeerMap]
    """From at least one training frame, each with a pose."""
    note: str
    oracle: bool = False
    """True if it looks at the ground truth of the test frames: a bound to compare with, not a method."""
    needs: tuple[str, ...] = ()
    """What training frames must have beside image, K and pose: `depth`."""
    reads: tuple[str, ...] = ()
    """What test frames must have beside image and K: `depth`."""


class Answers(NamedTuple):
    """A peer's answers for the test frames."""

    pose_N7: Floats
    """Camera-to-world; a row of NaN where it had no answer."""
    latency_ms_N: Floats
    """Of each answer, without the reading of image and depth."""
    map_bytes: int
    build_s: float
    """From training images on disk to the map."""


def run_peer(peer: Peer, train_frames: Sequence[Frame], test_frames: Sequence[Frame]) -> Answers:
    """Build a peer's map and locate each test frame. Raises DataError as `build_map` and `locate_frames` do."""
    peer_map, build_s = build_map(peer, train_frames)
    return Answers(*locate_frames(peer_map, test_frames, peer.name, peer.reads), peer_map.map_bytes, build_s)


def build_map(peer: Peer, train_frames: Sequence[Frame]) -> tuple[PeerMap, float]:
    """Build a peer's map. Returns it and the seconds that took.

    Raises DataError if there is no training frame, one of them has no pose, or none has what the peer needs.
    """
    poses_of(train_frames)
    for need in peer.needs:
        if all(getattr(frame, f"{need}_path") is None for frame in train_frames):
            raise DataError(f"{peer.name}: needs {need}, and no training frame has it")
    began = time.perf_counter()
    peer_map = peer.build(train_frames)
    return peer_map, time.perf_counter() - began


def locate_frames(
    peer_map: PeerMap, test_frames: Sequence[Frame], name: str, reads: Sequence[str] = ()
) -> tuple[Floats, Floats]:
    """Poses (N, 7), NaN without an answer, and latencies in ms.

    `name` is shown with the progress, `reads` is as in `Peer`.

    Raises DataError if an oracle meets a frame without a pose.
    """
    pose_N7, latency_ms_N = np.full((len(test_frames), 7), np.nan), np.zeros(len(test_frames))
    for i, frame in enumerate(track(test_frames, f"{name}: test images")):
        image, depth_HW = frame.image(), frame.depth() if "depth" in reads else None
        began = time.perf_counter()
        pose = peer_map.locate(frame, image, depth_HW)
        latency_ms_N[i] = 1e3 * (time.perf_counter() - began)
        if pose is not None:
            pose_N7[i] = pose
    return pose_N7, latency_ms_N


def poses_of(train_frames: Sequence[Frame]) -> Floats:
    """The poses of training frames (N, 7). Raises DataError if there is no frame or one has no pose."""
    if not train_frames:
        raise DataError("there is no training frame to compare with")
    return np.stack([pose_of(frame) for frame in train_frames])


def pose_of(frame: Frame) -> Floats:
    """The ground-truth pose (7,). Raises DataError if the frame has none."""
    if frame.pose_7 is None:
        raise DataError(f"{frame.name}: has no ground-truth pose")
    return frame.pose_7
