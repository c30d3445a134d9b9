"""Camera pose from points of which half may be outliers: hypotheses from triples, then the best supported one is
refined.

Outliers are decided by angles, because the network may predict a small deviation for a wrong point; the weights of the
inliers are decided by their predicted deviations. On held-out drives of RedKitchen 95 % of the frames were then within
0.12 m; with a kernel on predicted deviations within 0.20 m, with OpenCV's RANSAC within 0.16 m.

As RANSAC with P3P (Fischler & Bolles, 1981), but with a fixed number of triples and fixed steps, so that it scripts,
exports and runs in a batch on any device: the distances of three points along their rays come from Newton steps on the
law of cosines instead of a quartic's roots, and the rotation from two orthonormal frames instead of a decomposition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.geometry import quaternion_from_matrix, rotation_matrix
from vlocnetpp.network.blocks.pose_solver import (
    Solution,
    gauss_newton_step,
    geman_mcclure,
    normal_equations,
    solution,
)

TRIPLES = 64
STARTS = ((1.0, 1.0, 1.0), (0.7, 1.0, 1.3), (1.3, 1.0, 0.7), (1.0, 1.3, 0.7), (1.0, 0.7, 1.3))
"""Initial distances of the three points for Newton's method, relative to the distance of a triangle that faces the
camera."""
NEWTON_STEPS = 8
LARGEST_STEP = 0.5
"""Bound of one Newton step, relative to the distance that it changes."""
SUPPORT_WIDTH = 0.05
"""Radians between a point and its ray at which its vote for a hypothesis has a weight of a quarter."""
SCORED = 160
"""Points, about, that judge a hypothesis."""
PARTS = 10_000
"""A share of the ranks is a whole number of these."""
ROUNDS = 10
WIDEST, NARROWEST, NARROWING = 0.05, 0.015, 0.8
"""Radians: width of the kernel in the first and in the last rounds of the refinement, and its factor between rounds."""
NEAREST_M = 0.05
"""Smallest depth along the ray; for a nearer point, or one behind the camera, the residual is measured from here."""
DAMPING = 1e-6
"""Damping of the normal equations, relative to their mean diagonal."""
TINY = 1e-9


def minimal_sets(count: int, size: int, seed: int) -> Tensor:
    """(count, size) different ranks, the same for a seed, as shares in `PARTS`: the number of points is known only when
    a network runs.

    Whole numbers: in half precision a share just below one is one, and its rank that of a point that is not there.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(PARTS, generator=generator)[:size] for _ in range(count)])


class PoseHypotheses(nn.Module):
    """Pose of a camera that sees points along rays; up to about half of them may be outliers, and no initial pose is
    needed.

    Args:
        triples: hypotheses are `triples` times `len(STARTS)` and the given start.
        seed: of the table of triples, which is the same in every file and run.
    """

    def __init__(self, triples: int = TRIPLES, seed: int = 0) -> None:
        super().__init__()
        self.table_T3: Tensor
        self.register_buffer("table_T3", minimal_sets(triples, 3, seed), persistent=False)
        self.starts_S3: Tensor
        self.register_buffer("starts_S3", torch.tensor(STARTS), persistent=False)
        self.scored, self.parts = SCORED, PARTS

    def forward(self, start_B7: Tensor, points_BN3: Tensor, log_deviation_BN: Tensor, rays_BN3: Tensor) -> Solution:
        """The refined pose of the best supported hypothesis.

        Args:
            start_B7: camera-to-world, one more hypothesis, such as a regressed pose or the centre of the scene.
            points_BN3: in the map, metres; N at least 6.
            log_deviation_BN: log of the standard deviation of each point, metres. Triples are drawn among the half of
                the points with the smallest.
            rays_BN3: unit vectors in the camera along which the points are seen.
        """
        half = points_BN3.shape[1] // 2
        sure_BK = torch.topk(log_deviation_BN, half, dim=1, largest=False)[1]
        chosen = self.table_T3.flatten() * half // self.parts
        index_BM1 = sure_BK[:, chosen].unsqueeze(2).expand(-1, -1, 3)
        triple_BT33 = torch.gather(points_BN3, 1, index_BM1).unflatten(1, (-1, 3))
        rays_BT33 = torch.gather(rays_BN3, 1, index_BM1).unflatten(1, (-1, 3))
        R_BH33, position_BH3 = pose_of_triples(triple_BT33, rays_BT33, self.starts_S3)
        R_BH33 = torch.cat((rotation_matrix(start_B7[:, 3:]).unsqueeze(1), R_BH33), dim=1)
        position_BH3 = torch.cat((start_B7[:, :3].unsqueeze(1), position_BH3), dim=1)
        step = max(1, points_BN3.shape[1] // self.scored)
        support_BH = support(R_BH33, position_BH3, points_BN3[:, ::step], rays_BN3[:, ::step])
        best_B1 = support_BH.argmax(dim=1, keepdim=True)
        R_B33 = torch.gather(R_BH33.flatten(2), 1, best_B1.unsqueeze(2).expand(-1, -1, 9)).unflatten(2, (3, 3))[:, 0]
        position_B3 = torch.gather(position_BH3, 1, best_B1.unsqueeze(2).expand(-1, -1, 3))[:, 0]
        best_B7 = torch.cat((position_B3, quaternion_from_matrix(R_B33)), dim=1)
        return refine_by_angle(best_B7, points_BN3, log_deviation_BN, rays_BN3)


def pose_of_triples(points_BT33: Tensor, rays_BT33: Tensor, starts_S3: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, S*T, 3, 3) and positions (B, S*T, 3), camera-to-world, from triples of points and unit rays.

    Each triple is solved from S starts, as `STARTS`; one without a solution, or that does not converge, gives an
    arbitrary pose.
    """
    starts, triples = starts_S3.shape[0], points_BT33.shape[1]
    points_BH33 = points_BT33.repeat(1, starts, 1, 1)
    rays_BH33 = rays_BT33.repeat(1, starts, 1, 1)
    ratio_H3 = starts_S3.to(points_BT33.dtype).repeat_interleave(triples, dim=0)
    ratio_BH3 = ratio_H3.unsqueeze(0).expand(points_BT33.shape[0], -1, -1)
    distance_BH3 = distances_along(points_BH33, rays_BH33, ratio_BH3)
    camera_BH33 = rays_BH33 * distance_BH3.unsqueeze(3)
    map_frame = triangle_frame(points_BH33)
    camera_frame = triangle_frame(camera_BH33)
    R_BH33 = torch.matmul(map_frame, camera_frame.transpose(2, 3))
    centre_camera = camera_BH33.mean(dim=2).unsqueeze(3)
    return R_BH33, points_BH33.mean(dim=2) - torch.matmul(R_BH33, centre_camera)[..., 0]


def distances_along(
    points_BH33: Tensor,
    rays_BH33: Tensor,
    ratio_BH3: Tensor,
    steps: int = NEWTON_STEPS,
    largest_step: float = LARGEST_STEP,
    tiny: float = TINY,
) -> Tensor:
    """Distances (B, H, 3) of three points along three rays such that the points are as far apart as in the map.

    Newton on |d_i r_i - d_j r_j|^2 = |x_i - x_j|^2 for the pairs (0, 1), (0, 2), (1, 2).
    """
    x, y, z = points_BH33.unbind(2)
    r, s, t = rays_BH33.unbind(2)
    wanted_BH3 = torch.stack(((x - y).square().sum(2), (x - z).square().sum(2), (y - z).square().sum(2)), dim=2)
    cosine_BH3 = torch.stack(((r * s).sum(2), (r * t).sum(2), (s * t).sum(2)), dim=2)
    facing_BH1 = (
        (wanted_BH3.sum(2) / (2.0 - 2.0 * cosine_BH3).sum(2).clamp_min(tiny)).clamp_min(tiny).sqrt().unsqueeze(2)
    )
    # In units of that distance all numbers are near one, whatever the size of the place.
    goal_BH3 = wanted_BH3 / facing_BH1.square()
    c01, c02, c12 = cosine_BH3.unbind(2)
    d = ratio_BH3
    for _ in range(steps):
        d0, d1, d2 = d.unbind(2)
        e01 = d0 * d0 + d1 * d1 - 2.0 * c01 * d0 * d1 - goal_BH3[..., 0]
        e02 = d0 * d0 + d2 * d2 - 2.0 * c02 * d0 * d2 - goal_BH3[..., 1]
        e12 = d1 * d1 + d2 * d2 - 2.0 * c12 * d1 * d2 - goal_BH3[..., 2]
        # The Jacobian has one zero in each row, so Cramer's rule is short.
        a0, a1 = 2.0 * (d0 - c01 * d1), 2.0 * (d1 - c01 * d0)
        b0, b2 = 2.0 * (d0 - c02 * d2), 2.0 * (d2 - c02 * d0)
        g1, g2 = 2.0 * (d1 - c12 * d2), 2.0 * (d2 - c12 * d1)
        determinant = -a0 * b2 * g1 - a1 * b0 * g2
        safe = torch.where(determinant.abs() > 1e-6, determinant, torch.full_like(determinant, 1e-6))
        step0 = (-e01 * b2 * g1 - a1 * (e02 * g2 - b2 * e12)) / safe
        step1 = (a0 * (e02 * g2 - b2 * e12) - e01 * b0 * g2) / safe
        step2 = (-a0 * e02 * g1 + a1 * (-b0 * e12) + e01 * b0 * g1) / safe
        step = torch.stack((step0, step1, step2), dim=2)
        bound = largest_step * d
        d = d - torch.maximum(torch.minimum(step, bound), -bound)
    return d * facing_BH1


def triangle_frame(points_BH33: Tensor) -> Tensor:
    """Rotations (B, H, 3, 3) whose columns are an orthonormal frame of the triangle (B, H, 3 points, 3)."""
    x, y, z = points_BH33.unbind(2)
    first = unit(y - x)
    normal = unit(torch.linalg.cross(first, z - x))
    return torch.stack((first, torch.linalg.cross(normal, first), normal), dim=3)


def unit(vector_BH3: Tensor, tiny: float = TINY) -> Tensor:
    """Vectors of length one; a zero vector stays zero."""
    return vector_BH3 / torch.linalg.vector_norm(vector_BH3, dim=2, keepdim=True).clamp_min(tiny)


def support(
    R_BH33: Tensor, position_BH3: Tensor, points_BN3: Tensor, rays_BN3: Tensor, width: float = SUPPORT_WIDTH
) -> Tensor:
    """How well each hypothesis (B, H) explains the points: mean of Geman and McClure's kernel of their angles."""
    return geman_mcclure(squared_tangents(R_BH33, position_BH3, points_BN3, rays_BN3), width).mean(dim=2)


def squared_tangents(
    R_BH33: Tensor, position_BH3: Tensor, points_BN3: Tensor, rays_BN3: Tensor, nearest: float = NEAREST_M
) -> Tensor:
    """Squared tangents (B, H, N) of the angles between N points and their rays in H cameras.

    What `off_rays` would say of H x N points, by two products of matrices over H and N: the distances along the rays
    are bilinear in rotations and outer products of points and rays, and lengths do not depend on the rotation.
    """
    # About their mean, or digits would cancel in a large map.
    centre_B13 = points_BN3.mean(dim=1, keepdim=True)
    points_BN3, position_BH3 = points_BN3 - centre_B13, position_BH3 - centre_B13
    outer_BN9 = (points_BN3.unsqueeze(3) * rays_BN3.unsqueeze(2)).flatten(2)
    camera_BH3 = torch.matmul(position_BH3.unsqueeze(2), R_BH33)[:, :, 0]
    along_BHN = torch.matmul(
        torch.cat((R_BH33.flatten(2), -camera_BH3), dim=2), torch.cat((outer_BN9, rays_BN3), dim=2).transpose(1, 2)
    )
    far_BHN = torch.matmul(-2.0 * position_BH3, points_BN3.transpose(1, 2))
    far_BHN = far_BHN + position_BH3.square().sum(dim=2).unsqueeze(2) + points_BN3.square().sum(dim=2).unsqueeze(1)
    depth_BHN = along_BHN.clamp_min(nearest)
    off_BHN = far_BHN - depth_BHN * (2.0 * along_BHN - depth_BHN)
    return (off_BHN / depth_BHN.square()).clamp_min(0.0)


def off_rays(camera_BN3: Tensor, rays_BN3: Tensor, nearest: float = NEAREST_M) -> tuple[Tensor, Tensor]:
    """Vectors (..., 3) from the rays to points in the camera, metres, and (..., 1) squared tangents of the angles."""
    along_BN1 = (camera_BN3 * rays_BN3).sum(dim=-1, keepdim=True).clamp_min(nearest)
    off_BN3 = camera_BN3 - along_BN1 * rays_BN3
    return off_BN3, off_BN3.square().sum(dim=-1, keepdim=True) / along_BN1.square()


def refine_by_angle(
    start_B7: Tensor,
    points_BN3: Tensor,
    log_deviation_BN: Tensor,
    rays_BN3: Tensor,
    rounds: int = ROUNDS,
    widest: float = WIDEST,
    narrowest: float = NARROWEST,
    narrowing: float = NARROWING,
    damping: float = DAMPING,
    tiny: float = TINY,
) -> Solution:
    """Gauss-Newton steps from an approximate pose; arguments as for `PoseHypotheses.forward`, constants of this
    file.
    """
    position_B13, R_B33 = start_B7[:, None, :3], rotation_matrix(start_B7[:, 3:])
    trust_BN = torch.exp(-2.0 * log_deviation_BN)
    unit_66 = torch.eye(6, dtype=start_B7.dtype, device=start_B7.device)
    turn_covariance_B33 = move_covariance_B33 = torch.zeros_like(R_B33)
    off_BN3, squared_BN1 = torch.zeros_like(points_BN3), torch.zeros_like(trust_BN.unsqueeze(2))
    width = widest
    for _ in range(rounds):
        camera_BN3 = torch.matmul(points_BN3 - position_B13, R_B33)
        off_BN3, squared_BN1 = off_rays(camera_BN3, rays_BN3)
        kernel_BN = geman_mcclure(squared_BN1[..., 0], width)
        matrix_B66, side_B61 = normal_equations(camera_BN3, off_BN3, rays_BN3, kernel_BN * trust_BN, 0.0)
        diagonal_B11 = torch.diagonal(matrix_B66, dim1=1, dim2=2).mean(dim=1)[:, None, None]
        matrix_B66 = matrix_B66 + (damping * diagonal_B11 + 1e-6) * unit_66
        position_B13, R_B33, move_covariance_B33, turn_covariance_B33 = gauss_newton_step(
            position_B13, R_B33, matrix_B66, side_B61
        )
        width = max(narrowest, width * narrowing)
    kernel_BN = geman_mcclure(squared_BN1[..., 0], widest)
    # The variance factor: how much farther from their rays the inliers are than predicted. A network predicts the
    # deviations that its training images had; on another drive points scatter more, and that is seen here.
    scatter_BN = off_BN3.square().sum(dim=2) * trust_BN
    factor_B11 = ((kernel_BN * scatter_BN).sum(dim=1) / (2.0 * kernel_BN.sum(dim=1)).clamp_min(tiny))[:, None, None]
    return solution(
        position_B13,
        R_B33,
        factor_B11 * move_covariance_B33,
        factor_B11 * turn_covariance_B33,
        kernel_BN.mean(dim=1),
    )
