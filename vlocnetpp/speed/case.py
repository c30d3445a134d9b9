"""The subject of a timing: a network on a device, two frames for it, and the initial state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlocnetpp.export.files import default_size, describe, raw_intrinsics
from vlocnetpp.export.parity import Inputs, random_clip
from vlocnetpp.export.rebuild import network_of_file
from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.network import Network, NetworkConfig, build_network, cold_state_of
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.runtime import Metadata, read_metadata
from vlocnetpp.runtime.model_file import choose_device, dtype_of, fastest_precision, metadata_from_json
from vlocnetpp.step import Answer, State

Run = Callable[[Inputs, State], tuple[Answer, State]]
"""One way to run a step."""


@dataclass(frozen=True)
class Case:
    """A step and its inputs, the same for every way to run it."""

    name: str
    step: ExportedStep
    """Eager, in evaluation mode, on the device and in the precision."""
    metadata: Metadata
    device: torch.device
    precision: str
    """Of every way but `runtime`, which chooses its own unless a precision was given."""
    runtime_precision: str
    frames: tuple[Inputs, Inputs]
    """Raw images of the size that an export chooses for ONNX, as a camera gives them, already on the device."""
    file: Path | None = None
    """The model file, where the network came from one."""

    @property
    def config(self) -> NetworkConfig:
        return self.step.network.config

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the raw images."""
        height, width = self.frames[0][0].shape[1:3]
        return height, width

    def cold(self) -> State:
        """The state at the start of a sequence."""
        return cold_state_of(self.step.network)


def case_of_preset(config: NetworkConfig, device: str = "auto", precision: str | None = None) -> Case:
    """A configuration with random weights and statistics. Raises ModelFileError for a device that does not exist."""
    torch.manual_seed(0)
    network = build_network(config)
    height, width = config.view.height, config.view.width_px
    K_33 = np.array([[float(width), 0, width / 2], [0, float(width), height / 2], [0, 0, 1]])
    K = network_intrinsics(config.view, K_33, height, width)
    metadata = metadata_from_json(describe(network, "fp32", {"K_33": K}), Path(config.name))
    return _case(f"{config.name}, width {config.width:g}", network, metadata, device, precision, None)


def case_of_file(path: Path, device: str = "auto", precision: str | None = None) -> Case:
    """A model file's network with its own weights. Raises ModelFileError."""
    metadata = read_metadata(path)
    return _case(path.name, network_of_file(path, metadata), metadata, device, precision, path)


def _case(
    name: str,
    network: Network,
    metadata: Metadata,
    device: str,
    precision: str | None,
    file: Path | None,
) -> Case:
    chosen = choose_device(device)
    runtime_precision = precision or fastest_precision(metadata, chosen)
    precision = precision or ("fp32" if chosen.type == "cpu" else metadata.precision)
    step = ExportedStep(network).eval().requires_grad_(False).to(chosen, dtype_of(precision))
    size = default_size(network.config, metadata, [])
    clip = random_clip(network.config, size, raw_intrinsics(metadata, size))

    def there(inputs: Inputs) -> tuple[Tensor, ...]:
        return tuple(value.to(chosen) for value in inputs)

    first, second = (there(inputs) for inputs in clip[:2])
    frames: tuple[Inputs, Inputs] = (first, second)  # type: ignore[assignment]
    return Case(name, step, metadata, chosen, precision, runtime_precision, frames, file)
