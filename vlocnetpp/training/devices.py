"""Devices, precision and processes of a run, through Lightning Fabric.

One process trains on one device. More of them, on one machine or several, are started by `torchrun`; each then runs its
share of every batch. Norms and losses see the whole batch, so that the number of processes changes nothing but speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.runtime.model_file import choose_device
from vlocnetpp.training.config import TrainConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FABRIC_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def start_fabric(config: TrainConfig) -> Fabric:
    """The device of this process, connected to the others where `torchrun` started several.

    Raises ConfigError where Fabric is not installed or does not support the settings, ModelFileError for a device that
    does not exist.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise ConfigError("training needs Lightning Fabric: pip install '.[train]' in the checkout") from error
    device = choose_device(config.device)
    if config.precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision: fp16 trains on a GPU only; use bf16 or fp32")
    devices: Any = 1 if device.type == "cpu" else [device.index or 0]
    strategy: Any = "auto"
    nodes = 1
    if distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
        # Streams without a label in a batch have no gradient. The norms already synchronize their averages.
        strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=FABRIC_PRECISION[config.precision],
    )
    fabric.launch()
    return fabric


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class _Sum(torch.autograd.Function):
    """The sum over all processes; its backward pass sums the gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def sum_everywhere(value: Tensor) -> Tensor:
    """A tensor summed over all processes, differentiably; unchanged with one process."""
    return _Sum.apply(value) if processes() > 1 else value  # type: ignore[no-untyped-call]


class SharedNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of the whole batch of all processes, on any backend.

    `nn.SyncBatchNorm` is the same for CUDA alone. Parameters, buffers and evaluation are those of BatchNorm2d.
    """

    shared = True

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not (self.training and self.shared):
            return super().forward(x_BCHW)
        x = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32))
        count = sum_everywhere(x.new_tensor(x.numel() / x.shape[1]))
        mean_C = sum_everywhere(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean_C[:, None, None]
        variance_C = sum_everywhere(centred.square().sum(dim=(0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            momentum = self.momentum or 0.0
            unbiased_C = variance_C.detach() * (count / (count - 1).clamp_min(1))
            self.running_mean.lerp_(mean_C.detach(), momentum)
            self.running_var.lerp_(unbiased_C, momentum)
            self.num_batches_tracked.add_(1)
        scale_C = self.weight * torch.rsqrt(variance_C + self.eps)
        return (centred * scale_C[:, None, None] + self.bias[:, None, None]).to(x_BCHW.dtype)


def share_norms(network: nn.Module) -> None:
    """Replace every norm of a network by a `SharedNorm` with the same parameters."""
    for name, child in list(network.named_children()):
        if type(child) is nn.BatchNorm2d:
            shared = SharedNorm(child.num_features, child.eps, child.momentum).train(child.training)
            shared.weight, shared.bias = child.weight, child.bias
            shared.running_mean, shared.running_var = child.running_mean, child.running_var
            shared.num_batches_tracked = child.num_batches_tracked
            setattr(network, name, shared)
        else:
            share_norms(child)


@contextmanager
def alone(network: nn.Module) -> Iterator[None]:
    """Within the block each process works alone, on equal inputs: the norms are not synchronized."""
    norms = [module for module in network.modules() if isinstance(module, SharedNorm)]
    for norm in norms:
        norm.shared = False
    try:
        yield
    finally:
        for norm in norms:
            norm.shared = True
