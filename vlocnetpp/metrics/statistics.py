"""Means and percentiles that distinguish missing estimates from missing values.

Infinity stands for a frame without an estimate, which counts as infinitely wrong; NaN for a figure without any value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.poses import Floats


def mean(values: NDArray) -> float:
    """Arithmetic mean; `nan` without values."""
    return float(np.mean(values)) if len(values) else float("nan")


def percentile(values: Floats, percent: float) -> float:
    """Linearly interpolated percentile; `inf` as soon as an infinite value takes part, `nan` without values."""
    if not len(values):
        return float("nan")
    # numpy's own interpolation returns nan beside an infinite value, even at weight 0.
    below, above = (float(np.percentile(values, percent, method=side)) for side in ("lower", "higher"))
    if below == above or np.isinf(above):
        return above
    weight = percent / 100.0 * (len(values) - 1) % 1.0
    return below + weight * (above - below)


def latency_metrics(ms_N: ArrayLike) -> dict[str, float]:
    """Percentiles of times in milliseconds, linearly interpolated; NaN is none, and `nan` comes of none at all."""
    times = np.asarray(ms_N, dtype=np.float64).reshape(-1)
    times = times[~np.isnan(times)]
    return {"p50": percentile(times, 50), "p95": percentile(times, 95), "p99": percentile(times, 99)}
