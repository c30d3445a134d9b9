"""The simplest image retrieval: small grey thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap, poses_of
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track

THUMBNAIL = (16, 12)
"""Width and height in pixels."""


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """The pose of the training image that looks most alike: cosine between blurred normalized grey thumbnails."""
    train = poses_of(train_frames)
    frames = track(train_frames, "thumbnail retrieval: training images")
    known = np.stack([thumbnail(frame.image()) for frame in frames])

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats:
        return train[np.argmax(known @ thumbnail(image_HW3))]

    return PeerMap(locate, known.nbytes + train.nbytes)


def thumbnail(image_HW3: Image) -> NDArray[np.float32]:
    """Grey pixels without their mean, of unit length: (192,); zeros for an image of one colour."""
    grey = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
    # Half a thumbnail pixel of blur: the nearest view is rarely aligned to the pixel.
    blurred = cv2.GaussianBlur(grey, (0, 0), max(grey.shape[1] / THUMBNAIL[0] / 2, 0.5))
    small = cv2.resize(blurred, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


THUMBNAIL_RETRIEVAL = Peer(
    "thumbnail retrieval",
    build,
    "pose of the most similar training image, grey 16 x 12 pixels",
)
