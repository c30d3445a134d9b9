"""Poses and intrinsics read from files are checked here, so that other code need not check them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.errors import DataError
from vlocnetpp.poses import TOLERANCE as TOLERANCE
from vlocnetpp.poses import PoseError as PoseError
from vlocnetpp.poses import checked_pose as checked_pose

GAP = 3
"""A distance in time between two poses is a gap where it is so many times the usual one."""


def pose_from_matrix(T_44: ArrayLike, where: object) -> NDArray[np.float64]:
    """(4, 4) rigid transform, metres -> (7,) x, y, z, qw, qx, qy, qz with w >= 0.

    Raises PoseError, naming `where`, if the matrix is not finite, not 4 x 4 or no rotation with a translation.
    """
    from scipy.spatial.transform import Rotation  # type: ignore[import-untyped]

    T = np.asarray(T_44, np.float64)
    if T.shape != (4, 4):
        raise PoseError(f"{where}: a pose matrix must be 4 x 4, this is {' x '.join(map(str, T.shape))}")
    if not np.isfinite(T).all():
        raise PoseError(f"{where}: the pose has a NaN or infinite entry")
    R = T[:3, :3]
    deviation = float(np.abs(R @ R.T - np.eye(3)).max())
    if deviation > TOLERANCE or np.abs(T[3] - (0.0, 0.0, 0.0, 1.0)).max() > TOLERANCE:
        scale = float(np.cbrt(abs(np.linalg.det(R))))
        scaled = f"; it is scaled by {scale:.4g}" if np.abs(R @ R.T - scale**2 * np.eye(3)).max() < TOLERANCE else ""
        raise PoseError(f"{where}: not a rigid transform (R R^T differs from identity by {deviation:.2g}{scaled})")
    if np.linalg.det(R) < 0:
        raise PoseError(f"{where}: the rotation is a reflection (determinant -1), one axis is mirrored")
    x, y, z, w = Rotation.from_matrix(R).as_quat()
    return checked_pose((*T[:3, 3], w, x, y, z), where)


def known_pose(pose_7: ArrayLike, where: object, lost: list[str]) -> NDArray[np.float64] | None:
    """`checked_pose`, but None for an invalid pose, about which a line is added to `lost`. A localization that is lost
    writes NaN or a quaternion of zeros.
    """
    try:
        return checked_pose(pose_7, where)
    except PoseError as error:
        lost.append(str(error))
        return None


def known_matrix(T_44: ArrayLike, where: object, lost: list[str]) -> NDArray[np.float64] | None:
    """`pose_from_matrix`, but None where tracking was lost: NaN, infinity or a rotation of zeros; a line is added to
    `lost`. Raises PoseError for any other invalid matrix: scaled, sheared, mirrored.
    """
    T = np.asarray(T_44, np.float64)
    if np.isfinite(T).all() and T[:3, :3].any():
        return pose_from_matrix(T, where)
    lost.append(f"{where}: the pose has a NaN or infinite entry, or is zero")
    return None


class NoPoseError(PoseError):
    """A source of poses has no valid one."""


def note_of_lost(lost: list[str], given: int) -> tuple[str, ...]:
    """A note on the lines that `known_pose` collected from `given` poses of one source. Raises NoPoseError with the
    first of them if no pose is valid: then the whole source is wrong.
    """
    if lost and len(lost) == given:
        raise NoPoseError(lost[0])
    more = f", and so on: {len(lost)} of {given} poses" if len(lost) > 1 else f": 1 of {given} poses"
    return (f"{lost[0]}{more} read as unknown",) if lost else ()


def checked_intrinsics(K_33: ArrayLike, where: object) -> NDArray[np.float64]:
    """(3, 3) pinhole intrinsics in pixels. Raises DataError, naming `where`, if they cannot be those of a camera."""
    K = np.array(K_33, np.float64)
    if K.shape != (3, 3):
        raise DataError(f"{where}: intrinsics must be 3 x 3, this is {' x '.join(map(str, K.shape))}")
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise DataError(f"{where}: fx and fy must be positive pixels, got fx={K[0, 0]:g}, fy={K[1, 1]:g}")
    if K[0, 1] != 0 or K[1, 0] != 0 or not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise DataError(f"{where}: only fx, fy, cx, cy are used; skew or another last row is not supported")
    return K


def angle_between(a_7: NDArray[np.float64], b_7: NDArray[np.float64]) -> float:
    """Angle of the rotation from one pose to the other in radians, 0 to pi."""
    return 2.0 * float(np.arccos(min(abs(float(a_7[3:] @ b_7[3:])), 1.0)))


def interpolate_poses(
    stamps_N: NDArray[np.int64], poses_N7: NDArray[np.float64], at_M: NDArray[np.int64], limit_ns: int
) -> list[NDArray[np.float64] | None]:
    """Poses at other stamps: translation linear, rotation slerp, between the pose before and the pose after.

    None where a stamp lies outside of the poses (nothing is extrapolated), farther than `limit_ns` from the nearer of
    its two, beside an unknown pose, a row with a NaN, or in a gap: between two poses that are farther apart than three
    usual ones and than twice `limit_ns`. Across a gap the camera may have gone anywhere. A stamp that a pose has gets
    that very pose. The poses need not be sorted; of equal stamps the first counts.
    """
    from scipy.spatial.transform import Rotation, Slerp

    stamps_N, first = np.unique(stamps_N, return_index=True)
    known_N = np.asarray(np.isfinite(poses_N7[first]).all(axis=1))
    poses_N7 = np.where(known_N[:, None], poses_N7[first], (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    after = np.searchsorted(stamps_N, at_M)
    inside = (after > 0) & (after < len(stamps_N))
    before, next_ = np.clip(after - 1, 0, None), np.clip(after, None, len(stamps_N) - 1)
    near = np.minimum(at_M - stamps_N[before], stamps_N[next_] - at_M) <= limit_ns
    result: list[NDArray[np.float64] | None] = [None] * len(at_M)
    spacing = np.diff(stamps_N)
    gap_ns = max(2 * limit_ns, GAP * float(np.median(spacing))) if len(spacing) else 0
    bridged = stamps_N[next_] - stamps_N[before] <= gap_ns
    between = inside & near & bridged & known_N[before] & known_N[next_]
    if between.any():
        seconds = (stamps_N - stamps_N[0]) / 1e9  # relative, so that a double resolves nanoseconds
        at = (at_M - stamps_N[0]) / 1e9
        turn = Slerp(seconds, Rotation.from_quat(poses_N7[:, [4, 5, 6, 3]]))(at[between]).as_quat()
        place = np.column_stack([np.interp(at[between], seconds, poses_N7[:, axis]) for axis in range(3)])
        for row, xyz, xyzw in zip(np.flatnonzero(between), place, turn, strict=True):
            result[row] = checked_pose((*xyz, xyzw[3], *xyzw[:3]), "interpolated pose")
    for row in np.flatnonzero((stamps_N[next_] == at_M) & known_N[next_]):
        result[row] = poses_N7[next_[row]]
    return result
