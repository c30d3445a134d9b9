"""Eq. 1 to 4: global pose, the motion between consecutive global poses, and visual odometry.

Every error is an L2 norm per sample. A translation and a rotation are two terms, each with a learnable weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vlocnetpp.geometry import conjugate_quaternion, inverse, multiply_quaternions, relative, rotate
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import MOTIONS, POSES
from vlocnetpp.losses.term import Balance, LossInput, Term, l2

PairOfErrors = Callable[[LossInput], tuple[Tensor, Tensor]]
"""Of a translation and of a rotation, each (B,)."""


def quaternion_loss(q_B4: Tensor, p_B4: Tensor) -> Tensor:
    """(B,) min(|q - p|, |q + p|): a rotation and its other sign cost the same."""
    return torch.minimum(l2(q_B4 - p_B4), l2(q_B4 + p_B4))


def euclidean_errors(predicted_B7: Tensor, truth_B7: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 2 per sample: |x - x^| in metres and the quaternion distance, each (B,)."""
    return l2(predicted_B7[:, :3] - truth_B7[:, :3]), quaternion_loss(predicted_B7[:, 3:], truth_B7[:, 3:])


def relative_errors(
    previous_B7: Tensor, current_B7: Tensor, target_B7: Tensor, frame: str, previous_truth_B7: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Eq. 1 per sample: difference between the motion of two predictions and the target motion, each (B,).

    Args:
        previous_B7, current_B7: predicted global poses at t-1 and t.
        target_B7: inv(T_{t-1}) @ T_t, from the ground truth or from odometry.
        frame: `body`, or `world` for the paper's literal x_t - x_{t-1}; `world` also needs the true previous pose, to
            rotate the target's translation into the map.
    """
    if frame == "body":
        return euclidean_errors(relative(previous_B7, current_B7), target_B7)
    if previous_truth_B7 is None:
        raise ValueError("the world difference of eq. 1 needs the true previous pose to rotate its target into the map")
    moved = current_B7[:, :3] - previous_B7[:, :3]
    target = rotate(previous_truth_B7[:, 3:], target_B7[:, :3])
    turned = multiply_quaternions(conjugate_quaternion(previous_B7[:, 3:]), current_B7[:, 3:])
    return l2(moved - target), quaternion_loss(turned, target_B7[:, 3:])


def previous_poses(given: LossInput) -> tuple[Tensor, Tensor]:
    """The predicted and the true pose (B, 7) of the frame before. Raises ValueError at the first frame of a clip."""
    if given.previous_prediction is None or given.previous_frame is None:
        raise ValueError("the first frame of a clip has no frame before it")
    return given.previous_prediction["pose_B7"], given.previous_frame.pose_B7


def true_motion(given: LossInput) -> Tensor:
    """inv(T_{t-1}) @ T_t (B, 7) of the true poses. Raises ValueError at the first frame of a clip."""
    if given.previous_frame is None:
        raise ValueError("the first frame of a clip has no motion")
    return relative(given.previous_frame.pose_B7, given.frame.pose_B7)


def translation_and_rotation(
    names: tuple[str, str], balances: tuple[Balance, Balance], errors: PairOfErrors, **what: Any
) -> tuple[Term, Term]:
    """Two terms from one pair of errors, each with its own balance; `what` holds the other fields of `Term`."""
    return (
        Term(names[0], error=lambda given: errors(given)[0], balance=balances[0], **what),
        Term(names[1], error=lambda given: errors(given)[1], balance=balances[1], **what),
    )


def pose_terms(config: LossConfig) -> tuple[Term, ...]:
    """Eq. 2 (`x`, `q`) and eq. 1 (`x_rel`, `q_rel`), whose sum is eq. 3."""

    def pose_errors(given: LossInput) -> tuple[Tensor, Tensor]:
        return euclidean_errors(given.prediction["pose_B7"], given.frame.pose_B7)

    def motion_errors(given: LossInput) -> tuple[Tensor, Tensor]:
        previous_B7, previous_truth_B7 = previous_poses(given)
        self_consistent = config.relative_target == "odometry" and "relative_B7" in given.prediction
        target_B7 = given.prediction["relative_B7"].detach() if self_consistent else true_motion(given)
        pose_B7 = given.prediction["pose_B7"]
        return relative_errors(previous_B7, pose_B7, target_B7, config.relative_frame, previous_truth_B7)

    return localization_terms(config, pose_errors, motion_errors)


def localization_terms(config: LossConfig, pose_errors: PairOfErrors, motion_errors: PairOfErrors) -> tuple[Term, ...]:
    """`x` and `q` of each pose, `x_rel` and `q_rel` of the motion between two, from whatever errors compare them."""
    initial = (config.initial_s_x, config.initial_s_q)
    return (
        *translation_and_rotation(
            ("x", "q"), balances("euclidean", *initial), pose_errors,
            task="localization", label=POSES, needs=("pose_B7",),
        ),
        *translation_and_rotation(
            ("x_rel", "q_rel"), balances("relative", *initial), motion_errors,
            task="localization", label=MOTIONS, needs=("pose_B7",), consistency=True,
        ),
    )  # fmt: skip


def balances(name: str, initial_s_x: float, initial_s_q: float) -> tuple[Balance, Balance]:
    """The learnable weights of a translation and of a rotation: x exp(-s_x) + s_x + q exp(-s_q) + s_q."""
    return Balance(f"{name}.s_x", initial_s_x), Balance(f"{name}.s_q", initial_s_q)


def odometry_terms(config: LossConfig) -> tuple[Term, ...]:
    """Eq. 4 (`x_vo`, `q_vo`), also of the motion back, of networks that predict it."""

    def errors(given: LossInput) -> tuple[Tensor, Tensor]:
        return euclidean_errors(given.prediction["relative_B7"], true_motion(given))

    def errors_back(given: LossInput) -> tuple[Tensor, Tensor]:
        return euclidean_errors(given.prediction["returning_B7"], inverse(true_motion(given)))

    names, weights = ("x_vo", "q_vo"), balances("odometry", config.initial_s_x_vo, config.initial_s_q)
    return (
        *translation_and_rotation(names, weights, errors, task="odometry", label=MOTIONS, needs=("relative_B7",)),
        *translation_and_rotation(
            names, weights, errors_back, task="odometry", label=MOTIONS, needs=("relative_B7", "returning_B7")
        ),
    )
