"""The time that a step's own kernels would take at the rates of this card: a matrix product's and a copy's, in one run.

Every operator of an eager step counts as one kernel: the longer of its arithmetic at the rate of a large matrix product
and of its bytes, read and written, at the rate of a copy. Views count nothing. Fused kernels may take less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.gpu.part import Order
from vlocnetpp.speed.roofline import best_seconds


@dataclass(frozen=True)
class Rates:
    """Best of several."""

    flop_s: float
    """Two for a multiply-accumulate."""
    byte_s: float
    """Read and written."""


def measure_rates(order: Order, dtype: torch.dtype) -> Rates:
    """A square matrix product and a copy; large on a GPU."""
    size, bytes_ = (8192, 1 << 30) if order.cuda else (512, 1 << 24)
    with torch.inference_mode():
        a, b = (torch.randn((size, size), device=order.device).to(dtype) for _ in range(2))
        product = 2 * size**3 / best_seconds(lambda: a @ b, order.device)
        source, target = (torch.empty(bytes_, dtype=torch.uint8, device=order.device) for _ in range(2))
        return Rates(product, 2 * bytes_ / best_seconds(lambda: target.copy_(source), order.device))


@dataclass
class Kernels(TorchDispatchMode):
    """Counts what runs within the block."""

    rates: Rates
    seconds: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    operators: dict[str, float] = field(default_factory=dict)
    """Seconds by operator."""

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        if views:
            return result
        tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
        size = float(sum(each.numel() * each.element_size() for each in tensors))
        count = flop_registry.get(func.overloadpacket)
        flop = float(count(*args, **(kwargs or {}), out_val=result)) if count else 0.0
        seconds = max(flop / self.rates.flop_s, size / self.rates.byte_s)
        self.seconds, self.flop, self.bytes = self.seconds + seconds, self.flop + flop, self.bytes + size
        name = str(func.overloadpacket)
        self.operators[name] = self.operators.get(name, 0.0) + seconds
        return result
