"""LSTM-PoseNet (Walch et al., 2017): four LSTMs reduce the features of the image before the pose is regressed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.heads import PoseRegressor, ScaleHead
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.trunk import OF_TRUNK, PARTS, Trunk
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_trunk
from vlocnetpp.network.models.posenet import SCALE, SIGN, TRUNK
from vlocnetpp.step import Prediction, State

ROWS, COLUMNS, HIDDEN = 32, 64, 256
"""The matrix that the LSTMs read, and the size of their states, at full width."""


@dataclass(frozen=True)
class LstmPoseNetSettings:
    """The network's settings."""

    activation: str = "elu"
    """`elu` or `relu`."""
    dropout: float = 0.5
    """After the LSTMs, while training."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("localization",))


class FourLstms(nn.Module):
    """A vector as a matrix, read by rows and by columns, forwards and backwards; the last state of each."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.columns = scaled(COLUMNS, width)
        hidden = scaled(HIDDEN, width)
        self.in_channels, self.out_channels = ROWS * self.columns, 4 * hidden
        self.by_row = nn.LSTM(self.columns, hidden, batch_first=True, bidirectional=True)
        self.by_column = nn.LSTM(ROWS, hidden, batch_first=True, bidirectional=True)

    def forward(self, features_BC: Tensor) -> Tensor:
        """(B, `out_channels`) of (B, `in_channels`)."""
        matrix_BRC = features_BC.unflatten(1, (-1, self.columns))
        _, (by_row_2BH, _) = self.by_row(matrix_BRC)
        _, (by_column_2BH, _) = self.by_column(matrix_BRC.transpose(1, 2))
        return torch.cat((by_row_2BH[0], by_row_2BH[1], by_column_2BH[0], by_column_2BH[1]), dim=1)


class LstmPoseNet(nn.Module):
    """Trunk, average pooling, one fully connected layer, the LSTMs, the pose."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: LstmPoseNetSettings = config.settings
        scene, width = config.scene, config.width
        self.normalize = Normalize()
        self.trunk = Trunk(width, own.activation)
        self.lstms = FourLstms(width)
        self.fc1 = nn.Linear(self.trunk.out_channels, self.lstms.in_channels)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(own.dropout)
        self.pose = PoseRegressor(self.lstms.out_channels, scene.position_centre, scene.position_spread)
        self.scale_head = ScaleHead(width, self.lstms.out_channels)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        new_state: dict[str, Tensor] = {}
        pooled_BC = self.trunk(self.normalize(image_B3HW))[-1].mean(dim=(2, 3))
        features_BC = self.lstms(self.elu(self.fc1(pooled_BC)))
        pose_B7 = self.pose(self.dropout(features_BC))
        return {"pose_B7": pose_B7, "log_scale_B2": self.scale_head(features_BC)}, new_state

    def parts(self) -> dict[str, str]:
        return {**PARTS, **dict.fromkeys(("fc1", "lstms", "pose", "scale_head"), "localization")}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return OF_TRUNK

    def explanation(self) -> Explanation:
        return explain_trunk(self.trunk, self.lstms, self.config.scene)


ENTRIES = (
    Entry(
        "lstm_posenet",
        LstmPoseNet,
        LstmPoseNetSettings,
        "2048 features as a matrix of 32 x 64, read by four LSTMs, whose last states give the pose",
        papers=(
            Paper(
                "Image-based Localization using LSTMs for Structured Feature Correlation",
                "Walch, Hazirbas, Leal-Taixe, Sattler, Hilsenbeck, Cremers",
                2017,
                "ICCV",
            ),
        ),
        departures=(
            TRUNK,
            "Position and rotation are weighted by learned scalars, not by a beta searched for each place",
            "No auxiliary regressors on the way",
            SIGN,
            SCALE,
        ),
    ),
)
