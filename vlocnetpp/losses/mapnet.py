"""MapNet's loss instead of eq. 1 and 2, to compare with.

Brahmbhatt et al., Geometry-Aware Learning of Maps for Camera Localization, CVPR 2018. Its learned beta and gamma are
the learnable weights s of the terms, with the same initial values 0 and -3.
"""

from __future__ import annotations

from torch import Tensor

from vlocnetpp.geometry import log_quaternion
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.pose import localization_terms, previous_poses
from vlocnetpp.losses.term import LossInput, Term


def mapnet_errors(predicted_B7: Tensor, truth_B7: Tensor) -> tuple[Tensor, Tensor]:
    """MapNet's h per sample (section 3.1): L1 norms of position and log-quaternion, each (B,)."""
    turned = log_quaternion(predicted_B7[:, 3:]) - log_quaternion(truth_B7[:, 3:])
    return (predicted_B7[:, :3] - truth_B7[:, :3]).abs().sum(dim=-1), turned.abs().sum(dim=-1)


def mapnet_relative_errors(
    previous_B7: Tensor, current_B7: Tensor, previous_truth_B7: Tensor, truth_B7: Tensor
) -> tuple[Tensor, Tensor]:
    """h of MapNet's relative pose, v = (x_t - x_{t-1}, log q_t - log q_{t-1}), each (B,).

    Section 3.2, eq. 2, with alpha = 1, over consecutive frames of a clip as in the authors' released code. Differences
    from eq. 1 (`pose.relative_errors`): positions are subtracted in the map and log-quaternions component by component,
    so that the term changes when the map is rotated, where eq. 1 composes inv(T_{t-1}) T_t; and the norms are L1.
    """
    moved = (current_B7[:, :3] - previous_B7[:, :3]) - (truth_B7[:, :3] - previous_truth_B7[:, :3])
    turned = log_quaternion(current_B7[:, 3:]) - log_quaternion(previous_B7[:, 3:])
    target = log_quaternion(truth_B7[:, 3:]) - log_quaternion(previous_truth_B7[:, 3:])
    return moved.abs().sum(dim=-1), (turned - target).abs().sum(dim=-1)


def mapnet_terms(config: LossConfig) -> tuple[Term, ...]:
    """`x`, `q`, `x_rel` and `q_rel` as MapNet compares poses."""

    def pose_errors(given: LossInput) -> tuple[Tensor, Tensor]:
        return mapnet_errors(given.prediction["pose_B7"], given.frame.pose_B7)

    def motion_errors(given: LossInput) -> tuple[Tensor, Tensor]:
        previous_B7, previous_truth_B7 = previous_poses(given)
        return mapnet_relative_errors(previous_B7, given.prediction["pose_B7"], previous_truth_B7, given.frame.pose_B7)

    return localization_terms(config, pose_errors, motion_errors)
