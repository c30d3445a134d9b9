"""The machine's peak performance, measured in the same run as the figures that are compared with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Roofline:
    """Best of several repetitions, in the precision of the case."""

    convolution_gmac_s: float
    """3x3, 128 to 128 channels, 64 x 112."""
    product_gmac_s: float
    """1024 x 1024 by 1024 x 1024."""
    copy_gb_s: float
    """64 MB read and 64 MB written."""


def best_seconds(work: Callable[[], object], device: torch.device, repetitions: int = 7) -> float:
    """Shortest time of one call, after two that allocate."""
    spent = []
    for _ in range(repetitions + 2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - began)
    return min(spent[2:])


def measure_roofline(device: torch.device, dtype: torch.dtype) -> Roofline:
    """Time a large convolution, a matrix product and a copy."""
    with torch.inference_mode():
        conv = nn.Conv2d(128, 128, 3, padding=1, bias=False).to(device, dtype)
        image = torch.rand((1, 128, 64, 112), device=device).to(dtype)
        a, b = (torch.rand((1024, 1024), device=device).to(dtype) for _ in range(2))
        source, target = (torch.zeros(64_000_000, dtype=torch.uint8, device=device) for _ in range(2))
        return Roofline(
            128 * 128 * 9 * 64 * 112 / 1e9 / best_seconds(lambda: conv(image), device),
            1024**3 / 1e9 / best_seconds(lambda: a @ b, device),
            0.128 / best_seconds(lambda: target.copy_(source), device),
        )


def energy_j(device: torch.device, folder: Path = POWERCAP) -> float | None:
    """Joules counted so far by the processor's package (RAPL), or None where they cannot be read. A GPU has its own
    counter, which PyTorch does not expose.
    """
    if device.type != "cpu":
        return None
    counters = sorted(folder.glob("intel-rapl:?/energy_uj"))
    try:
        return sum(int(path.read_text()) for path in counters) / 1e6 if counters else None
    except OSError:
        return None  # since 2020 only root may read them
