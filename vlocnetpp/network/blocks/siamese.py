"""Odometry of a Siamese pair: the features of two frames side by side, and a head that regresses the motion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.heads import PoseRegressor
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.odometry import identity_where_cold
from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Network
from vlocnetpp.step import Prediction, State


class SiameseOdometry(nn.Module):
    """A whole network for odometry. Both frames share the weights, so that the previous one's features come from the
    state and cost nothing while streaming.

    Args:
        features: from a normalized image, with the channel of `extra` behind it where there is one, to a map.
        pooled: from the maps of both frames, one behind the other, to a vector.
        middle: channels of the fully connected layers between that vector and the motion.
        dropout: after each of those layers, while training.
        extra: from an image, RGB of 0 to 255, to a further channel (B, 1, H, W).
    """

    def __init__(
        self,
        config: NetworkConfig,
        features: nn.Module,
        pooled: nn.Module,
        middle: tuple[int, ...],
        dropout: float,
        extra: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize()
        self.extra = extra
        self.features = features
        view = config.view
        with torch.no_grad():
            black = torch.zeros(1, 3 if extra is None else 4, view.height, view.width_px)
            one = features.eval()(black)
            channels = pooled(torch.cat((one, one), dim=1)).shape[1]
        features.train()
        self.past_shape = tuple(int(size) for size in one.shape[1:])
        layers: list[nn.Module] = [pooled]
        for hidden in middle:
            layers += [nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout)]
            channels = hidden
        self.middle = nn.Sequential(*layers)
        self.motion = PoseRegressor(channels, spread=config.scene.motion_spread)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"valid_B": (), "siamese": self.past_shape}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        x = self.normalize(image_B3HW)
        if self.extra is not None:
            x = torch.cat((x, self.extra(image_B3HW)), dim=1)
        features = self.features(x)
        valid_B = state["valid_B"]
        # At a cold start the answer is the identity, whatever the state holds.
        relative_B7 = self.motion(self.middle(torch.cat((state["siamese"], features), dim=1)))
        new_state = {"valid_B": torch.ones_like(valid_B), "siamese": features}
        return {"relative_B7": identity_where_cold(relative_B7, valid_B)}, new_state

    def parts(self) -> dict[str, str]:
        return {"features": "features of a frame", "middle": "motion", "motion": "motion"}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        part: Any = self
        return part

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {}

    def explanation(self) -> None:
        return None
