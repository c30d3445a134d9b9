"""All maps of a front at stride 8, concatenated and standardized: the input of every stream.

Hariharan et al., Hypercolumns for Object Segmentation and Fine-grained Localization, 2015.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.network.resize import bilinear

STRIDE = 8
LEAST_DEVIATION = 1e-3


class Hypercolumns(nn.Module):
    """Maps of strides 4, 8, 16 and 32 to one map of stride 8, each channel with mean 0 and deviation 1.

    Stride 4 loses nothing: its four neighbours become four channels (pixel-unshuffle). Strides 16 and 32 are enlarged
    bilinearly. Mean and deviation are buffers, measured once on training images by `measure`.

    Args:
        channels: of the four maps.

    Attributes:
        channels: of the result.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = 4 * channels[0] + sum(channels[1:])
        self.mean_C: Tensor
        self.register_buffer("mean_C", torch.zeros(self.channels))
        self.deviation_C: Tensor
        self.register_buffer("deviation_C", torch.ones(self.channels))

    def forward(self, map_4: Tensor, map_8: Tensor, map_16: Tensor, map_32: Tensor) -> Tensor:
        """(B, C, H/8, W/8) of maps (B, C_s, H/s, W/s); H and W must be multiples of 8."""
        columns = self.concatenate(map_4, map_8, map_16, map_32)
        return (columns - self.mean_C[:, None, None]) / self.deviation_C[:, None, None]

    def concatenate(self, map_4: Tensor, map_8: Tensor, map_16: Tensor, map_32: Tensor) -> Tensor:
        """The same without the standardization."""
        height, width = map_8.shape[2], map_8.shape[3]
        large_16, large_32 = bilinear(map_16, height, width), bilinear(map_32, height, width)
        return torch.cat((F.pixel_unshuffle(map_4, 2), map_8, large_16, large_32), dim=1)

    @torch.no_grad()
    def measure(self, maps: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
        """Take mean and deviation of every channel from the maps of some training images. Raises ValueError of none."""
        count = 0
        total = torch.zeros(self.channels, dtype=torch.float64)
        squares = torch.zeros(self.channels, dtype=torch.float64)
        for each in maps:
            columns = self.concatenate(*each).double().cpu()
            count += columns.numel() // self.channels
            total += columns.sum(dim=(0, 2, 3))
            squares += columns.square().sum(dim=(0, 2, 3))
        if count == 0:
            raise ValueError("no image to measure the features on")
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(LEAST_DEVIATION**2)
        self.mean_C.copy_(mean)
        self.deviation_C.copy_(variance.sqrt())
