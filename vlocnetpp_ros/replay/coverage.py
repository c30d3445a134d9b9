"""Calibration of the published covariance: the share of errors within the bound that should hold 68 % of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import iter_bag
from vlocnetpp.metrics import pose_errors
from vlocnetpp.metrics.calibration import calibration_metrics
from vlocnetpp_ros.frames import BOUND_TO_AXIS
from vlocnetpp_ros.replay.session import EXTRAS

Floats = NDArray[np.float64]


def published_bounds(recording: Path) -> dict[int, Floats]:
    """68 % bounds of position and rotation, (2,) metres and degrees, by the stamp of their image.

    From the variances on ~/pose_with_covariance, equal in all axes; those of the camera itself, without a lever to a
    base.
    """
    found: dict[int, Floats] = {}
    for each in iter_bag(recording, {EXTRAS["pose_with_covariance"][0]}):
        variances = np.asarray(each.message().pose.covariance, np.float64).reshape(6, 6).diagonal()
        metres, radians = BOUND_TO_AXIS * np.sqrt(variances[[0, 3]])
        found[each.header_stamp_ns()] = np.array([metres, np.degrees(radians)])
    return found


def coverage(bounds: dict[int, Floats], stamps_ns: NDArray[np.int64], estimated_N7: Floats, truth_N7: Floats) -> Any:
    """`calibration_metrics` of the published poses: `translation` and `rotation`, with `within_1_sigma` and more."""
    known = [i for i, stamp in enumerate(stamps_ns.tolist()) if stamp in bounds and np.isfinite(estimated_N7[i]).all()]
    metres, degrees = pose_errors(estimated_N7[known], truth_N7[known])
    sigma_N2 = np.reshape([bounds[stamp] for stamp in stamps_ns[known].tolist()], (-1, 2))
    return calibration_metrics(sigma_N2, np.stack((metres, degrees), axis=1))
