"""The network's own odometry frame: its relative motions, accumulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlocnetpp_ros.frames import BOUND_TO_AXIS, Floats, compose, twist

UNKNOWN_VARIANCE = 1e6
"""Marks an unknown value, in m^2, rad^2 and their rates; a filter gives it no weight."""
OPTICAL: Floats = np.array([0.0, 0.0, 0.0, 0.5, -0.5, 0.5, -0.5])
"""T_body_camera of an optical frame in a body of its own place: x forward, y left, z up (REP-103)."""
UNPREDICTED = (0.1, 0.05)
"""Standard deviations of the velocities, m/s and rad/s, where neither the network nor a parameter gives them."""
LEAST_SIGMA = 1e-6
"""Smallest standard deviation of a velocity, m/s and rad/s; filters do not accept zero."""
FIRST_VARIANCE = 1e-6
"""Variance of the pose at the origin, which is exact by definition; filters do not accept zero."""


@dataclass(frozen=True)
class Motion:
    """Where the camera is in the odometry frame after one frame, and how fast it moves."""

    pose_7: Floats
    """T_odometry_camera, optical."""
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

    The origin is where the base was at the first frame, or the camera turned to x forward, y left, z up.
    At a cold start the pose is held: how far the camera went meanwhile is unknown, and the variances say so.
    """

    def __init__(self, linear_sigma: float, angular_sigma: float) -> None:
        """See `set_sigmas`."""
        self.set_sigmas(linear_sigma, angular_sigma)
        self._pose_7: Floats | None = None
        self._variance_2 = (FIRST_VARIANCE, FIRST_VARIANCE)

    def set_sigmas(self, linear_sigma: float, angular_sigma: float) -> None:
        """Standard deviations of the velocities, m/s and rad/s; negative: those that come with each motion, or else
        `UNPREDICTED`."""
        self._sigmas = (linear_sigma, angular_sigma)

    def reset(self) -> None:
        """Begin a new odometry frame with the next frame."""
        self._pose_7 = None

    def advance(
        self,
        relative_7: Floats | None,
        interval_s: float | None,
        base_camera_7: Floats | None,
        sigma_2: Floats | None = None,
    ) -> Motion:
        """One frame on.

        Args:
            relative_7: inv(T_{t-1}) @ T_t of the camera; None at a cold start.
            interval_s: its time.
            base_camera_7: T_base_camera, None where there is no base.
            sigma_2: 68 % bounds of the motion's error, metres and radians; None where the network gives none.
        """
        rest = np.zeros(3)
        if self._pose_7 is None:
            self._pose_7 = OPTICAL if base_camera_7 is None else base_camera_7
            self._variance_2 = (FIRST_VARIANCE, FIRST_VARIANCE)
        elif relative_7 is None or not interval_s:
            self._variance_2 = (UNKNOWN_VARIANCE, UNKNOWN_VARIANCE)
        else:
            self._pose_7 = compose(self._pose_7, relative_7)
            linear_variance, angular_variance = self._rate_variances(interval_s, sigma_2)
            position, rotation = self._variance_2
            self._variance_2 = (
                min(UNKNOWN_VARIANCE, position + linear_variance * interval_s**2),
                min(UNKNOWN_VARIANCE, rotation + angular_variance * interval_s**2),
            )
            linear, angular = twist(relative_7, interval_s)
            return Motion(self._pose_7, linear, angular, *self._variance_2, linear_variance, angular_variance)
        return Motion(self._pose_7, rest, rest, *self._variance_2, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE)

    def _rate_variances(self, interval_s: float, sigma_2: Floats | None) -> tuple[float, float]:
        """Variances of the linear and angular velocity along one axis."""
        predicted = UNPREDICTED if sigma_2 is None else sigma_2 / BOUND_TO_AXIS / interval_s
        linear, angular = (
            min(UNKNOWN_VARIANCE, max(LEAST_SIGMA, float(given if given >= 0 else own)) ** 2)
            for given, own in zip(self._sigmas, predicted)
        )
        return linear, angular
