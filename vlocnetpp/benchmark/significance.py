"""Is one method better than another on the same frames? A paired bootstrap of the difference of medians."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.errors import DataError
from vlocnetpp.poses import Floats

RESAMPLES = 2000
CONFIDENCE = 0.95
FAILED = 1e9
"""Replaces the infinite error of a frame without an estimate, since differences of infinities are undefined."""


class Comparison(NamedTuple):
    """Median error of a method minus that of its rival, with the bounds of its confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not separable`, of the method against its rival."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "not separable"


def compare_medians(runs_SN: Sequence[ArrayLike], rival_N: ArrayLike, seed: int = 0) -> Comparison:
    """The difference between the median errors of a method and its rival on the same frames.

    Frames are drawn with replacement, the same for both (scipy.stats.bootstrap, paired, percentile interval of 95 %).
    The method's median is the mean of the medians of its S runs, as the tables have it. Neighbouring frames of a
    recording resemble each other, so the interval is narrower than one over many recordings would be.

    Args:
        runs_SN: errors of each run, frame by frame; infinite where there is no estimate.
        rival_N: errors of the rival on the same frames.

    Raises DataError without a frame, or if the lengths differ. One frame has no spread: its interval is unbounded.
    """
    from scipy.stats import bootstrap

    errors = [np.minimum(np.asarray(each, np.float64).reshape(-1), FAILED) for each in (*runs_SN, rival_N)]
    if len({len(each) for each in errors}) > 1 or len(errors) < 2 or not len(errors[0]):
        raise DataError(f"errors of {[len(each) for each in errors]} frames cannot be compared frame by frame")

    def difference(*samples: Floats, axis: int = -1) -> NDArray[np.float64]:
        *runs, rival = (np.median(sample, axis=axis) for sample in samples)
        return np.asarray(np.mean(runs, axis=0) - rival)

    found = float(difference(*errors))
    if len(errors[0]) < 2:
        return Comparison(_finite_or_not(found), -np.inf, np.inf)
    with warnings.catch_warnings():
        # Where every resample gives the same difference, its interval is that number, whatever scipy warns.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = bootstrap(
            errors, difference, n_resamples=RESAMPLES, batch=100, paired=True, vectorized=True,
            confidence_level=CONFIDENCE, method="percentile", random_state=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return Comparison(*map(_finite_or_not, (found, float(interval.low), float(interval.high))))


def _finite_or_not(value: float) -> float:
    return float(np.sign(value) * np.inf) if abs(value) > FAILED / 1000 else value
