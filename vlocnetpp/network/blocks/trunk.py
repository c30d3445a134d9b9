"""The whole residual trunk as one module: what single-task baselines put a head of their own on."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage

PRETRAINED = {
    "trunk.front.stem": "stem",
    "trunk.front.res2": "res2",
    "trunk.front.res3": "res3",
    "trunk.res4": "res4",
    "trunk.res5": "res5",
    "trunk.norm": "norm",
}
"""`Network.pretrained_parts` of a network whose trunk is called `trunk`."""
PARTS = dict.fromkeys(PRETRAINED, "trunk")


class Trunk(nn.Module):
    """Pre-activation ResNet-50: a normalized image (B, 3, H, W) to (B, 2048, H/32, W/32), normed and activated."""

    def __init__(self, width: float, activation: str) -> None:
        super().__init__()
        self.front = Front(3, width, activation)
        self.res4 = Stage("res4", self.front.out_channels, width, activation, stride=2)
        self.res5 = Stage("res5", self.res4.out_channels, width, activation, stride=2)
        self.out_channels = self.res5.out_channels
        self.norm = nn.BatchNorm2d(self.out_channels)
        self.act = ACTIVATIONS[activation]()

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.act(self.norm(self.res5(self.res4(self.front(image_B3HW)))))
