"""ImageNet weights of timm's `resnetv2_50` into every residual stage (paper, section IV), from a local file.

timm is not a dependency: its state-dict keys are `stem.conv`, `stages.{0-3}.blocks.{i}.{norm1,conv1,norm2,conv2,norm3,
conv3,downsample.conv}`, `norm`, and a classifier `head` that nothing here reads.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vlocnetpp.network.contract import Network

PARTS = {
    "stem": "stem",
    "res2": "stages.0",
    "res3": "stages.1",
    "res4": "stages.2",
    "res5": "stages.3",
    "norm": "norm",
}
"""Parts of the trunk by our names (see `Network.pretrained_parts`) and by timm's."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Statistics by which timm normalizes images of 0..1 for `resnetv2_50.a1h_in1k`, its default for every `resnetv2`."""


class PretrainedError(ValueError):
    """A file of ImageNet weights cannot be used; the message names the keys or the reason in one line."""


@dataclass(frozen=True)
class Summary:
    """What was loaded."""

    copied: tuple[str, ...]
    """Our tensors that were copied unchanged."""
    adapted: tuple[str, ...]
    """Our tensors made from the file's: split into plain and dilated halves, or repeated for concatenated streams."""
    fresh: tuple[str, ...]
    """Our tensors that keep their initial values."""

    def __str__(self) -> str:
        return (
            f"ImageNet weights: {len(self.copied)} tensors copied, {len(self.adapted)} adapted, "
            f"{len(self.fresh)} start fresh"
        )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or a PyTorch file, read without running a pickle. Raises PretrainedError."""
    if not path.is_file():
        raise PretrainedError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(str(path))
            except SafetensorError as error:
                raise PretrainedError(f"{path}: is not a safetensors file ({error})") from error
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise PretrainedError(f"{path}: cannot be read ({str(error).strip().splitlines()[0]})") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PretrainedError(f"{path}: is not a state dict of tensors")
    return content


def load_pretrained(network: Network, path: Path) -> Summary:
    """Fill every residual stage of a full-width network and take over the normalization that comes with the weights.

    Doing it twice changes nothing more.

    Raises PretrainedError, before anything is changed, for another width, missing or unexpected keys, or other shapes.
    """
    if network.config.width != 1.0:
        raise PretrainedError(f"{path}: ImageNet weights fit width 1 (full), this network has {network.config.width:g}")
    source = {key: value for key, value in read_state_dict(path).items() if not key.startswith("head.")}
    wanted: dict[str, str] = {}
    ours = network.state_dict()
    parts = network.pretrained_parts()
    if not parts:
        raise PretrainedError(f"{path}: preset '{network.config.name}' has no part that ImageNet weights fit")
    for part, theirs in parts.items():
        prefix = part + "."
        for name in ours:
            if name.startswith(prefix):
                inner = name[len(prefix) :].replace(".plain.", ".").replace(".dilated.", ".")
                wanted[name] = f"{PARTS[theirs]}.{inner}"
    # The counter of batches is not a weight and old files lack it.
    wanted = {name: key for name, key in wanted.items() if not name.endswith("num_batches_tracked")}
    source = {key: value for key, value in source.items() if not key.endswith("num_batches_tracked")}
    missing = sorted(set(wanted.values()) - set(source))
    unexpected = sorted(set(source) - expected_keys(wanted))
    if missing or unexpected:
        raise PretrainedError(
            f"{path}: is not a timm resnetv2_50 state dict: missing {_some(missing)}; unexpected {_some(unexpected)}"
        )
    filled: dict[str, Tensor] = {}
    copied: list[str] = []
    adapted: list[str] = []
    for name, key in wanted.items():
        value = _adapt(name, source[key], ours[name], str(path))
        (copied if value is source[key] else adapted).append(name)
        filled[name] = value
    with torch.no_grad():
        for name, value in filled.items():
            ours[name].copy_(value)
    network.normalize.adopt(MEAN, STD)
    return Summary(
        tuple(copied),
        tuple(adapted),
        tuple(name for name in ours if name not in filled and not name.startswith("normalize.")),
    )


def expected_keys(wanted: dict[str, str]) -> set[str]:
    """All keys of a whole ResNet, also of stages that a single-task network does not have."""
    keys = set(wanted.values())
    for stage, units in enumerate((3, 4, 6, 3)):
        for i in range(units):
            prefix = f"stages.{stage}.blocks.{i}."
            for part in ("norm1", "norm2", "norm3"):
                keys |= {f"{prefix}{part}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")}
            keys |= {f"{prefix}{part}.weight" for part in ("conv1", "conv2", "conv3")}
        keys.add(f"stages.{stage}.blocks.0.downsample.conv.weight")
    keys |= {f"norm.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")}
    return keys | {"stem.conv.weight"}


def _adapt(name: str, value: Tensor, ours: Tensor, where: str) -> Tensor:
    """The file's tensor in the shape of ours; the very same object where nothing had to change."""
    if ".plain." in name:
        value = value[: ours.shape[0]]
    elif ".dilated." in name:
        value = value[value.shape[0] - ours.shape[0] :]
    if value.shape == ours.shape:
        return value
    axis = 1 if value.ndim == 4 else 0
    same = [i for i in range(value.ndim) if i != axis]
    if ours.ndim == value.ndim and all(ours.shape[i] == value.shape[i] for i in same):
        extra = ours.shape[axis] - value.shape[axis]
        if extra == value.shape[axis]:
            # Two concatenated streams: each sees the same weights, halved so that their sum keeps its size.
            return torch.cat((value, value), dim=axis) / (2 if value.ndim == 4 else 1)
        if extra > 0:
            # Maps beside the image's own (semantics, a pose): those keep their fresh start.
            return torch.cat((value, ours.narrow(axis, value.shape[axis], extra)), dim=axis)
    raise PretrainedError(f"{where}: {name} has shape {tuple(ours.shape)}, the file has {tuple(value.shape)}")


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:5]) or "none"
    return shown + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
