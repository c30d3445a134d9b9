"""FCN-8s (Long, Shelhamer, Darrell, 2015) on the residual trunk that all networks here share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice
from vlocnetpp.network.contract import Entry, Network, Paper
from vlocnetpp.step import Prediction, State


@dataclass(frozen=True)
class Fcn8sSettings:
    """The network's settings."""

    activation: str = "relu"
    """`relu` (the paper) or `elu`."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("segmentation",))


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
        """Logits (B, C, H, W) of Res5c (B, 2048, H/32, W/32), Res4f (B, 1024, H/16, W/16), Res3d (B, 512, H/8, W/8)."""
        scores = self.score(self.act(self.norm(res5c)))
        scores = self.up2(scores) + self.skip4(res4f)
        return self.up8(self.up4(scores) + self.skip3(res3d))


class Trunk(nn.Module):
    """A plain ResNet-50 of output stride 32 under the decoder."""

    def __init__(self, width: float, activation: str, classes: int) -> None:
        super().__init__()
        self.front = Front(3, width, activation)
        self.res4 = Stage("res4", self.front.out_channels, width, activation, stride=2)
        self.res5 = Stage("res5", self.res4.out_channels, width, activation, stride=2)
        channels = (self.res5.out_channels, self.res4.out_channels, self.front.out_channels)
        self.decoder = Fcn8sDecoder(*channels, classes, activation)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        res3d = self.front(image_B3HW)
        res4f = self.res4(res3d)
        return self.decoder(self.res5(res4f), res4f, res3d)


class Fcn8s(nn.Module):
    """Trunk and decoder, no past."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: Fcn8sSettings = config.settings
        self.normalize = Normalize()
        self.segmentation = Trunk(config.width, own.activation, config.scene.classes)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        new_state: dict[str, Tensor] = {}
        return {"logits_BCHW": self.segmentation(self.normalize(image_B3HW))}, new_state

    def parts(self) -> dict[str, str]:
        names = ("front.stem", "front.res2", "front.res3", "res4", "res5", "decoder")
        return {f"segmentation.{name}": "segmentation" for name in names}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {
            "segmentation.front.stem": "stem",
            "segmentation.front.res2": "res2",
            "segmentation.front.res3": "res3",
            "segmentation.res4": "res4",
            "segmentation.res5": "res5",
            "segmentation.decoder.norm": "norm",
        }

    def explanation(self) -> None:
        return None


ENTRIES = (
    Entry(
        "fcn8s",
        Fcn8s,
        Fcn8sSettings,
        "Scores of three strides, each doubled and added to the next, then eightfold",
        papers=(
            Paper(
                "Fully Convolutional Networks for Semantic Segmentation",
                "Long, Shelhamer, Darrell",
                2015,
                "CVPR",
            ),
        ),
        published=(("DeepLoc, mean IoU", "69.53 %"),),
        departures=(
            "The trunk is the pre-activation ResNet-50 that all networks here share, not VGG-16",
            "The last deconvolution learns, as AdapNet's does; theirs stays bilinear",
            "Trained in one go, not from FCN-32s over FCN-16s",
        ),
    ),
)
