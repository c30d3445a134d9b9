"""Differentiable RANSAC: a pool of hypotheses of the camera's pose, their scores, and their refinement.

Brachmann et al., DSAC, CVPR 2017; Brachmann & Rother, Learning Less is More, CVPR 2018. A hypothesis comes from four
scene points. Its score depends on the reprojection errors of all points. While training, a pose is chosen by chance,
with probabilities that follow from the scores, and the expected error of the chosen pose is minimized
(`losses/dsac.py`), so that both the points and the scores are learned from poses. Later the best score decides.

A reprojection error is the tangent of the angle between a point and the ray along which it is seen: pixels over the
focal length, so that the image size does not matter. All steps are plain arithmetic and their number is fixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.network.blocks.pose_hypotheses import (
    PARTS,
    STARTS,
    minimal_sets,
    off_rays,
    pose_of_triples,
    squared_tangents,
)
from vlocnetpp.network.blocks.pose_solver import Solution, gauss_newton_step, normal_equations, solution
from vlocnetpp.network.blocks.units import scaled

SOFTNESS = 5.0
"""Slope of a soft inlier, per inlier angle: the papers' 0.5 per pixel at 10 pixels."""
FARTHEST = 10.0
"""Errors are limited to so many inlier angles, as to 100 pixels in the paper, before a network judges them."""
TRAINING_ROUNDS, ROUNDS = 3, 10
"""Steps that refine each hypothesis while training, and the best one later."""
DAMPING = 10.0
"""Added to the diagonal of the normal equations, where an inlier in a room counts 100 to 1000: bounds the step, and the
gradient, of a hypothesis that hardly any point supports."""
INITIAL_SCALE = 0.1
"""Of the soft number of inliers (Brachmann & Rother, 2018)."""
SCALE_GAIN = 10.0
"""Times as fast as other parameters the scale of the scores is learned."""


def soft_inliers(tangent: Tensor, inlier_angle: float, softness: float = SOFTNESS) -> Tensor:
    """How much of an inlier each reprojection error is, 0 to 1: a half at the inlier angle."""
    return torch.sigmoid(softness * (1.0 - tangent / inlier_angle))


class Pool(NamedTuple):
    """Hypotheses of one camera's pose."""

    R_BH33: Tensor
    position_BH3: Tensor
    tangent_BHN: Tensor
    """Reprojection error of each point in each hypothesis, differentiable by the points alone."""


class DifferentiableRansac(nn.Module):
    """Draws hypotheses, and refines them; it has no parameters.

    Args:
        hypotheses: size of the pool; half as many while training, where they cost as much as the scene coordinates.
        inlier_angle: tangent at which a point is half an inlier.
        seed: of the table of minimal sets, the same in every file and run. While training, sets are drawn anew.
    """

    def __init__(self, hypotheses: int, inlier_angle: float, seed: int = 0) -> None:
        super().__init__()
        self.table_H4: Tensor
        self.register_buffer("table_H4", minimal_sets(hypotheses, 4, seed), persistent=False)
        self.starts_S3: Tensor
        self.register_buffer("starts_S3", torch.tensor(STARTS), persistent=False)
        self.inlier_angle, self.parts, self.drawn = inlier_angle, PARTS, hypotheses // 2
        self.training_rounds, self.rounds = TRAINING_ROUNDS, ROUNDS

    def forward(self, points_BN3: Tensor, rays_BN3: Tensor) -> Pool:
        """The pool, from minimal sets of four points.

        Args:
            points_BN3: in the map, metres.
            rays_BN3: unit vectors in the camera along which the points are seen.
        """
        batch, points = points_BN3.shape[0], points_BN3.shape[1]
        index_BH4 = (self.table_H4 * points // self.parts).unsqueeze(0).expand(batch, -1, -1)
        if self.training:
            index_BH4 = torch.randint(0, points, (batch, self.drawn, 4), device=points_BN3.device)
        R_BH33, position_BH3 = poses_of_sets(points_BN3.detach(), rays_BN3, index_BH4, self.starts_S3)
        # The smallest root has a bounded gradient.
        tangent_BHN = (squared_tangents(R_BH33, position_BH3, points_BN3, rays_BN3) + 1e-8).sqrt()
        return Pool(R_BH33, position_BH3, tangent_BHN)

    def best(self, pool: Pool, scores_BH: Tensor, points_BN3: Tensor, rays_BN3: Tensor) -> Solution:
        """The hypothesis with the highest score, refined."""
        best_B1 = scores_BH.argmax(dim=1, keepdim=True)
        R_B33 = torch.gather(pool.R_BH33.flatten(2), 1, best_B1.unsqueeze(2).expand(-1, -1, 9))[:, 0]
        position_B3 = torch.gather(pool.position_BH3, 1, best_B1.unsqueeze(2).expand(-1, -1, 3))[:, 0]
        return refine(R_B33.unflatten(1, (3, 3)), position_B3, points_BN3, rays_BN3, self.inlier_angle, self.rounds)

    def refined(self, pool: Pool, points_BN3: Tensor, rays_BN3: Tensor) -> Tensor:
        """All hypotheses (B, H, 7), refined; by fewer steps, for training."""
        batch, hypotheses = pool.position_BH3.shape[0], pool.position_BH3.shape[1]
        found = refine(
            pool.R_BH33.flatten(0, 1),
            pool.position_BH3.flatten(0, 1),
            points_BN3.repeat_interleave(hypotheses, dim=0),
            rays_BN3.repeat_interleave(hypotheses, dim=0),
            self.inlier_angle,
            self.training_rounds,
        )
        return found.pose_B7.unflatten(0, (batch, hypotheses))


def poses_of_sets(points_BN3: Tensor, rays_BN3: Tensor, index_BH4: Tensor, starts_S3: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, H, 3, 3) and positions (B, H, 3), camera-to-world, from sets of four points.

    Three points have up to four solutions; the fourth point decides.
    """
    index_BM1 = index_BH4.flatten(1).unsqueeze(2).expand(-1, -1, 3)
    set_BH43 = torch.gather(points_BN3, 1, index_BM1).unflatten(1, (-1, 4))
    rays_BH43 = torch.gather(rays_BN3, 1, index_BM1).unflatten(1, (-1, 4))
    R_BJ33, position_BJ3 = pose_of_triples(set_BH43[:, :, :3], rays_BH43[:, :, :3], starts_S3)
    starts = starts_S3.shape[0]
    R_BSH33, position_BSH3 = R_BJ33.unflatten(1, (starts, -1)), position_BJ3.unflatten(1, (starts, -1))
    away_BSH13 = (set_BH43[:, None, :, 3] - position_BSH3).unsqueeze(3)
    _, squared_BSH1 = off_rays(torch.matmul(away_BSH13, R_BSH33)[..., 0, :], rays_BH43[:, None, :, 3])
    chosen_B1H1 = squared_BSH1.argmin(dim=1, keepdim=True)
    R_BH9 = torch.gather(R_BSH33.flatten(3), 1, chosen_B1H1.expand(-1, -1, -1, 9))[:, 0]
    position_BH3 = torch.gather(position_BSH3, 1, chosen_B1H1.expand(-1, -1, -1, 3))[:, 0]
    return R_BH9.unflatten(2, (3, 3)), position_BH3


def refine(
    R_B33: Tensor,
    position_B3: Tensor,
    points_BN3: Tensor,
    rays_BN3: Tensor,
    inlier_angle: float,
    rounds: int,
    damping: float = DAMPING,
) -> Solution:
    """Gauss-Newton steps on the reprojection errors of soft inliers.

    Only the last step is differentiated, from where the steps before have led: its linearization is that of the
    converged pose (Brachmann & Rother, 2018).
    """
    position_B13 = position_B3.unsqueeze(1)
    moves_B33 = turns_B33 = torch.zeros_like(R_B33)
    inliers_BN = torch.zeros_like(points_BN3[:, :, 0])
    seen_BN3 = points_BN3.detach()
    for i in range(rounds):
        if i == rounds - 1:
            seen_BN3 = points_BN3
        camera_BN3 = torch.matmul(seen_BN3 - position_B13, R_B33)
        off_BN3, squared_BN1 = off_rays(camera_BN3, rays_BN3)
        inliers_BN = soft_inliers((squared_BN1[..., 0].detach() + 1e-8).sqrt(), inlier_angle)
        # An error of one inlier angle is one unit at any distance.
        distance_BN = torch.linalg.vector_norm(camera_BN3.detach(), dim=2).clamp_min(1e-3)
        weight_BN = inliers_BN / (inlier_angle * distance_BN).square()
        matrix_B66, side_B61 = normal_equations(camera_BN3, off_BN3, rays_BN3, weight_BN, damping)
        position_B13, R_B33, moves_B33, turns_B33 = gauss_newton_step(position_B13, R_B33, matrix_B66, side_B61)
    return solution(position_B13, R_B33, moves_B33, turns_B33, inliers_BN.mean(dim=1))


class ScoreNetwork(nn.Module):
    """DSAC's score: convolutions on the image of the reprojection errors of a hypothesis."""

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = scaled(64, width)
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.fc = nn.Linear(channels, 1)
        self.farthest = FARTHEST

    def forward(self, error_BHhw: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, H) of errors (B, H, h, w) in inlier angles, and their scale (B,), which is 1."""
        x = error_BHhw.clamp_max(self.farthest).flatten(0, 1).unsqueeze(1).to(self.fc.weight.dtype)
        x = F.elu(self.conv1(x))
        x = F.elu(self.conv2(x))
        x = F.elu(self.conv3(x)).mean(dim=(2, 3))
        scores_BH = self.fc(x).to(error_BHhw.dtype).view(error_BHhw.shape[0], error_BHhw.shape[1])
        return scores_BH, torch.ones_like(scores_BH[:, 0])


class SoftInlierCount(nn.Module):
    """DSAC++'s score: the number of soft inliers. Only its scale is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE) / SCALE_GAIN))
        self.gain = SCALE_GAIN

    def forward(self, error_BHhw: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, H) of errors (B, H, h, w) in inlier angles, and their scale (B,)."""
        scores_BH = soft_inliers(error_BHhw, 1.0).sum(dim=(2, 3))
        return scores_BH, torch.exp(self.gain * self.log_scale).to(scores_BH.dtype).expand(scores_BH.shape[0])
