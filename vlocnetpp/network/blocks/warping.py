"""Self-supervised warping (eq. 7): the previous frame's feature maps as the current camera would have seen them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlocnetpp.geometry import pixel_grid, reproject


def warping_flow(depth_B1HW: Tensor, K_B33: Tensor, relative_B7: Tensor) -> tuple[Tensor, Tensor]:
    """Sampling offsets into the previous image, computed once at the input's resolution.

    Returns:
        (B, 2, H, W) offset in pixels (x, y) from a pixel to where the previous image saw it, 0 where invalid, and
        (B, 1, H, W) validity 0 or 1: depth known, in front of the previous camera, inside the previous image.
    """
    pixels, valid = reproject(depth_B1HW, K_B33, relative_B7)
    here = pixel_grid(depth_B1HW.shape[-2], depth_B1HW.shape[-1], depth_B1HW)
    valid_B1HW = valid.unsqueeze(1).to(depth_B1HW.dtype)
    # `where`, not a product: a pixel without depth must not leak an infinity or its gradient into the average.
    offset = torch.where(valid.unsqueeze(-1), pixels - here, torch.zeros_like(pixels))
    return offset.permute(0, 3, 1, 2), valid_B1HW


def warp_features(previous_BChw: Tensor, offset_B2HW: Tensor, valid_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Warp feature maps of any stride with the flow of the input's resolution, average-pooled to theirs.

    Only valid pixels enter the average; a cell with fewer than half of its pixels valid is not warped.

    Returns:
        (B, C, h, w) bilinear samples, 0 where not warped, and the (B, 1, h, w) mask of warped cells.
    """
    height, width = valid_B1HW.shape[-2], valid_B1HW.shape[-1]
    h, w = previous_BChw.shape[-2], previous_BChw.shape[-1]
    share = F.adaptive_avg_pool2d(valid_B1HW, (h, w))
    offset = F.adaptive_avg_pool2d(offset_B2HW, (h, w)) / share.clamp_min(1e-6)
    scale_x, scale_y = w / width, h / height
    here = pixel_grid(h, w, offset)
    x = here[..., 0] + offset[:, 0] * scale_x
    y = here[..., 1] + offset[:, 1] * scale_y
    # grid_sample with align_corners=False measures from the image's edges: -1 is -0.5 px, 1 is w - 0.5 px.
    grid = torch.stack(((2 * x + 1) / w - 1, (2 * y + 1) / h - 1), dim=-1)
    mask = (share >= 0.5).to(previous_BChw.dtype)
    # Sampled in the grid's full precision: half precision cannot resolve positions between two cells, and PyTorch's CPU
    # kernel for bfloat16 reads beyond the end of channels-last maps (and is slower).
    previous_BChw = previous_BChw.to(grid.dtype)
    warped = F.grid_sample(previous_BChw, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.to(mask.dtype) * mask, mask
