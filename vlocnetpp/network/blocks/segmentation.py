"""VLocNet++'s segmentation stream: a residual encoder of output stride 16 with AdapNet's multi-scale units."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.dilation import Dilations
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage


class Decoder(nn.Module):
    """Scores at stride 16 to scores at the input's resolution, after AdapNet's but without norms.

    1x1 to C classes, 4x4 stride-2 deconvolution, plus a 1x1 skip from Res3d, stride-8 deconvolution.
    """

    def __init__(self, channels_5c: int, channels_3d: int, classes: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_5c)
        self.act = ACTIVATIONS[activation]()
        self.score = nn.Conv2d(channels_5c, classes, 1)
        self.up2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip = nn.Conv2d(channels_3d, classes, 1)
        self.up8 = nn.ConvTranspose2d(classes, classes, 16, stride=8, padding=4)

    def forward(self, res5c: Tensor, res3d: Tensor) -> Tensor:
        """Logits (B, C, H, W) from Res5c (B, 2048, H/16, W/16) and Res3d (B, 512, H/8, W/8)."""
        scores = self.score(self.act(self.norm(res5c)))
        return self.up8(self.up2(scores) + self.skip(res3d))


class SegmentationStream(nn.Module):
    """Encoder and decoder; the network that owns them fuses warped features in between.

    Args:
        rates: of its multi-scale units, see `dilation`.
    """

    def __init__(self, width: float, activation: str, classes: int, rates: Dilations) -> None:
        super().__init__()
        self.front = Front(3, width, activation, rates["res3"])
        self.res4 = Stage("res4", self.front.out_channels, width, activation, stride=2, dilations=rates["res4"])
        self.res5 = Stage("res5", self.res4.out_channels, width, activation, stride=1, dilations=rates["res5"])
        self.decoder = Decoder(self.res5.out_channels, self.front.out_channels, classes, activation)
