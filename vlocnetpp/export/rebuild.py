"""A trained network rebuilt in Python, where gradients and intermediate features are accessible. A model file is frozen
when it is loaded and returns only its answer. But it holds the configuration and every weight, so the network can be
built from it; a run's checkpoint has both too.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.export.files import describe, read_run
from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.network import Network, build_network, config_from_json
from vlocnetpp.runtime.model_file import (
    Metadata,
    Model,
    ModelFileError,
    choose_device,
    load_script,
    metadata_from_json,
    read_metadata,
)


def rebuild(source: Path, device: str = "auto") -> Model:
    """A model whose `step` is an `ExportedStep` in evaluation mode and full precision.

    Args:
        source: TorchScript file written by `vlocnetpp export`, or folder of a training run, whose best checkpoint is
            taken where there is one, else its last.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        ModelFileError: no such file, or a file or device that cannot be used.
        CheckpointError: a folder without a checkpoint that can be read.
    """
    chosen = choose_device(device)
    if source.is_dir():
        network, about, path = read_run(source)
        metadata = metadata_from_json(describe(network, "fp32", about), path)
    else:
        path, metadata = source, read_metadata(source)
        network = network_of_file(path, metadata)
    return Model(path, metadata, chosen, torch.float32, ExportedStep(network).eval().to(chosen))


def network_of_file(path: Path, metadata: Metadata) -> Network:
    """The network of a model file, on the CPU. Raises ModelFileError where this version builds another one."""
    weights = load_script(path, torch.device("cpu")).state_dict()
    inner = {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}
    try:
        network = build_network(config_from_json(metadata.network))
        # A file has every buffer, a state dictionary only what is learned.
        made = {name for name, _ in cast(nn.Module, network).named_buffers()} - set(network.state_dict())
        network.load_state_dict({name: value for name, value in inner.items() if name not in made})
    except (TypeError, RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelFileError(
            f"{path}: its network cannot be built from its configuration by this version of vlocnetpp, the file was "
            f"written by {metadata.source_revision or 'an unknown one'} ({reason}); export its run again"
        ) from error
    return network
