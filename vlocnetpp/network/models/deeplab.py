"""DeepLab v2 (Chen, Papandreou, Kokkinos, Murphy, Yuille, 2016) on the residual trunk that all networks here share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.dilation import PLAIN, fitting
from vlocnetpp.network.blocks.mask_network import MaskNetwork
from vlocnetpp.network.blocks.trunk import Trunk
from vlocnetpp.network.blocks.units import ACTIVATIONS
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice
from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.resize import bilinear

PYRAMID = (6, 12, 18, 24)
"""Rates of the atrous spatial pyramid (ASPP-L)."""
TRUNK = {**PLAIN, "res4": dict.fromkeys("abcdef", (2, 2)), "res5": dict.fromkeys("abc", (4, 4))}
"""The whole 3x3 of a unit at the rate that makes up for the stride it does not have, so that Res5c has stride 8."""
STRIDE = 8


@dataclass(frozen=True)
class DeepLabSettings:
    """The network's settings."""

    activation: str = "relu"
    """`relu` (the paper) or `elu`."""
    rates: str = "map"
    """Of the pyramid: `map`, the paper's, halved as far as needed for a tap to lie inside of the map; `printed`, the
    paper's."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_choice("rates", self.rates, ("map", "printed"))

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("segmentation",))


class AtrousPyramid(nn.Module):
    """Scores of dilated 3x3 convolutions, one for each rate, added and enlarged."""

    def __init__(self, channels: tuple[int, ...], classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(channels[3], classes, 3, padding=rate, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList(convolutions)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, H, W) of the encoder's maps."""
        scores = maps[3].new_zeros((1, 1, 1, 1))
        for branch in self.branches:
            scores = scores + branch(maps[3])
        return bilinear(scores, 8 * scores.shape[2], 8 * scores.shape[3])


def deeplab_v2(config: NetworkConfig) -> MaskNetwork:
    """The network of a configuration."""
    own: DeepLabSettings = config.settings
    rates: tuple[int, ...] = PYRAMID
    if own.rates == "map":
        rates = tuple(fitting(rate, config.view.height // STRIDE, config.view.width_px // STRIDE) for rate in PYRAMID)
    encoder = Trunk(config.width, own.activation, TRUNK)
    return MaskNetwork(config, encoder, AtrousPyramid(encoder.channels, config.scene.classes, rates))


ENTRIES = (
    Entry(
        "deeplab_v2",
        deeplab_v2,
        DeepLabSettings,
        "A trunk of output stride 8 under dilated convolutions of four rates",
        papers=(
            Paper(
                "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully "
                "Connected CRFs",
                "Chen, Papandreou, Kokkinos, Murphy, Yuille",
                2016,
                "arXiv:1606.00915",
            ),
        ),
        published=(
            ("DeepLoc, mean IoU", "67.54 %, the sum of the nine printed classes over ten"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 93.39, Road 98.66, Sidewalk 76.81, Grass 84.64, Vegetation 88.54, Building 93.07, "
                    "Poles 20.72, Dynamic 66.84, Other 52.70 %"
                ),
            ),
        ),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not ResNet-101",
            "The dense CRF behind the network is left out: it runs for seconds an image, and no kept library has it",
            "One scale of the image, not the maximum over three",
            "Rates are halved where a tap would lie outside of the map everywhere; `rates: printed` does not",
        ),
    ),
)
