"""A global image descriptor without a network: RootSIFT gathered into VLAD, whitened, as instance retrieval does it.

VLAD: Jegou et al. 2010. Intra-normalization: Arandjelovic and Zisserman
2013. Whitening: Jegou and Chum 2012. Everything is learned from the training images of the place itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.sift import find_features
from vlocnetpp.peers.peer import Image
from vlocnetpp.progress import track

Single = NDArray[np.float32]

WORDS = 64
"""Words of the vocabulary; fewer where the training images have fewer descriptors than that."""
DIMENSIONS = 128
"""Of the whitened descriptor; fewer where there are fewer training images."""
LEARNED_FROM = 40_000
"""Descriptors from which the words are learned, drawn at random from all."""
SEED = 0


class Vlad(NamedTuple):
    """The vocabulary and whitening, learned from the training images."""

    words_KD: Single
    mean_V: Single
    whitening_VC: Single

    def describe(self, descriptors_ND: Single) -> Single:
        """The unit descriptor (C,) of an image with these local descriptors."""
        whitened = (gather(descriptors_ND, self.words_KD) - self.mean_V) @ self.whitening_VC
        length = max(float(np.linalg.norm(whitened)), 1e-12)
        return (whitened / length).astype(np.float32)

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in self)


class VladIndex(NamedTuple):
    """Training images to look up: those that have keypoints at all."""

    vlad: Vlad
    known_NC: Single
    """Unit descriptors."""
    frame_N: NDArray[np.int64]
    """Which training frame each is of."""

    def describe(self, image_HW3: Image) -> Single | None:
        """The unit descriptor (C,) of an image; None where it has no keypoint or the index is empty."""
        descriptors_ND = find_features(image_HW3).descriptors_ND
        return self.vlad.describe(descriptors_ND) if len(descriptors_ND) and len(self.known_NC) else None

    def nearest(self, descriptor_C: Single, count: int) -> NDArray[np.int64]:
        """Rows of the index, the most similar first, at most `count`."""
        return np.argsort(-(self.known_NC @ descriptor_C), kind="stable")[:count]

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return self.vlad.nbytes + self.known_NC.nbytes + self.frame_N.nbytes


def build_index(train_frames: Sequence[Frame], who: str) -> VladIndex:
    """Learn the descriptor from the training images and describe them; `who` is shown with the progress."""
    found = [find_features(frame.image()).descriptors_ND for frame in track(train_frames, f"{who}: training images")]
    frame_N = np.array([i for i, descriptors in enumerate(found) if len(descriptors)], np.int64)
    kept = [found[i] for i in frame_N]
    words_KD = learn_words(np.concatenate([np.empty((0, 128), np.float32), *kept]))
    gathered_NV = np.array([gather(descriptors, words_KD) for descriptors in kept], np.float32)
    vlad = Vlad(words_KD, *learn_whitening(gathered_NV.reshape(len(kept), words_KD.size)))
    known = np.array([vlad.describe(descriptors) for descriptors in kept], np.float32)
    return VladIndex(vlad, known.reshape(len(kept), vlad.whitening_VC.shape[1]), frame_N)


def learn_words(descriptors_ND: Single) -> Single:
    """Centres (K, D) of the descriptors by k-means, the same for the same descriptors."""
    rng = np.random.default_rng(SEED)
    if len(descriptors_ND) > LEARNED_FROM:
        descriptors_ND = descriptors_ND[rng.choice(len(descriptors_ND), LEARNED_FROM, replace=False)]
    words = min(WORDS, len(descriptors_ND))
    if not words:
        return descriptors_ND
    cv2.setRNGSeed(SEED)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4)
    return cv2.kmeans(descriptors_ND, words, None, criteria, 1, cv2.KMEANS_PP_CENTERS)[2]  # type: ignore[call-overload]


def gather(descriptors_ND: Single, words_KD: Single) -> Single:
    """VLAD (K * D,): the residuals to the nearest word, summed for each word, all of unit length."""
    word_N = np.argmax(descriptors_ND @ words_KD.T - 0.5 * np.sum(words_KD**2, axis=1), axis=1)
    sums = np.zeros_like(words_KD)
    np.add.at(sums, word_N, descriptors_ND - words_KD[word_N])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return (sums / max(float(np.linalg.norm(sums)), 1e-12)).reshape(-1)


def learn_whitening(gathered_NV: Single) -> tuple[Single, Single]:
    """Mean (V,) and projection (V, C) onto the principal axes, scaled to unit variance."""
    mean = gathered_NV.mean(axis=0) if len(gathered_NV) else np.zeros(gathered_NV.shape[1], np.float32)
    _, spread, axes = np.linalg.svd(gathered_NV - mean, full_matrices=False)
    # N points span N - 1 axes around their mean, fewer if images repeat; whitening would blow up what is rounding.
    count = min(DIMENSIONS, int((spread > 1e-3 * spread.max(initial=0)).sum()))
    return mean, (axes[:count] / spread[:count, None]).T
