"""Small networks with random weights, exported: what tests of the runtime and the node run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vlocnetpp.export import export_network
from vlocnetpp.network import Network, create
from vlocnetpp.network.preprocess import network_intrinsics

IMAGE_SHAPE = (48, 64)
K_33 = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
"""Of images of `IMAGE_SHAPE`."""
CLASSES = (("Sky", (70, 130, 180)), ("Road", (128, 64, 128)), ("Building", (70, 70, 70)))


def random_network(preset: str = "mtl", **settings) -> Network:
    """A tiny network at 64 x 96 with reproducible weights."""
    torch.manual_seed(0)
    settings = {"height": 64, "width_px": 96, "resize": "whole", "classes": len(CLASSES), **settings}
    return create(preset, 0.125, **settings).eval()


def export_random(path: Path, preset: str = "mtl", precision: str = "fp32", **settings) -> Path:
    """Export such a network with whole metadata."""
    network = random_network(preset, **settings)
    export_network(
        network,
        path,
        precision,
        K_33=network_intrinsics(network.config.view, K_33, *IMAGE_SHAPE),
        classes=CLASSES if "segmentation" in network.config.tasks else (),
        position_min_3=(-1.0, -1.0, 0.0),
        position_max_3=(1.0, 1.0, 1.0),
        calibration_2=(2.0, 3.0),
        dataset={"name": "random", "digest": "0" * 64, "training_frames": 0},
    )
    return path
