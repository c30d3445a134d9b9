"""DeepVO (Mohanty et al., 2016): a Siamese AlexNet for odometry, with FAST corners beside the image if wanted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vlocnetpp.network.blocks.alexnet import alexnet
from vlocnetpp.network.blocks.fast_corners import FastCorners
from vlocnetpp.network.blocks.siamese import SiameseOdometry
from vlocnetpp.network.blocks.units import scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_dropout
from vlocnetpp.network.contract import Entry, Paper

MIDDLE = (4096, 1024)
THRESHOLD = 20.0
"""Of FAST, grey values."""
TIED = "Both streams share their weights, so that the previous frame costs nothing while streaming"
SOURCE = "The sizes of layers that the description in the VLocNet++ paper leaves open are ours"
NORMS = "A batch norm after each convolution takes the place of AlexNet's response normalization and ImageNet weights"


@dataclass(frozen=True)
class DeepVoSettings:
    """The network's settings."""

    fast: bool = False
    """Whether a map of FAST corners is a fourth channel of the image."""
    dropout: float = 0.2
    """After each fully connected layer, while training."""

    def __post_init__(self) -> None:
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("odometry",))


def deepvo(config: NetworkConfig) -> SiameseOdometry:
    """AlexNet's convolutions to pool5, and two fully connected layers."""
    own: DeepVoSettings = config.settings
    features = nn.Sequential(alexnet(4 if own.fast else 3, config.width), nn.MaxPool2d(3, stride=2, padding=1))
    middle = tuple(scaled(channels, config.width) for channels in MIDDLE)
    corners = FastCorners(THRESHOLD) if own.fast else None
    return SiameseOdometry(config, features, nn.Flatten(), middle, own.dropout, corners)


ENTRIES = (
    Entry(
        "deepvo",
        deepvo,
        DeepVoSettings,
        "AlexNet's convolutions of both frames, concatenated, and fully connected layers",
        papers=(
            Paper(
                "DeepVO: A Deep Learning Approach for Monocular Visual Odometry",
                "Mohanty, Agrawal, Datta, Ghosh, Sharma, Chakravarty",
                2016,
                "arXiv:1611.06069",
            ),
        ),
        published=(
            ("7-Scenes, odometry", "5.64 %, 1.67 deg/m"),
            ("DeepLoc, odometry", "0.33 %, 0.052 deg/m"),
        ),
        departures=(
            TIED,
            NORMS,
            SOURCE,
            "Answers all six degrees of freedom, under this project's loss of learned weights",
        ),
    ),
)
