"""Image retrieval: the poses of the training images that look most alike, by a global descriptor without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlocnetpp.data.frames import Frame
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap, poses_of
from vlocnetpp.peers.vlad import Single, build_index
from vlocnetpp.poses import Floats, weighted_mean

INTERPOLATED = 5
"""Training images whose poses are interpolated."""
RIDGE = 0.01
"""Damping when solving for the weights, relative to the mean diagonal: images may be nearly identical."""


def build_nearest(train_frames: Sequence[Frame]) -> PeerMap:
    """The pose of the training image with the most similar descriptor; no answer for an image without keypoints."""
    train = poses_of(train_frames)
    index = build_index(train_frames, NEAREST.name)

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        descriptor = index.describe(image_HW3)
        return None if descriptor is None else train[index.frame_N[index.nearest(descriptor, 1)[0]]]

    return PeerMap(locate, index.nbytes + train.nbytes)


def build_interpolated(train_frames: Sequence[Frame]) -> PeerMap:
    """The weighted mean of the most similar images' poses; the same weights best combine their descriptors into the
    query's.
    """
    train = poses_of(train_frames)
    index = build_index(train_frames, INTERPOLATION.name)

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        descriptor = index.describe(image_HW3)
        if descriptor is None:
            return None
        rows = index.nearest(descriptor, INTERPOLATED)
        return weighted_mean(train[index.frame_N[rows]], affine_weights(index.known_NC[rows], descriptor))

    return PeerMap(locate, index.nbytes + train.nbytes)


def affine_weights(known_KC: Single, wanted_C: Single) -> Floats:
    """Weights (K,) that sum to 1 and combine the known descriptors into the best approximation of the query (Sattler et
    al. 2019).
    """
    difference_KC = (known_KC - wanted_C).astype(np.float64)
    gram_KK = difference_KC @ difference_KC.T
    gram_KK += np.eye(len(gram_KK)) * (RIDGE * np.trace(gram_KK) / len(gram_KK) + 1e-12)
    weights = np.linalg.solve(gram_KK, np.ones(len(gram_KK)))
    return weights / weights.sum()


NEAREST = Peer(
    "image retrieval, top 1", build_nearest, "pose of the most similar training image: RootSIFT, VLAD, whitened"
)
INTERPOLATION = Peer(
    f"image retrieval, top {INTERPOLATED} interpolated",
    build_interpolated,
    f"poses of the {INTERPOLATED} most similar training images, weighted to make up the descriptor",
)
