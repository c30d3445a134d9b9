"""Bayesian PoseNet (Kendall & Cipolla, 2016): dropout at test time gives samples of the pose, their mean and spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.errors import ConfigError
from vlocnetpp.geometry import conjugate_quaternion, log_quaternion, multiply_quaternions, normalize_quaternion
from vlocnetpp.network.blocks.heads import PoseRegressor
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.trunk import OF_TRUNK, PARTS, Trunk
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_trunk
from vlocnetpp.network.models.posenet import SIGN, TRUNK
from vlocnetpp.step import Prediction, State

MASK_SEED = 2016


@dataclass(frozen=True)
class BayesianPoseNetSettings:
    """The network's settings."""

    activation: str = "elu"
    """`elu` or `relu`."""
    dropout: float = 0.5
    """Before and after fc1, while training and while sampling."""
    samples: int = 40
    """Poses that a step draws."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)
        if self.samples < 2:
            raise ConfigError(f"samples: {self.samples} is not at least 2")

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("localization",))


def mean_pose(pose_BS7: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 7) of samples of a pose and their covariance (B, 6, 6): metres, then the rotation vector, radians.

    The mean rotation is the normalized sum of the quaternions on the side of the first one. Rotation vectors turn the
    mean into the samples about the axes of the map (REP-103).
    """
    q_BS4 = pose_BS7[..., 3:]
    same_side_BS = (q_BS4 * q_BS4[:, :1]).sum(dim=-1, keepdim=True) >= 0
    q_BS4 = torch.where(same_side_BS, q_BS4, -q_BS4)
    position_B3, rotation_B4 = pose_BS7[..., :3].mean(dim=1), normalize_quaternion(q_BS4.sum(dim=1))
    turned_BS4 = normalize_quaternion(multiply_quaternions(q_BS4, conjugate_quaternion(rotation_B4).unsqueeze(1)))
    vector_BS3 = 2.0 * log_quaternion(turned_BS4)
    away_BS6 = torch.cat((pose_BS7[..., :3] - position_B3.unsqueeze(1), vector_BS3), dim=-1)
    covariance_B66 = torch.matmul(away_BS6.transpose(1, 2), away_BS6) / float(pose_BS7.shape[1] - 1)
    return torch.cat((position_B3, rotation_B4), dim=-1), covariance_B66


class SamplingHead(nn.Module):
    """fc1 between two dropouts, then the pose; all samples are rows of one batch.

    The masks of the samples are drawn once, when the network is built, and belong to its state: a file answers as the
    network does, and the same image always gets the same answer.
    """

    def __init__(
        self, channels: int, width: float, dropout: float, samples: int, centre: tuple[float, ...], spread: float
    ) -> None:
        super().__init__()
        hidden = scaled(1024, width)
        self.rate = dropout
        self.fc1 = nn.Linear(channels, hidden)
        self.pose = PoseRegressor(hidden, centre, spread)
        generator = torch.Generator().manual_seed(MASK_SEED)

        self.before_SC: Tensor
        self.after_SH: Tensor
        self.register_buffer("before_SC", torch.empty(samples, channels))
        self.register_buffer("after_SH", torch.empty(samples, hidden))
        for mask in (self.before_SC, self.after_SH):
            # Drawn on the CPU, so that every device has the same ones.
            kept = torch.rand(mask.shape, generator=generator, device="cpu") >= dropout
            mask.copy_(kept.float() / (1.0 - dropout))

    def forward(self, pooled_BC: Tensor) -> Tensor:
        """(B, S, 7) poses: one random one while training, else one for each mask."""
        x = pooled_BC.unsqueeze(1)
        if self.training:
            hidden = F.elu(self.fc1(F.dropout(x, self.rate)))
            return self.pose(F.dropout(hidden, self.rate))
        return self.pose(F.elu(self.fc1(x * self.before_SC)) * self.after_SH)


class BayesianPoseNet(nn.Module):
    """The trunk runs once, the head once for each sample."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: BayesianPoseNetSettings = config.settings
        scene, width = config.scene, config.width
        self.normalize = Normalize()
        self.trunk = Trunk(width, own.activation)
        self.head = SamplingHead(
            self.trunk.out_channels, width, own.dropout, own.samples, scene.position_centre, scene.position_spread
        )
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`. While training, the pose is one sample and its expected error is left at one metre
        and one radian."""
        new_state: dict[str, Tensor] = {}
        pose_BS7 = self.head(self.trunk(self.normalize(image_B3HW))[-1].mean(dim=(2, 3)))
        if self.training:
            return {"pose_B7": pose_BS7[:, 0], "log_scale_B2": torch.zeros_like(pose_BS7[:, 0, :2])}, new_state
        pose_B7, covariance_B66 = mean_pose(pose_BS7)
        variance_B6 = covariance_B66.diagonal(dim1=1, dim2=2)
        variance_B2 = torch.stack((variance_B6[:, :3].sum(dim=1), variance_B6[:, 3:].sum(dim=1)), dim=1)
        prediction = {
            "pose_B7": pose_B7,
            "log_scale_B2": 0.5 * torch.log(variance_B2.clamp(1e-7, 1e4)),
            "pose_covariance_B66": covariance_B66,
        }
        return prediction, new_state

    def parts(self) -> dict[str, str]:
        return {**PARTS, "head": "localization"}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return OF_TRUNK

    def explanation(self) -> Explanation:
        return explain_trunk(self.trunk, self.trunk.act, self.config.scene)


ENTRIES = (
    Entry(
        "bayesian_posenet",
        BayesianPoseNet,
        BayesianPoseNetSettings,
        "Dropout at test time: the mean and the covariance of 40 sampled poses, all in one batch inside the step",
        papers=(
            Paper("Modelling Uncertainty in Deep Learning for Camera Relocalization", "Kendall, Cipolla", 2016, "ICRA"),
        ),
        loss={"localization": "fixed_beta"},
        published=(("DeepLoc", "2.24 m, 4.31 deg"),),
        departures=(
            TRUNK,
            "The masks of the samples are drawn once and travel in the model file; the paper draws them for each image",
            "So one image always gets one answer, and a file answers as its network does",
            "The expected error is the root of the trace of the samples' covariance, calibrated as in all networks",
            "`beta` is 250, not searched for each place",
            SIGN,
        ),
    ),
)
