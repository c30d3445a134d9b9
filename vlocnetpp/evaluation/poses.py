"""Arrays of poses in numpy, as the scores need them: compose, invert, compare.

Every pose is (x, y, z, qw, qx, qy, qz) in metres with a unit quaternion (Hamilton); a leading axis runs over frames.
NaN means "no pose" and stays NaN through every function here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.data.frames import DataError

Floats = NDArray[np.float64]


def quaternion_product(a_N4: Floats, b_N4: Floats) -> Floats:
    """Hamilton product a * b, (N, 4) each, order w, x, y, z."""
    aw, ax, ay, az = np.moveaxis(a_N4, -1, 0)
    bw, bx, by, bz = np.moveaxis(b_N4, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def rotate(q_N4: Floats, v_N3: Floats) -> Floats:
    """Turn the vectors (N, 3) by the unit quaternions (N, 4)."""
    w, u = q_N4[..., :1], q_N4[..., 1:]
    t = 2.0 * np.cross(u, v_N3)
    return v_N3 + w * t + np.cross(u, t)


def compose(a_N7: Floats, b_N7: Floats) -> Floats:
    """`T_a @ T_b`, (N, 7)."""
    q_a, q_b = a_N7[..., 3:], b_N7[..., 3:]
    return np.concatenate([a_N7[..., :3] + rotate(q_a, b_N7[..., :3]), quaternion_product(q_a, q_b)], axis=-1)


def inverse(pose_N7: Floats) -> Floats:
    """`inv(T)`, (N, 7)."""
    back = pose_N7[..., 3:] * np.array([1.0, -1.0, -1.0, -1.0])
    return np.concatenate([-rotate(back, pose_N7[..., :3]), back], axis=-1)


def relative(a_N7: Floats, b_N7: Floats) -> Floats:
    """`inv(T_a) @ T_b`: pose b as seen from pose a, (N, 7)."""
    return compose(inverse(a_N7), b_N7)


def rotation_angle(q_N4: Floats) -> Floats:
    """The angle of each rotation in radians, 0..pi, (N,); atan2 because acos is blind below 1e-8 rad."""
    return 2.0 * np.arctan2(np.linalg.norm(q_N4[..., 1:], axis=-1), np.abs(q_N4[..., 0]))


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
