"""Points of a place from colour images and their poses alone: keypoints, matched along epipolar lines and triangulated.

Where no depth camera has measured the place, these points say where it is. They are few, and as accurate as the poses
of the recording: with hand-held ones of RedKitchen, half of them lie within 6 % of their distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.data.sift import find_features
from vlocnetpp.geometry import rotation_matrix
from vlocnetpp.progress import track

Array = NDArray[np.float64]

MAX_KEYPOINTS = 500
"""Of an image; more give more points and take more time, which grows with the square."""
MIN_CONTRAST = 0.01
"""Of a keypoint; OpenCV's own 0.04 finds few on the walls of a room."""
MATCHED_IMAGES = 12
"""Images that each image is matched with. Twice as many gave a third more points of the kitchen, in twice the time."""
CANDIDATE_IMAGES = 60
"""They are taken evenly from so many that stand nearest: some with a short baseline, which are easy to match, and some
with a longer one, which tell distances."""
MIN_BASELINE_M = 0.02
"""Between images that are matched: a hand-held camera that stands still tells no distances."""
MIN_VIEW_COSINE = 0.87
"""Of the angle between the directions of view of two images that are matched, 30 degrees: SIFT stands no more."""
MIN_SPACING_M = 0.01
"""Between the images that one image is matched with: those of a camera that stands still would agree with each other in
any mistake."""
MAX_OFF_PX = 1.5
"""Largest distance of a match from its epipolar line, and of a keypoint from the projection of its point: what
hand-held poses that are off by a centimetre allow."""
MIN_SIMILARITY = 0.8
"""Least product of the descriptors of a match. Agreement of several images does the rest."""
MIN_VIEWS = 3
"""Fewest images, besides its own, whose keypoints agree with a point; two agree by chance along one line."""
KEYPOINT_STD_PX = 0.5
MAX_RELATIVE_STD = 0.05
"""Of a distance, relative to it."""
GAUSS_NEWTON_STEPS = 3
LACKING_SHARE = 0.05
"""Of the images; where fewer have no depth, the others teach what these show."""
MAX_IMAGES = 1000
"""Of more, so many are taken evenly, which bounds time and memory (0.25 GB of descriptors)."""
SECONDS_AN_IMAGE = 0.05
"""About, on one core of an AMD EPYC."""


@dataclass(frozen=True)
class _View:
    """A camera with its keypoints, in pixels."""

    K_33: Array
    rotation_33: Array
    """Camera to world."""
    centre_3: Array
    pixel_M2: Array
    descriptor_MD: NDArray[np.float32]
    """Of length one."""


def wanted(deep_N: Sequence[bool] | NDArray[np.bool_]) -> bool:
    """Whether so many images lack depth that it is worth the time. `deep_N`: whether each one has a depth image."""
    return len(deep_N) - int(np.sum(deep_N)) > LACKING_SHARE * len(deep_N)


def seconds(images: int) -> float:
    """About how long `triangulate` takes."""
    return SECONDS_AN_IMAGE * min(images, MAX_IMAGES)


def triangulate(image: Callable[[int], NDArray[np.uint8]], K_N33: Tensor, pose_N7: Tensor) -> list[NDArray[np.float32]]:
    """Points of the map that each image shows, (M, 3) metres; M differs from image to image and may be 0.

    Args:
        image: gives the i-th one, RGB (3, H, W).
        K_N33: intrinsics of the images.
        pose_N7: camera-to-world.
    """
    count = len(pose_N7)
    taken = np.unique(np.linspace(0, count - 1, min(count, MAX_IMAGES)).astype(int)).tolist()
    rotation_N33 = rotation_matrix(pose_N7[:, 3:].double()).numpy()
    views = []
    for i in track(taken, "finding keypoints", len(taken)):
        found = find_features(np.ascontiguousarray(image(i).transpose(1, 2, 0)), MAX_KEYPOINTS, MIN_CONTRAST)
        centre_3 = pose_N7[i, :3].double().numpy()
        views.append(_View(K_N33[i].double().numpy(), rotation_N33[i], centre_3, *found))
    points: list[NDArray[np.float32]] = [np.zeros((0, 3), np.float32)] * count
    centre_N3 = np.array([view.centre_3 for view in views])
    forward_N3 = np.array([view.rotation_33[:, 2] for view in views])
    for number, i in enumerate(track(taken, "triangulating keypoints", len(taken))):
        others = _others(number, centre_N3, forward_N3)
        points[i] = _points(views[number], [views[k] for k in others])
    return points


def _others(number: int, centre_N3: Array, forward_N3: Array) -> NDArray[np.int64]:
    """Images that look the same way from elsewhere: some near this one, some farther off, each from its own place."""
    distance_N = np.linalg.norm(centre_N3 - centre_N3[number], axis=1)
    alike_N = forward_N3 @ forward_N3[number] > MIN_VIEW_COSINE
    left = np.flatnonzero(alike_N & (distance_N > MIN_BASELINE_M))
    left = left[np.argsort(distance_N[left], kind="stable")]
    nearest: list[int] = []
    while len(left) and len(nearest) < CANDIDATE_IMAGES:
        nearest.append(int(left[0]))
        left = left[np.linalg.norm(centre_N3[left] - centre_N3[left[0]], axis=1) > MIN_SPACING_M]
    if len(nearest) > MATCHED_IMAGES:
        nearest = [nearest[k] for k in np.linspace(0, len(nearest) - 1, MATCHED_IMAGES).astype(int)]
    return np.array(nearest, int)


def _points(view: _View, others: Sequence[_View]) -> NDArray[np.float32]:
    """Points (M, 3) of the keypoints of a view that enough other views agree with.

    Along the ray of a keypoint, with w the inverse of its depth, the projection into another view is that of
    `infinite + w * epipole`, both homogeneous.
    """
    count = len(view.pixel_M2)
    if count == 0 or not others:
        return np.zeros((0, 3), np.float32)
    ray_M3 = np.column_stack((view.pixel_M2, np.ones(count))) @ np.linalg.inv(view.K_33).T
    seen_MV2 = np.full((count, len(others), 2), np.nan)
    infinite_MV3 = np.empty((count, len(others), 3))
    epipole_V3 = np.empty((len(others), 3))
    for v, other in enumerate(others):
        relative_33 = other.rotation_33.T @ view.rotation_33
        translation_3 = other.rotation_33.T @ (view.centre_3 - other.centre_3)
        infinite_MV3[:, v] = ray_M3 @ (other.K_33 @ relative_33).T
        epipole_V3[v] = other.K_33 @ translation_3
        match_M = _match(view, other, relative_33, translation_3)
        seen_MV2[match_M >= 0, v] = other.pixel_M2[match_M[match_M >= 0]]
    inverse_M, agreeing_MV = _most_agreeing(seen_MV2, infinite_MV3, epipole_V3)
    information_M = np.zeros(count)
    for _ in range(GAUSS_NEWTON_STEPS):
        off_MV2, slope_MV2 = _projected(inverse_M, seen_MV2, infinite_MV3, epipole_V3)
        off_MV2 = np.where(agreeing_MV[..., None], off_MV2, 0.0)
        slope_MV2 = np.where(agreeing_MV[..., None], slope_MV2, 0.0)
        information_M = np.maximum(np.square(slope_MV2).sum(axis=(1, 2)), 1e-12)
        inverse_M = inverse_M - (off_MV2 * slope_MV2).sum(axis=(1, 2)) / information_M
    deviation_M = KEYPOINT_STD_PX / np.sqrt(information_M)
    off_MV2, _ = _projected(inverse_M, seen_MV2, infinite_MV3, epipole_V3)
    agreeing_MV = np.linalg.norm(off_MV2, axis=2) < MAX_OFF_PX
    good_M = (agreeing_MV.sum(axis=1) >= MIN_VIEWS) & (inverse_M > 0) & (deviation_M < MAX_RELATIVE_STD * inverse_M)
    camera_M3 = ray_M3[good_M] / inverse_M[good_M, None]
    return (camera_M3 @ view.rotation_33.T + view.centre_3).astype(np.float32)


def _match(view: _View, other: _View, relative_33: Array, translation_3: Array) -> NDArray[np.int64]:
    """(M,) the keypoint of the other view that matches each of a view's; -1 for none."""
    none_M = np.full(len(view.pixel_M2), -1)
    if len(other.pixel_M2) == 0:
        return none_M
    x, y, z = translation_3
    essential_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative_33
    fundamental_33 = np.linalg.inv(other.K_33).T @ essential_33 @ np.linalg.inv(view.K_33)
    here_M3 = np.column_stack((view.pixel_M2, np.ones(len(view.pixel_M2)))).astype(np.float32)
    there_O3 = np.column_stack((other.pixel_M2, np.ones(len(other.pixel_M2)))).astype(np.float32)
    line_M3 = here_M3 @ fundamental_33.T.astype(np.float32)
    line_O3 = there_O3 @ fundamental_33.astype(np.float32)
    length_M = np.linalg.norm(line_M3[:, :2], axis=1)
    length_O = np.linalg.norm(line_O3[:, :2], axis=1)
    alike_MO = view.descriptor_MD @ other.descriptor_MD.T
    alike_MO[np.abs(line_M3 @ there_O3.T) > MAX_OFF_PX * np.minimum(length_M[:, None], length_O)] = 0.0
    best_M = alike_MO.argmax(axis=1)
    rows = np.arange(len(best_M))
    mutual_M = alike_MO.argmax(axis=0)[best_M] == rows
    return np.where(mutual_M & (alike_MO[rows, best_M] > MIN_SIMILARITY), best_M, none_M)


def _most_agreeing(seen_MV2: Array, infinite_MV3: Array, epipole_V3: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Inverse depths (M,), each the one of its matches that most others agree with; and which agree (M, V)."""
    # seen * (infinite_z + w epipole_z) = infinite_xy + w epipole_xy, solved for w in both coordinates at once.
    factor_MV2 = seen_MV2 * epipole_V3[:, 2:] - epipole_V3[:, :2]
    right_MV2 = infinite_MV3[..., :2] - seen_MV2 * infinite_MV3[..., 2:]
    inverse_MV = (factor_MV2 * right_MV2).sum(axis=2) / np.maximum(np.square(factor_MV2).sum(axis=2), 1e-12)
    best_M = np.zeros(len(seen_MV2))
    agreeing_MV = np.zeros(seen_MV2.shape[:2], bool)
    for v in range(seen_MV2.shape[1]):
        off_MV2, _ = _projected(inverse_MV[:, v], seen_MV2, infinite_MV3, epipole_V3)
        near_MV = np.linalg.norm(off_MV2, axis=2) < MAX_OFF_PX
        better_M = (inverse_MV[:, v] > 0) & (near_MV.sum(axis=1) > agreeing_MV.sum(axis=1))
        best_M[better_M] = inverse_MV[better_M, v]
        agreeing_MV[better_M] = near_MV[better_M]
    return best_M, agreeing_MV


def _projected(inverse_M: Array, seen_MV2: Array, infinite_MV3: Array, epipole_V3: Array) -> tuple[Array, Array]:
    """How far (M, V, 2) the projections are from the keypoints, pixels, and their change with the inverse depth.

    NaN where there is no match or the point is behind the camera.
    """
    point_MV3 = infinite_MV3 + inverse_M[:, None, None] * epipole_V3
    z_MV1 = np.where(point_MV3[..., 2:] > 0, point_MV3[..., 2:], np.nan)
    projected_MV2 = point_MV3[..., :2] / z_MV1
    return projected_MV2 - seen_MV2, (epipole_V3[:, :2] - projected_MV2 * epipole_V3[:, 2:]) / z_MV1
