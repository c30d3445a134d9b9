"""How well the predicted uncertainty matches the errors of poses.

The sigma of a pose is a bound: 68 % of the errors of another drive, distances and angles without direction, should lie
within it, by what validation data says (`bound_factor`). What two and three such bounds cover follows from the shape of
the errors. The network's uncertainty is trained with Laplace's likelihood, under which errors fall off exponentially: k
bounds cover 1 - 0.32^k, that is 68, 90 and 97 %. (Gaussian errors along one direction would give 68, 95 and 99.7 %.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.errors import DataError
from vlocnetpp.metrics.statistics import mean, percentile
from vlocnetpp.poses import Floats

COVERED = 0.68
"""Share of errors that one calibrated bound covers."""
LEAST_FACTOR = 1e-3
"""Smallest bound, for errors that happened to be zero, e.g. about an axis that a drive never turned about."""
EXPECTED = {k: 1.0 - (1.0 - COVERED) ** k for k in (1, 2, 3)}
"""Share of errors within k bounds where these are calibrated."""


def bound_factor(ratio_N: ArrayLike, sequence_N: ArrayLike) -> float:
    """The factor by which predicted scales cover `COVERED` of the errors of another drive.

    A quantile of error over scale, as split conformal prediction takes it: of n frames at `COVERED` (1 + 1 / n), since
    the frames that it is taken from are never quite the next ones (Angelopoulos & Bates, A Gentle Introduction to
    Conformal Prediction, 2021). The errors of a drive are correlated, so n is their effective number, from the
    autocorrelation of their ranks: a drive with the same error everywhere counts as one sample.

    Args:
        ratio_N: error over predicted scale of each frame, in order.
        sequence_N: number of the drive of each frame.
    """
    ratio = np.asarray(ratio_N, np.float64)
    count = effective_count(_ranks(ratio), np.asarray(sequence_N))
    return max(float(np.quantile(ratio, min(COVERED * (1.0 + 1.0 / count), 1.0))), LEAST_FACTOR)


def bound_factors(
    metres_N: ArrayLike, degrees_N: ArrayLike, scale_N2: ArrayLike, sequence_N: ArrayLike
) -> tuple[float, float]:
    """`bound_factor` of translation and of rotation, whose scales are metres and radians."""
    scale = np.asarray(scale_N2, np.float64)
    return (
        bound_factor(np.asarray(metres_N) / scale[:, 0], sequence_N),
        bound_factor(np.radians(degrees_N) / scale[:, 1], sequence_N),
    )


def effective_count(value_N: Floats, sequence_N: NDArray[np.int64]) -> float:
    """Effective number of independent values: n / (1 + 2 * sum of autocorrelations), at least the number of drives."""
    away = value_N - value_N.mean()
    drives = [away[sequence_N == number] for number in np.unique(sequence_N)]
    together = np.zeros(max(len(drive) for drive in drives))
    for drive in drives:
        together[: len(drive)] += np.correlate(drive, drive, "full")[len(drive) - 1 :]
    if together[0] == 0:
        return float(len(drives))
    correlation = together / together[0]
    below = np.flatnonzero(correlation <= 0)  # beyond the first zero there is only noise
    last = below[0] if len(below) else len(correlation)
    return max(len(away) / (1.0 + 2.0 * float(correlation[1:last].sum())), float(len(drives)))


def median_uncertainty(error_N: ArrayLike, sequence_N: ArrayLike) -> float:
    """Half the 68 % confidence interval of the median of errors whose neighbours in a drive are correlated.

    The interval between the order statistics at 1/2 - s and 1/2 + s, with s = 1 / (2 sqrt(n)) of n effective samples.
    `inf` as soon as it reaches a frame without an estimate, `nan` without values.
    """
    error = np.asarray(error_N, np.float64)
    if not len(error):
        return float("nan")
    half = 50.0 / np.sqrt(effective_count(_ranks(error), np.asarray(sequence_N)))
    above, below = percentile(error, min(50.0 + half, 100.0)), percentile(error, max(50.0 - half, 0.0))
    return (above - below) / 2.0 if np.isfinite(above) else float("inf")


def calibration_metrics(sigma_N2: ArrayLike, errors_N2: ArrayLike) -> dict[str, dict[str, float]]:
    """Compare predicted bounds with errors, for translation and rotation.

    `sigma_N2` is the bound and `errors_N2` the error itself: translation in metres, then rotation in degrees. Frames
    where either is not finite (no estimate, a bound that says nothing) are left out; `frames` counts the others.

    - `mean_sigma_m`, `median_sigma_m` (`_deg` of the rotation): sharpness; of two calibrated, the smaller is better.
    - `error_over_sigma`: mean error over mean sigma; larger where overconfident. Sigma 0 beside an error: `inf`.
    - `within_1_sigma`, `within_2_sigma`, `within_3_sigma`: share of frames whose error is at most that many sigmas;
      `expected_1_sigma` and so on are what a calibrated network has there, see `EXPECTED`.
    - `rank_correlation`: Spearman's; 1 means sigma orders frames exactly by their error, 0 that it is unrelated.
    - `sparsification_error`: area between the mean error left after dropping the most uncertain frames and the same
      after dropping the truly worst ones, relative to the mean error; 0 is perfect (AUSE, Ilg et al. 2018).

    Too few frames, or no spread to correlate: `nan`. Raises DataError on shapes other than (N, 2) or a negative sigma.
    """
    sigma = np.asarray(sigma_N2, dtype=np.float64)
    errors = np.asarray(errors_N2, dtype=np.float64)
    if sigma.shape != errors.shape or sigma.ndim != 2 or sigma.shape[1] != 2:
        raise DataError(f"uncertainties {sigma.shape} and errors {errors.shape} must both have the shape (N, 2)")
    if (sigma < 0).any():
        raise DataError("an uncertainty is negative: pass the scale itself, not its logarithm")
    return {
        "translation": _calibration(sigma[:, 0], errors[:, 0], "m"),
        "rotation": _calibration(sigma[:, 1], errors[:, 1], "deg"),
    }


def _calibration(sigma_N: Floats, error_N: Floats, unit: str) -> dict[str, float]:
    known = np.isfinite(sigma_N) & np.isfinite(error_N)
    sigma, error = sigma_N[known], error_N[known]
    mean_error = mean(error)
    return {
        "frames": len(error),
        f"mean_sigma_{unit}": mean(sigma),
        f"median_sigma_{unit}": percentile(sigma, 50),
        "error_over_sigma": _ratio(mean_error, mean(sigma)),
        **{f"within_{k}_sigma": mean(error <= k * sigma) for k in EXPECTED},
        **{f"expected_{k}_sigma": share for k, share in EXPECTED.items()},
        "rank_correlation": _correlation(_ranks(sigma), _ranks(error)),
        "sparsification_error": (
            float(np.mean(_left_after_dropping(sigma, error) - _left_after_dropping(error, error))) / mean_error
            if len(error) and mean_error > 0
            else float("nan")
        ),
    }


def _ratio(error: float, sigma: float) -> float:
    if sigma == 0.0:
        return float("inf" if error > 0 else "nan")
    return error / sigma


def _left_after_dropping(by_N: Floats, error_N: Floats) -> Floats:
    """Mean error of the frames that stay when the k frames with the largest `by` are dropped, for k = 0..N-1."""
    kept = error_N[np.argsort(by_N, kind="stable")]
    return (np.cumsum(kept) / np.arange(1, len(kept) + 1))[::-1]


def _ranks(values_N: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, group, count = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2.0)[group]


def _correlation(a_N: Floats, b_N: Floats) -> float:
    if len(a_N) < 2 or np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return float("nan")
    return float(np.corrcoef(a_N, b_N)[0, 1])
