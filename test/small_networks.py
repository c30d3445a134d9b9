"""Small networks of every preset, with statistics that show a wrong batch norm, and images for them."""

from __future__ import annotations

import numpy as np
import torch

from vlocnetpp.network import (
    Network,
    NetworkConfig,
    build_network,
    configure,
)

K_33 = np.array([[100.0, 0, 47.5], [0, 100, 31.5], [0, 0, 1]])


def small(preset: str, width: str | float = "tiny", **settings) -> NetworkConfig:
    return configure(preset, width, height=64, width_px=96, resize="whole", classes=5, **settings)


def build(config: NetworkConfig) -> Network:
    torch.manual_seed(0)
    network = build_network(config).eval()
    # Statistics that are not the identity, so that a wrong batch norm would show.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def images(count: int, batch: int = 1, config: NetworkConfig | None = None) -> torch.Tensor:
    height, width = (config.view.height, config.view.width_px) if config else (64, 96)
    return torch.rand(count, batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255
