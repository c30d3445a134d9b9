"""The camera's orientation from yaw, pitch and roll of its body, and interpolation between poses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.poses import multiply_quaternions

_OPTICAL_IN_BODY = np.array([0.5, -0.5, 0.5, -0.5])
"""Rotation of the optical frame in the body frame (x forward, y left, z up; REP-103), w x y z."""


def camera_quaternion(yaw: NDArray, pitch: NDArray, roll: NDArray) -> NDArray[np.float64]:
    """(N, 4) w x y z, w >= 0: rotation of the optical frame in the world; radians, pitch positive upwards."""
    turn = multiply_quaternions(
        multiply_quaternions(_about(2, yaw), _about(1, -pitch)), multiply_quaternions(_about(0, roll), _OPTICAL_IN_BODY)
    )
    turn *= np.where(turn[:, :1] < 0, -1, 1)
    return turn


def between(a_7: NDArray, b_7: NDArray, share: float) -> NDArray[np.float64]:
    """The pose (7,) at a share of the way between two poses with a small rotation between them."""
    opposite = -1.0 if a_7[3:] @ b_7[3:] < 0 else 1.0
    mixed = a_7 + share * (np.concatenate([b_7[:3], opposite * b_7[3:]]) - a_7)
    mixed[3:] /= np.linalg.norm(mixed[3:])
    return mixed


def _about(axis: int, angle: NDArray) -> NDArray:
    quaternion = np.zeros((len(angle), 4))
    quaternion[:, 0], quaternion[:, 1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
    return quaternion
