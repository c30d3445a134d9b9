"""Why the gate withheld poses, in words and with the limits that it had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vlocnetpp.runtime import Metadata
from vlocnetpp_ros.calibration import gate_limits
from vlocnetpp_ros.gate import STRICTER, Limits
from vlocnetpp_ros.settings import DECLARATIONS, Settings

PARAMETERS = {
    "uncertain": "gate_uncertainty_m, gate_uncertainty_deg",
    "unlike the training images": "gate_novelty",
    "outside the map": "gate_margin_m",
    "disagrees with odometry": "gate_disagreement",
    "lost": "gate_regain_after, gate_relocalize_after",
}
"""Reason why a pose is withheld -> the parameters that decide."""


def limits_of(parameters: Mapping[str, Any], model: Metadata) -> Limits:
    """The gate's limits of a node that runs with these parameters, and with the defaults of the others."""
    defaults = {each.name: each.default for each in DECLARATIONS}
    return gate_limits(Settings(**{name: parameters.get(name, value) for name, value in defaults.items()}), model)


def in_words(limits: Limits) -> dict[str, str]:
    """Reason -> what a pose was like that was withheld for it, with the figures."""
    turned_deg = math.degrees(limits.uncertainty_rad)
    bounds = [(limits.uncertainty_m, "{:.2f} m"), (turned_deg, "{:.1f} deg")]
    usual, lost = (
        " or ".join(text.format(factor * limit) for limit, text in bounds if limit > 0) for factor in (1.0, STRICTER)
    )
    novelty = f"{limits.novelty:.2f}, while lost over {STRICTER * limits.novelty:.2f}"
    return {
        "uncertain": f"68 % bound over {usual}, while lost over {lost}",
        "unlike the training images": f"novelty over {novelty}",
        "outside the map": f"over {limits.margin_m:g} m outside of the training positions",
        "disagrees with odometry": f"over {limits.disagreement:g} bounds from where the odometry puts it, while "
        f"lost over {STRICTER * limits.disagreement:g}",
        "lost": f"good, but after bad ones not yet {limits.regain_after} good ones in a row, or "
        f"{limits.relocalize_after} where the camera cannot have come from the last trusted pose",
    }
