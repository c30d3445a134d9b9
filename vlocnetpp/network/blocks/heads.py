"""From the last feature map to a pose and to its expected error."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.geometry import normalize_quaternion, rotation_angle
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled


def metric_pose(position: Tensor, rotation: Tensor, spread: float, cx: float, cy: float, cz: float) -> Tensor:
    """Pose (..., 7) of what the last layers give: position (..., 3) in spreads from the centre, quaternion (..., 4)."""
    if position.dtype == torch.float16 or position.dtype == torch.bfloat16:
        # Half precision cannot resolve millimetres at coordinates of several metres: the pose is computed in full
        # precision.
        position, rotation = position.float(), rotation.float()
    x, y, z = (position * spread).unbind(-1)
    position = torch.stack((x + cx, y + cy, z + cz), dim=-1)
    return torch.cat((position, normalize_quaternion(rotation)), dim=-1)


def start_in_the_middle(fc2: nn.Linear, fc3: nn.Linear) -> None:
    """Reset output layers: every image then gives about the centre of the map and the identity rotation."""
    for layer in (fc2, fc3):
        nn.init.normal_(layer.weight, std=0.1 / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
    fc3.bias.data[0] = 1.0


class PoseRegressor(nn.Module):
    """The two output layers alone, for networks with other layers before them: features (..., C) to a pose (..., 7).

    Args:
        centre, spread: as of `PoseHead`.
    """

    def __init__(self, channels: int, centre: tuple[float, ...] = (0.0, 0.0, 0.0), spread: float = 1.0) -> None:
        super().__init__()
        self.fc2 = nn.Linear(channels, 3)
        self.fc3 = nn.Linear(channels, 4)
        self.cx, self.cy, self.cz = (float(value) for value in centre)
        self.spread = float(spread)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """See `start_in_the_middle`."""
        start_in_the_middle(self.fc2, self.fc3)

    def forward(self, features: Tensor) -> Tensor:
        return metric_pose(self.fc2(features), self.fc3(features), self.spread, self.cx, self.cy, self.cz)


class PoseHead(nn.Module):
    """Final norm and activation, global average pool, fc1 with ELU and dropout, fc2 to 3 and fc3 to 4.

    Args:
        centre, spread: the regressed position is multiplied by `spread` and moved to `centre`, metres, so that the
            layers work on numbers near one whatever the size of the map.
    """

    def __init__(
        self,
        channels: int,
        width: float,
        activation: str,
        dropout: float,
        centre: tuple[float, ...] = (0.0, 0.0, 0.0),
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        hidden = scaled(1024, width)
        self.norm = nn.BatchNorm2d(channels)
        self.act = ACTIVATIONS[activation]()
        self.fc1 = nn.Linear(channels, hidden)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, 3)
        self.fc3 = nn.Linear(hidden, 4)
        self.cx, self.cy, self.cz = (float(value) for value in centre)
        self.spread = float(spread)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the output layers: every image then gives about the centre of the map and the identity rotation."""
        start_in_the_middle(self.fc2, self.fc3)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pose (B, 7) and the penultimate features (B, 1024)."""
        pooled = self.act(self.norm(x_BCHW)).mean(dim=(2, 3))
        features = self.elu(self.fc1(pooled))
        hidden = self.dropout(features)
        return metric_pose(self.fc2(hidden), self.fc3(hidden), self.spread, self.cx, self.cy, self.cz), features

    def position_evidence(self, features_BC: Tensor) -> Tensor:
        """(B,) distance between the position regressed from penultimate features and that from the biases alone, in
        spreads.
        """
        return torch.linalg.vector_norm(nn.functional.linear(features_BC, self.fc2.weight), dim=1)

    def rotation_evidence(self, features_BC: Tensor) -> Tensor:
        """(B,) angle between the rotation regressed from penultimate features and that from the biases alone,
        radians.
        """
        return rotation_angle(normalize_quaternion(self.fc3.bias), normalize_quaternion(self.fc3(features_BC)))


class ScaleHead(nn.Module):
    """Log of the expected error, per frame: translation in metres, rotation in radians (beyond the paper).

    It reads detached features, so that its loss does not change the pose.
    """

    def __init__(self, width: float, channels: int = 0) -> None:
        """`channels` of the features, where they are not those of `PoseHead`."""
        super().__init__()
        self.fc = nn.Linear(channels or scaled(1024, width), 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the output layer: every frame then has an expected error of one metre and one radian."""
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2) from the penultimate features (B, 1024)."""
        return self.fc(features.detach()).clamp(-8.0, 4.0)
