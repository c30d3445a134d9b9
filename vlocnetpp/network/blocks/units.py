"""The full pre-activation bottleneck of ResNet-50, its multi-scale variant of AdapNet, and stages made of them.

He et al., Identity Mappings in Deep Residual Networks, 2016; Valada et al., AdapNet, 2017. Layer names follow timm's
`resnetv2_50`, so that its ImageNet weights can be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, cat, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU}
FULL_STAGES = {"res2": (3, 256), "res3": (4, 512), "res4": (6, 1024), "res5": (3, 2048)}
"""Bottlenecks and output channels of each stage at full width."""


def scaled(channels: int, width: float) -> int:
    """Channels at a width, a multiple of 8 so that every split and every kernel stays efficient."""
    return max(8, round(channels * width / 8) * 8)


class MultiScaleConv(nn.Module):
    """AdapNet's 3x3: half of the output channels plain, half dilated, concatenated."""

    def __init__(self, channels: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        half = channels // 2
        self.plain = nn.Conv2d(channels, half, 3, padding=first, dilation=first, bias=False)
        self.dilated = nn.Conv2d(channels, channels - half, 3, padding=second, dilation=second, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cat((self.plain(x), self.dilated(x)), dim=1)


class Shortcut(nn.Module):
    """1x1 convolution of the pre-activated input where shapes change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Bottleneck(nn.Module):
    """norm, activation, 1x1; norm, activation, 3x3 with the stride; norm, activation, 1x1; plus the shortcut.

    Args:
        dilations: None for a plain 3x3, two rates for AdapNet's multi-scale unit.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, activation: str, dilations: tuple[int, int] | None
    ) -> None:
        super().__init__()
        if dilations is not None and stride != 1:
            raise ValueError("a multi-scale unit keeps its resolution: stride must be 1")
        middle = out_channels // 4
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, middle, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2: nn.Module
        if dilations is None:
            self.conv2 = nn.Conv2d(middle, middle, 3, stride=stride, padding=1, bias=False)
        else:
            self.conv2 = MultiScaleConv(middle, dilations)
        self.norm3 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, out_channels, 1, bias=False)
        self.act = ACTIVATIONS[activation]()
        changes = stride != 1 or in_channels != out_channels
        self.downsample = Shortcut(in_channels, out_channels, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        preact = self.act(self.norm1(x))
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(preact)
        out = self.conv1(preact)
        out = self.conv2(self.act(self.norm2(out)))
        out = self.conv3(self.act(self.norm3(out)))
        return out + shortcut


class Stem(nn.Module):
    """7x7 stride-2 convolution and 3x3 stride-2 maximum: (B, 3, H, W) to (B, 64, H/4, W/4) at full width."""

    def __init__(self, in_channels: int, width: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, scaled(64, width), 7, stride=2, padding=3, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x))


class Stage(nn.Module):
    """One of Res2 .. Res5; `head` runs the first `split` units and `tail` the others, `forward` both.

    Args:
        dilations: rates by unit letter (`{"c": (1, 2)}`); units that are not named are plain.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        width: float,
        activation: str,
        stride: int,
        split: int = 0,
        dilations: dict[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__()
        units, channels = FULL_STAGES[name]
        self.out_channels = scaled(channels, width)
        self.split = split
        rates = dilations or {}
        blocks: Sequence[nn.Module] = [
            Bottleneck(
                in_channels if i == 0 else self.out_channels,
                self.out_channels,
                stride if i == 0 else 1,
                activation,
                rates.get("abcdef"[i]),
            )
            for i in range(units)
        ]
        self.blocks = nn.ModuleList(blocks)

    def head(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            if i < self.split:
                x = block(x)
        return x

    def tail(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            if i >= self.split:
                x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x))


class Front(nn.Module):
    """Stem, Res2 and Res3: what localization and odometry share for the current frame, stride 8, 512 channels."""

    def __init__(
        self,
        in_channels: int,
        width: float,
        activation: str,
        dilations_3: dict[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, width)
        self.res2 = Stage("res2", scaled(64, width), width, activation, stride=1)
        self.res3 = Stage("res3", self.res2.out_channels, width, activation, stride=2, dilations=dilations_3)
        self.out_channels = self.res3.out_channels

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.res3(self.res2(self.stem(image_B3HW)))
