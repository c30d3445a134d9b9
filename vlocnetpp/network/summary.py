"""Parts of a network with their shapes, parameters and operations, by running one step on a black image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlocnetpp.network.config import NetworkConfig
from vlocnetpp.network.contract import Network, cold_state_of
from vlocnetpp.network.registry import build_network


@dataclass(frozen=True)
class Part:
    """One row of the table."""

    name: str
    shape: tuple[int, ...]
    """Of its last map, for one image, without the batch axis."""
    parameters: int
    macs: int
    """Multiply-accumulates of one step on one image while streaming."""


def summarize(config: NetworkConfig) -> list[Part]:
    """Run one step on a black image and count, part by part as the network names them."""
    network = build_network(config).eval()
    modules = dict(network.named_modules())
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                shapes[name] = tuple(first.shape[1:])

        return hook

    for name, module in modules.items():
        module.register_forward_hook(remember(name))
    counter = count_step(network)
    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    leaves = {name for name, module in modules.items() if not list(module.children())}
    parts = []
    for part in network.parts():
        inside = [name for name in shapes if name == part or name.startswith(part + ".")]
        macs = sum(counts.get(name, 0) for name in inside if name in leaves) // 2
        parameters = sum(p.numel() for p in modules[part].parameters())
        parts.append(Part(part, shapes[inside[-1]], parameters, macs))
    return parts


def gmac(config: NetworkConfig) -> float:
    """Billions of multiply-accumulates of convolutions and matrix products of one step, counted on shapes alone."""
    with torch.device("meta"):
        network = build_network(config).eval()
        return count_step(network).get_total_flops() / 2e9


def parameters(config: NetworkConfig) -> int:
    """Number of trainable parameters."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(config).parameters())


def count_step(network: Network) -> FlopCounterMode:
    """Count the operations of one step on a black image, on the default device."""
    view = network.config.view
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(
            torch.zeros(1, 3, view.height, view.width_px),
            torch.eye(3)[None],
            torch.zeros(1, 1, view.height, view.width_px),
            cold_state_of(network),
        )
    return counter
