"""AdapNet (Valada, Vertens, Dhall, Burgard, 2017) after its paper and the code that its authors have published."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.network.blocks.dilation import TABLES, dilations
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.units import FULL_STAGES, MultiScaleConv, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Network, Paper
from vlocnetpp.step import Prediction, State


@dataclass(frozen=True)
class AdapNetSettings:
    """The network's settings."""

    rates: str = "map"
    """Dilation of the multi-scale units: `map`, the paper's as far as they fit the map; `printed`, the paper's, though
    taps outside of the map never learn; `released`, those of the published code."""
    dropout: float = 0.7
    """Of the last unit's residual, while training."""

    def __post_init__(self) -> None:
        require_choice("rates", self.rates, tuple(TABLES))
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("segmentation",))


def normed(conv: nn.Module, channels: int) -> nn.Sequential:
    """A convolution and its norm."""
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class Unit(nn.Module):
    """A bottleneck with its norms after the convolutions and the stride in the first (He et al., 2015).

    Args:
        rates: None for a plain 3x3, else those of both halves of a multi-scale one.
        dropout: of the residual.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, rates: tuple[int, int] | None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        self.conv1 = normed(nn.Conv2d(in_channels, middle, 1, stride=stride, bias=False), middle)
        conv2: nn.Module = nn.Conv2d(middle, middle, 3, padding=1, bias=False)
        if rates is not None:
            conv2 = MultiScaleConv(middle, rates)
        self.conv2 = normed(conv2, middle)
        self.conv3 = normed(nn.Conv2d(middle, out_channels, 1, bias=False), out_channels)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = normed(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.dropout(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.relu(x + residual)


def stage(
    name: str, in_channels: int, width: float, stride: int, rates: dict[str, tuple[int, int]], dropout: float = 0.0
) -> tuple[nn.Sequential, int]:
    """Units of one stage, and its channels; the last one has the dropout."""
    count, full = FULL_STAGES[name]
    channels = scaled(full, width)
    units = [
        Unit(
            channels if i else in_channels,
            channels,
            1 if i else stride,
            rates.get("abcdef"[i]),
            dropout if i == count - 1 else 0.0,
        )
        for i in range(count)
    ]
    return nn.Sequential(*units), channels


class AdapNet(nn.Module):
    """Encoder of output stride 16, one skip, two deconvolutions; a norm after each convolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: AdapNetSettings = config.settings
        width, classes = config.width, config.scene.classes
        rates = dilations(own.rates, config.view.height, config.view.width_px)
        channels = scaled(64, width)
        self.normalize = Normalize()
        self.first = normed(nn.Conv2d(3, 3, 3, padding=1, bias=False), 3)
        self.stem = normed(nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False), channels)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.res2, channels = stage("res2", channels, width, 1, {})
        self.res3, channels_3 = stage("res3", channels, width, 2, rates["res3"])
        self.res4, channels = stage("res4", channels_3, width, 2, rates["res4"])
        self.res5, channels = stage("res5", channels, width, 1, rates["res5"], own.dropout)
        self.skip = normed(nn.Conv2d(channels_3, 2 * classes, 1, bias=False), 2 * classes)
        self.score = normed(nn.Conv2d(channels, classes, 1, bias=False), classes)
        self.up2 = normed(nn.ConvTranspose2d(classes, 2 * classes, 4, stride=2, padding=1, bias=False), 2 * classes)
        self.up8 = normed(nn.ConvTranspose2d(2 * classes, classes, 16, stride=8, padding=4, bias=False), classes)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        new_state: dict[str, Tensor] = {}
        x = F.relu(self.first(self.normalize(image_B3HW)))
        x = self.pool(F.relu(self.stem(x)))
        res3 = self.res3(self.res2(x))
        scores = self.score(self.res5(self.res4(res3)))
        return {"logits_BCHW": self.up8(self.up2(scores) + self.skip(res3))}, new_state

    def parts(self) -> dict[str, str]:
        encoder = dict.fromkeys(("first", "stem", "res2", "res3", "res4", "res5"), "encoder")
        return {**encoder, **dict.fromkeys(("score", "up2", "skip", "up8"), "decoder")}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {}

    def explanation(self) -> None:
        return None


ENTRIES = (
    Entry(
        "adapnet",
        AdapNet,
        AdapNetSettings,
        "A 3x3 convolution before the stem, multi-scale units, norms after every convolution of encoder and decoder",
        papers=(
            Paper(
                "AdapNet: Adaptive Semantic Segmentation in Adverse Environmental Conditions",
                "Valada, Vertens, Dhall, Burgard",
                2017,
                "ICRA",
            ),
        ),
        published=(
            ("DeepLoc, mean IoU", "78.59 %"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 94.65, Road 98.98, Sidewalk 64.97, Grass 82.14, Vegetation 84.48, Building 87.68, "
                    "Poles 45.78, Dynamic 66.40, Other 47.27 %"
                ),
            ),
        ),
        departures=(
            "Dilation rates are halved where a tap would lie outside of the map everywhere; `rates: printed` does not",
            "Deconvolutions start bilinear instead of random",
            "Takes no ImageNet weights: those read here are of a pre-activation ResNet",
        ),
    ),
)
