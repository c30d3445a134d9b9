"""Points of a place from colour images and their poses alone: keypoints, matched along epipolar lines and triangulated.

Where no depth camera has measured the place, these points say where it is. They are few, and as accurate as the poses
of the recording: with hand-held ones of RedKitchen, half of them lie within 6 % of their distance.

SIFT: Lowe, Distinctive Image Features from Scale-Invariant Keypoints, 2004; RootSIFT: Arandjelovic & Zisserman, 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.geometry import rotation_matrix
from vlocnetpp.progress import track

Array = NDArray[np.float64]

KEYPOINTS = 500
"""Of an image at most."""
CONTRAST = 0.01
"""Least contrast of a keypoint; OpenCV's own 0.04 finds few on walls."""
OTHERS = 12
"""Images that each image is matched with."""
NEAREST = 60
"""The others are taken evenly from so many that were taken nearest, so that some are near and some farther off."""
TURNED = 0.87
"""Least cosine of the angle between the directions of view of two images that are matched: 30 degrees."""
BAND_PX = 1.5
"""Largest distance of a match from its epipolar line, and of a keypoint from the projection of its point."""
ALIKE = 0.8
"""Least product of two descriptors of a match."""
AGREEING = 3
"""Fewest images, besides its own, whose keypoints agree with a point."""
KEYPOINT_PX = 0.5
"""Standard deviation of a keypoint."""
UNSURE = 0.05
"""Largest standard deviation of a distance, relative to it."""
ROUNDS = 3
"""Gauss-Newton steps."""
LARGEST = 1000
"""Images at most; of more, so many are taken evenly."""
LEAST_BASELINE_M = 1e-6


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


def triangulate(image: Callable[[int], NDArray[np.uint8]], K_N33: Tensor, pose_N7: Tensor) -> list[NDArray[np.float32]]:
    """Points of the map that each image shows, (M, 3) metres; M differs from image to image and may be 0.

    Args:
        image: gives the i-th one, RGB (3, H, W).
        K_N33: intrinsics of the images.
        pose_N7: camera-to-world.
    """
    count = len(pose_N7)
    taken = np.unique(np.linspace(0, count - 1, min(count, LARGEST)).astype(int)).tolist()
    rotation_N33 = rotation_matrix(pose_N7[:, 3:].double()).numpy()
    detector = cv2.SIFT.create(KEYPOINTS, contrastThreshold=CONTRAST)
    views = []
    for i in track(taken, "finding keypoints", len(taken)):
        pixel_M2, descriptor_MD = _keypoints(detector, image(i))
        views.append(
            _View(K_N33[i].double().numpy(), rotation_N33[i], pose_N7[i, :3].double().numpy(), pixel_M2, descriptor_MD)
        )
    points: list[NDArray[np.float32]] = [np.zeros((0, 3), np.float32)] * count
    centre_N3 = np.array([view.centre_3 for view in views])
    forward_N3 = np.array([view.rotation_33[:, 2] for view in views])
    for number, i in enumerate(track(taken, "triangulating keypoints", len(taken))):
        others = _others(number, centre_N3, forward_N3)
        points[i] = _points(views[number], [views[k] for k in others])
    return points


def _keypoints(detector: cv2.SIFT, image_3HW: NDArray[np.uint8]) -> tuple[Array, NDArray[np.float32]]:
    grey_HW = cv2.cvtColor(np.ascontiguousarray(image_3HW.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
    found, descriptor_MD = detector.detectAndCompute(grey_HW, None)
    if not found:
        return np.zeros((0, 2)), np.zeros((0, detector.descriptorSize()), np.float32)
    root_MD = np.sqrt(descriptor_MD / np.maximum(descriptor_MD.sum(axis=1, keepdims=True), 1e-9))
    return np.array([each.pt for each in found]), root_MD.astype(np.float32)


def _others(number: int, centre_N3: Array, forward_N3: Array) -> NDArray[np.int64]:
    """Images that look the same way, some taken near this one and some farther off."""
    alike = forward_N3 @ forward_N3[number] > TURNED
    alike[number] = False
    candidates = np.flatnonzero(alike)
    distance = np.linalg.norm(centre_N3[candidates] - centre_N3[number], axis=1)
    nearest = candidates[np.argsort(distance, kind="stable")][:NEAREST]
    if len(nearest) <= OTHERS:
        return nearest
    return nearest[np.linspace(0, len(nearest) - 1, OTHERS).astype(int)]


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
        turn_33 = other.rotation_33.T @ view.rotation_33
        move_3 = other.rotation_33.T @ (view.centre_3 - other.centre_3)
        infinite_MV3[:, v] = ray_M3 @ (other.K_33 @ turn_33).T
        epipole_V3[v] = other.K_33 @ move_3
        match_M = _match(view, other, turn_33, move_3)
        seen_MV2[match_M >= 0, v] = other.pixel_M2[match_M[match_M >= 0]]
    inverse_M, agreeing_MV = _most_agreeing(seen_MV2, infinite_MV3, epipole_V3)
    information_M = np.zeros(count)
    for _ in range(ROUNDS):
        off_MV2, slope_MV2 = _projected(inverse_M, seen_MV2, infinite_MV3, epipole_V3)
        off_MV2 = np.where(agreeing_MV[..., None], off_MV2, 0.0)
        slope_MV2 = np.where(agreeing_MV[..., None], slope_MV2, 0.0)
        information_M = np.maximum(np.square(slope_MV2).sum(axis=(1, 2)), 1e-12)
        inverse_M = inverse_M - (off_MV2 * slope_MV2).sum(axis=(1, 2)) / information_M
    deviation_M = KEYPOINT_PX / np.sqrt(information_M)
    good_M = (agreeing_MV.sum(axis=1) >= AGREEING) & (inverse_M > 0) & (deviation_M < UNSURE * inverse_M)
    camera_M3 = ray_M3[good_M] / inverse_M[good_M, None]
    return (camera_M3 @ view.rotation_33.T + view.centre_3).astype(np.float32)


def _match(view: _View, other: _View, turn_33: Array, move_3: Array) -> NDArray[np.int64]:
    """(M,) the keypoint of the other view that matches each of a view's; -1 for none."""
    none_M = np.full(len(view.pixel_M2), -1)
    if len(other.pixel_M2) == 0 or np.linalg.norm(move_3) < LEAST_BASELINE_M:
        return none_M
    x, y, z = move_3
    essential_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ turn_33
    fundamental_33 = np.linalg.inv(other.K_33).T @ essential_33 @ np.linalg.inv(view.K_33)
    here_M3 = np.column_stack((view.pixel_M2, np.ones(len(view.pixel_M2)))).astype(np.float32)
    there_O3 = np.column_stack((other.pixel_M2, np.ones(len(other.pixel_M2)))).astype(np.float32)
    line_M3 = here_M3 @ fundamental_33.T.astype(np.float32)
    line_O3 = there_O3 @ fundamental_33.astype(np.float32)
    length_M = np.linalg.norm(line_M3[:, :2], axis=1)
    length_O = np.linalg.norm(line_O3[:, :2], axis=1)
    alike_MO = view.descriptor_MD @ other.descriptor_MD.T
    alike_MO[np.abs(line_M3 @ there_O3.T) > BAND_PX * np.minimum(length_M[:, None], length_O)] = 0.0
    best_M = alike_MO.argmax(axis=1)
    rows = np.arange(len(best_M))
    mutual_M = alike_MO.argmax(axis=0)[best_M] == rows
    return np.where(mutual_M & (alike_MO[rows, best_M] > ALIKE), best_M, none_M)


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
        near_MV = np.linalg.norm(off_MV2, axis=2) < BAND_PX
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
