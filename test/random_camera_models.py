"""Model files with random weights for the camera of `ros_peers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ros_peers import CLASSES, FOCAL, HEIGHT, WIDTH
from torch import Tensor, nn

from vlocnetpp.export import export_network
from vlocnetpp.network import create
from vlocnetpp.step import Prediction, State

NETWORK_K_33 = ((FOCAL * 96 / WIDTH, 0.0, 47.5), (0.0, FOCAL * 64 / HEIGHT, 31.5), (0.0, 0.0, 1.0))


def random_model(path: Path, preset: str = "mtl_no_warp", broken: bool = False, **changes: Any) -> Path:
    """A model file with random weights for this camera, small enough for 5 ms a frame; `broken` answers NaN."""
    network = _random_network(preset, **changes)
    if broken:
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
    export_network(network, path, K_33=NETWORK_K_33, classes=CLASSES, map_frame="lab")
    return path


def trapped_model(path: Path) -> Path:
    """A model of a mapped room that raises at a white image, wants a petabyte at a grey one, answers NaN at a black."""

    from vlocnetpp.export import export_network

    bounds = {"position_min_3": (-0.01,) * 3, "position_max_3": (0.01,) * 3}
    export_network(
        Trapped(_random_network("mtl_no_warp")), path, K_33=NETWORK_K_33, classes=CLASSES, map_frame="lab", **bounds
    )
    return path


def _random_network(preset: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {"height": 64, "width_px": 96, "resize": "whole", "classes": len(CLASSES), **changes}
    return create(preset, 0.05, **settings)


class Trapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.inner.state_shapes()

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        low, high = int(image_B3HW.min()), int(image_B3HW.max())
        if low == 255:
            raise RuntimeError("a trap for white images")
        if low == 200 and high == 200:
            image_B3HW = image_B3HW + torch.zeros([1 << 48], device=image_B3HW.device).sum()
        if high == 0:
            image_B3HW = image_B3HW / image_B3HW
        return self.inner(image_B3HW, K_B33, depth_B1HW, state)
