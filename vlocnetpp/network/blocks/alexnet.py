"""The convolutions of AlexNet (Krizhevsky, Sutskever, Hinton, 2012), on which early networks for odometry rest."""

from __future__ import annotations

from torch import nn

from vlocnetpp.network.blocks.units import scaled


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    """A convolution, its norm and a ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def alexnet(in_channels: int, width: float) -> nn.Sequential:
    """Five convolutions, two maxima: (B, C, H, W) to (B, 256, about H/16, about W/16).

    A norm after each convolution takes the place of AlexNet's response normalization and of its ImageNet weights,
    without which it does not begin to learn.
    """
    c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in (96, 256, 384, 384, 256))
    return nn.Sequential(
        *convolution(in_channels, c1, 11, 4, 5),
        nn.MaxPool2d(3, stride=2, padding=1),
        *convolution(c1, c2, 5, 1, 2),
        nn.MaxPool2d(3, stride=2, padding=1),
        *convolution(c2, c3, 3, 1, 1),
        *convolution(c3, c4, 3, 1, 1),
        *convolution(c4, c5, 3, 1, 1),
    )
