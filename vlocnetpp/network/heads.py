"""From the last feature map to seven numbers, and to how far they may be trusted."""

from __future__ import annotations

from torch import Tensor, cat, nn, ones, zeros

from vlocnetpp.geometry import normalize_quaternion
from vlocnetpp.network.units import ACTIVATIONS, scaled


class PoseHead(nn.Module):
    """Final norm and activation, global average pool, fc1 with ELU and dropout, fc2 to 3 and fc3 to 4.

    `centre_3` and `spread` put the regressed position into metres around the training poses, so that the layers work on
    numbers near one whatever the size of the map.
    """

    def __init__(self, channels: int, width: float, activation: str, dropout: float) -> None:
        super().__init__()
        hidden = scaled(1024, width)
        self.norm = nn.BatchNorm2d(channels)
        self.act = ACTIVATIONS[activation]()
        self.fc1 = nn.Linear(channels, hidden)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, 3)
        self.fc3 = nn.Linear(hidden, 4)
        self.register_buffer("centre_3", zeros(3))
        self.register_buffer("spread", ones(1))
        self.start()

    def start(self) -> None:
        """Begin near the centre of the map and the identity rotation, whatever the features."""
        for layer in (self.fc2, self.fc3):
            nn.init.normal_(layer.weight, std=0.1 / layer.in_features**0.5)
            nn.init.zeros_(layer.bias)
        self.fc3.bias.data[0] = 1.0

    def features(self, x_BCHW: Tensor) -> Tensor:
        """(B, 1024) activations of the penultimate layer."""
        pooled = self.act(self.norm(x_BCHW)).mean(dim=(2, 3))
        return self.elu(self.fc1(pooled))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pose (B, 7) and the penultimate features (B, 1024)."""
        features = self.features(x_BCHW)
        hidden = self.dropout(features)
        # The answer is formed in the buffers' precision: half a number cannot hold millimetres in a map of metres.
        position = self.fc2(hidden).to(self.spread.dtype) * self.spread + self.centre_3
        rotation = normalize_quaternion(self.fc3(hidden).to(self.spread.dtype))
        return cat((position, rotation), dim=1), features


class ScaleHead(nn.Module):
    """Log of the expected error, per frame: translation in metres, rotation in radians (beyond the paper).

    It reads detached features, so that learning to know its error never changes the pose.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        self.fc = nn.Linear(scaled(1024, width), 2)
        self.start()

    def start(self) -> None:
        """Begin with an error of one metre and one radian for every frame."""
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2) from the penultimate features (B, 1024)."""
        return self.fc(features.detach()).clamp(-8.0, 4.0)
