"""A network of one file: a position and a class from the brightness of the image and of the one before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.config import NetworkConfig, Traits
from vlocnetpp.network.contract import Entry, Explanation, Network
from vlocnetpp.step import Answer, Prediction, State


@dataclass(frozen=True)
class ToySettings:
    """What may be chosen."""

    hidden: int = 8
    """Channels."""

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("localization", "segmentation"))


class Toy(nn.Module):
    """One convolution for everything; remembers its mean under a name of its own."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: ToySettings = config.settings
        self.normalize = Normalize()
        self.conv = nn.Sequential(nn.Conv2d(3, own.hidden, 4, stride=4), nn.BatchNorm2d(own.hidden), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.position = nn.Linear(2 * own.hidden, 3)
        self.log_scale = nn.Linear(2 * own.hidden, 2)
        self.classes = nn.ConvTranspose2d(own.hidden, config.scene.classes, 4, stride=4)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"mood": (self.config.settings.hidden,)}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        x = self.conv(self.normalize(image_B3HW))
        mean = self.pool(x).flatten(1)
        both = torch.cat((mean, state["mood"]), dim=1)
        position = self.position(both).float()
        identity = torch.zeros((position.shape[0], 4), dtype=position.dtype, device=position.device)
        identity[:, 0] = 1.0
        prediction = {
            "pose_B7": torch.cat((position, identity), dim=1),
            "log_scale_B2": self.log_scale(both),
            "logits_BCHW": self.classes(x),
        }
        return prediction, {"mood": mean}

    def parts(self) -> dict[str, str]:
        return dict.fromkeys(("conv", "pool", "position", "log_scale", "classes"), "all of it")

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {}

    def explanation(self) -> Explanation:
        def position(answer: Answer, features: Tensor) -> Tensor:
            return answer["pose_B7"][:, :3].norm(dim=1)

        return Explanation({"last": self.conv}, self.conv, {"position": position, "rotation": position})


ENTRY = Entry("toy", Toy, ToySettings, "A network for tests")
