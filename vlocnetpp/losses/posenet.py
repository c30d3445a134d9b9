"""Two losses of PoseNet, to compare with: a fixed weight (2015), and the reprojection error (2017).

Kendall, Grimes, Cipolla, PoseNet, ICCV 2015; Kendall, Cipolla, Geometric Loss Functions for Camera Pose Regression with
Deep Learning, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vlocnetpp.geometry import conjugate_quaternion, rotation_matrix
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import CELLS, POSES
from vlocnetpp.losses.pose import balances, euclidean_errors, translation_and_rotation
from vlocnetpp.losses.term import LossInput, Term
from vlocnetpp.network.blocks.scene_coordinates import coordinate_labels

NEAREST_M = 0.1
"""A point nearer to the predicted camera, or behind it, is projected as if it were so far in front."""


def _errors(given: LossInput) -> tuple[Tensor, Tensor]:
    return euclidean_errors(given.prediction["pose_B7"], given.frame.pose_B7)


def fixed_beta_terms(config: LossConfig) -> tuple[Term, ...]:
    """`x` and `q` of PoseNet 2015: |x - x^| + beta |q - q^|, without a learned weight."""

    def x(given: LossInput) -> Tensor:
        return _errors(given)[0]

    def q(given: LossInput) -> Tensor:
        return config.beta * _errors(given)[1]

    return (
        Term("x", "localization", POSES, ("pose_B7",), x),
        Term("q", "localization", POSES, ("pose_B7",), q),
    )


def image_plane(points_B3HW: Tensor, pose_B7: Tensor) -> Tensor:
    """(B, 2, H, W) where points of the map, metres, lie in the image of a camera, in focal lengths from its middle."""
    R_B33 = rotation_matrix(conjugate_quaternion(pose_B7[:, 3:]))
    offset_B3N = points_B3HW.flatten(2) - pose_B7[:, :3, None]
    x_B3HW = torch.matmul(R_B33, offset_B3N).view_as(points_B3HW)
    return x_B3HW[:, :2] / x_B3HW[:, 2:].clamp_min(NEAREST_M)


def reprojection_errors(predicted_B7: Tensor, truth_B7: Tensor, points_B3HW: Tensor) -> Tensor:
    """(B, H, W) L1 distance e between the places of a point in the predicted and in the true camera, as e / (1 + e).

    In focal lengths, so that the image size does not matter. The paper takes e itself; a point that comes near the
    plane of a wrongly predicted camera would then outweigh all others.
    """
    e_BHW = (image_plane(points_B3HW, predicted_B7) - image_plane(points_B3HW, truth_B7)).abs().sum(dim=1)
    return e_BHW / (1 + e_BHW)


def reprojection_terms(config: LossConfig) -> tuple[Term, ...]:
    """`x` and `q` with learned weights, and `reproj` over the cells whose depth is known.

    The paper trains with the learned weights first and then with the reprojection error alone, which does not converge
    from a random start: two stages with `terms`.
    """

    def error(given: LossInput) -> Tensor:
        frame = given.frame
        points_B3HW, _ = coordinate_labels(frame.depth_B1HW, frame.K_B33, frame.pose_B7)
        return reprojection_errors(given.prediction["pose_B7"], frame.pose_B7, points_B3HW)

    return (
        *translation_and_rotation(
            ("x", "q"), balances("euclidean", config.initial_s_x, config.initial_s_q), _errors,
            task="localization", label=POSES, needs=("pose_B7",),
        ),
        Term("reproj", "localization", CELLS, ("pose_B7",), error),
    )  # fmt: skip
