"""What every result is printed beside: the simplest answers to "where am I?" that need no training.

Each peer takes training frames with poses and test frames, and returns camera-to-world poses (N, 7), one row for each
test frame (a row of NaN where it has no answer). All raise DataError if there is no training frame or a pose is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Frame
from vlocnetpp.evaluation.metrics import pose_errors
from vlocnetpp.evaluation.poses import Floats
from vlocnetpp.progress import track

THUMBNAIL = (16, 12)
"""Width and height in pixels."""
METRES_PER_DEGREE = 0.01
"""What a degree is worth where one number must say how near a pose is: 5 cm weigh as much as 5 degrees."""


class Peer(NamedTuple):
    """A row of the benchmark table."""

    name: str
    estimate: Callable[[Sequence[Frame], Sequence[Frame]], Floats]
    note: str
    oracle: bool = False
    """True if it looks at the ground truth of the test frames: a bound to compare with, not a method."""


def mean_pose(train_frames: Sequence[Frame], test_frames: Sequence[Frame]) -> Floats:
    """The same pose for every frame: mean training position, mean training orientation (Markley et al. 2007)."""
    train = _poses(train_frames)
    # The mean rotation maximizes the sum of (q . q_i)^2, which does not see the signs of quaternions.
    _, axes = np.linalg.eigh(train[:, 3:].T @ train[:, 3:])
    rotation = axes[:, -1] if axes[0, -1] >= 0 else -axes[:, -1]
    return np.tile(np.concatenate([train[:, :3].mean(axis=0), rotation]), (len(test_frames), 1))


def nearest_training_pose(train_frames: Sequence[Frame], test_frames: Sequence[Frame]) -> Floats:
    """ORACLE: the training pose nearest to the ground truth of each test frame: the best that image retrieval could do.

    Nearest in metres plus 0.01 m per degree, the balance of the usual 5 cm / 5 degrees.
    """
    train, truth = _poses(train_frames), _poses(test_frames, needed=False)
    nearest = np.empty_like(truth)
    for i, pose in enumerate(truth):
        metres, degrees = pose_errors(train, np.tile(pose, (len(train), 1)))
        nearest[i] = train[np.argmin(metres + METRES_PER_DEGREE * degrees)]
    return nearest


def thumbnail_retrieval(train_frames: Sequence[Frame], test_frames: Sequence[Frame]) -> Floats:
    """The pose of the training image that looks most alike: cosine between small blurred normalized grey thumbnails."""
    train = _poses(train_frames)
    known = np.stack([_thumbnail(frame) for frame in track(train_frames, "thumbnails of the training images")])
    if not test_frames:
        return np.empty((0, 7))
    asked = np.stack([_thumbnail(frame) for frame in track(test_frames, "thumbnails of the test images")])
    return train[np.argmax(asked @ known.T, axis=1)]


PEERS = (
    Peer("mean pose", mean_pose, "one pose for every frame: knows where the training ran, and nothing else"),
    Peer("thumbnail retrieval", thumbnail_retrieval, "pose of the most similar training image, grey 16 x 12 pixels"),
    Peer(
        "nearest training pose",
        nearest_training_pose,
        "looks at the ground truth: no retrieval does better",
        oracle=True,
    ),
)
"""In the order of a benchmark table."""


def _poses(frames: Sequence[Frame], needed: bool = True) -> Floats:
    if needed and not frames:
        raise DataError("there is no training frame to compare with")
    for frame in frames:
        if frame.pose_7 is None:
            raise DataError(f"{frame.name}: has no ground-truth pose")
    return np.array([frame.pose_7 for frame in frames], dtype=np.float64).reshape(-1, 7)


def _thumbnail(frame: Frame) -> NDArray[np.float32]:
    grey = cv2.cvtColor(frame.image(), cv2.COLOR_RGB2GRAY)
    # Half a thumbnail pixel of blur: the nearest view is rarely aligned to the pixel.
    blurred = cv2.GaussianBlur(grey, (0, 0), max(grey.shape[1] / THUMBNAIL[0] / 2, 0.5))
    small = cv2.resize(blurred, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
