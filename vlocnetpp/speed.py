"""How long one step takes while streaming, and what it would take to recompute the previous frame instead.

Ways are timed in turn, A B C A B C ..., so that a machine that slows down slows all of them down, and ratios hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlocnetpp.network import NetworkConfig, VLocNetPlusPlus
from vlocnetpp.progress import track
from vlocnetpp.runtime.model_file import choose_device
from vlocnetpp.step import Prediction, State


class Recompute(nn.Module):
    """Both frames at every step, as a network without a memory would have to."""

    def __init__(self, network: VLocNetPlusPlus) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, previous_B3HW: Tensor, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, cold: State
    ) -> Prediction:
        _, state = self.network(previous_B3HW, K_B33, depth_B1HW, cold)
        prediction, _ = self.network(image_B3HW, K_B33, depth_B1HW, state)
        return prediction


@dataclass(frozen=True)
class Timing:
    """One way to get an answer for one frame."""

    name: str
    milliseconds: tuple[float, ...]
    """Of each repetition, in the order in which they ran."""
    gmac: float
    difference: float
    """Largest difference of any answer from eager streaming."""

    @property
    def p50(self) -> float:
        return float(np.percentile(self.milliseconds, 50))

    @property
    def p95(self) -> float:
        return float(np.percentile(self.milliseconds, 95))

    def ratio(self, other: Timing) -> float:
        """Median over the repetitions of this way's time by the other's, pair by pair."""
        return float(np.median(np.array(self.milliseconds) / np.array(other.milliseconds)))


def measure(config: NetworkConfig, device: str = "auto", repetitions: int = 20) -> list[Timing]:
    """Time the network of a configuration, with random weights and without preprocessing, on one stream.

    Eager, scripted and frozen, and recomputing the previous frame.

    Raises ModelFileError for a device that is not there.
    """
    chosen = choose_device(device)
    torch.manual_seed(0)
    network = VLocNetPlusPlus(config).eval().to(chosen)
    shape = (1, 3, config.height, config.width_px)
    first, second = (torch.rand(shape, device=chosen) * 255 for _ in range(2))
    focal = float(config.width_px)
    camera = [[focal, 0, config.width_px / 2], [0, focal, config.height / 2], [0, 0, 1]]
    K, depth = torch.tensor([camera], device=chosen), torch.full((1, 1, *shape[2:]), 2.0, device=chosen)
    cold = network.cold_state(1)
    with torch.inference_mode():
        _, state = network(first, K, depth, cold)
        scripted = torch.jit.freeze(torch.jit.script(network))
        recompute = torch.jit.freeze(torch.jit.script(Recompute(network).eval()))
        ways: dict[str, Callable[[], Prediction]] = {
            "streaming, eager": lambda: network(second, K, depth, state)[0],
            "streaming, scripted": lambda: scripted(second, K, depth, state)[0],
            "recomputing, scripted": lambda: recompute(first, second, K, depth, cold),
        }
        reference = ways["streaming, eager"]()
        macs = {name: count_gmac(way) for name, way in ways.items() if name == "streaming, eager"}
        macs["streaming, scripted"] = macs["streaming, eager"]
        macs["recomputing, scripted"] = count_gmac(lambda: Recompute(network)(first, second, K, depth, cold))
        differences = {name: largest_difference(way(), reference) for name, way in ways.items()}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for repetition in track(range(repetitions + 3), "timing"):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if chosen.type == "cuda":
                    torch.cuda.synchronize(chosen)
                # The first repetitions compile and allocate.
                if repetition >= 3:
                    spent[name].append((time.perf_counter() - began) * 1e3)
    return [Timing(name, tuple(spent[name]), macs[name], differences[name]) for name in ways]


def count_gmac(way: Callable[[], Prediction]) -> float:
    """Billions of multiply-accumulates of convolutions and matrix products in one call."""
    counter = FlopCounterMode(display=False)
    with counter:
        way()
    return counter.get_total_flops() / 2e9


def largest_difference(a: Prediction, b: Prediction) -> float:
    """Over all answers."""
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True) if x.numel())


def print_speed(config: NetworkConfig, timings: list[Timing], device: str) -> None:
    """The table on standard output."""
    from vlocnetpp.evaluation.tables import print_table

    base = timings[1]
    rows = [
        [t.name, f"{t.p50:.1f}", f"{t.p95:.1f}", f"{t.gmac:.2f}", f"{t.ratio(base):.2f}", f"{t.difference:.1e}"]
        for t in timings
    ]
    title = f"{config.preset}, width {config.width:g}, {config.height} x {config.width_px}, one image, {device}"
    columns = ("way", "p50 ms", "p95 ms", "GMAC", f"time by '{base.name}'", "difference")
    print_table(title, columns, rows)
