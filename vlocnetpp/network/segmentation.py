"""AdapNet v1 (Valada et al., 2017): a residual encoder of output stride 16 with multi-scale units, and its decoder.

Beside it what it is compared with: the same residual trunk without multi-scale units, at output stride 32, under the
decoder of FCN-8s (Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR 2015).
"""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.units import ACTIVATIONS, Front, Stage

Dilations = dict[str, dict[str, tuple[int, int]]]
DILATIONS: Dilations = {
    "res3": {"d": (1, 2)},
    "res4": {"c": (1, 2), "d": (1, 4), "e": (1, 8), "f": (1, 16)},
    "res5": {"a": (2, 4), "b": (2, 8), "c": (2, 16)},
}
"""Rates of the two halves of each multi-scale unit."""
PLAIN: Dilations = {"res3": {}, "res4": {}, "res5": {}}


class Decoder(nn.Module):
    """AdapNet's: scores at stride 16 to scores at the input's resolution.

    1x1 to C classes, 4x4 stride-2 deconvolution, plus a 1x1 skip from Res3d, stride-8 deconvolution.
    """

    def __init__(self, channels_5c: int, channels_4f: int, channels_3d: int, classes: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_5c)
        self.act = ACTIVATIONS[activation]()
        self.score = nn.Conv2d(channels_5c, classes, 1)
        self.up2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip = nn.Conv2d(channels_3d, classes, 1)
        self.up8 = nn.ConvTranspose2d(classes, classes, 16, stride=8, padding=4)

    def forward(self, res5c: Tensor, res4f: Tensor, res3d: Tensor) -> Tensor:
        """Logits (B, C, H, W) from Res5c (B, 2048, H/16, W/16) and Res3d (B, 512, H/8, W/8); Res4f is not read."""
        scores = self.score(self.act(self.norm(res5c)))
        return self.up8(self.up2(scores) + self.skip(res3d))


class Fcn8sDecoder(nn.Module):
    """FCN-8s: scores of three strides, each doubled by a learned deconvolution and added to the next, then eightfold.

    Long et al. score VGG-16's fc7, pool4 and pool3, which have the strides 32, 16 and 8 of Res5, Res4 and Res3 here.
    Deconvolutions start bilinear, as theirs. Theirs keeps the last one fixed; here it learns, as AdapNet's does.
    """

    def __init__(self, channels_5c: int, channels_4f: int, channels_3d: int, classes: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_5c)
        self.act = ACTIVATIONS[activation]()
        self.score = nn.Conv2d(channels_5c, classes, 1)
        self.up2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip4 = nn.Conv2d(channels_4f, classes, 1)
        self.up4 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip3 = nn.Conv2d(channels_3d, classes, 1)
        self.up8 = nn.ConvTranspose2d(classes, classes, 16, stride=8, padding=4)

    def forward(self, res5c: Tensor, res4f: Tensor, res3d: Tensor) -> Tensor:
        """Logits (B, C, H, W) from Res5c (B, 2048, H/32, W/32), Res4f (B, 1024, H/16, W/16), Res3d as above."""
        scores = self.score(self.act(self.norm(res5c)))
        scores = self.up2(scores) + self.skip4(res4f)
        return self.up8(self.up4(scores) + self.skip3(res3d))


class SegmentationStream(nn.Module):
    """Encoder and decoder; the fusion with warped features happens in between and belongs to the wiring.

    Args:
        decoder: `adapnet`, or `fcn8s`, which changes the encoder with it.
    """

    def __init__(self, width: float, activation: str, classes: int, decoder: str) -> None:
        super().__init__()
        adapnet = decoder == "adapnet"
        rates = DILATIONS if adapnet else PLAIN
        self.front = Front(3, width, activation, rates["res3"])
        self.res4 = Stage("res4", self.front.out_channels, width, activation, stride=2, dilations=rates["res4"])
        self.res5 = Stage(
            "res5", self.res4.out_channels, width, activation, stride=1 if adapnet else 2, dilations=rates["res5"]
        )
        channels = (self.res5.out_channels, self.res4.out_channels, self.front.out_channels)
        self.decoder = (Decoder if adapnet else Fcn8sDecoder)(*channels, classes, activation)
