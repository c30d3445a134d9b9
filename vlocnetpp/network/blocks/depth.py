"""Monocular depth in the manner of DispNet (Mayer et al., 2016): where no sensor measures it, warping needs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.network.blocks.units import scaled
from vlocnetpp.network.resize import bilinear, nearest

MIN_DEPTH_M, MAX_DEPTH_M = 0.1, 100.0


def _contract(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Half the resolution, then one convolution at that resolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Expand(nn.Module):
    """Twice the resolution: upsampled features, the encoder's skip and the coarser inverse depth, refined."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels + skip_channels + 1, out_channels, 3, padding=1)
        self.inverse_depth = nn.Conv2d(out_channels, 1, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        x, coarse = nearest(x, height, width), bilinear(coarse, height, width)
        x = F.relu(self.conv(torch.cat((x, skip, coarse), dim=1)))
        # The finer scale corrects the coarser one; softplus keeps the inverse depth positive.
        return x, self.inverse_depth(x) + coarse


class DepthNetwork(nn.Module):
    """Encoder-decoder with an inverse depth at strides 32, 16, 8 and 4."""

    CHANNELS = (64, 128, 256, 512, 512)

    def __init__(self, width: float) -> None:
        super().__init__()
        self.min_inverse, self.max_inverse = 1.0 / MAX_DEPTH_M, 1.0 / MIN_DEPTH_M
        c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in self.CHANNELS)
        self.conv1 = _contract(3, c1, 7)
        self.conv2 = _contract(c1, c2, 5)
        self.conv3 = _contract(c2, c3, 3)
        self.conv4 = _contract(c3, c4, 3)
        self.conv5 = _contract(c4, c5, 3)
        self.inverse_depth = nn.Conv2d(c5, 1, 3, padding=1)
        self.up4 = Expand(c5, c4, c4)
        self.up3 = Expand(c4, c3, c3)
        self.up2 = Expand(c3, c2, c2)

    def inverse_depths(self, image_B3HW: Tensor) -> list[Tensor]:
        """Inverse depths in 1/m, (B, 1, H/s, W/s) for s = 32, 16, 8, 4, coarse first, of a normalized image."""
        x1 = self.conv1(image_B3HW)
        x2 = self.conv2(x1)
        x3 = self.conv3(x2)
        x4 = self.conv4(x3)
        x5 = self.conv5(x4)
        raw5 = self.inverse_depth(x5)
        x, raw4 = self.up4(x5, x4, raw5)
        x, raw3 = self.up3(x, x3, raw4)
        x, raw2 = self.up2(x, x2, raw3)
        return [F.softplus(raw) for raw in [raw5, raw4, raw3, raw2]]

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Depth (B, 1, H, W) in metres at the input's resolution, within 0.1 m and 100 m, of a normalized image."""
        inverse = self.inverse_depths(image_B3HW)[3]
        inverse = bilinear(inverse, 4 * inverse.shape[2], 4 * inverse.shape[3])
        return 1.0 / inverse.clamp(self.min_inverse, self.max_inverse)
