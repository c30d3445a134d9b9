"""Losses of DSAC and DSAC++: scene coordinates, and the expected error of a pose that is chosen among hypotheses.

Brachmann et al., DSAC, CVPR 2017; Brachmann & Rother, Learning Less is More, CVPR 2018. The networks are trained step
by step: `start` or `coord`, then `reproj`, then `expected` with `entropy`; each stage names its terms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vlocnetpp.geometry import back_project, rotation_angle
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.coordinates import coordinate_errors
from vlocnetpp.losses.labels import POSED_CELLS, POSES
from vlocnetpp.losses.posenet import image_plane
from vlocnetpp.losses.term import LossInput, Term, l2
from vlocnetpp.network.blocks.scene_coordinates import STRIDE, cells, coordinate_labels

LARGEST_COST = 100.0
"""Limit of the cost of a pose, in centimetres or degrees."""
ENTROPY_SHARE = 0.75
"""Of the largest entropy that a choice among the hypotheses can have: the paper's 6 bits of 8."""


def start_points(depth_B1HW: Tensor, K_B33: Tensor, pose_B7: Tensor, unknown_m: float) -> Tensor:
    """(B, 3, H/8, W/8) where in the map each cell lies, metres, if those of unknown depth were at a constant one."""
    filled = torch.where(depth_B1HW > 0, depth_B1HW, torch.full_like(depth_B1HW, unknown_m))
    return coordinate_labels(filled, K_B33, pose_B7)[0]


def reprojection_errors(coordinates_B4HW: Tensor, K_B33: Tensor, pose_B7: Tensor) -> Tensor:
    """(B, H/8, W/8) negative Laplace log-likelihood of the distances between cells and their points in the true camera.

    The distance is that in the image, in focal lengths, times the depth of the point, metres, so that it compares with
    the predicted deviation. The depth takes no part in the gradient: points would else shrink into the camera.
    """
    points_B3HW, log_scale_BHW = coordinates_B4HW[:, :3], coordinates_B4HW[:, 3]
    height, width = points_B3HW.shape[2] * STRIDE, points_B3HW.shape[3] * STRIDE
    ones = torch.ones_like(points_B3HW[:, :1])
    middle_B2HW = back_project(cells(height, width, K_B33)[None], ones, K_B33)[..., :2].movedim(3, 1)
    tangent_BHW = l2((image_plane(points_B3HW, pose_B7) - middle_B2HW).movedim(1, -1))
    depth_BHW = l2((points_B3HW - pose_B7[:, :3, None, None]).movedim(1, -1)).detach()
    return tangent_BHW * depth_BHW * torch.exp(-log_scale_BHW) + 2 * log_scale_BHW


def pose_costs(pose_BH7: Tensor, truth_B7: Tensor) -> Tensor:
    """(B, H) the larger one e of the position error, centimetres, and the rotation error, degrees, as
    e / (1 + e / 100): a wrong hypothesis costs the same however wrong it is."""
    truth_B17 = truth_B7.unsqueeze(1)
    centimetres = 100 * l2(pose_BH7[..., :3] - truth_B17[..., :3])
    degrees = torch.rad2deg(rotation_angle(pose_BH7[..., 3:], truth_B17[..., 3:].expand_as(pose_BH7[..., 3:])))
    e_BH = torch.maximum(centimetres, degrees)
    return e_BH / (1 + e_BH / LARGEST_COST)


def expected_costs(pose_BH7: Tensor, scores_BH: Tensor, truth_B7: Tensor) -> Tensor:
    """(B,) expected cost of a hypothesis that is chosen with the softmax of the scores as probabilities."""
    return (torch.softmax(scores_BH, dim=1) * pose_costs(pose_BH7, truth_B7)).sum(dim=1)


def entropy_errors(scores_BH: Tensor) -> Tensor:
    """(B,) bits between the entropy of the choice and the wanted one."""
    log_BH = torch.log_softmax(scores_BH, dim=1)
    bits_B = -(log_BH.exp() * log_BH).sum(dim=1) / math.log(2)
    return (bits_B - ENTROPY_SHARE * math.log2(scores_BH.shape[1])).abs()


def dsac_terms(config: LossConfig) -> tuple[Term, ...]:
    """`start`, `reproj`, `expected` and `entropy`; `coord` is that of all networks with scene coordinates.

    `start` is `coord` over all cells of posed frames, those without depth at a constant one.
    """

    def start(given: LossInput) -> Tensor:
        frame = given.frame
        target_B3HW = start_points(frame.depth_B1HW, frame.K_B33, frame.pose_B7, config.unknown_depth_m)
        return coordinate_errors(given.prediction["coordinates_B4HW"], target_B3HW)

    def reprojection(given: LossInput) -> Tensor:
        frame = given.frame
        return reprojection_errors(given.prediction["coordinates_B4HW"], frame.K_B33, frame.pose_B7)

    def expected(given: LossInput) -> Tensor:
        p = given.prediction
        # The scale follows the entropy alone, or the expected cost would make the choice ever more certain.
        scores_BH = p["scores_BH"] * p["score_scale_B"].detach().unsqueeze(1)
        return expected_costs(p["hypotheses_BH7"], scores_BH, given.frame.pose_B7)

    def entropy(given: LossInput) -> Tensor:
        p = given.prediction
        return entropy_errors(p["scores_BH"].detach() * p["score_scale_B"].unsqueeze(1))

    cells_of, pool_of = ("coordinates_B4HW",), ("hypotheses_BH7", "scores_BH", "score_scale_B")
    return (
        Term("start", "localization", POSED_CELLS, cells_of, start, likelihood=True),
        Term("reproj", "localization", POSED_CELLS, cells_of, reprojection, likelihood=True),
        Term("expected", "localization", POSES, pool_of, expected),
        Term("entropy", "localization", POSES, pool_of, entropy),
    )
