"""ParseNet (Liu, Rabinovich, Berg, 2015) on the residual trunk that all networks here share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.mask_network import MaskNetwork, MaskSettings
from vlocnetpp.network.blocks.trunk import Trunk
from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.resize import bilinear

SCALE = 10.0
"""To which the channels of a vector of unit length are scaled at first."""


class L2Norm(nn.Module):
    """Each pixel's vector scaled to unit length, then each channel by a learned factor (Liu et al., section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale_1C11 = nn.Parameter(torch.full((1, channels, 1, 1), SCALE))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # In full precision: the sum of 2048 squares exceeds what half precision can hold.
        full = x_BCHW.float()
        unit = full / (full.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
        return unit.to(x_BCHW.dtype) * self.scale_1C11


class ParseNetDecoder(nn.Module):
    """Normalized Res3d, Res4f, Res5c and the mean of Res5c over the image, concatenated and scored by one 1x1 layer.

    A 1x1 layer on a concatenation is the sum of a layer for each input, and it may be exchanged with a resize: each map
    is scored at its own resolution, which gives the same and costs less.
    """

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        _, channels_3d, channels_4f, channels_5c = channels
        self.norm_3d, self.score_3d = L2Norm(channels_3d), nn.Conv2d(channels_3d, classes, 1)
        self.norm_4f, self.score_4f = L2Norm(channels_4f), nn.Conv2d(channels_4f, classes, 1, bias=False)
        self.norm_5c, self.score_5c = L2Norm(channels_5c), nn.Conv2d(channels_5c, classes, 1, bias=False)
        self.norm_pool, self.score_pool = L2Norm(channels_5c), nn.Conv2d(channels_5c, classes, 1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, H, W) of the encoder's maps."""
        height, width = maps[1].shape[2], maps[1].shape[3]
        context_BC11 = self.score_pool(self.norm_pool(maps[3].mean(dim=(2, 3), keepdim=True)))
        scores = self.score_3d(self.norm_3d(maps[1])) + context_BC11
        scores = scores + bilinear(self.score_4f(self.norm_4f(maps[2])), height, width)
        scores = scores + bilinear(self.score_5c(self.norm_5c(maps[3])), height, width)
        return bilinear(scores, 8 * height, 8 * width)


def parsenet(config: NetworkConfig) -> MaskNetwork:
    """The network of a configuration."""
    encoder = Trunk(config.width, config.settings.activation)
    return MaskNetwork(config, encoder, ParseNetDecoder(encoder.channels, config.scene.classes))


ENTRIES = (
    Entry(
        "parsenet",
        parsenet,
        MaskSettings,
        "The mean of the image's features beside those of each pixel, both normalized to one length",
        papers=(Paper("ParseNet: Looking Wider to See Better", "Liu, Rabinovich, Berg", 2015, "arXiv:1506.04579"),),
        published=(
            ("DeepLoc, mean IoU", "71.47 %"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 92.85, Road 98.94, Sidewalk 62.87, Grass 81.61, Vegetation 82.74, Building 86.28, "
                    "Poles 27.35, Dynamic 65.44, Other 45.12 %"
                ),
            ),
        ),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not VGG-16",
            "Res3d, Res4f and Res5c take the places of conv4, conv5 and fc7",
            "Each map is scored before it is resized, which gives the same as scoring the concatenation",
        ),
    ),
)
