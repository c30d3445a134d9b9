"""The depth stage: multi-scale L1 of inverse depth (DispNet, Mayer et al., 2016), over pixels whose depth is known."""

from __future__ import annotations

from torch import Tensor

from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import depths, resized_depth
from vlocnetpp.losses.term import LossInput, Term

DEPTH_STRIDES = (32, 16, 8, 4)
"""Of the depth network's outputs, relative to its input."""


def prediction_name(stride: int) -> str:
    """The name under which an inverse depth (B, 1, H/stride, W/stride), 1/m, is predicted."""
    return f"inverse_depth_{stride}"


def _depth_term(stride: int) -> Term:
    name = prediction_name(stride)

    def error(given: LossInput) -> Tensor:
        target = resized_depth(given.frame.depth_B1HW, stride)
        return (given.prediction[name] - 1 / target.clamp_min(1e-3)).abs() / len(DEPTH_STRIDES)

    return Term("depth", "depth", depths(stride), (name,), error)


def depth_terms(config: LossConfig) -> tuple[Term, ...]:
    """`depth`, the mean over the scales; each scale averages over its own pixels."""
    return tuple(_depth_term(stride) for stride in DEPTH_STRIDES)
