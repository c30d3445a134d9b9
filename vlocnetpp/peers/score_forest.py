"""A scene coordinate regression forest on RGB-D images with preemptive RANSAC (Shotton et al., CVPR 2013).

Each tree asks for differences of colour or depth between two places near a pixel, which move away with the inverse of
the pixel's depth; its leaves know where in the map such pixels lie. The forest is scikit-learn's.

Departs from the paper: the questions are drawn once for the forest, not in each node, and their thresholds at random
(extremely randomized trees); 100 000 training pixels, not 5000 an image; 512 hypotheses of one mode a leaf, not 1024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import Frame
from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.peers.map_points import camera_points
from vlocnetpp.peers.peer import Depth, Image, Peer, PeerMap, pose_of
from vlocnetpp.poses import Floats, transform
from vlocnetpp.progress import track

Single = NDArray[np.float32]

TREES, DEPTH, LEAF = 5, 16, 4
"""Trees, their depth, and the fewest training pixels in a leaf."""
QUESTIONS, TRIED = 256, 16
"""Differences that are drawn once for the forest, and how many of them each node tries."""
REACH = 0.22
"""Largest distance of a place from its pixel, in focal lengths times metres of depth: 130 pixels of a Kinect at 1 m."""
FARTHEST_M = 10.0
"""Depth that unknown pixels are taken to have."""
TRAINING_PIXELS = 100_000
"""Of all training images together, at most."""
PIXELS = 1500
"""Of an image that is located, at most."""
MODE_M, MODE_PIXELS = 0.1, 200
"""Radius within which the training pixels of a leaf are one place, and how many of them are looked at."""
HYPOTHESES, BATCH = 512, 250
"""Poses at first, and pixels that judge them in a round; after each round the better half is left."""
INLIER_M = 0.05
MIN_INLIERS = 50
"""With fewer there is no answer."""
SEED = 0


class Pixels(NamedTuple):
    """Pixels of an image that have a depth."""

    answers_NQ: Single
    """To the forest's questions."""
    camera_N3: Floats
    """In the camera, metres."""


class Questions(NamedTuple):
    """The differences that a forest asks for, each between two places and their channels: red, green, blue, depth."""

    place_2Q2: Single
    """Distance from the pixel, x and y, focal lengths times metres; the second place may be the pixel itself."""
    channel_2Q: NDArray[np.int64]


class Modes(NamedTuple):
    """The densest point of each leaf of a tree."""

    points_L3: Single
    row_of_node: NDArray[np.int64]


def draw_questions(rng: np.random.Generator) -> Questions:
    """Three of four compare colours, the others depths."""
    place = rng.uniform(-REACH, REACH, (2, QUESTIONS, 2)).astype(np.float32)
    place[1, rng.random(QUESTIONS) < 0.5] = 0
    depths = rng.random(QUESTIONS) < 0.25
    return Questions(place, np.where(depths, 3, rng.integers(0, 3, (2, QUESTIONS))))


def ask(
    frame: Frame, image_HW3: Image, depth_HW: Single, count: int, asked: Questions, rng: np.random.Generator
) -> Pixels:
    """The answers of up to `count` random pixels that have a depth."""
    height, width = image_HW3.shape[:2]
    if depth_HW.shape != (height, width):
        depth_HW = np.asarray(cv2.resize(depth_HW, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    row_N, column_N = np.nonzero(depth_HW)
    chosen = rng.permutation(len(row_N))[:count]
    pixels_N2 = np.column_stack([column_N[chosen], row_N[chosen]])
    z_N = depth_HW[pixels_N2[:, 1], pixels_N2[:, 0]]
    # One pixel alone is noise.
    smooth = cv2.GaussianBlur(image_HW3, (0, 0), 1.0).astype(np.float32) / 255
    far = np.where(depth_HW > 0, depth_HW, np.float32(FARTHEST_M))
    layers_HW4 = np.dstack([smooth, far])
    sides = []
    for place_Q2, channel_Q in zip(asked.place_2Q2, asked.channel_2Q, strict=True):
        shift_NQ2 = frame.K_33[0, 0] * place_Q2 / z_N[:, None, None]
        at_NQ2 = np.rint(pixels_N2[:, None] + shift_NQ2).astype(np.int64).clip(0, (width - 1, height - 1))
        sides.append(layers_HW4[at_NQ2[..., 1], at_NQ2[..., 0], channel_Q])
    points_N3 = camera_points(frame, pixels_N2.astype(np.float64), (width, height), depth_HW)
    return Pixels(sides[0] - sides[1], points_N3)


def build(train_frames: Sequence[Frame]) -> PeerMap:
    """A forest of the training frames that have depth; the others are left out."""
    from sklearn.ensemble import ExtraTreesRegressor  # type: ignore[import-untyped]

    rng = np.random.default_rng(SEED)
    asked = draw_questions(rng)
    mapped = [frame for frame in train_frames if frame.depth_path is not None]
    answers: list[Single] = [np.empty((0, QUESTIONS), np.float32)]
    points: list[Floats] = [np.empty((0, 3))]
    for frame in track(mapped, f"{SCORE_FOREST.name}: training images"):
        depth_HW = frame.depth()
        assert depth_HW is not None, "only frames with depth are mapped"
        found = ask(frame, frame.image(), depth_HW, max(1, TRAINING_PIXELS // len(mapped)), asked, rng)
        answers.append(found.answers_NQ)
        points.append(transform(pose_of(frame), found.camera_N3))
    answers_NQ, points_N3 = np.concatenate(answers), np.concatenate(points)
    if len(points_N3) < MIN_INLIERS:
        return PeerMap(lambda frame, image_HW3, depth_HW: None, 0)
    forest = ExtraTreesRegressor(
        TREES, max_depth=DEPTH, min_samples_leaf=LEAF, max_features=TRIED, random_state=SEED
    ).fit(answers_NQ, points_N3)
    leaf_NT = forest.apply(answers_NQ)
    modes = [find_modes(leaf_N, points_N3) for leaf_N in leaf_NT.T]

    def locate(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        if depth_HW is None:
            return None
        of_image = np.random.default_rng(SEED)
        pixels = ask(frame, image_HW3, depth_HW, PIXELS, asked, of_image)
        if len(pixels.camera_N3) < MIN_INLIERS:
            return None
        leaf_NT = forest.apply(pixels.answers_NQ)
        map_NT3 = np.stack([m.points_L3[m.row_of_node[leaf]] for m, leaf in zip(modes, leaf_NT.T, strict=True)], axis=1)
        return preemptive_ransac(pixels.camera_N3, map_NT3.astype(np.float64), of_image)

    return PeerMap(locate, forest_bytes(forest) + sum(array.nbytes for each in (*modes, asked) for array in each))


def forest_bytes(forest: Any) -> int:
    """Size of the trees without the means of their leaves, for which the modes stand."""
    fields = ("feature", "threshold", "children_left", "children_right")
    return sum(getattr(tree.tree_, name).nbytes for tree in forest.estimators_ for name in fields)


def find_modes(leaf_N: NDArray[np.int64], points_N3: Floats) -> Modes:
    """For each leaf the training point with the most others around it, moved to their mean: a step of mean shift."""
    shuffled = np.random.default_rng(SEED).permutation(len(leaf_N))
    order = shuffled[np.argsort(leaf_N[shuffled], kind="stable")]
    nodes, first = np.unique(leaf_N[order], return_index=True)
    modes = np.empty((len(nodes), 3), np.float32)
    for row, members in enumerate(np.split(order, first[1:])):
        points_M3 = points_N3[members[:MODE_PIXELS]]
        near_MM = ((points_M3[:, None] - points_M3[None]) ** 2).sum(axis=-1) < MODE_M**2
        modes[row] = points_M3[near_MM[near_MM.sum(axis=1).argmax()]].mean(axis=0)
    row_of_node = np.zeros(nodes[-1] + 1, np.int64)
    row_of_node[nodes] = np.arange(len(nodes))
    return Modes(modes, row_of_node)


def preemptive_ransac(camera_N3: Floats, map_NT3: Floats, rng: np.random.Generator) -> Floats | None:
    """The camera-to-world pose (7,) that takes most points of the camera to within `INLIER_M` of one of their T
    predictions.

    All hypotheses are judged by the same pixels, round by round; the better half is refined and goes on. None where the
    last one has too few inliers.
    """
    count, trees = map_NT3.shape[:2]
    three_H3 = rng.integers(0, count, (HYPOTHESES, 3))
    tree_H3 = rng.integers(0, trees, (HYPOTHESES, 3))
    T_H34 = rigid(camera_N3[three_H3], map_NT3[three_H3, tree_H3], np.ones((HYPOTHESES, 3)))
    inliers_H: Floats = np.zeros(HYPOTHESES)
    seen = 0
    while len(T_H34) > 1:
        batch = np.arange(seen, seen + BATCH) % count
        best_HB3, near_HB = nearest(T_H34, camera_N3[batch], map_NT3[batch])
        inliers_H += near_HB.sum(axis=1)
        kept = np.argsort(-inliers_H, kind="stable")[: len(T_H34) // 2]
        inliers_H, seen = inliers_H[kept], seen + BATCH
        refined = rigid(np.broadcast_to(camera_N3[batch], (len(kept), len(batch), 3)), best_HB3[kept], near_HB[kept])
        enough = near_HB[kept].sum(axis=1) >= 3
        T_H34 = np.where(enough[:, None, None], refined, T_H34[kept])
    for _ in range(5):
        best_HN3, near_HN = nearest(T_H34, camera_N3, map_NT3)
        if near_HN.sum() < MIN_INLIERS:
            return None
        T_H34 = rigid(camera_N3[None], best_HN3, near_HN)
    T_44 = np.eye(4)
    T_44[:3] = T_H34[0]
    return pose_from_matrix(T_44, SCORE_FOREST.name)


def nearest(T_H34: Floats, camera_B3: Floats, map_BT3: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Of each pixel's predictions the nearest under each pose (H, B, 3), and whether it is an inlier (H, B)."""
    placed_HB3 = camera_B3 @ T_H34[:, :, :3].transpose(0, 2, 1) + T_H34[:, None, :, 3]
    squared_HBT = ((placed_HB3[:, :, None] - map_BT3[None]) ** 2).sum(axis=-1)
    best_HB = squared_HBT.argmin(axis=2)
    return map_BT3[np.arange(len(map_BT3)), best_HB], squared_HBT.min(axis=2) < INLIER_M**2


def rigid(from_HN3: Floats, to_HN3: Floats, weight_HN: NDArray) -> Floats:
    """Rotation and translation (H, 3, 4) that take one set of points to the other with least squares (Kabsch 1976)."""
    weight_HN1 = weight_HN[..., None] / np.maximum(weight_HN.sum(axis=1)[:, None, None], 1e-12)
    mean_from, mean_to = ((weight_HN1 * each).sum(axis=1, keepdims=True) for each in (from_HN3, to_HN3))
    covariance_H33 = (weight_HN1 * (to_HN3 - mean_to)).transpose(0, 2, 1) @ (from_HN3 - mean_from)
    u_H33, _, v_H33 = np.linalg.svd(covariance_H33)
    u_H33[:, :, 2] *= np.sign(np.linalg.det(u_H33 @ v_H33))[:, None]
    R_H33 = u_H33 @ v_H33
    return np.concatenate([R_H33, (mean_to - mean_from @ R_H33.transpose(0, 2, 1)).transpose(0, 2, 1)], axis=2)


SCORE_FOREST = Peer(
    "SCoRe forest",
    build,
    "map coordinates of pixels by a regression forest on colour and depth differences, preemptive RANSAC; it reads the "
    "depth of the image that it locates",
    needs=("depth",),
    reads=("depth",),
)
