"""Segmentation from the maps of strides 4, 8, 16 and 32 of one front: top down, a level at a time.

Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017; the pooled context is that of Liu et al.,
ParseNet, 2015. Convolutions are separable (Howard et al., MobileNets, 2017), so that the decoder costs less than the
front.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.resize import bilinear

STRIDES = (4, 8, 16, 32)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())


class Refinement(nn.Module):
    """One step down the pyramid: the coarse map, doubled, plus the fine one, then a separable 5x5 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.mix = projection(channels, channels)

    def forward(self, coarse_BCHW: Tensor, fine_BChw: Tensor) -> Tensor:
        """(B, C, h, w) from (B, C, ceil(h / 2), ceil(w / 2)) and (B, C, h, w)."""
        total = fine_BChw + doubled(coarse_BCHW, fine_BChw.shape[2], fine_BChw.shape[3])
        return self.mix(self.norm(self.spatial(total)))


class MultiscaleDecoder(nn.Module):
    """Class scores at the input's resolution from maps of strides 4, 8, 16 and 32.

    `encode` returns the maps of strides 16 and 32, in place of the paper's Res4f and Res5c: the ring buffer holds them,
    and `WarpedFusion` fuses them with those of the previous frame. `decode` goes on from them, fused or not. They are
    not negative, so that a fusion with ReLU can be initialized to pass the current map through.

    Args:
        in_channels: of the maps of strides 4, 8, 16, 32.
        channels: of the decoder.
        classes: of the mask.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, classes: int) -> None:
        super().__init__()
        if len(in_channels) != len(STRIDES):
            raise ValueError(f"in_channels: {len(in_channels)} maps, the decoder reads those of strides {STRIDES}")
        self.channels = channels
        self.lateral_4 = projection(in_channels[0], self.channels)
        self.lateral_8 = projection(in_channels[1], self.channels)
        self.lateral_16 = projection(in_channels[2], self.channels)
        self.lateral_32 = projection(in_channels[3], self.channels)
        self.context = nn.Sequential(nn.Conv2d(in_channels[3], self.channels, 1), nn.ReLU())
        self.refine_16 = Refinement(self.channels)
        self.refine_8 = Refinement(self.channels)
        self.refine_4 = Refinement(self.channels)
        self.score = nn.Conv2d(self.channels, classes, 1)

    def encode(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The maps that are fused with the previous frame's: (B, C, H/16, W/16) and (B, C, H/32, W/32), C = `channels`,
        both >= 0.

        Args:
            maps: (B, in_channels[i], H/stride, W/stride), each size rounded up. Raises ValueError for other sizes.
        """
        check_pyramid(maps)
        coarsest = maps[3]
        context_BC11 = self.context(coarsest.mean(dim=(2, 3), keepdim=True))
        return self.lateral_16(maps[2]), self.lateral_32(coarsest) + context_BC11

    def decode(self, maps: list[Tensor], encoded_16: Tensor, encoded_32: Tensor) -> Tensor:
        """Logits (B, classes, H, W) from the front's maps and what `encode` returned, fused with the past or not."""
        x = self.refine_16(encoded_32, encoded_16)
        x = self.refine_8(x, self.lateral_8(maps[1]))
        x = self.refine_4(x, self.lateral_4(maps[0]))
        scores = self.score(x)
        if scores.dtype == torch.float16 or scores.dtype == torch.bfloat16:
            scores = scores.float()  # which PyTorch resizes twice as fast on a CPU
        return bilinear(scores, 4 * x.shape[2], 4 * x.shape[3])

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, classes, H, W) of a network without a past. H and W are multiples of 4."""
        encoded_16, encoded_32 = self.encode(maps)
        return self.decode(maps, encoded_16, encoded_32)


def check_pyramid(maps: list[Tensor]) -> None:
    """Raise ValueError unless each of four maps has half the size of the one before, rounded up."""
    if len(maps) != 4:
        raise ValueError(f"{len(maps)} maps; the decoder reads four, of strides 4, 8, 16 and 32")
    for i in range(1, 4):
        fine, coarse = maps[i - 1], maps[i]
        if 2 * coarse.shape[2] - fine.shape[2] not in (0, 1) or 2 * coarse.shape[3] - fine.shape[3] not in (0, 1):
            raise ValueError(f"a map of {list(coarse.shape[2:])} is not half of {list(fine.shape[2:])}, rounded up")


def doubled(coarse_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Bilinear upsampling by two, cut to (B, C, height, width).

    Resizing to an odd size, such as 15 rows from 8, would stretch the map: each cell would be off by another amount.
    By two, all cells are off by the same half cell, by nothing where the size is even; the next filter learns it.
    """
    up = bilinear(coarse_BCHW, 2 * coarse_BCHW.shape[2], 2 * coarse_BCHW.shape[3])
    return up[:, :, :height, :width]
