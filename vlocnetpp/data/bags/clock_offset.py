"""The offset between the clock of a pose file and the clock of a recording's images.

The camera's angular speed can be computed from the images and from the poses, in whatever frames these are. The offset
is where the two correlate best: first over all overlaps in steps of a tenth of a second, then to the millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WIDTH_PX = 320
"""Images are searched at about this width."""
POINTS, LEAST_POINTS = 150, 20
LONGEST_S = 1e6
"""Longest plausible recording; stamps over a longer time are an error."""
STEP_S = 0.1
FINE_S = 0.002
LEAST_OVERLAP_S, LEAST_SHARE = 5.0, 0.4
"""Of the shorter of the two; a recording of a few seconds must overlap almost whole."""
BELIEVED = 0.6
"""Smallest correlation at which an offset is accepted."""
CLEAR = 0.1
"""Its correlation must exceed that of any offset farther than `APART_S` away by so much."""
APART_S = 1.0
SAME = 0.01
"""The clocks are kept as they are where that costs no more correlation than this."""


@dataclass(frozen=True)
class Turning:
    """How fast the camera turns."""

    stamps_N: NDArray[np.int64]
    """Beginning of each interval, nanoseconds."""
    ends_N: NDArray[np.int64]
    rates_N: Floats
    """Mean of the interval, radians a second."""


@dataclass(frozen=True)
class Offset:
    """What to add to the stamps of the poses."""

    seconds: float
    correlation: float
    rival: float
    """The best correlation of any other offset."""

    @property
    def clear(self) -> bool:
        """Whether it is reliable."""
        return self.correlation >= BELIEVED and self.correlation - self.rival >= CLEAR


def turning_of_images(images: Iterable[tuple[int, NDArray[np.uint8]]], K_33: Floats, longest_s: float) -> Turning:
    """Turning between each image and the next, by points that are followed; images are (stamp, (H, W, 3) RGB).

    Intervals longer than `longest_s`, and images in which too few points are found again, are passed over.
    """
    before: tuple[int, NDArray[Any]] | None = None
    stamps, ends, rates = [], [], []
    for stamp, image_HW3 in images:
        shrink = max(1.0, image_HW3.shape[1] / WIDTH_PX)
        grey = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        if before is not None and 0 < stamp - before[0] <= longest_s * 1e9 and before[1].shape == grey.shape:
            angle = _angle(before[1], grey, K_33, shrink)
            if angle is not None:
                stamps.append(before[0])
                ends.append(stamp)
                rates.append(angle / ((stamp - before[0]) * 1e-9))
        before = stamp, grey
    return Turning(np.array(stamps, np.int64), np.array(ends, np.int64), np.array(rates))


def _angle(first: NDArray[Any], second: NDArray[Any], K_33: Floats, shrink: float) -> float | None:
    """Angle of the rotation that turns the rays of the first image into those of the second, radians."""
    from scipy.spatial.transform import Rotation

    points = cv2.goodFeaturesToTrack(first, POINTS, 0.01, 5)
    if points is None or len(points) < LEAST_POINTS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, points, np.empty_like(points))
    good = found.ravel() == 1
    if good.sum() < LEAST_POINTS:
        return None
    rays = []
    for pixels in (points[good], moved[good]):
        x = ((pixels.reshape(-1, 2) + 0.5) * shrink - 0.5 - K_33[:2, 2]) / (K_33[0, 0], K_33[1, 1])
        ray = np.column_stack([x, np.ones(len(x))])
        rays.append(ray / np.linalg.norm(ray, axis=1, keepdims=True))
    kept = np.ones(len(rays[0]), bool)
    for _ in range(3):  # near points move by more than the turning: those that fit worst are left out
        turn, _ = Rotation.align_vectors(rays[1][kept], rays[0][kept])
        error = np.linalg.norm(rays[1] - turn.apply(rays[0]), axis=1)
        kept = error <= 2.0 * np.median(error) + 1e-9
    return float(turn.magnitude())


def find_offset(images: Turning, stamps_N: NDArray[np.int64], poses_N7: Floats) -> Offset | None:
    """The offset at which images and poses agree best; None where they overlap too little."""
    known = np.isfinite(poses_N7).all(axis=1)
    stamps_N, turn = stamps_N[known], poses_N7[known, 3:]
    if len(images.rates_N) < 10 or len(stamps_N) < 10:
        return None
    angles = 2 * np.arccos(np.minimum(np.abs((turn[1:] * turn[:-1]).sum(axis=1)), 1.0))
    turned = np.concatenate([[0.0], np.cumsum(angles)])  # angle by the poses since the first
    # Seconds in clocks of their own, each from its first stamp: a double resolves them.
    pose_s = _seconds(stamps_N - stamps_N[0])
    origin = int(images.stamps_N[0])
    begin_s, end_s = _seconds(images.stamps_N - origin), _seconds(images.ends_N - origin)
    between_s = (origin - int(stamps_N[0])) * 1e-9  # a lag of minus this leaves the clocks as they are
    if max(pose_s[-1], end_s[-1]) > LONGEST_S:
        return None
    lags, values = _coarse(begin_s, images.rates_N, pose_s, turned)
    if not np.isfinite(values).any():
        return None
    best = float(lags[int(np.nanargmax(values))])

    def agreement(lag: float) -> float:
        inside = (begin_s - lag >= pose_s[0]) & (end_s - lag <= pose_s[-1])
        if inside.sum() < 10:
            return -1.0
        by_poses = np.interp(end_s[inside] - lag, pose_s, turned) - np.interp(begin_s[inside] - lag, pose_s, turned)
        by_poses /= (end_s - begin_s)[inside]
        by_images = images.rates_N[inside]
        if by_poses.std() < 1e-9 or by_images.std() < 1e-9:
            return -1.0
        return float(np.corrcoef(by_poses, by_images)[0, 1])

    fine = np.arange(best - 2 * STEP_S, best + 2 * STEP_S, FINE_S)
    scores = [agreement(float(lag)) for lag in fine]
    place = int(np.argmax(scores))
    lag, score = float(fine[place]), scores[place]
    far = np.abs(lags - lag) > APART_S
    rival = float(np.nanmax(values[far])) if np.isfinite(values[far]).any() else -1.0
    same = agreement(-between_s)
    if same >= score - SAME:
        return Offset(0.0, same, rival)
    return Offset(lag + between_s, score, rival)


def _seconds(ns_N: NDArray[np.int64]) -> Floats:
    return np.asarray(ns_N * 1e-9, np.float64)


def _coarse(image_s: Floats, rates: Floats, pose_s: Floats, turned: Floats) -> tuple[Floats, Floats]:
    """Correlations of the two on a grid of `STEP_S`, for every lag at which they overlap enough, else NaN."""
    from scipy.signal import correlate

    grid = np.arange(0.0, image_s[-1] + STEP_S, STEP_S)
    place = np.round(image_s / STEP_S).astype(int)
    count = np.bincount(place, minlength=len(grid)).astype(np.float64)
    seen = np.bincount(place, rates, minlength=len(grid)) / np.maximum(count, 1.0)
    there = (count > 0).astype(np.float64)
    steps = np.arange(0.0, max(pose_s[-1], STEP_S) + STEP_S, STEP_S)
    said = np.diff(np.interp(steps, pose_s, turned)) / STEP_S
    whole = np.ones(len(said))
    seen = (seen - seen[there > 0].mean()) * there
    said = said - said.mean()

    def sums(a: Floats, b: Floats) -> Floats:
        return np.asarray(correlate(a, b, mode="full", method="fft"), np.float64)

    n = sums(there, whole)
    shorter = min(there.sum(), len(said) * there.mean())
    least = max(LEAST_SHARE * shorter, min(LEAST_OVERLAP_S / STEP_S * there.mean(), 0.8 * shorter))
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = sums(seen, whole) / n, sums(there, said) / n
        spread = (sums(seen**2, whole) / n - a**2) * (sums(there, said**2) / n - b**2)
        values = (sums(seen, said) / n - a * b) / np.sqrt(np.maximum(spread, 1e-18))
    values = np.asarray(np.where(n >= least, values, np.nan), np.float64)
    lags = np.asarray((np.arange(len(values)) - (len(said) - 1)) * STEP_S, np.float64)
    return lags, values
