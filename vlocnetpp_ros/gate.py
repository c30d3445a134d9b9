"""Whether the camera is localized: a pose that is not to be trusted is not published.

A pose is held against its own calibrated uncertainty, against how unlike the training images its image is, against the
map's bounds, and against the odometry, which says where the camera must be if the last trusted pose was right. A bad
pose is withheld at once; a few in a row and the node is lost.

It is found again by good poses in a row that agree with the first of them as the odometry carries it on. A few are
enough where the camera can have come there from its last trusted pose, by the odometry or, past images that the network
cannot read, at its greatest speed. More are needed where it cannot, as when a robot was carried away, and where the
odometry between them is not known, so that they cannot confirm each other. After images of no use alone one good pose
is enough. Independent of ROS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vlocnetpp.runtime import Estimate
from vlocnetpp_ros.frames import Floats, compose

STRICTER = 0.8
"""While lost, the limits are so much tighter: without this, a pose at a limit would flicker."""
FAR = 0.5
"""A camera that may have gone so large a share of the map's diagonal may be anywhere."""


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
    """Good poses in a row that end it, each where the odometry puts it from the one before."""
    relocalize_after: int = 0
    """The same where the camera cannot have come there from the last trusted pose, may be anywhere, or where there is
    no odometry between them; never fewer than `regain_after`."""
    novelty: float = 0.0
    """Largest number by which the model says that an image is unlike the training images."""
    drift: float = 0.1
    """Error of the odometry over the length of its way."""
    speed_m_s: float = 1.5
    """Greatest speed of the camera."""


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
class _Place:
    """A pose to hold the next ones against, carried on by the odometry."""

    pose_7: Floats
    bound_m: float
    reach_m: float | None = None
    """How far the camera may have gone where its odometry is not known; None where it is known all the way."""

    def moved(self, relative_7: Floats, drift: float) -> _Place:
        """One image on, less certain by the drift of that way."""
        way_m = float(np.linalg.norm(relative_7[:3]))
        return _Place(compose(self.pose_7, relative_7), self.bound_m + drift * way_m, self.reach_m)

    def distance(self, pose_7: Floats, bound_m: float) -> tuple[float, float]:
        """Metres from where the camera may be to another position, and how many of the two 68 % bounds that is."""
        apart = max(0.0, float(np.linalg.norm(pose_7[:3] - self.pose_7[:3])) - (self.reach_m or 0.0))
        return apart, apart / max(float(np.hypot(bound_m, self.bound_m)), 1e-9)


class Gate:
    """Judges one stream of estimates. `bounds` are the smallest and largest training positions, empty if unknown."""

    def __init__(self, limits: Limits, bounds: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        self.limits = limits
        """May be replaced at any time."""
        self._low, self._high = (np.array(corner) for corner in bounds)
        self._far_m = FAR * float(np.linalg.norm(self._high - self._low)) if self._low.size else 0.0
        self.forget()

    def forget(self) -> None:
        """Begin anew, as at the first image: nothing speaks against the next pose but itself."""
        self._trusted: _Place | None = None
        """The last trusted pose, carried on by the odometry; None where the camera may be anywhere since."""
        self._candidate: _Place | None = None
        """While lost, the first of the poses that agree with each other, carried on by the odometry.

        The first, not the latest: poses that stand still while the camera moves on part from it, however slowly."""
        self._bad, self._good, self._agreeing = 0, 0, 0
        self._doubted = False
        """Whether a pose was withheld since the last trusted one, not only images of no use."""
        self._lost = False
        self._trusted_once = False
        self._readable = True
        """Whether the network could read the last image, so that the motion from it to the next is worth something."""
        self._stamp_ns: int | None = None

    def judge(self, estimate: Estimate) -> Verdict:
        """Take one estimate with a pose. At a cold start there is no odometry to hold it against."""
        if estimate.pose_7 is None or estimate.sigma_2 is None:
            raise ValueError("an estimate without a pose cannot be judged")
        here = _Place(estimate.pose_7, float(estimate.sigma_2[0]))
        kind, reason = self._unreadable(estimate.sigma_2, estimate.novelty)
        self._carry_on(estimate, readable=not kind)
        if kind:
            return self._withhold(kind, reason, None, doubted=True)
        kind, reason = self._outside(estimate.pose_7)
        expected = self._candidate if self._lost else self._trusted
        if not kind and expected is not None and expected.reach_m is None:
            kind, reason = self._disagreement(here, expected)
        if kind:
            return self._withhold(kind, reason, here, doubted=True)
        if self._lost:
            waits = self._count_towards_finding(here)
            if waits:
                return Verdict(False, False, f"localizing again, {waits}", "lost")
        self._bad, self._good, self._agreeing = 0, 0, 0
        self._lost, self._doubted, self._trusted_once = False, False, True
        self._trusted, self._candidate = here, None
        return Verdict(True, True, "")

    def reject(self, kind: str, reason: str) -> Verdict:
        """Take an image that is of no use; what the odometry says of the way past it goes on from the image before."""
        return self._withhold(kind, reason, None, doubted=False)

    def _carry_on(self, estimate: Estimate, readable: bool) -> None:
        """Move the places that the next poses are held against to the time of this image."""
        motion_7 = estimate.relative_7 if readable and self._readable else None
        seconds = 0.0 if self._stamp_ns is None else max(0.0, (estimate.stamp_ns - self._stamp_ns) / 1e9)
        self._readable, self._stamp_ns = readable, estimate.stamp_ns
        if motion_7 is not None:
            self._trusted = self._trusted and self._trusted.moved(motion_7, self.limits.drift)
            self._candidate = self._candidate and self._candidate.moved(motion_7, self.limits.drift)
            return
        self._candidate = None
        if self._trusted is not None:
            reach_m = (self._trusted.reach_m or 0.0) + self.limits.speed_m_s * seconds
            self._trusted = replace(self._trusted, reach_m=reach_m) if reach_m < self._far_m else None

    def _withhold(self, kind: str, reason: str, here: _Place | None, doubted: bool) -> Verdict:
        self._bad, self._good, self._agreeing = self._bad + 1, 0, 0
        self._lost = self._lost or self._bad >= self.limits.lose_after
        self._doubted = self._doubted or doubted
        if here is not None:
            self._candidate = here if self._lost else None
        return Verdict(False, self._trusted_once and not self._lost, reason, kind)

    def _count_towards_finding(self, here: _Place) -> str:
        """Count a good pose while lost; how many there are of how many, empty when it was the last that was needed."""
        limits = self.limits
        confirmed = self._candidate is not None or limits.disagreement <= 0
        self._candidate = self._candidate or here
        self._good += 1
        self._agreeing = self._agreeing + 1 if confirmed else 1
        most = max(limits.regain_after, limits.relocalize_after)
        if self._trusted is None:
            # After images of no use no pose was wrong, as little as after a pause of the camera.
            needed = most if self._doubted else 1
        elif self._disagreement(here, self._trusted)[0]:
            needed = most
        else:
            needed = limits.regain_after if self._doubted else 1
        if self._agreeing >= needed or self._good >= most:
            return ""
        return f"{self._agreeing} of {needed}"

    def _unreadable(self, sigma_2: Floats, novelty: float | None) -> tuple[str, str]:
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
        if novelty is not None and limits.novelty > 0 and novelty > limits.novelty * factor:
            return "unlike the training images", f"novelty {novelty:.2f} is over {limits.novelty * factor:.2f}"
        return "", ""

    def _outside(self, pose_7: Floats) -> tuple[str, str]:
        if self.limits.margin_m >= 0 and self._low.size:
            outside = float(np.max(np.maximum(self._low - pose_7[:3], pose_7[:3] - self._high)))
            if outside > self.limits.margin_m:
                return "outside the map", f"{outside:.2f} m outside of the mapped volume"
        return "", ""

    def _disagreement(self, here: _Place, expected: _Place) -> tuple[str, str]:
        if self.limits.disagreement <= 0:
            return "", ""
        apart, ratio = expected.distance(here.pose_7, here.bound_m)
        if ratio > self.limits.disagreement * (STRICTER if self._lost else 1.0):
            return "disagrees with odometry", f"{apart:.2f} m from where the odometry is, {ratio:.1f} bounds"
        return "", ""
