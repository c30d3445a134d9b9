"""The whole residual trunk as one module: what single-task baselines put a decoder or a head of their own on."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.dilation import PLAIN, Dilations
from vlocnetpp.network.blocks.units import ACTIVATIONS, Stage, Stem, scaled

PRETRAINED = ("stem", "res2", "res3", "res4", "res5", "norm")
"""Modules of a trunk that take ImageNet weights, which have the same names there."""
OF_TRUNK = {f"trunk.{name}": name for name in PRETRAINED}
"""`Network.pretrained_parts` of a network whose trunk is called `trunk`."""
PARTS = dict.fromkeys(OF_TRUNK, "trunk")


class Trunk(nn.Module):
    """The pre-activation ResNet-50 that takes ImageNet weights: a normalized image to the maps of all its stages.

    Args:
        rates: dilation of the units of Res4 and Res5; a stage that has some keeps the resolution of the one before.
    """

    def __init__(self, width: float, activation: str, rates: Dilations = PLAIN) -> None:
        super().__init__()
        self.stem = Stem(3, width)
        self.res2 = Stage("res2", scaled(64, width), width, activation, stride=1)
        self.res3 = Stage("res3", self.res2.out_channels, width, activation, stride=2)
        stride_4, stride_5 = (1 if rates[stage] else 2 for stage in ("res4", "res5"))
        self.res4 = Stage("res4", self.res3.out_channels, width, activation, stride_4, dilations=rates["res4"])
        self.res5 = Stage("res5", self.res4.out_channels, width, activation, stride_5, dilations=rates["res5"])
        self.out_channels = self.res5.out_channels
        self.norm = nn.BatchNorm2d(self.out_channels)
        self.act = ACTIVATIONS[activation]()
        self.channels = tuple(stage.out_channels for stage in (self.res2, self.res3, self.res4, self.res5))

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Res2c, Res3d, Res4f and, normalized and activated, Res5c; without dilation of strides 4, 8, 16 and 32."""
        res2c = self.res2(self.stem(image_B3HW))
        res3d = self.res3(res2c)
        res4f = self.res4(res3d)
        return [res2c, res3d, res4f, self.act(self.norm(self.res5(res4f)))]
