"""Whether the camera is localized: a pose that is not to be trusted is not published.

Three things are held against a pose: its own calibrated uncertainty, the map's bounds, and the odometry, which says
where the camera must be if the last trusted pose was right. A bad pose is withheld at once; a few in a row and the node
is lost, until a few good ones in a row agree with each other. Knows nothing of ROS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlocnetpp.runtime import Estimate
from vlocnetpp_ros.frames import Floats, compose

STRICTER = 0.8
"""While lost, the limits are so much tighter: without this, a pose at a limit would flicker."""


@dataclass(frozen=True)
class Limits:
    """What a pose may be like; 0 switches a limit off."""

    uncertainty_m: float
    """Largest 68 % bound of the position's error."""
    uncertainty_rad: float
    disagreement: float
    """Largest distance from where the odometry puts the camera, in 68 % bounds of the two poses together."""
    margin_m: float
    """How far outside of the training positions a pose may lie; negative switches the check off."""
    lose_after: int
    """Bad poses in a row after which the node is lost."""
    regain_after: int
    """Good poses in a row that end it."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one image."""

    publish: bool
    """Whether this pose is to be trusted."""
    localized: bool
    """The state after it, with hysteresis."""
    reason: str
    """Why it is withheld, with the figures; empty where it is published."""
    kind: str = ""
    """The reason in one fixed word or two, to count by."""


@dataclass(frozen=True)
class _Anchor:
    """A pose to hold the next ones against, carried along by the odometry."""

    pose_7: Floats
    bound_m: float


class Gate:
    """Judges one stream of estimates. `bounds` are the smallest and largest training positions, empty if unknown."""

    def __init__(self, limits: Limits, bounds: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        self.limits = limits
        """May be replaced at any time."""
        self._low, self._high = (np.array(corner) for corner in bounds)
        self.forget()

    def forget(self) -> None:
        """Begin anew, as at the first image: nothing speaks against the next pose but itself."""
        self._anchor: _Anchor | None = None
        self._bad, self._good = 0, 0
        self._lost = False
        self._trusted_once = False

    def judge(self, estimate: Estimate) -> Verdict:
        """Take one estimate with a pose. At a cold start there is no odometry to hold it against."""
        if estimate.pose_7 is None or estimate.sigma_2 is None:
            raise ValueError("an estimate without a pose cannot be judged")
        moved = estimate.relative_7
        predicted = None
        if self._anchor is not None and moved is not None:
            predicted = _Anchor(compose(self._anchor.pose_7, moved), self._anchor.bound_m)
        kind, reason = self._fault(estimate.pose_7, estimate.sigma_2, predicted)
        here = _Anchor(estimate.pose_7, float(estimate.sigma_2[0]))
        if not kind:
            self._bad, self._good = 0, self._good + 1
            if self._lost and self._good < self.limits.regain_after:
                self._anchor = here
                return Verdict(False, False, f"localizing again, {self._good} of {self.limits.regain_after}", "lost")
            self._lost, self._trusted_once, self._anchor = False, True, here
            return Verdict(True, True, "")
        self._bad, self._good = self._bad + 1, 0
        self._lost = self._lost or self._bad >= self.limits.lose_after
        # While lost the old place says nothing any more: the poses have to agree with each other.
        self._anchor = here if self._lost else predicted
        return Verdict(False, self._trusted_once and not self._lost, reason, kind)

    def _fault(self, pose_7: Floats, sigma_2: Floats, predicted: _Anchor | None) -> tuple[str, str]:
        limits, factor = self.limits, STRICTER if self._lost else 1.0
        for value, limit, unit, scale in (
            (sigma_2[0], limits.uncertainty_m, "m", 1.0),
            (sigma_2[1], limits.uncertainty_rad, "deg", 180.0 / np.pi),
        ):
            if limit > 0 and value > limit * factor:
                return (
                    "uncertain",
                    f"uncertainty {value * scale:.2f} {unit} is over {limit * factor * scale:.2f} {unit}",
                )
        if limits.margin_m >= 0 and self._low.size:
            outside = float(np.max(np.maximum(self._low - pose_7[:3], pose_7[:3] - self._high)))
            if outside > limits.margin_m:
                return "outside the map", f"{outside:.2f} m outside of the mapped volume"
        if limits.disagreement > 0 and predicted is not None:
            apart = float(np.linalg.norm(pose_7[:3] - predicted.pose_7[:3]))
            ratio = apart / max(float(np.hypot(sigma_2[0], predicted.bound_m)), 1e-9)
            if ratio > limits.disagreement * factor:
                return "disagrees with odometry", f"{apart:.2f} m from where the odometry is, {ratio:.1f} bounds"
        return "", ""
