"""Conversion of poses between the library and ROS: quaternion order, the body's frame, twists and covariances.

Inside the library a pose is (x, y, z, qw, qx, qy, qz); ROS messages order a quaternion (x, y, z, w). The camera frame
is optical (REP-103: x right, y down, z forward). `T_a_b` is the pose of frame b in frame a.
"""

from __future__ import annotations

import numpy as np
import torch
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import NDArray

from vlocnetpp import geometry
from vlocnetpp.poses import compose as compose
from vlocnetpp.poses import inverse as inverse
from vlocnetpp_ros import environment

Floats = NDArray[np.float64]
BOUND_TO_AXIS = 1.8779
"""68.27 % of an isotropic normal error in three axes is within this many standard deviations of one axis."""
IDENTITY: Floats = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def rotation_matrix(q_4: Floats) -> Floats:
    """(3, 3) of a unit quaternion w, x, y, z, by tf_transformations where it loads."""
    if (transformations := environment.load("tf_transformations")) is not None:
        w, x, y, z = map(float, q_4)
        return np.asarray(transformations.quaternion_matrix((x, y, z, w))[:3, :3], np.float64)
    return geometry.rotation_matrix(torch.from_numpy(q_4)).numpy()


def to_pose(pose_7: Floats) -> Pose:
    """(7,) to a Pose message, whose quaternion is x, y, z, w."""
    x, y, z, qw, qx, qy, qz = map(float, pose_7)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def from_pose(message: Pose) -> Floats:
    """A Pose message to (7,)."""
    p, q = message.position, message.orientation
    return np.array([p.x, p.y, p.z, q.w, q.x, q.y, q.z])


def to_transform(pose_7: Floats) -> Transform:
    """(7,) to a Transform message."""
    x, y, z, qw, qx, qy, qz = map(float, pose_7)
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def from_transform(message: Transform) -> Floats:
    """A Transform message to (7,)."""
    t, q = message.translation, message.rotation
    return np.array([t.x, t.y, t.z, q.w, q.x, q.y, q.z])


def cross_matrix(v_3: Floats) -> Floats:
    """(3, 3) that multiplies like the cross product with `v_3`."""
    x, y, z = v_3
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def twist(motion_7: Floats, seconds: float) -> tuple[Floats, Floats]:
    """The constant velocity that results in a motion over the given time: linear (3,) m/s and angular (3,) rad/s.

    `motion_7` is `inv(T_{t-1}) @ T_t` and the velocity is that of the moving body in its own frame, the same over the
    whole step: the logarithm in SE(3) over the time, not the difference of positions, which would be in the old frame.
    """
    w, axis = motion_7[3], motion_7[4:]
    sine = float(np.linalg.norm(axis))
    angle = 2.0 * np.arctan2(sine, w)
    if angle > np.pi:
        angle -= 2.0 * np.pi
    turn = axis * (angle / sine if sine > 1e-9 else 2.0)
    half = 0.5 * angle
    # (1 - h cot h) / (2h)^2, whose limit at rest is 1/12.
    curvature = (1.0 - half / np.tan(half)) / angle**2 if abs(angle) > 1e-4 else 1.0 / 12.0
    W = cross_matrix(turn)
    linear = (np.eye(3) - 0.5 * W + curvature * W @ W) @ motion_7[:3]
    return linear / seconds, turn / seconds


def twist_at(b_c_7: Floats, linear_3: Floats, angular_3: Floats) -> tuple[Floats, Floats]:
    """The twist of frame b, in b, from the twist of frame c, in c, where `T_b_c` is fixed."""
    R = rotation_matrix(b_c_7[3:])
    angular = R @ angular_3
    return R @ linear_3 + np.cross(b_c_7[:3], angular), angular


def isotropic_covariance(position_variance: float, rotation_variance: float, lever_3: Floats | None = None) -> Floats:
    """(6, 6) over x, y, z, rotX, rotY, rotZ about the fixed axes of the pose's frame (REP-103), equal in all axes.

    `lever_3` is the vector from the point the variances describe to the point of interest, in the fixed axes: there a
    wrong rotation also moves the position.
    """
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = position_variance * np.eye(3)
    covariance[3:, 3:] = rotation_variance * np.eye(3)
    if lever_3 is not None:
        L = cross_matrix(lever_3)
        covariance[:3, :3] += rotation_variance * L @ L.T
        covariance[:3, 3:] = -rotation_variance * L
        covariance[3:, :3] = covariance[:3, 3:].T
    return covariance
