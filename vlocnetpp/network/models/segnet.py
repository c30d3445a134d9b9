"""SegNet (Badrinarayanan, Kendall, Cipolla, 2015) on the residual trunk that all networks here share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.mask_network import MaskNetwork, MaskSettings
from vlocnetpp.network.blocks.units import ACTIVATIONS, Stage, Stem, scaled
from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Entry, Paper


def pool(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of 2x2 windows and where they were, both (B, C, H/2, W/2).

    By the operator itself, as `unpool`: the functions around both would bring their whole source into a model file.
    """
    return torch.ops.aten.max_pool2d_with_indices(x_BCHW, [2, 2], [2, 2])


def unpool(x_BCHW: Tensor, index_BCHW: Tensor) -> Tensor:
    """(B, C, 2 H, 2 W): each value where the maximum of its window was, zeros elsewhere."""
    return torch.ops.aten.max_unpool2d(x_BCHW, index_BCHW, [2 * x_BCHW.shape[2], 2 * x_BCHW.shape[3]])


class PoolingEncoder(nn.Module):
    """The trunk with a 2x2 maximum before each stage in place of the stages' own strides."""

    def __init__(self, width: float, activation: str) -> None:
        super().__init__()
        self.stem = Stem(3, width)
        channels = [scaled(64, width)]
        stages = []
        for name in ("res2", "res3", "res4", "res5"):
            stages.append(Stage(name, channels[-1], width, activation, stride=1))
            channels.append(stages[-1].out_channels)
        self.res2, self.res3, self.res4, self.res5 = stages
        self.norm = nn.BatchNorm2d(channels[-1])
        self.act = ACTIVATIONS[activation]()
        self.channels = tuple(channels)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Res5c (B, 2048, H/32, W/32), then the places of the maxima of each pooling, coarse to fine."""
        x, first = pool(self.stem.conv(image_B3HW))
        x, second = pool(self.res2(x))
        x, third = pool(self.res3(x))
        x, fourth = pool(self.res4(x))
        return [self.act(self.norm(self.res5(x))), fourth, third, second, first]


def block(in_channels: int, out_channels: int, size: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class SegNetDecoder(nn.Module):
    """For each pooling, coarse to fine: values go back to where the maxima were, then a 3x3 convolution."""

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        stem, channels_2c, channels_3d, channels_4f, channels_5c = channels
        self.reduce = block(channels_5c, channels_4f, 1)
        self.block_4 = block(channels_4f, channels_3d, 3)
        self.block_3 = block(channels_3d, channels_2c, 3)
        self.block_2 = block(channels_2c, stem, 3)
        self.block_1 = block(stem, stem, 3)
        self.score = nn.Conv2d(stem, classes, 1)
        self.up_1 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, H, W) of what the encoder gives."""
        x = self.block_4(unpool(self.reduce(maps[0]), maps[1]))
        x = self.block_3(unpool(x, maps[2]))
        x = self.block_2(unpool(x, maps[3]))
        return self.up_1(self.score(self.block_1(unpool(x, maps[4]))))


def segnet(config: NetworkConfig) -> MaskNetwork:
    """The network of a configuration."""
    encoder = PoolingEncoder(config.width, config.settings.activation)
    return MaskNetwork(config, encoder, SegNetDecoder(encoder.channels, config.scene.classes))


ENTRIES = (
    Entry(
        "segnet",
        segnet,
        MaskSettings,
        "A decoder that puts values back to where the maxima of the encoder's poolings were",
        papers=(
            Paper(
                "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
                "Badrinarayanan, Kendall, Cipolla",
                2015,
                "arXiv:1511.00561",
            ),
        ),
        published=(
            ("DeepLoc, mean IoU", "66.05 %"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 93.42, Road 98.57, Sidewalk 54.43, Grass 78.79, Vegetation 81.63, Building 84.38, "
                    "Poles 18.37, Dynamic 51.57, Other 33.29 %"
                ),
            ),
        ),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not VGG-16",
            "2x2 poolings replace the strides of the trunk's stages",
            "Four poolings, not five: the first convolution keeps its stride, and a learned deconvolution undoes it",
            "One convolution a level in the decoder, as in the paper's SegNet-Basic",
        ),
    ),
)
