"""The odom frame: the network's relative motions put one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlocnetpp_ros.frames import IDENTITY, Floats, compose, twist

UNKNOWN_VARIANCE = 1e6
"""Says that a value is not known, in m^2, rad^2 and their rates; a filter gives it no weight."""
FIRST_VARIANCE = 1e-6
"""Of the pose at the origin of the odom frame, which is exact by definition; filters do not take zero."""


@dataclass(frozen=True)
class Motion:
    """Where the camera is in the odom frame after one frame, and how fast it moves."""

    pose_7: Floats
    """T_odom_camera, optical."""
    linear_3: Floats
    """m/s in the camera's frame."""
    angular_3: Floats
    """rad/s in the camera's frame."""
    position_variance: float
    rotation_variance: float
    linear_variance: float
    """Equal to UNKNOWN_VARIANCE at a cold start, where the motion since the frame before is not known."""
    angular_variance: float


class DeadReckoning:
    """Integrates relative motions.

    The odom frame starts equal to the map at the first frame (equal to the camera where the model does not localize).
    At a cold start the pose is held: how far the camera went meanwhile is unknown, and the variances say so.
    """

    def __init__(self, linear_sigma: float, angular_sigma: float) -> None:
        self.set_sigmas(linear_sigma, angular_sigma)
        self._pose_7: Floats | None = None
        self._variance_2 = (FIRST_VARIANCE, FIRST_VARIANCE)

    def set_sigmas(self, linear_sigma: float, angular_sigma: float) -> None:
        """Standard deviations of the velocities, m/s and rad/s."""
        self._linear_variance = linear_sigma**2
        self._angular_variance = angular_sigma**2

    def reset(self) -> None:
        """Begin a new odom frame with the next frame."""
        self._pose_7 = None

    def advance(self, relative_7: Floats | None, interval_s: float | None, map_pose_7: Floats | None) -> Motion:
        """One frame on. `relative_7` is inv(T_{t-1}) @ T_t and None at a cold start; `interval_s` its time."""
        rest = np.zeros(3)
        if self._pose_7 is None:
            self._pose_7 = IDENTITY if map_pose_7 is None else map_pose_7
            self._variance_2 = (FIRST_VARIANCE, FIRST_VARIANCE)
        elif relative_7 is None or not interval_s:
            self._variance_2 = (UNKNOWN_VARIANCE, UNKNOWN_VARIANCE)
        else:
            self._pose_7 = compose(self._pose_7, relative_7)
            position, rotation = self._variance_2
            self._variance_2 = (
                min(UNKNOWN_VARIANCE, position + self._linear_variance * interval_s**2),
                min(UNKNOWN_VARIANCE, rotation + self._angular_variance * interval_s**2),
            )
            linear, angular = twist(relative_7, interval_s)
            return Motion(
                self._pose_7, linear, angular, *self._variance_2, self._linear_variance, self._angular_variance
            )
        return Motion(self._pose_7, rest, rest, *self._variance_2, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE)
