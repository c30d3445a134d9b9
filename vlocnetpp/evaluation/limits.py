"""Which poses the limits in a model file would withhold on the robot, and whether those deserve it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.metrics import localization_metrics
from vlocnetpp.poses import Floats

PUBLISHED = 95.0
"""Percent of the poses that the proposed `gate_scale` lets pass."""
FIGURES = ("median_translation_m", "median_rotation_deg", "p95_translation_m")
"""Of `localization_metrics`, by which the poses within and beyond the limits are compared."""
MAX_SCALE = 100.0
"""The largest `gate_scale` that the node takes."""


def limit_metrics(
    answers: Streamed, truth_N7: Floats, posed_N: NDArray[np.bool_], limits: dict[str, float]
) -> dict[str, Any]:
    """The section `limits` of the metrics: the answered poses within the file's limits, and those beyond. Empty where
    the file has no such limits, or no pose was answered.

    These are the limits of single images. The node's gate also holds poses against the odometry, and once lost it is
    stricter and waits for several good ones.

    Args:
        truth_N7: true poses, read where `posed_N`.
        limits: `Metadata.limits`.
    """
    known_N = posed_N & np.isfinite(answers.pose_N7).all(axis=1)
    values = {"uncertainty_m": answers.sigma_N2[:, 0], "uncertainty_rad": answers.sigma_N2[:, 1]}
    if answers.novelty_N is not None:
        values["novelty"] = answers.novelty_N
    ratios = [values[name][known_N] / limits[name] for name in values if name in limits]
    if not ratios or not known_N.any():
        return {}
    ratio_N = np.max(ratios, axis=0)
    beyond_N = ratio_N > 1.0
    section: dict[str, Any] = {"frames": int(known_N.sum()), "beyond": int(beyond_N.sum())}
    for name, which_N in (("inside", ~beyond_N), ("beyond", beyond_N)):
        if which_N.any():
            errors = localization_metrics(answers.pose_N7[known_N][which_N], truth_N7[known_N][which_N])
            section |= {f"{name}_{figure}": errors[figure] for figure in FIGURES}
    # The smallest factor below which so many lie; between two poses there is none to interpolate.
    section["scale_for_95"] = float(np.percentile(ratio_N, PUBLISHED, method="inverted_cdf"))
    return section


def limits_sentence(section: dict[str, Any]) -> str:
    """The section in one line."""
    frames, beyond = section["frames"], section["beyond"]
    if not beyond:
        return f"the robot's gate: all {frames} poses are within the limits of the file"
    said = (
        f"the robot's gate: {beyond} of {frames} poses are beyond the limits of the file and would be withheld "
        f"(and those around them, until several in a row are good); off by {_errors(section, 'beyond')}"
    )
    if beyond < frames:
        said += f", the others by {_errors(section, 'inside')}"
    scale = float(np.ceil(10.0 * section["scale_for_95"]) / 10.0)
    if 1.0 < scale <= MAX_SCALE:
        said += (
            f". If that is near enough for your robot, gate_scale:={scale:.1f} lets {PUBLISHED:.0f} % pass; if not, "
            "record more of the places where they are, or train longer"
        )
    return said


def _errors(section: dict[str, Any], which: str) -> str:
    metres, degrees = section[f"{which}_median_translation_m"], section[f"{which}_median_rotation_deg"]
    return f"{metres:.3f} m, {degrees:.1f} deg (median; 95 % within {section[f'{which}_p95_translation_m']:.3f} m)"
