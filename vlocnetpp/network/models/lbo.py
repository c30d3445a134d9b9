"""LBO (Nicolai et al., 2016): a small Siamese network of alternating convolutions and poolings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vlocnetpp.network.blocks.alexnet import convolution
from vlocnetpp.network.blocks.siamese import SiameseOdometry
from vlocnetpp.network.blocks.units import scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_dropout
from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.deepvo import SOURCE, TIED

CHANNELS = (32, 64, 128, 256, 256)
HIDDEN = 512


@dataclass(frozen=True)
class LboSettings:
    """The network's settings."""

    dropout: float = 0.2
    """After the fully connected layer, while training."""

    def __post_init__(self) -> None:
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("odometry",))


def lbo(config: NetworkConfig) -> SiameseOdometry:
    """Five times a convolution and a maximum, then one fully connected layer."""
    own: LboSettings = config.settings
    layers: list[nn.Module] = []
    before = 3
    for channels in (scaled(each, config.width) for each in CHANNELS):
        layers += [*convolution(before, channels, 3, 1, 1), nn.MaxPool2d(2)]
        before = channels
    hidden = (scaled(HIDDEN, config.width),)
    return SiameseOdometry(config, nn.Sequential(*layers), nn.Flatten(), hidden, own.dropout)


ENTRIES = (
    Entry(
        "lbo",
        lbo,
        LboSettings,
        "Alternating convolutions and poolings of both frames, and one fully connected layer",
        papers=(
            Paper(
                "Deep Learning for Laser Based Odometry Estimation",
                "Nicolai, Skeele, Eriksen, Hollinger",
                2016,
                "RSS Workshops",
            ),
        ),
        published=(
            ("7-Scenes, odometry", "4.75 %, 1.79 deg/m"),
            ("DeepLoc, odometry", "0.41 %, 0.053 deg/m"),
        ),
        departures=(
            "Sees camera images, as in the comparison of the VLocNet++ paper, not the depth images of a laser scanner",
            TIED,
            "A batch norm after each convolution",
            SOURCE,
        ),
    ),
)
