"""Scene coordinates, the map points that parts of the image show; the regressed pose is refined by them. Beyond the
paper, whose pooling discards where in the image things are. Shotton et al., Scene Coordinate Regression Forests, 2013;
Brachmann & Rother, DSAC*, 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.geometry import back_project, matrix_from_pose, pixel_grid
from vlocnetpp.network.blocks.pose_solver import solve_pose
from vlocnetpp.network.blocks.units import ACTIVATIONS, Bottleneck, scaled

STRIDE = 8
MIN_INLIERS = 0.1
"""With a smaller share of inliers the regressed pose is kept."""
MAX_DEVIATION = 0.05
"""It is also kept with a larger deviation of the rotation, radians, or of the position, relative to the points' mean
distance."""
UNITS = 3


class CoordinateHead(nn.Module):
    """Residual units on a map of stride 8, then 1x1 to x, y, z in the map and the log of their deviation, metres.

    Args:
        centre, spread: as for `PoseHead`, but of the scene's points, metres.
    """

    def __init__(self, channels: int, width: float, activation: str, centre: tuple[float, ...], spread: float) -> None:
        super().__init__()
        hidden = scaled(512, width)
        self.units = nn.Sequential(
            *(Bottleneck(channels if i == 0 else hidden, hidden, 1, activation, None) for i in range(UNITS))
        )
        self.norm = nn.BatchNorm2d(hidden)
        self.act = ACTIVATIONS[activation]()
        self.conv = nn.Conv2d(hidden, 4, 1)
        self.cx, self.cy, self.cz = (float(value) for value in centre)
        self.spread = float(spread)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the last layer: every cell then predicts the centre of the scene with a deviation of its spread."""
        nn.init.normal_(self.conv.weight, std=0.1 / self.conv.in_channels**0.5)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, 4, H, W): x, y, z in metres and the log of a standard deviation in metres, in full precision."""
        raw = self.conv(self.act(self.norm(self.units(x_BCHW))))
        if raw.dtype == torch.float16 or raw.dtype == torch.bfloat16:
            raw = raw.float()  # in full precision for the same reason as in `PoseHead`
        x, y, z, scale = raw.unbind(1)
        spread = self.spread
        log_spread = torch.log(torch.full_like(scale, spread))
        scale = scale.clamp(-8.0, 2.0) + log_spread
        return torch.stack((x * spread + self.cx, y * spread + self.cy, z * spread + self.cz, scale), dim=1)


def cells(height: int, width: int, like: Tensor, stride: int = STRIDE) -> Tensor:
    """Pixel coordinates (H/8, W/8, 2) of the middle of each cell of the map."""
    return pixel_grid(height, width, like)[stride // 2 :: stride, stride // 2 :: stride]


def refine_pose(
    pose_B7: Tensor,
    log_scale_B2: Tensor,
    coordinates_B4HW: Tensor,
    K_B33: Tensor,
    stride: int = STRIDE,
    min_inliers: float = MIN_INLIERS,
    max_deviation: float = MAX_DEVIATION,
) -> tuple[Tensor, Tensor]:
    """The pose (B, 7) that the coordinates agree on, and its log-scales (B, 2); the given ones where they do not.

    Args:
        coordinates_B4HW: as `CoordinateHead.forward` answers.
        K_B33: intrinsics at the network's input resolution.
    """
    height, width = coordinates_B4HW.shape[2], coordinates_B4HW.shape[3]
    coordinates_BN4 = coordinates_B4HW.flatten(2).transpose(1, 2)
    grid = cells(height * stride, width * stride, K_B33)[None]
    ones = torch.ones((K_B33.shape[0], 1, height, width), dtype=K_B33.dtype, device=K_B33.device)
    rays_BN3 = torch.nn.functional.normalize(back_project(grid, ones, K_B33).flatten(1, 2), dim=2)
    points_BN3 = coordinates_BN4[:, :, :3]
    found = solve_pose(pose_B7, points_BN3, coordinates_BN4[:, :, 3], rays_BN3)
    distance_B = torch.linalg.vector_norm(points_BN3 - found.pose_B7[:, None, :3], dim=2).mean(dim=1)
    position_B, rotation_B = found.deviation_B2[:, 0], found.deviation_B2[:, 1]
    sure_B = (rotation_B < max_deviation) & (position_B < max_deviation * distance_B)
    good_B1 = (sure_B & (found.inliers_B > min_inliers)).unsqueeze(1)
    scale_B2 = found.deviation_B2.clamp_min(1e-6).log().clamp(-8.0, 4.0)
    return torch.where(good_B1, found.pose_B7, pose_B7), torch.where(good_B1, scale_B2, log_scale_B2)


class PoseRefinement(nn.Module):
    """`refine_pose` as a module, so that a network lists it among its parts; it has no parameters."""

    def forward(
        self, pose_B7: Tensor, log_scale_B2: Tensor, coordinates_B4HW: Tensor, K_B33: Tensor
    ) -> tuple[Tensor, Tensor]:
        return refine_pose(pose_B7, log_scale_B2, coordinates_B4HW, K_B33)


def cell_depth(depth_BL1HW: Tensor) -> Tensor:
    """Depth (..., H/8, W/8) at the middle of each cell, of images (..., 1, H, W)."""
    return depth_BL1HW[..., 0, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def coordinate_labels(depth_B1HW: Tensor, K_B33: Tensor, pose_B7: Tensor) -> tuple[Tensor, Tensor]:
    """Where each cell of an image lies in the map (B, 3, H/8, W/8), metres, and whether (B, H/8, W/8) that is known."""
    height, width = depth_B1HW.shape[2], depth_B1HW.shape[3]
    z_BHW = cell_depth(depth_B1HW)
    points = back_project(cells(height, width, K_B33)[None], z_BHW.unsqueeze(1), K_B33)
    T_B44 = matrix_from_pose(pose_B7)
    moved = torch.matmul(points.flatten(1, 2), T_B44[:, :3, :3].transpose(1, 2)) + T_B44[:, None, :3, 3]
    return moved.transpose(1, 2).unflatten(2, (z_BHW.shape[1], z_BHW.shape[2])), z_BHW > 0
