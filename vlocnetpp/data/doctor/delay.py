"""Whether all images belong to the poses of frames a little before or after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlocnetpp.data.doctor.hypotheses import Verdict, between, fit_scale, point_errors
from vlocnetpp.data.doctor.matches import Pair
from vlocnetpp.data.doctor.survey import ExaminedFrame

FARTHEST = 3
"""Frames."""
GAIN = 0.6
"""A delay is believed if it leaves less than this share of the error, on most pairs."""
LEAST_PAIRS = 8


@dataclass(frozen=True)
class Delay:
    """Images fit the poses so many frames later (or, if negative, earlier) better."""

    frames: int
    gain: float
    """Share of the error that is left."""
    won: float
    """Share of the pairs that agree."""
    pairs: int


def find_delay(
    pairs: Sequence[Pair], places: Sequence[tuple[list[ExaminedFrame], int, int]], reading: Verdict, focal: float
) -> Delay | None:
    """The delay that explains the pairs clearly better than none, or None.

    focal: the factor of the focal length that explains them best without a delay; a wrong K must not look like a delay,
    so the delay has to leave less error than that too.
    """
    shifts = range(-FARTHEST, FARTHEST + 1)
    used, motions = [], []
    for pair, (sequence, first, second) in zip(pairs, places, strict=True):
        if first < FARTHEST or second + FARTHEST >= len(sequence):
            continue
        poses = [(sequence[first + k].frame.pose_7, sequence[second + k].frame.pose_7) for k in shifts]
        moved = [between(a, b, reading.hypothesis) for a, b in poses if a is not None and b is not None]
        if len(moved) == len(shifts):
            used.append(pair)
            motions.append(moved)
    if len(used) < LEAST_PAIRS:
        return None

    def errors(shift: int, focal: float) -> list[float]:
        moved = [each[shift + FARTHEST] for each in motions]
        scale = fit_scale(used, moved, focal)
        return [float(np.median(point_errors(pair, T, scale, focal))) for pair, T in zip(used, moved, strict=True)]

    table, rival = np.array([errors(shift, 1.0) for shift in shifts]).T, errors(0, focal)
    medians = np.median(table, axis=0)
    best = int(np.argmin(medians))
    gain = float(medians[best] / max(medians[FARTHEST], 1e-12))
    won = float((table[:, best] < table[:, FARTHEST]).mean())
    if best == FARTHEST or gain > GAIN or won < 0.7 or medians[best] > np.median(rival):
        return None
    return Delay(best - FARTHEST, gain, won, len(used))
