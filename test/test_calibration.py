"""Scores of latency and uncertainty: hand-computed values and degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from vlocnetpp.data.frames import DataError
from vlocnetpp.metrics import (
    latency_metrics,
)
from vlocnetpp.metrics.calibration import bound_factor, calibration_metrics, effective_count, median_uncertainty


def test_latency():
    assert latency_metrics(range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert latency_metrics([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert all(math.isnan(value) for value in latency_metrics([]).values())


def test_a_bound_counts_frames_that_err_alike_once():
    alone = np.random.default_rng(0).exponential(size=400)
    one_drive = np.zeros(400, int)
    assert effective_count(alone, one_drive) > 200
    assert bound_factor(alone, one_drive) == pytest.approx(np.quantile(alone, 0.68), rel=0.02)
    alike = np.repeat(alone[:8], 50)  # eight errors, each for fifty frames
    assert 4 < effective_count(alike, one_drive) < 16
    level = 0.68 * (1 + 1 / 16), 0.68 * (1 + 1 / 4)
    assert np.quantile(alike, level[0]) <= bound_factor(alike, one_drive) <= np.quantile(alike, level[1])


def test_a_bound_from_drives_that_are_off_by_a_constant():
    drives = np.repeat([0, 1, 2], 30)
    assert effective_count(drives.astype(float), drives) == pytest.approx(3.0)  # each drive is one sample
    assert bound_factor(drives + 1.0, drives) == 3.0  # 0.68 of three and one more is the largest
    assert bound_factor(np.full(5, 2.0), np.zeros(5, int)) == 2.0
    assert bound_factor([4.0], [0]) == 4.0


def test_calibration_by_hand():
    sigma = [[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]]
    errors = [[0.5, 2.0], [3.0, 2.0], [3.5, 2.0]]
    score = calibration_metrics(sigma, errors)
    translation, rotation = score["translation"], score["rotation"]
    assert translation["error_over_sigma"] == pytest.approx(1.0)
    assert translation["within_1_sigma"] == pytest.approx(2 / 3)
    assert translation["within_2_sigma"] == 1.0
    assert translation["rank_correlation"] == pytest.approx(1.0)
    assert translation["sparsification_error"] == pytest.approx(0.0)
    assert rotation["error_over_sigma"] == pytest.approx(2.0)
    assert rotation["within_1_sigma"] == 0.0
    assert rotation["within_2_sigma"] == 1.0
    assert math.isnan(rotation["rank_correlation"])


def test_sharpness_and_what_a_calibrated_network_has():
    score = calibration_metrics([[0.1, 2.0], [0.2, 4.0], [0.6, 9.0]], [[0.1, 1.0]] * 3)
    translation, rotation = score["translation"], score["rotation"]
    assert (translation["mean_sigma_m"], translation["median_sigma_m"]) == (pytest.approx(0.3), 0.2)
    assert (rotation["mean_sigma_deg"], rotation["median_sigma_deg"]) == (5.0, 4.0)
    expected = [translation[f"expected_{k}_sigma"] for k in (1, 2, 3)]
    assert expected == pytest.approx([0.68, 0.8976, 0.967232])


def test_shares_of_laplaces_errors_are_those_expected():
    # The likelihood of training: errors with density exp(-e / s) / s, of which 68 % lie below s ln(1 / 0.32).
    scale = np.random.default_rng(2).uniform(0.5, 2.0, (40_000, 2))
    errors = np.random.default_rng(3).exponential(scale)
    score = calibration_metrics(-math.log(0.32) * scale, errors)
    for section in score.values():
        for k in (1, 2, 3):
            assert section[f"within_{k}_sigma"] == pytest.approx(section[f"expected_{k}_sigma"], abs=0.01)


def test_bounds_of_zero_and_infinity():
    zero = calibration_metrics(np.zeros((2, 2)), [[0.0, 1.0], [0.0, 2.0]])
    assert zero["translation"]["within_1_sigma"] == 1.0
    assert math.isnan(zero["translation"]["error_over_sigma"])  # right and sure of it: 0 / 0
    assert zero["rotation"]["within_3_sigma"] == 0.0
    assert zero["rotation"]["error_over_sigma"] == math.inf
    infinite = calibration_metrics([[math.inf, 1.0], [1.0, 1.0]], [[9.0, 0.5], [2.0, math.inf]])
    assert (infinite["translation"]["frames"], infinite["translation"]["within_1_sigma"]) == (1, 0.0)
    assert (infinite["rotation"]["frames"], infinite["rotation"]["within_1_sigma"]) == (1, 1.0)


def test_the_worst_order_has_the_largest_sparsification_error():
    error = np.array([1.0, 2.0, 3.0])
    score = calibration_metrics(np.tile(error[::-1, None], 2), np.tile(error[:, None], 2))["rotation"]
    # kept: (2, 2.5, 3) against the ideal (2, 1.5, 1), over the mean error 2
    assert score["sparsification_error"] == pytest.approx((0 + 1 + 2) / 3 / 2)
    assert score["rank_correlation"] == pytest.approx(-1.0)


def test_rank_correlation_agrees_with_scipy_with_ties():
    rng = np.random.default_rng(1)
    sigma, errors = rng.integers(1, 5, (40, 2)).astype(float), rng.integers(0, 5, (40, 2)).astype(float)
    score = calibration_metrics(sigma, errors)
    for column, name in enumerate(("translation", "rotation")):
        assert score[name]["rank_correlation"] == pytest.approx(spearmanr(sigma[:, column], errors[:, column])[0])


def test_calibration_on_little():
    for sigma in (np.empty((0, 2)), np.full((3, 2), np.nan)):
        score = calibration_metrics(sigma, np.ones_like(sigma))["translation"]
        assert score["frames"] == 0
        assert math.isnan(score["error_over_sigma"])
        assert math.isnan(score["sparsification_error"])
    one = calibration_metrics([[1.0, 1.0]], [[0.5, math.inf]])
    assert one["translation"]["frames"] == 1
    assert one["rotation"]["frames"] == 0


def test_calibration_refuses():
    with pytest.raises(DataError, match="not its logarithm"):
        calibration_metrics([[-1.0, 0.0]], [[1.0, 1.0]])
    with pytest.raises(DataError, match=r"shape \(N, 2\)"):
        calibration_metrics([1.0, 2.0], [1.0, 2.0])


def test_the_uncertainty_of_a_median_covers_two_thirds_of_the_medians_of_other_drives():
    """Of independent errors, and of errors whose neighbours are alike, by which a drive says less."""
    generator = np.random.default_rng(3)
    for repeat in (1, 10):
        drives = np.repeat(generator.exponential(size=(400, 200 // repeat)), repeat, axis=1)
        half = np.array([median_uncertainty(drive, np.zeros(200, int)) for drive in drives])
        assert 0.55 < (np.abs(np.median(drives, axis=1) - np.log(2)) < half).mean() < 0.8
    assert np.isnan(median_uncertainty([], []))
    assert median_uncertainty([0.1, 0.2, np.inf, np.inf], np.zeros(4, int)) == np.inf
