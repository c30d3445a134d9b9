"""Single poses far off the path of their neighbours, as from a localization that fails for a moment. They are reported
and excluded before anything else is judged: one pose at 100 m would outweigh all good ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlocnetpp.data.doctor.matches import Floats
from vlocnetpp.data.doctor.survey import ExaminedFrame

SHORTEST = 8
"""Frames that a sequence needs before its usual step is known."""
JUMP = 10.0
"""Times the usual step around it."""
LEAST_M = 0.3
LONGEST, SHARE = 3, 0.02
"""Frames in a row that may be wild, or this share of the sequence: more are another part of the drive."""
BACK = 0.1
"""The path continues after them if the gap that they leave is below this share of the jump."""


@dataclass(frozen=True)
class Wild:
    """A pose far off the path."""

    examined: ExaminedFrame
    metres: float
    """From the neighbour before, or behind at the beginning of a sequence."""
    usual_m: float
    """Step of the frames around it."""


def local_median(values_N: Floats, reach: int = 10) -> Floats:
    """(N,) median of the values around each one."""
    return np.array([np.median(values_N[max(i - reach, 0) : i + reach + 1]) for i in range(len(values_N))])


def set_wild_poses_aside(sequence: Sequence[ExaminedFrame]) -> list[Wild]:
    """Remove the wild poses from the frames of a sequence. Returns them."""
    posed = [examined for examined in sequence if examined.frame.pose_7 is not None]
    if len(posed) < SHORTEST:
        return []
    place = np.array([examined.frame.pose_7 for examined in posed], np.float64)[:, :3]
    steps = np.linalg.norm(np.diff(place, axis=0), axis=1)
    usual = local_median(steps)
    jumps = np.flatnonzero((steps > JUMP * usual) & (steps > LEAST_M))
    parts = [(int(a), int(b)) for a, b in zip([0, *(jumps + 1)], [*(jumps + 1), len(posed)], strict=True)]
    longest = max(LONGEST, round(SHARE * len(posed)))
    found: list[Wild] = []
    for first, end in parts:
        if end - first > longest or len(parts) == 1:
            continue
        inner = first > 0 and end < len(posed)
        far = min(steps[first - 1], steps[end - 1]) if inner else steps[end - 1 if first == 0 else first - 1]
        if inner and np.linalg.norm(place[end] - place[first - 1]) > BACK * far:
            continue
        ordinary = float(usual[min(first, len(usual) - 1)])
        found += [Wild(examined, float(far), ordinary) for examined in posed[first:end]]
    for wild in found:
        wild.examined.frame = replace(wild.examined.frame, pose_7=None)
        wild.examined.set_aside = True
    return found
