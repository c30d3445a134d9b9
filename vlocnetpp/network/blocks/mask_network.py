"""A network for masks alone: the common ResNet-50, a decoder, no past. Several papers differ in the decoder alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.trunk import PRETRAINED
from vlocnetpp.network.blocks.units import ACTIVATIONS
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


class MaskNetwork(nn.Module):
    """Encoder and decoder.

    Args:
        encoder: from a normalized image to a list of maps; it has the modules of `Trunk` under the same names.
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
        return {f"encoder.{name}": name for name in PRETRAINED}

    def explanation(self) -> None:
        return None
