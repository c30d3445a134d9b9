"""cnnBspp (Melekhov et al., 2017): the relative pose of two images by a Siamese AlexNet with pyramid pooling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.network.blocks.alexnet import alexnet
from vlocnetpp.network.blocks.siamese import SiameseOdometry
from vlocnetpp.network.config import NetworkConfig, Traits
from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.deepvo import NORMS

LEVELS = (1, 2, 3, 6)
"""Cells of each level of the pyramid along each axis."""


@dataclass(frozen=True)
class CnnBsppSettings:
    """The network's settings."""

    levels: tuple[int, ...] = LEVELS
    """Cells of each level of the pyramid along each axis."""

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 1:
            raise ConfigError(f"levels: {list(self.levels)} is not a list of numbers of at least 1")

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("odometry",))


def maxima(x: Tensor, axis: int, cells: int) -> Tensor:
    """The maxima over so many stretches of an axis, which overlap where they do not divide it."""
    size = x.shape[axis]
    starts = [i * size // cells for i in range(cells)]
    ends = [((i + 1) * size + cells - 1) // cells for i in range(cells)]
    return torch.stack([x.narrow(axis, a, b - a).amax(dim=axis) for a, b in zip(starts, ends)], dim=axis)


class PyramidPooling(nn.Module):
    """Maxima over the cells of several grids (He et al., 2014): a vector of one length for every image size."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = list(levels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C * sum of the squares of the levels)."""
        return torch.cat([maxima(maxima(x_BCHW, 2, n), 3, n).flatten(1) for n in self.levels], dim=1)


def cnnbspp(config: NetworkConfig) -> SiameseOdometry:
    """AlexNet's convolutions without the last pooling, the pyramid, and the motion right after it."""
    own: CnnBsppSettings = config.settings
    return SiameseOdometry(config, alexnet(3, config.width), PyramidPooling(own.levels), (), 0.0)


ENTRIES = (
    Entry(
        "cnnbspp",
        cnnbspp,
        CnnBsppSettings,
        "AlexNet's convolutions of both frames, each pooled over a pyramid of cells; the motion is regressed from both",
        papers=(
            Paper(
                "Relative Camera Pose Estimation Using Convolutional Neural Networks",
                "Melekhov, Ylioinas, Kannala, Rahtu",
                2017,
                "ACIVS",
            ),
        ),
        published=(
            ("7-Scenes, odometry", "2.07 %, 1.74 deg/m"),
            ("DeepLoc, odometry", "0.35 %, 0.049 deg/m"),
        ),
        departures=(
            "Both translation and its length are learned; the paper learns its direction, since a pair has no scale",
            "Translation and rotation are weighted by learned scalars, not by a fixed beta of 10",
            NORMS,
            "The levels of the pyramid, 1, 2, 3 and 6, are ours",
        ),
    ),
)
