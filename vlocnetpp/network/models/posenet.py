"""PoseNet (Kendall et al., 2015), and with learned weights (2017): one image, one regressed pose, no past."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.localization import LocalizationStream
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_regression
from vlocnetpp.step import Prediction, State


@dataclass(frozen=True)
class PoseNetSettings:
    """The network's settings."""

    activation: str = "elu"
    """`elu` or `relu`."""
    dropout: float = 0.2
    """After fc1, while training."""
    depth_in_training: bool = False
    """Whether training needs the depth of posed frames: for the reprojection error or for new views."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("localization",), learns_from_depth=self.depth_in_training)


class PoseNet(nn.Module):
    """ResNet-50 trunk and pose head."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: PoseNetSettings = config.settings
        scene, width = config.scene, config.width
        self.normalize = Normalize()
        self.front = Front(3, width, own.activation)
        self.localization = LocalizationStream(
            self.front.out_channels, width, own.activation, own.dropout, scene.position_centre, scene.position_spread
        )
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        pose_B7, log_scale_B2, _ = self.localization(self.front(self.normalize(image_B3HW)))
        new_state: dict[str, Tensor] = {}
        return {"pose_B7": pose_B7, "log_scale_B2": log_scale_B2}, new_state

    def parts(self) -> dict[str, str]:
        return {
            "front.stem": "front",
            "front.res2": "front",
            "front.res3": "front",
            "localization.res4": "localization",
            "localization.res5": "localization",
            "localization.head": "localization",
            "localization.scale_head": "localization",
        }

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {
            "front.stem": "stem",
            "front.res2": "res2",
            "front.res3": "res3",
            "localization.res4": "res4",
            "localization.res5": "res5",
            "localization.head.norm": "norm",
        }

    def explanation(self) -> Explanation:
        res4 = self.localization.res4
        assert isinstance(res4, Stage)
        return explain_regression(self.front, res4, self.localization)


TRUNK = "The trunk is the pre-activation ResNet-50 with ELU that all networks here share, not GoogLeNet"
SCALE = "A head for the expected error is added"
SIGN = "A quaternion's other sign costs nothing"
GEOMETRIC = Paper(
    "Geometric Loss Functions for Camera Pose Regression with Deep Learning", "Kendall, Cipolla", 2017, "CVPR"
)
ENTRIES = (
    Entry(
        "posenet",
        PoseNet,
        PoseNetSettings,
        "One image, no past; position and rotation weighted by a fixed beta",
        papers=(
            Paper(
                "PoseNet: A Convolutional Network for Real-Time 6-DOF Camera Relocalization",
                "Kendall, Grimes, Cipolla",
                2015,
                "ICCV",
            ),
        ),
        loss={"localization": "fixed_beta"},
        published=(("DeepLoc", "2.42 m, 3.66 deg"),),
        departures=(
            TRUNK,
            "One fully connected layer of 1024 before the pose, not 2048; no auxiliary regressors on the way",
            "`beta` is 250; the paper searches it for each place, 120 to 750 indoors and 250 to 2000 outdoors",
            SIGN,
            SCALE,
        ),
    ),
    Entry(
        "pose_single",
        PoseNet,
        PoseNetSettings,
        "One image, no past; position and rotation weighted by learned scalars",
        papers=(GEOMETRIC,),
        departures=(TRUNK, SIGN, SCALE, "Without the reprojection error, which `posenet2` adds where there is depth"),
    ),
)
