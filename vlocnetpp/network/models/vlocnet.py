"""VLocNet (Valada, Radwan, Burgard, 2018): pose and odometry; localization sees the network's own previous pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.localization import POSE_CHANNELS, LocalizationStream, PoseMap
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.odometry import OdometryStream
from vlocnetpp.network.blocks.sharing import existing, without
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_regression
from vlocnetpp.step import Prediction, State

TASKS = ("localization", "odometry")


@dataclass(frozen=True)
class VLocNetSettings:
    """The network's settings."""

    tasks: tuple[str, ...] = TASKS
    """Of localization and odometry."""
    siamese: str = "tied"
    """Odometry's two streams: `tied`, the previous frame costs nothing; `untied`, the previous one has own weights."""
    activation: str = "elu"
    """`elu` (the paper) or `relu`."""
    dropout: float = 0.2
    """After fc1, while training."""

    def __post_init__(self) -> None:
        for task in self.tasks:
            require_choice("tasks", task, TASKS)
        require_choice("siamese", self.siamese, ("tied", "untied"))
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)
        assert self.traits  # raises for no task at all

    @property
    def traits(self) -> Traits:
        return Traits(self.tasks, own_answers={"pose_B7": "pose_B7"})


class VLocNet(nn.Module):
    """One front for both streams; the previous pose enters localization as maps concatenated with Res4f."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: VLocNetSettings = config.settings
        view, scene, width = config.view, config.scene, config.width
        self.normalize = Normalize()
        self.front = Front(3, width, own.activation)
        channels = self.front.out_channels
        self.odometry = None
        if "odometry" in own.tasks:
            tied = own.siamese == "tied"
            self.odometry = OdometryStream(channels, width, own.activation, own.dropout, tied, scene.motion_spread)
        self.localization = None
        self.pose_map = None
        if "localization" in own.tasks:
            self.localization = LocalizationStream(
                channels,
                width,
                own.activation,
                own.dropout,
                scene.position_centre,
                scene.position_spread,
                beside=POSE_CHANNELS,
            )
            self.pose_map = PoseMap(view.height // 16, view.width_px // 16)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        view = self.config.view
        shapes: dict[str, tuple[int, ...]] = {"valid_B": ()}
        if self.localization is not None:
            shapes["pose_B7"] = (7,)
        if self.odometry is not None:
            shapes["odometry_4f"] = (scaled(1024, self.config.width), view.height // 16, view.width_px // 16)
        return shapes

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        image = self.normalize(image_B3HW)
        valid_B = state["valid_B"]
        prediction: dict[str, Tensor] = {}
        new_state: dict[str, Tensor] = {"valid_B": torch.ones_like(valid_B)}
        res3 = self.front(image)
        if self.odometry is not None:
            relative_B7, odometry_4f = self.odometry(res3, image, state["odometry_4f"], valid_B)
            prediction["relative_B7"] = relative_B7
            new_state["odometry_4f"] = odometry_4f
        if self.localization is not None and self.pose_map is not None:
            maps = self.pose_map(state["pose_B7"], valid_B)
            pose_B7, log_scale_B2, _ = self.localization(res3, beside=maps)
            prediction["pose_B7"] = pose_B7
            prediction["log_scale_B2"] = log_scale_B2
            new_state["pose_B7"] = pose_B7
        return prediction, new_state

    def parts(self) -> dict[str, str]:
        return existing(
            self,
            {
                "front.stem": "front",
                "front.res2": "front",
                "front.res3": "front",
                "odometry.past": "odometry",
                "odometry.res4": "odometry",
                "odometry.res5": "odometry",
                "odometry.head": "odometry",
                "localization.res4": "localization",
                "pose_map": "localization",
                "localization.res5": "localization",
                "localization.head": "localization",
                "localization.scale_head": "localization",
            },
        )

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        own: VLocNetSettings = self.config.settings
        kept = tuple(task for task in own.tasks if task in tasks)
        if kept == own.tasks:
            return self
        part = without(self, ["odometry"] if kept == ("localization",) else ["localization", "pose_map"])
        part.config = replace(self.config, settings=replace(own, tasks=kept))
        return part

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return existing(
            self,
            {
                "front.stem": "stem",
                "front.res2": "res2",
                "front.res3": "res3",
                "odometry.past.front.stem": "stem",
                "odometry.past.front.res2": "res2",
                "odometry.past.front.res3": "res3",
                "odometry.past.res4": "res4",
                "odometry.res4": "res4",
                "odometry.res5": "res5",
                "odometry.head.norm": "norm",
                "localization.res4": "res4",
                "localization.res5": "res5",
                "localization.head.norm": "norm",
            },
        )

    def explanation(self) -> Explanation | None:
        if self.localization is None:
            return None
        res4 = self.localization.res4
        assert isinstance(res4, Stage)
        return explain_regression(self.front, res4, self.localization)


ENTRIES = (
    Entry(
        "vlocnet",
        VLocNet,
        VLocNetSettings,
        "Pose and odometry; localization sees the network's own previous pose",
        papers=(
            Paper(
                "Deep Auxiliary Learning for Visual Localization and Odometry",
                "Valada, Radwan, Burgard",
                2018,
                "ICRA",
            ),
        ),
        published=(
            ("7-Scenes, mean of medians", "0.048 m, 3.80 deg"),
            ("DeepLoc", "0.68 m, 3.43 deg"),
            ("DeepLoc, odometry", "0.15 %, 0.040 deg/m"),
        ),
        departures=(
            "The previous pose is the network's own answer, in training and on the robot, never the ground truth",
            "Odometry's streams are tied and share the front with localization; `siamese: untied` is the paper's",
        ),
    ),
)
