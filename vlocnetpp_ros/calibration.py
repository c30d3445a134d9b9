"""The limits of the gate: from the model file's calibration unless parameters set them."""

from __future__ import annotations

import math

from vlocnetpp.runtime import Metadata
from vlocnetpp_ros.gate import Limits
from vlocnetpp_ros.image_check import ImageLimits
from vlocnetpp_ros.settings import Settings

UNCALIBRATED = {"uncertainty_m": 1.0, "uncertainty_rad": math.radians(15.0)}
"""Limits for a file without calibration."""


def file_limits(metadata: Metadata) -> tuple[dict[str, float], str]:
    """The limits of a model file, and their origin.

    `uncertainty_m`, `uncertainty_rad`, `novelty` and `drift` (error of the odometry over the travelled length), as far
    as the file has them: its own `limits`, measured on a held-out drive, or else limits from its validation: the 95th
    percentile of the errors.
    """
    validation = metadata.metrics.get("validation", {})
    pose, odometry = validation.get("localization", {}), validation.get("odometry", {})
    found: dict[str, float] = {}
    if (drift := _known(odometry.get("translation_percent"))) is not None:
        found["drift"] = drift / 100.0
    if metadata.limits:
        return {**found, **metadata.limits}, "the limits in the model file"
    metres, degrees = _known(pose.get("p95_translation_m")), _known(pose.get("p95_rotation_deg"))
    if metres is not None and degrees is not None:
        found.update(uncertainty_m=metres, uncertainty_rad=math.radians(degrees))
        return found, "the errors of the model file's validation"
    return {**found, **UNCALIBRATED}, "a guess, since the model file holds no validation"


def _known(figure: float | None) -> float | None:
    """A figure of the metadata. Its JSON has null for what could not be measured, such as the drift of a camera that
    stood still."""
    return figure if figure is not None and math.isfinite(figure) else None


def gate_limits(settings: Settings, metadata: Metadata) -> Limits:
    """The limits for poses: the file's limits times `gate_scale` where a parameter is negative."""
    calibrated = file_limits(metadata)[0]
    given = {
        "uncertainty_m": settings.gate_uncertainty_m,
        "uncertainty_rad": math.radians(settings.gate_uncertainty_deg),
        "novelty": settings.gate_novelty,
    }
    chosen = {
        name: value if value >= 0 else settings.gate_scale * calibrated.get(name, 0.0) for name, value in given.items()
    }
    return Limits(
        **chosen,
        disagreement=settings.gate_disagreement,
        margin_m=settings.gate_margin_m,
        lose_after=settings.gate_lose_after,
        regain_after=settings.gate_regain_after,
        relocalize_after=settings.gate_relocalize_after,
        drift=calibrated.get("drift", Limits.drift),
        speed_m_s=settings.gate_speed_m_s,
    )


def image_limits(settings: Settings) -> ImageLimits:
    """The limits for images."""
    return ImageLimits(settings.image_contrast, settings.image_roughness, settings.image_frozen_after)
