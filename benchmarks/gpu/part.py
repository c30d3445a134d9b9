"""What every part of the GPU run is told, and how it says what it found."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

MARK = "result: "
"""Begins a line of a part's log that carries one figure; what a part has said before its end counts."""


@dataclass(frozen=True)
class Order:
    """How a part is to run."""

    device: torch.device
    rehearse: bool
    """Tiny sizes and few repetitions, on any machine."""
    kitchen: Path | None
    """The recording of 7-Scenes' RedKitchen."""
    scratch: Path
    """Folder for model files, that the parts share."""
    seconds: float
    """For the whole part; it is ended soon after."""
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds that remain."""
        return self.seconds - (time.monotonic() - self.began)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA's."""
        return self.device.type == "cuda"


def say(what: str, value: float | str, unit: str = "") -> None:
    """Print one figure, for the table at the end."""
    print(MARK + json.dumps([what, value, unit]), flush=True)


def said(log: str) -> list[tuple[str, float | str, str]]:
    """The figures in a part's log, in their order."""
    return [tuple(json.loads(line[len(MARK) :])) for line in log.splitlines() if line.startswith(MARK)]


def order_of(args: argparse.Namespace) -> Order:
    """From the arguments that `arguments` adds."""
    return Order(torch.device(args.device), args.rehearse, args.kitchen, args.scratch, args.seconds)


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what every part takes."""
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes and few repetitions")
    parser.add_argument("--kitchen", type=Path, help="folder of 7-Scenes' RedKitchen")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for model files")
    parser.add_argument("--seconds", type=float, default=120.0, help="for the whole part (default: 120)")
    return parser


def main(doc: str | None, run: Callable[[Order], None]) -> None:
    """The command of a part."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    run(order_of(arguments(parser).parse_args()))


def milliseconds(order: Order, step: Callable[[], object], frames: int, seconds: float) -> np.ndarray:
    """Time of each of so many frames, or of as many as fit, from the call until the device has done it."""

    def wait() -> None:
        if order.cuda:
            torch.cuda.synchronize(order.device)

    for _ in range(5):
        step()
    wait()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < frames and (len(found) < 3 or time.perf_counter() < until):
        began = time.perf_counter()
        step()
        wait()
        found.append((time.perf_counter() - began) * 1e3)
    return np.array(found)


def spread(times_ms: np.ndarray) -> str:
    """p50, p95 and p99, and of how many."""
    p50, p95, p99 = np.percentile(times_ms, (50, 95, 99))
    return f"{p50:.3f} / {p95:.3f} / {p99:.3f} ({len(times_ms)})"


def reason(error: BaseException) -> str:
    """One line of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
