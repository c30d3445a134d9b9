"""The uncertainty of a pose, beyond the paper: the expected size of the network's own errors."""

from __future__ import annotations

import torch
from torch import Tensor

from vlocnetpp.geometry import rotation_angle
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import POSES
from vlocnetpp.losses.term import LossInput, Term, l2


def scale_errors(log_scale_B2: Tensor, predicted_B7: Tensor, truth_B7: Tensor) -> Tensor:
    """(B,) negative Laplace log-likelihood of the errors under the predicted scales.

    The errors are detached, so that learning the scale never changes the pose.
    """
    x = l2(predicted_B7[:, :3] - truth_B7[:, :3]).detach()
    angle = rotation_angle(predicted_B7[:, 3:], truth_B7[:, 3:]).detach()
    errors_B2 = torch.stack((x, angle), dim=-1)
    return (errors_B2 * torch.exp(-log_scale_B2) + log_scale_B2).sum(dim=-1)


def uncertainty_terms(config: LossConfig) -> tuple[Term, ...]:
    """`scale`, of every predicted pose."""

    def error(given: LossInput) -> Tensor:
        predicted = given.prediction
        return scale_errors(predicted["log_scale_B2"], predicted["pose_B7"], given.frame.pose_B7)

    return (Term("scale", "localization", POSES, ("pose_B7", "log_scale_B2"), error, likelihood=True),)
