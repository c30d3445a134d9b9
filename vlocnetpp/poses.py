"""Poses in NumPy: the algebra of `geometry` on arrays, with missing rows.

Every pose is (x, y, z, qw, qx, qy, qz) in metres with a unit quaternion (Hamilton); a leading axis runs over frames.
NaN means "no pose" and stays NaN through every function here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vlocnetpp import geometry
from vlocnetpp.errors import DataError

Floats = NDArray[np.float64]
TOLERANCE = 1e-3
"""Largest deviation of R R^T from identity that passes as rounding in a text file."""
QUATERNION_TOLERANCE = 1e-2
"""Largest deviation of |q|^2 from 1, the tolerance of tf2 (tf2/src/buffer_core.cpp,
QUATERNION_NORMALIZATION_TOLERANCE)."""


class PoseError(DataError):
    """A stored pose is not a rigid transform."""


def multiply_quaternions(a_N4: Floats, b_N4: Floats) -> Floats:
    """Hamilton product (N, 4): first the rotation b, then a."""
    return _by_rows(geometry.multiply_quaternions, a_N4, b_N4)


def rotate(q_N4: Floats, v_N3: Floats) -> Floats:
    """Turn the vectors (N, 3) by the unit quaternions (N, 4)."""
    return _by_rows(geometry.rotate, q_N4, v_N3)


def compose(a_N7: Floats, b_N7: Floats) -> Floats:
    """`T_a @ T_b`, (N, 7)."""
    return _by_rows(geometry.compose, a_N7, b_N7)


def inverse(pose_N7: Floats) -> Floats:
    """`inv(T)`, (N, 7)."""
    return _by_rows(geometry.inverse, pose_N7)


def transform(pose_7: Floats, point_N3: Floats) -> Floats:
    """Points (N, 3) of the frame whose pose is given, in the frame in which it is given."""
    return rotate(np.tile(pose_7[3:], (len(point_N3), 1)), point_N3) + pose_7[:3]


def relative(a_N7: Floats, b_N7: Floats) -> Floats:
    """`inv(T_a) @ T_b`: pose b as seen from pose a, (N, 7)."""
    return _by_rows(geometry.relative, a_N7, b_N7)


def accumulate(motion_N7: Floats, valid_N: NDArray[np.bool_]) -> Floats:
    """Motions since the frame before, one after the other: (N, 7) poses in the first frame of each uninterrupted run.

    Where a frame has no valid motion, a run starts, at the identity. After a motion of NaN the run stays NaN.
    """
    poses = np.empty_like(motion_N7)
    for i, valid in enumerate(valid_N):
        poses[i] = compose(poses[i - 1], motion_N7[i]) if valid and i else (0, 0, 0, 1, 0, 0, 0)
    return poses


def rotation_angle(q_N4: Floats) -> Floats:
    """The angle of each rotation in radians, 0..pi, (N,)."""
    identity = np.tile([1.0, 0.0, 0.0, 0.0], (len(q_N4), 1))
    return _by_rows(geometry.rotation_angle, identity, q_N4)


def weighted_mean(pose_N7: Floats, weight_N: Floats | None = None) -> Floats:
    """The mean of poses (7,): of the positions, and of the rotations as Markley et al. 2007. Weights sum to 1."""
    weight_N = np.full(len(pose_N7), 1.0 / len(pose_N7)) if weight_N is None else weight_N
    # The mean rotation maximizes the weighted sum of (q . q_i)^2, which does not see the signs of quaternions.
    _, axes = np.linalg.eigh((pose_N7[:, 3:].T * weight_N) @ pose_N7[:, 3:])
    rotation = axes[:, -1] if axes[0, -1] >= 0 else -axes[:, -1]
    return np.concatenate([weight_N @ pose_N7[:, :3], rotation])


def _by_rows(function: Callable[..., Tensor], *arrays: Floats) -> Floats:
    """A function of `geometry` on numpy arrays; a row that is not finite in any argument is NaN in the result."""
    result = function(*(torch.from_numpy(np.ascontiguousarray(array, np.float64)) for array in arrays)).numpy()
    for array in arrays:
        result[~np.isfinite(array).all(axis=-1)] = np.nan
    return result


def as_poses(poses: ArrayLike, what: str) -> Floats:
    """A checked float64 copy (N, 7) with unit quaternions.

    Rows that hold anything but finite numbers, or a quaternion of length 0, describe no pose and become all NaN.
    Raises DataError, naming `what`, if the shape is not (N, 7).
    """
    array = np.array(poses, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, 7)
    if array.ndim != 2 or array.shape[1] != 7:
        raise DataError(f"{what}: poses must have the shape (N, 7), not {array.shape}")
    length = np.linalg.norm(array[:, 3:], axis=1)
    missing = ~np.isfinite(array).all(axis=1) | (length < 1e-9)
    array[:, 3:] /= np.where(missing, 1.0, length)[:, None]
    array[missing] = np.nan
    return array


def checked_pose(pose_7: ArrayLike, where: object) -> NDArray[np.float64]:
    """(7,) x, y, z, qw, qx, qy, qz -> the same with |q| = 1 and w >= 0.

    Raises PoseError, naming `where`, if a number is not finite or the quaternion is not of unit length.
    """
    pose = np.array(pose_7, np.float64)
    if pose.shape != (7,):
        raise PoseError(f"{where}: a pose has seven numbers (x, y, z, qw, qx, qy, qz), not shape {pose.shape}")
    if not np.isfinite(pose).all():
        raise PoseError(f"{where}: the pose has a NaN or infinite entry")
    norm = float(np.linalg.norm(pose[3:]))
    if abs(norm**2 - 1.0) > QUATERNION_TOLERANCE:
        raise PoseError(f"{where}: the quaternion has length {norm:.4g} instead of 1")
    # A length within rounding of 1 is left alone, so that what was written is read back bit for bit.
    scale = 1.0 if abs(norm - 1.0) < 1e-12 else 1.0 / norm
    pose[3:] *= -scale if pose[3] < 0 else scale
    return pose
