"""NNnet (Laskar et al., 2017): the nearest training frames by features, and the pose relative to each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.geometry import compose, normalize_quaternion, rotation_angle
from vlocnetpp.network.blocks.heads import PoseRegressor
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.odometry import identity_where_cold
from vlocnetpp.network.blocks.trunk import OF_TRUNK, PARTS, Trunk
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_trunk
from vlocnetpp.network.models.posenet import SIGN, TRUNK
from vlocnetpp.step import Prediction, State

TASKS = ("localization", "odometry")


@dataclass(frozen=True)
class NnNetSettings:
    """The network's settings."""

    tasks: tuple[str, ...] = TASKS
    """Of localization and odometry."""
    frames: int = 256
    """Training frames that the file carries, spread evenly over all; fewer where there are fewer."""
    neighbours: int = 5
    """Nearest frames from which a pose is answered."""
    activation: str = "elu"
    """`elu` or `relu`."""
    dropout: float = 0.2
    """After fc1, while training."""

    def __post_init__(self) -> None:
        for task in self.tasks:
            require_choice("tasks", task, TASKS)
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)
        if not 1 <= self.neighbours <= self.frames:
            raise ConfigError(f"neighbours: {self.neighbours} is not within 1 and {self.frames}, the number of frames")
        assert self.traits  # raises for no task at all

    @property
    def traits(self) -> Traits:
        return Traits(self.tasks, keeps_frames="localization" in self.tasks)


class RelativePose(nn.Module):
    """From the features (..., C) of two frames to the pose (..., 7) of the second in the camera of the first."""

    def __init__(self, channels: int, width: float, dropout: float, spread: float) -> None:
        super().__init__()
        hidden = scaled(1024, width)
        self.fc1 = nn.Linear(2 * channels, hidden)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(dropout)
        self.pose = PoseRegressor(hidden, spread=spread)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.pose(self.dropout(self.elu(self.fc1(torch.cat((first, second), dim=-1)))))


class FrameMap(nn.Module):
    """Features and poses of training frames, of which `known_N` says which are filled."""

    def __init__(self, frames: int, neighbours: int, channels: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.known_N: Tensor
        self.features_NC: Tensor
        self.pose_N7: Tensor
        self.register_buffer("known_N", torch.zeros(frames))
        self.register_buffer("features_NC", torch.zeros(frames, channels))
        self.register_buffer("pose_N7", torch.zeros(frames, 7))
        self.pose_N7[:, 3].fill_(1.0)

    def forward(self, features_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, K, C) and poses (B, K, 7) of the K nearest frames, by the cosine of the features."""
        here = features_BC / torch.linalg.vector_norm(features_BC, dim=1, keepdim=True).clamp_min(1e-6)
        there = self.features_NC / torch.linalg.vector_norm(self.features_NC, dim=1, keepdim=True).clamp_min(1e-6)
        cosine_BN = torch.matmul(here, there.transpose(0, 1)) + 4.0 * (self.known_N - 1.0)
        nearest_BK = cosine_BN.topk(self.neighbours, dim=1)[1]
        shape = (nearest_BK.shape[0], nearest_BK.shape[1], -1)
        chosen = nearest_BK.flatten()
        return self.features_NC.index_select(0, chosen).view(shape), self.pose_N7.index_select(0, chosen).view(shape)


def median_pose(pose_BK7: Tensor, rounds: int = 5, near: float = 0.02) -> tuple[Tensor, Tensor]:
    """The geometric median (B, 7) of several answers, and the log (B, 2) of their mean distance from it.

    Weiszfeld's iteration: each answer weighs as the inverse of its distance, metres and radians added, so that a wrong
    one moves little. Unlike a vote it is smooth, so that files answer alike.

    Args:
        near: distances below this count as this one, so that no single answer has all the weight.
    """
    q_BK4 = pose_BK7[..., 3:]
    q_BK4 = torch.where((q_BK4 * q_BK4[:, :1]).sum(dim=-1, keepdim=True) >= 0, q_BK4, -q_BK4)
    x_BK3 = pose_BK7[..., :3]
    weight_BK1 = torch.ones_like(x_BK3[..., :1])
    x_B3, q_B4 = x_BK3[:, 0], q_BK4[:, 0]
    distance_BK, angle_BK = weight_BK1[..., 0], weight_BK1[..., 0]
    for _ in range(rounds):
        share_BK1 = weight_BK1 / weight_BK1.sum(dim=1, keepdim=True)
        x_B3 = (share_BK1 * x_BK3).sum(dim=1)
        q_B4 = normalize_quaternion((share_BK1 * q_BK4).sum(dim=1))
        distance_BK = (x_BK3 - x_B3.unsqueeze(1)).square().sum(dim=-1).clamp_min(1e-12).sqrt()
        angle_BK = rotation_angle(q_B4.unsqueeze(1), q_BK4)
        weight_BK1 = (1.0 / (distance_BK + angle_BK).clamp_min(near)).unsqueeze(2)
    spread_B2 = torch.stack((distance_BK.mean(dim=1), angle_BK.mean(dim=1)), dim=1)
    return torch.cat((x_B3, q_B4), dim=1), torch.log(spread_B2.clamp(3e-4, 50.0))


class NnNet(nn.Module):
    """One trunk; relative poses of consecutive frames are what it learns from, those to the map's frames its answer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: NnNetSettings = config.settings
        self.normalize = Normalize()
        self.trunk = Trunk(config.width, own.activation)
        channels = self.trunk.out_channels
        self.relative = RelativePose(channels, config.width, own.dropout, config.scene.motion_spread)
        self.map = FrameMap(own.frames, own.neighbours, channels) if "localization" in own.tasks else None
        self.answers_motion = "odometry" in own.tasks
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"valid_B": (), "siamese": (self.trunk.out_channels,)} if self.answers_motion else {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        features_BC = self.trunk(self.normalize(image_B3HW))[-1].mean(dim=(2, 3))
        prediction: dict[str, Tensor] = {}
        new_state: dict[str, Tensor] = {}
        if self.answers_motion:
            valid_B, past_BC = state["valid_B"], state["siamese"]
            prediction["relative_B7"] = identity_where_cold(self.relative(past_BC, features_BC), valid_B)
            if self.training:
                prediction["returning_B7"] = self.relative(features_BC, past_BC)
            new_state = {"valid_B": torch.ones_like(valid_B), "siamese": features_BC}
        if self.map is not None:
            near_BKC, pose_BK7 = self.map(features_BC)
            moved_BK7 = self.relative(near_BKC, features_BC.unsqueeze(1).expand_as(near_BKC))
            pose_B7, log_scale_B2 = median_pose(compose(pose_BK7.to(moved_BK7.dtype), moved_BK7))
            prediction["pose_B7"] = pose_B7
            prediction["log_scale_B2"] = log_scale_B2
        return prediction, new_state

    def map_frames(self) -> int:
        """See `contract.FrameMapNetwork`."""
        own: NnNetSettings = self.config.settings
        return own.frames

    @torch.no_grad()
    def fill_map(self, frames: Iterable[tuple[Tensor, Tensor]]) -> None:
        """See `contract.FrameMapNetwork`."""
        assert self.map is not None
        self.map.known_N.zero_()
        row = 0
        for image_B3HW, pose_B7 in frames:
            end = row + len(pose_B7)
            self.map.features_NC[row:end] = self.trunk(self.normalize(image_B3HW))[-1].mean(dim=(2, 3))
            self.map.pose_N7[row:end] = pose_B7
            self.map.known_N[row:end] = 1.0
            row = end

    def parts(self) -> dict[str, str]:
        return {**PARTS, "relative": "relative poses", **({} if self.map is None else {"map": "nearest frames"})}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        part: Network = self
        return part

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return OF_TRUNK

    def explanation(self) -> Explanation | None:
        return None if self.map is None else explain_trunk(self.trunk, self.trunk.act, self.config.scene)


ENTRIES = (
    Entry(
        "nnnet",
        NnNet,
        NnNetSettings,
        "The nearest training frames by features of a relative-pose network; poses relative to each of them, fused",
        papers=(
            Paper(
                "Camera Relocalization by Computing Pairwise Relative Poses Using Convolutional Neural Network",
                "Laskar, Melekhov, Kalia, Kannala",
                2017,
                "ICCV Workshops",
            ),
        ),
        published=(("7-Scenes, mean of medians", "0.21 m, 9.30 deg"), ("7-Scenes RedKitchen", "0.24 m, 8.03 deg")),
        departures=(
            TRUNK.replace("GoogLeNet", "ResNet-34"),
            "Relative translations are metric; the paper learns directions and triangulates pairs of them",
            "The answers from five neighbours are fused by their geometric median, not by RANSAC",
            "Pairs are frames of one drive, both ways; the paper pairs overlapping frames of all drives",
            "The file carries the features and poses of at most 256 training frames, spread evenly",
            SIGN,
        ),
    ),
)
