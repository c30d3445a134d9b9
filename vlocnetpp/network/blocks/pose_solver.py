"""Camera pose from scene points and the rays along which they are seen: robust least squares in a fixed number of
rounds.

It scripts, exports, differentiates and runs on any device: plain arithmetic, because ONNX has no solver, and no step
that depends on the data. The error of a point is its distance from its ray (Lu, Hager & Mjolsness, Fast and Globally
Convergent Pose Estimation from Video Images, 2000), in units of the deviation that was predicted for it. Outliers lose
their weight by Geman and McClure's kernel, which narrows from round to round (Yang et al., Graduated Non-Convexity for
Robust Spatial Perception, 2020), so that the initial pose may be far off.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vlocnetpp.geometry import quaternion_from_matrix, rotation_matrix

ROUNDS = 10
WIDEST, NARROWEST, NARROWING = 20.0, 3.0, 0.6
"""Width of the kernel in the first and in the last rounds, in predicted deviations, and its factor between rounds."""
DAMPING = 1e-3
"""Added to the diagonal of the normal equations, whose entries are inverse variances in m and rad."""


class Solution(NamedTuple):
    """The camera that fits the points, and how well."""

    pose_B7: Tensor
    """Camera-to-world."""
    deviation_B2: Tensor
    """Standard deviations of position, metres, and rotation, radians, if the points' errors were independent."""
    inliers_B: Tensor
    """Mean of the kernel's weights over the points, 0 to 1."""


def solve_pose(
    start_B7: Tensor,
    points_BN3: Tensor,
    log_deviation_BN: Tensor,
    rays_BN3: Tensor,
    rounds: int = ROUNDS,
    widest: float = WIDEST,
    narrowest: float = NARROWEST,
    narrowing: float = NARROWING,
) -> Solution:
    """Refine a camera pose by points in the map: Gauss-Newton steps whose weights are computed anew in each round.

    Args:
        start_B7: initial pose, camera-to-world.
        points_BN3: in the map, metres.
        log_deviation_BN: log of the standard deviation of each point, metres.
        rays_BN3: unit vectors in the camera along which the points are seen.
        rounds, widest, narrowest, narrowing: as the constants of this file.
    """
    position_B13, R_B33 = start_B7[:, None, :3], rotation_matrix(start_B7[:, 3:])
    trust_BN = torch.exp(-2.0 * log_deviation_BN)
    turn_covariance_B33 = move_covariance_B33 = torch.zeros_like(R_B33)
    kernel_BN = torch.zeros_like(trust_BN)
    width = widest
    for _ in range(rounds):
        camera_BN3 = torch.matmul(points_BN3 - position_B13, R_B33)
        # A point behind the camera is compared with the camera's centre.
        off_BN3 = camera_BN3 - (camera_BN3 * rays_BN3).sum(dim=2, keepdim=True).clamp_min(0.0) * rays_BN3
        kernel_BN = geman_mcclure(off_BN3.square().sum(dim=2) * trust_BN, width)
        matrix_B66, side_B61 = normal_equations(camera_BN3, off_BN3, rays_BN3, kernel_BN * trust_BN)
        position_B13, R_B33, move_covariance_B33, turn_covariance_B33 = gauss_newton_step(
            position_B13, R_B33, matrix_B66, side_B61
        )
        width = max(narrowest, width * narrowing)
    return solution(position_B13, R_B33, move_covariance_B33, turn_covariance_B33, kernel_BN.mean(dim=1))


def geman_mcclure(squared_BN: Tensor, width: float) -> Tensor:
    """Weight of a squared residual: 1 at zero, a quarter at the width."""
    return torch.square(1.0 / (1.0 + squared_BN / (width * width)))


def normal_equations(
    camera_BN3: Tensor, off_BN3: Tensor, rays_BN3: Tensor, weight_BN: Tensor, damping: float = DAMPING
) -> tuple[Tensor, Tensor]:
    """Matrix (B, 6, 6) and right side (B, 6, 1) of a Gauss-Newton step: a turn in radians, then a move, in the camera.

    A turn w and a move d of the camera take a point p to p + p x w - d; only the part across the ray r counts. With
    J = [[p]x, -1], that is J^T (1 - r r^T) J = J^T J - g g^T for each point, where g = (r x p, -r), and J^T J sums to
    moments of the points.
    """
    along_BN6 = torch.cat((torch.linalg.cross(rays_BN3, camera_BN3), -rays_BN3), dim=2)
    weight_BN1 = weight_BN.unsqueeze(2)
    homogeneous_BN4 = torch.cat((camera_BN3, torch.ones_like(weight_BN1)), dim=2)
    moments_B44 = torch.matmul((homogeneous_BN4 * weight_BN1).transpose(1, 2), homogeneous_BN4)
    square_B33, total_B11 = moments_B44[:, :3, :3], moments_B44[:, 3:, 3:]
    unit_33 = torch.eye(3, dtype=square_B33.dtype, device=square_B33.device)
    spread_B11 = torch.diagonal(square_B33, dim1=1, dim2=2).sum(dim=1)[:, None, None]
    mean_B33 = skew(moments_B44[:, 3:, :3])[:, 0]
    turn_B36 = torch.cat((spread_B11 * unit_33 - square_B33, mean_B33), dim=2)
    move_B36 = torch.cat((-mean_B33, total_B11 * unit_33), dim=2)
    weighted_B6N = (along_BN6 * weight_BN1).transpose(1, 2)
    matrix_B66 = torch.cat((turn_B36, move_B36), dim=1) - torch.matmul(weighted_B6N, along_BN6)
    # A point that is measured from the nearest depth is off along its ray too, which does not count.
    off_BN3 = off_BN3 - rays_BN3 * (rays_BN3 * off_BN3).sum(dim=2, keepdim=True)
    back_BN6 = torch.cat((torch.linalg.cross(camera_BN3, off_BN3), off_BN3), dim=2)
    side_B61 = torch.matmul(back_BN6.transpose(1, 2), weight_BN1)
    return matrix_B66 + damping * torch.eye(6, dtype=unit_33.dtype, device=unit_33.device), side_B61


def gauss_newton_step(
    position_B13: Tensor, R_B33: Tensor, matrix_B66: Tensor, side_B61: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve the normal equations and move the camera.

    Returns the new position (B, 1, 3), the new rotation, and the covariances of move and turn, in the camera.
    """
    # By blocks: the inverse of the turn's Schur complement is the covariance of the move.
    A, B, D = matrix_B66[:, :3, :3], matrix_B66[:, :3, 3:], matrix_B66[:, 3:, 3:]
    inverse_A = invert(A)
    eliminate = torch.matmul(B.transpose(1, 2), inverse_A)
    move_covariance_B33 = invert(D - torch.matmul(eliminate, B))
    move_B31 = torch.matmul(move_covariance_B33, side_B61[:, 3:] - torch.matmul(eliminate, side_B61[:, :3]))
    turn_B31 = torch.matmul(inverse_A, side_B61[:, :3] - torch.matmul(B, move_B31))
    turn_covariance_B33 = inverse_A + torch.matmul(
        eliminate.transpose(1, 2), torch.matmul(move_covariance_B33, eliminate)
    )
    position_B13 = position_B13 + torch.matmul(R_B33, move_B31).transpose(1, 2)
    # Cayley's rotation by the turn, exact for any length.
    half_B33 = skew(0.5 * turn_B31.transpose(1, 2))[:, 0]
    squared_B11 = 0.25 * turn_B31.square().sum(dim=1, keepdim=True)
    unit_33 = torch.eye(3, dtype=R_B33.dtype, device=R_B33.device)
    R_B33 = torch.matmul(R_B33, unit_33 + 2.0 / (1.0 + squared_B11) * (half_B33 + torch.matmul(half_B33, half_B33)))
    return position_B13, R_B33, move_covariance_B33, turn_covariance_B33


def solution(
    position_B13: Tensor, R_B33: Tensor, move_covariance_B33: Tensor, turn_covariance_B33: Tensor, inliers_B: Tensor
) -> Solution:
    """The pose as a quaternion, and the deviations from the covariances."""
    covariances = (move_covariance_B33, turn_covariance_B33)
    variances = [torch.diagonal(block, dim1=1, dim2=2).sum(dim=1) for block in covariances]
    pose_B7 = torch.cat((position_B13[:, 0], quaternion_from_matrix(R_B33)), dim=1)
    return Solution(pose_B7, torch.stack(variances, dim=1).clamp_min(0.0).sqrt(), inliers_B)


def skew(vectors_BN3: Tensor) -> Tensor:
    """Matrices (B, N, 3, 3) whose product with a vector is the cross product with it."""
    unit_33 = torch.eye(3, dtype=vectors_BN3.dtype, device=vectors_BN3.device)
    return torch.linalg.cross(unit_33.expand(vectors_BN3.shape + (3,)), vectors_BN3.unsqueeze(2))


def invert(matrix_B33: Tensor) -> Tensor:
    """Inverse of symmetric positive definite matrices, by cofactors."""
    rows = torch.cat((matrix_B33, matrix_B33[:, :2]), dim=1)
    cofactors_B33 = torch.linalg.cross(rows[:, 1:4], rows[:, 2:5])
    determinant_B11 = (matrix_B33[:, :1] * cofactors_B33[:, :1]).sum(dim=2, keepdim=True)
    return cofactors_B33.transpose(1, 2) / determinant_B11
