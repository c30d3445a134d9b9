"""UpNet (Oliveira, Valada, Bollen, Burgard, Brox, 2016) on the residual trunk that all networks here share."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.mask_network import MaskNetwork, MaskSettings
from vlocnetpp.network.blocks.trunk import Trunk
from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Entry, Paper

FILTERS = 4
"""Channels of the refinements for each class: an up-convolution that only scores has one."""


class Refinement(nn.Module):
    """Up-convolution by two, plus the encoder's map of that size, then ReLU."""

    def __init__(self, channels: int, skipped: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
        self.skip = nn.Conv2d(skipped, channels, 1)
        self.act = nn.ReLU()

    def forward(self, coarse: Tensor, skipped: Tensor) -> Tensor:
        """(B, C, 2 H, 2 W) from (B, C, H, W) and (B, skipped, 2 H, 2 W)."""
        return self.act(self.up(coarse) + self.skip(skipped))


class UpNetDecoder(nn.Module):
    """An up-convolution with ReLU for every halving of the trunk, so that refinement goes on to the full resolution.

    FCN-8s ends with one eightfold deconvolution of scores; UpNet refines further, with several channels a class.
    """

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels_2c, channels_3d, channels_4f, channels_5c = channels
        inner = FILTERS * classes
        self.reduce = nn.Conv2d(channels_5c, inner, 1)
        self.refine_16 = Refinement(inner, channels_4f)
        self.refine_8 = Refinement(inner, channels_3d)
        self.refine_4 = Refinement(inner, channels_2c)
        self.up_2 = nn.ConvTranspose2d(inner, inner, 4, stride=2, padding=1)
        self.act = nn.ReLU()
        self.up_1 = nn.ConvTranspose2d(inner, classes, 4, stride=2, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, H, W) of the encoder's maps."""
        x = self.refine_16(self.act(self.reduce(maps[3])), maps[2])
        x = self.refine_4(self.refine_8(x, maps[1]), maps[0])
        return self.up_1(self.act(self.up_2(x)))


def upnet(config: NetworkConfig) -> MaskNetwork:
    """The network of a configuration."""
    encoder = Trunk(config.width, config.settings.activation)
    return MaskNetwork(config, encoder, UpNetDecoder(encoder.channels, config.scene.classes))


ENTRIES = (
    Entry(
        "upnet",
        upnet,
        MaskSettings,
        "Up-convolutions with ReLU, each doubling the map and adding the encoder's, up to the full resolution",
        papers=(
            Paper(
                "Deep Learning for Human Part Discovery in Images",
                "Oliveira, Valada, Bollen, Burgard, Brox",
                2016,
                "ICRA",
            ),
        ),
        published=(
            ("DeepLoc, mean IoU", "72.92 %"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 95.07, Road 98.05, Sidewalk 63.34, Grass 81.56, Vegetation 84.79, Building 88.22, "
                    "Poles 31.75, Dynamic 68.32, Other 45.21 %"
                ),
            ),
        ),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not VGG-16",
            "The two finest up-convolutions have no map of the encoder beside them: the trunk halves twice at once",
            f"{FILTERS} channels a class in every refinement",
            "Up-convolutions start bilinear",
        ),
    ),
)
