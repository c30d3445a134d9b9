"""Prioritized 2D-3D matching: Active Search (Sattler, Leibe, Kobbelt, PAMI 2017), with OpenCV's features and PnP.

A map point has the mean of its descriptors for each visual word that they fall into. Keypoints of the image whose word
has the fewest points are matched first. Around each match, map points are matched back to keypoints. After enough
matches the search ends and the pose is solved.

Departs from the paper: map points are keypoints lifted by depth and merged in cells, not those of a reconstruction; the
vocabulary has 1024 words for a building, not 100 000 for a city; matching back compares with all keypoints of an image,
without a coarser vocabulary; map points are not filtered by which images see them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.pnp import solve_pnp
from vlocnetpp.data.sift import Features, find_features
from vlocnetpp.peers.map_points import FEWEST_INLIERS, lift
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track

WORDS = 1024
"""Of the vocabulary; fewer where the training images have fewer descriptors than that."""
LEARNED_FROM = 60_000
"""Descriptors from which the words are learned, drawn at random from all."""
SAME_POINT_M = 0.02
"""Side of the cells in the map within which descriptors of one word are one point."""
ELSEWHERE_M = 0.1
"""The ratio test compares with the best point that is at least so far from the match: a point is in the map more than
once."""
RATIO, RATIO_BACK = 0.7, 0.6
"""Of distances, of the best and the best elsewhere, from the image to the map and back."""
FARTHEST = 0.7
"""Distance of descriptors of unit length beyond which nothing matches."""
NEIGHBOURS = 50
"""Map points around a match that are matched back."""
ENOUGH = 400
"""Matches after which the search ends."""
SEED = 0
Single = NDArray[np.float32]


class PointMap(NamedTuple):
    """Map points in the order of their words; the tree is made from the points."""

    words: Any
    """The vocabulary, a fitted `sklearn.cluster.MiniBatchKMeans`."""
    points_N3: Single
    descriptors_ND: Single
    """Of unit length."""
    first_W: NDArray[np.int64]
    """(W + 1,) the first point of each word, and their number."""
    tree: Any
    """A `scipy.spatial.cKDTree` of the points."""

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        arrays = (self.words.cluster_centers_, self.points_N3, self.descriptors_ND, self.first_W)
        return sum(array.nbytes for array in arrays)


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """A map of the training frames that have depth; the others are left out."""
    points: list[Floats] = [np.empty((0, 3))]
    descriptors: list[Single] = [np.empty((0, 128), np.float32)]
    mapped = [frame for frame in train_frames if frame.depth_path is not None]
    for frame in track(mapped, f"{ACTIVE_SEARCH.name}: training images"):
        found = find_features(frame.image())
        points_N3, known_N = lift(frame, found.pixels_N2)
        points.append(points_N3[known_N])
        descriptors.append(found.descriptors_ND[known_N])
    made = make_map(np.concatenate(points), np.concatenate(descriptors))
    if made is None:
        return PeerMap(lambda frame, image_HW3, depth_HW: None, 0)

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        features = find_features(image_HW3)
        point_P, keypoint_P = search(made, features)
        points_P3 = made.points_N3[point_P].astype(np.float64)
        solved = solve_pnp(points_P3, features.pixels_N2[keypoint_P], frame.K_33, FEWEST_INLIERS)
        return None if solved is None else solved[0]

    return PeerMap(locate, made.nbytes)


def make_map(points_N3: Floats, descriptors_ND: Single) -> PointMap | None:
    """The map of all keypoints of the training images; None where there is none."""
    from scipy.spatial import cKDTree
    from sklearn.cluster import MiniBatchKMeans  # type: ignore[import-untyped]

    if not len(points_N3):
        return None
    chosen = np.random.default_rng(SEED).permutation(len(descriptors_ND))[:LEARNED_FROM]
    words = MiniBatchKMeans(min(WORDS, len(chosen)), n_init=1, batch_size=4096, max_iter=20, random_state=SEED)
    words.fit(descriptors_ND[chosen])
    cell_N3 = np.floor(points_N3 / SAME_POINT_M).astype(np.int64)
    # The word stands first, so that the points of a word follow each other.
    keys, group_N, count_G = np.unique(
        np.column_stack([words.predict(descriptors_ND), cell_N3]), axis=0, return_inverse=True, return_counts=True
    )
    group_N = group_N.reshape(-1)
    points, descriptors = np.zeros((len(keys), 3)), np.zeros((len(keys), descriptors_ND.shape[1]))
    np.add.at(points, group_N, points_N3)
    np.add.at(descriptors, group_N, descriptors_ND)
    points /= count_G[:, None]
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
    first = np.searchsorted(keys[:, 0], np.arange(len(words.cluster_centers_) + 1))
    return PointMap(words, points.astype(np.float32), descriptors.astype(np.float32), first, cKDTree(points))


def search(where: PointMap, features: Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches: indices of map points (P,) and of keypoints (P,), each at most once; at most `ENOUGH`."""
    matches: dict[int, int] = {}
    """Keypoint -> map point."""
    taken: set[int] = set()
    if not len(features.pixels_N2):
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def add(point: int, keypoint: int) -> bool:
        if keypoint in matches or point in taken:
            return False
        matches[keypoint] = point
        taken.add(point)
        return True

    word_N = where.words.predict(features.descriptors_ND)
    candidates_N = where.first_W[word_N + 1] - where.first_W[word_N]
    for keypoint in np.argsort(candidates_N, kind="stable"):
        if len(matches) >= ENOUGH:
            break
        if keypoint in matches or not candidates_N[keypoint]:
            continue
        point = to_map(where, features.descriptors_ND[keypoint], word_N[keypoint])
        if point is None or not add(point, int(keypoint)):
            continue
        for back, other in to_image(where, features, point):
            add(back, other)
    pairs = list(matches.items())[:ENOUGH]
    return np.array([point for _, point in pairs], np.int64), np.array([keypoint for keypoint, _ in pairs], np.int64)


def to_map(where: PointMap, descriptor_D: Single, word: int) -> int | None:
    """The map point of a word that matches a keypoint's descriptor; None where none does, or two places do."""
    first, end = where.first_W[word], where.first_W[word + 1]
    similar_C = where.descriptors_ND[first:end] @ descriptor_D
    best = int(np.argmax(similar_C))
    far_C = np.linalg.norm(where.points_N3[first:end] - where.points_N3[first + best], axis=1) > ELSEWHERE_M
    nearest = distance(similar_C[best])
    second = distance(similar_C[far_C].max(initial=-1.0))
    return int(first + best) if nearest < FARTHEST and nearest < RATIO * second else None


def to_image(where: PointMap, features: Features, point: int) -> list[tuple[int, int]]:
    """The map points around a matched one, matched back: pairs of map point and keypoint."""
    count = min(NEIGHBOURS, len(where.points_N3))
    near_K = np.atleast_1d(where.tree.query(where.points_N3[point], count)[1])
    similar_KN = where.descriptors_ND[near_K] @ features.descriptors_ND.T
    best_K = similar_KN.argmax(axis=1)
    rows = np.arange(len(near_K))
    nearest_K = distance(similar_KN[rows, best_K])
    similar_KN[rows, best_K] = -1.0
    kept_K = (nearest_K < FARTHEST) & (nearest_K < RATIO_BACK * distance(similar_KN.max(axis=1)))
    return list(zip(near_K[kept_K].tolist(), best_K[kept_K].tolist(), strict=True))


def distance(similarity: Any) -> Any:
    """Distance of vectors of unit length from their scalar product."""
    return np.sqrt(np.maximum(2.0 - 2.0 * similarity, 0.0))


ACTIVE_SEARCH = Peer(
    "Active Search + PnP",
    build,
    "SIFT keypoints matched to map points of their visual word, rare words first, and back around each match; PnP as "
    "above",
    needs=("depth",),
)
