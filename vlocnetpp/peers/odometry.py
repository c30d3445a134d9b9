"""One interface for every odometry peer, and the two that do not look at images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.frames import Sequence as Recording
from vlocnetpp.peers.peer import Depth, Image, pose_of
from vlocnetpp.poses import Floats, relative
from vlocnetpp.progress import track

Step = Callable[[Frame, Image, "Depth | None"], "Floats | None"]
"""The next frame of a sequence and its image -> its motion since the last, `inv(T_prev) @ T_cur` (7,), or None."""

IDENTITY_7 = np.array([0.0, 0, 0, 1, 0, 0, 0])


class OdometryPeer(NamedTuple):
    """A row of the benchmark's table of odometry."""

    name: str
    start: Callable[[], Step]
    """Called at the start of each sequence; what the step returns for the first frame is not used."""
    note: str
    oracle: bool = False
    """True if it looks at the ground truth: a bound to compare with, not a method."""
    needs: tuple[str, ...] = ()
    """What the frames must have beside image, K and pose: `depth`."""


def run_odometry_peer(peer: OdometryPeer, sequences: Sequence[Recording]) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Compute the motion of every frame of the sequences, in their order.

    Returns, with a row for each frame, what `odometry_metrics` takes: motions `inv(T_prev) @ T_cur` (N, 7), NaN where
    the peer has no answer; valid (N,), False for the first frame of a sequence and where it or the frame before has no
    pose to judge by; and latency (N,) in ms, without the reading of image and depth, NaN where it was not asked.
    A frame without a pose is not passed to the peer; after it the sequence starts anew.
    """
    motions, valid, times = [], [], []
    frames = [(recording, frame) for recording in sequences for frame in recording.frames]
    last: Recording | None = None
    for recording, frame in track(frames, f"{peer.name}: test images"):
        if recording is not last or frame.pose_7 is None:
            step, fresh, last = peer.start(), True, recording
        motion, began, ended = None, 0.0, 0.0
        if frame.pose_7 is not None:
            image, depth_HW = frame.image(), frame.depth() if "depth" in peer.needs else None
            began = time.perf_counter()
            motion = step(frame, image, depth_HW)
            ended = time.perf_counter()
        times.append(1e3 * (ended - began) if frame.pose_7 is not None else np.nan)
        valid.append(frame.pose_7 is not None and not fresh)
        motions.append(np.full(7, np.nan) if motion is None or fresh else motion)
        fresh = frame.pose_7 is None
    return np.array(motions).reshape(-1, 7), np.array(valid, bool), np.array(times)


def start_still() -> Step:
    """A camera that never moves."""
    return lambda frame, image_HW3, depth_HW: IDENTITY_7


def start_constant_velocity() -> Step:
    """ORACLE: each frame repeats the true motion of the frame before; the first of a sequence is guessed as none."""
    poses: list[Floats] = []

    def step(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats:
        motion = relative(*(np.stack([pose]) for pose in poses[-2:]))[0] if len(poses) > 1 else IDENTITY_7
        poses.append(pose_of(frame))
        return motion

    return step


NO_MOTION = OdometryPeer("no motion", start_still, "a camera that never moves: the floor")
CONSTANT_VELOCITY = OdometryPeer(
    "constant velocity",
    start_constant_velocity,
    "looks at the ground truth: repeats the true motion of the frame before",
    oracle=True,
)
