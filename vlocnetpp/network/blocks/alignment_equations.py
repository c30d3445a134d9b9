"""The equations of direct alignment: residuals of chosen pixels, what changes them, and a step of the motion."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Motion(NamedTuple):
    """The estimate that each level refines: a point p of the current camera is R p + t in the previous one."""

    R_B33: Tensor
    t_B31: Tensor
    brightness_B2: Tensor
    """Gain and bias: the previous image shows c + gain (c / CONTRAST - 2) + bias where the current one shows c."""
    variance_B1: Tensor
    """Of a residual."""


class Pixels(NamedTuple):
    """Chosen pixels of one level of the current image."""

    rays_B4N: Tensor
    """x, y, 1 along the ray and the inverse depth, 1/m."""
    grey_BN: Tensor
    known_BN: Tensor
    """1 where the depth is known, 0 elsewhere."""
    depth_variance_BN: Tensor
    """Of the log of the depth."""
    texture_BN: Tensor
    """Squared gradient, per pixel of the level."""
    change_B8N: Tensor
    """Jacobian of the current image's grey value by gain, bias, translation and rotation of the camera."""


class Fit(NamedTuple):
    """The normal equations of a level, and the weights and residuals of its last step."""

    inverse_B88: Tensor
    weight_BN: Tensor
    residual_BN: Tensor


def part_masks(rows: int, columns: int, like: Tensor) -> Tensor:
    """(4, rows * columns) which cells belong to a part of the image: the whole, left, right, and all but the middle."""
    x_X = (torch.arange(columns, device=like.device) + 0.5) / columns
    parts_PX = torch.stack((x_X < 1.0, x_X < 0.55, x_X > 0.45, (x_X - 0.5).abs() > 0.25))
    return parts_PX.unsqueeze(1).repeat(1, rows, 1).flatten(1)


def repeat_pixels(pixels: Pixels, known_RN: Tensor, times: int) -> Pixels:
    """The pixels of the whole batch so many times, with other weights `known`."""
    return Pixels(
        pixels.rays_B4N.repeat(times, 1, 1),
        pixels.grey_BN.repeat(times, 1),
        known_RN,
        pixels.depth_variance_BN.repeat(times, 1),
        pixels.texture_BN.repeat(times, 1),
        pixels.change_B8N.repeat(times, 1, 1),
    )


def level_intrinsics(K_B33: Tensor, reduction: float) -> Tensor:
    """Intrinsics of an image reduced by averaging; the image's edge, at -0.5, stays."""
    x, y, z = K_B33.unbind(1)
    shift = 0.5 - 0.5 * reduction  # of a pixel's centre, in pixels before the reduction
    return torch.stack(((x + shift * z) / reduction, (y + shift * z) / reduction, z), dim=1)


def level_grid(K_B33: Tensor, reduction: float, height: int, width: int) -> Tensor:
    """(B, 3, 3) that takes points of a camera to the coordinates of `grid_sample`, edges at -1 and 1, times z, in an
    image that was reduced by a factor to this size."""
    x, y, z = level_intrinsics(K_B33, reduction).unbind(1)
    return torch.stack(((2.0 * x + z) / width - z, (2.0 * y + z) / height - z, z), dim=1)


def compare(motion: Motion, pixels: Pixels, previous_B1hw: Tensor, to_grid_B33: Tensor) -> tuple[Tensor, Tensor]:
    """Grey value of the warped previous image less the current one's, (B, N), and where both are seen, 1 or 0."""
    pose_B34 = torch.cat((motion.R_B33, motion.t_B31), dim=2)
    points_B3N = torch.matmul(torch.matmul(to_grid_B33, pose_B34), pixels.rays_B4N)
    z_B1N = points_B3N[:, 2:]
    grid_B2N = points_B3N[:, :2] / z_B1N.clamp_min(1e-3)
    seen_BN = (z_B1N[:, 0] > 1e-3) & (grid_B2N.abs().amax(dim=1) < 1.0)
    grid_B1N2 = grid_B2N.transpose(1, 2).unsqueeze(1)
    sampled = F.grid_sample(previous_B1hw, grid_B1N2, mode="bilinear", padding_mode="border", align_corners=False)
    brighter_BN = torch.matmul(motion.brightness_B2.unsqueeze(1), pixels.change_B8N[:, :2])[:, 0]
    return sampled[:, 0, 0] - pixels.grey_BN - brighter_BN, pixels.known_BN * seen_BN.to(pixels.known_BN.dtype)


def slope_by_depth(motion: Motion, pixels: Pixels) -> Tensor:
    """Derivative (B, N) of a residual by the log of the depth: a farther point acts like a shorter translation."""
    moved_B13 = torch.matmul(motion.R_B33.transpose(1, 2), motion.t_B31).transpose(1, 2)
    return torch.matmul(moved_B13, pixels.change_B8N[:, 2:5])[:, 0]


def apply_step(motion: Motion, step_B81: Tensor, variance_B1: Tensor) -> Motion:
    """The motion after an inverse compositional step: the step aligns the current image with the warped one, so its
    inverse is composed with the motion.
    """
    move_B31, half_B13 = step_B81[:, 2:5], -0.5 * step_B81[:, 5:].transpose(1, 2)
    unit_33 = torch.eye(3, dtype=half_B13.dtype, device=half_B13.device)
    # Cayley's rotation, exact for any length.
    half_B33 = torch.linalg.cross(unit_33.expand_as(motion.R_B33), half_B13.expand_as(motion.R_B33))
    squared = half_B13.square().sum(dim=2, keepdim=True)
    turn_B33 = unit_33 + 2.0 / (1.0 + squared) * (half_B33 + torch.matmul(half_B33, half_B33))
    return Motion(
        torch.matmul(motion.R_B33, turn_B33),
        motion.t_B31 - torch.matmul(motion.R_B33, move_B31),
        motion.brightness_B2 + step_B81[:, :2, 0],
        variance_B1,
    )


def invert(matrix_BNN: Tensor, damping_N: Tensor) -> Tensor:
    """Inverse of symmetric positive definite matrices with something added to their diagonal, by Gauss and Jordan.

    Scaled to ones on the diagonal first, whatever the units: no pivot is then above one, or it would cancel digits.
    """
    size = matrix_BNN.shape[1]
    unit_NN = torch.eye(size, dtype=matrix_BNN.dtype, device=matrix_BNN.device)
    matrix_BNN = matrix_BNN + unit_NN * damping_N
    scale_BN = torch.diagonal(matrix_BNN, dim1=1, dim2=2).rsqrt()
    scale_BNN = scale_BN.unsqueeze(2) * scale_BN.unsqueeze(1)
    both = torch.cat((matrix_BNN * scale_BNN, unit_NN.expand_as(matrix_BNN)), dim=2)
    for k in range(size):
        row = both.narrow(1, k, 1)
        row = row / row.narrow(2, k, 1)
        both = both - (both.narrow(2, k, 1) - unit_NN.narrow(1, k, 1)) * row
    return both.narrow(2, size, size) * scale_BNN
