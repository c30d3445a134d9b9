"""A network for masks alone: the common ResNet-50, a decoder, no past. Several papers differ in the decoder alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.dilation import PLAIN, Dilations
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.units import ACTIVATIONS, Stage, Stem, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice
from vlocnetpp.network.contract import Network
from vlocnetpp.step import Prediction, State


@dataclass(frozen=True)
class MaskSettings:
    """The network's settings."""

    activation: str = "relu"
    """`relu` (the paper) or `elu`."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("segmentation",))


class Encoder(nn.Module):
    """The pre-activation ResNet-50 that takes ImageNet weights, with the maps of all its stages.

    Args:
        rates: dilation of the units of Res4 and Res5; a stage that has some keeps the resolution of the one before.
    """

    def __init__(self, width: float, activation: str, rates: Dilations = PLAIN) -> None:
        super().__init__()
        self.stem = Stem(3, width)
        self.res2 = Stage("res2", scaled(64, width), width, activation, stride=1)
        self.res3 = Stage("res3", self.res2.out_channels, width, activation, stride=2)
        stride_4, stride_5 = (1 if rates[stage] else 2 for stage in ("res4", "res5"))
        self.res4 = Stage("res4", self.res3.out_channels, width, activation, stride_4, dilations=rates["res4"])
        self.res5 = Stage("res5", self.res4.out_channels, width, activation, stride_5, dilations=rates["res5"])
        self.norm = nn.BatchNorm2d(self.res5.out_channels)
        self.act = ACTIVATIONS[activation]()
        self.channels = tuple(stage.out_channels for stage in (self.res2, self.res3, self.res4, self.res5))

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Res2c, Res3d, Res4f and, normalized and activated, Res5c; without dilation of strides 4, 8, 16 and 32."""
        res2c = self.res2(self.stem(image_B3HW))
        res3d = self.res3(res2c)
        res4f = self.res4(res3d)
        return [res2c, res3d, res4f, self.act(self.norm(self.res5(res4f)))]


class MaskNetwork(nn.Module):
    """Encoder and decoder.

    Args:
        encoder: from a normalized image to a list of maps; it has the modules of `Encoder` under the same names.
        decoder: from that list to logits (B, C, H, W).
    """

    def __init__(self, config: NetworkConfig, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize()
        self.encoder = encoder
        self.decoder = decoder
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        new_state: dict[str, Tensor] = {}
        return {"logits_BCHW": self.decoder(self.encoder(self.normalize(image_B3HW)))}, new_state

    def parts(self) -> dict[str, str]:
        return {**dict.fromkeys(self.pretrained_parts(), "encoder"), "decoder": "decoder"}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {f"encoder.{name}": name for name in ("stem", "res2", "res3", "res4", "res5", "norm")}

    def explanation(self) -> None:
        return None
