"""FCN-8s (Long, Shelhamer, Darrell, 2015) on the residual trunk that all networks here share."""

from __future__ import annotations

from torch import Tensor, nn

from vlocnetpp.network.blocks.mask_network import MaskNetwork, MaskSettings
from vlocnetpp.network.blocks.trunk import Trunk
from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Entry, Paper


class Fcn8sDecoder(nn.Module):
    """FCN-8s: scores of three strides, each doubled by a learned deconvolution and added to the next, then eightfold.

    Long et al. score VGG-16's fc7, pool4 and pool3, which have the strides 32, 16 and 8 of Res5, Res4 and Res3 here.
    Deconvolutions start bilinear, as theirs. Theirs keeps the last one fixed; here it learns, as AdapNet's does.
    """

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        _, channels_3d, channels_4f, channels_5c = channels
        self.score = nn.Conv2d(channels_5c, classes, 1)
        self.up2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip4 = nn.Conv2d(channels_4f, classes, 1)
        self.up4 = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)
        self.skip3 = nn.Conv2d(channels_3d, classes, 1)
        self.up8 = nn.ConvTranspose2d(classes, classes, 16, stride=8, padding=4)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits (B, C, H, W) of the encoder's maps."""
        scores = self.up2(self.score(maps[3])) + self.skip4(maps[2])
        return self.up8(self.up4(scores) + self.skip3(maps[1]))


def fcn8s(config: NetworkConfig) -> MaskNetwork:
    """The network of a configuration."""
    encoder = Trunk(config.width, config.settings.activation)
    return MaskNetwork(config, encoder, Fcn8sDecoder(encoder.channels, config.scene.classes))


ENTRIES = (
    Entry(
        "fcn8s",
        fcn8s,
        MaskSettings,
        "Scores of three strides, each doubled and added to the next, then eightfold",
        papers=(
            Paper(
                "Fully Convolutional Networks for Semantic Segmentation",
                "Long, Shelhamer, Darrell",
                2015,
                "CVPR",
            ),
        ),
        published=(
            ("DeepLoc, mean IoU", "69.53 %"),
            (
                "DeepLoc, IoU by class",
                (
                    "Sky 94.65, Road 98.98, Sidewalk 64.97, Grass 82.14, Vegetation 84.47, Building 87.68, "
                    "Poles 45.78, Dynamic 66.39, Other 47.27 %"
                ),
            ),
        ),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not VGG-16",
            "The last deconvolution learns, as AdapNet's does; theirs stays bilinear",
            "Trained in one go, not from FCN-32s over FCN-16s",
        ),
    ),
)
