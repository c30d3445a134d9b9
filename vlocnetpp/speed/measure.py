"""Time all ways in turn, A B C A B C ..., so that changes of the machine's speed affect all of them and ratios hold."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from vlocnetpp.network.summary import gmac
from vlocnetpp.progress import track
from vlocnetpp.runtime import ModelFileError, RingBuffer
from vlocnetpp.runtime.model_file import PRECISIONS
from vlocnetpp.speed.breakdown import by_operator, by_stream
from vlocnetpp.speed.case import Case, Run
from vlocnetpp.speed.roofline import Roofline, energy_j, measure_roofline
from vlocnetpp.speed.ways import FAILURES, SLOW, WAYS
from vlocnetpp.step import Answer

WARM_UP = 3
"""Repetitions of each way that compile and allocate, and are not counted."""


@dataclass(frozen=True)
class Timing:
    """Times of one way to run a step."""

    name: str
    milliseconds: tuple[float, ...]
    """Of each repetition, in the order in which they ran."""
    difference: float
    """Largest difference of any pose, motion or log scale from eager."""
    build_s: float
    """Seconds to build it, its first step included."""
    energy_j: float | None
    """Energy for a frame by the processor's counter; None where that is not readable."""
    precision: str = "fp32"

    def percentile(self, percent: float) -> float:
        """Milliseconds within which this share of the repetitions ended."""
        return float(np.percentile(self.milliseconds, percent))

    def ratio(self, other: Timing) -> float:
        """Median over the repetitions of this way's time by the other's, pair by pair."""
        return float(np.median(np.array(self.milliseconds) / np.array(other.milliseconds)))


@dataclass(frozen=True)
class Report:
    """Everything that one run measured."""

    case: Case
    gmac: float
    """Of one step while streaming."""
    timings: tuple[Timing, ...]
    failed: dict[str, str] = field(default_factory=dict)
    """Why a way does not run here."""
    rooflines: dict[str, Roofline] = field(default_factory=dict)
    """By precision."""
    streams_ms: dict[str, float] = field(default_factory=dict)
    operators: dict[str, float] = field(default_factory=dict)
    """Share of a step by operator."""
    profiled: str = ""
    """The way that `operators` describes: `runtime`, or the first where `runtime` was not timed."""
    memory_mb: dict[str, float] = field(default_factory=dict)

    def share_of_the_limit(self, timing: Timing) -> float:
        """Operations a second by those of the large convolution; above 0.5 the convolutions dominate."""
        return self.gmac / timing.percentile(50) * 1e3 / self.rooflines[timing.precision].convolution_gmac_s

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; ratios are to the first way."""
        first = self.timings[0]
        return {
            "case": self.case.name,
            "input": [self.case.config.view.height, self.case.config.view.width_px],
            "image": list(self.case.image_size),
            "device": str(self.case.device),
            "threads": torch.get_num_threads(),
            "gmac": self.gmac,
            "roofline": {precision: vars(limit) for precision, limit in self.rooflines.items()},
            "memory_mb": self.memory_mb,
            "ways": {
                t.name: {
                    "precision": t.precision,
                    **{f"p{p}_ms": t.percentile(p) for p in (50, 95, 99)},
                    "frames_per_s": 1e3 / float(np.mean(t.milliseconds)),
                    f"time_by_{first.name}": t.ratio(first),
                    "share_of_convolution_limit": self.share_of_the_limit(t),
                    "difference": t.difference,
                    "build_s": t.build_s,
                    "energy_j": t.energy_j,
                }
                for t in self.timings
            },
            "failed": self.failed,
            "streams_ms": self.streams_ms,
            "profiled": self.profiled,
            "operators": self.operators,
        }


def measure(case: Case, ways: Sequence[str] = (), repetitions: int = 20) -> Report:
    """Build each way, by default all but those that compile for minutes, time them in turn, and profile one.

    Raises ModelFileError for a way that does not exist, or where none of them runs.
    """
    if unknown := [name for name in ways if name not in WAYS]:
        raise ModelFileError(f"way '{unknown[0]}' does not exist; use {', '.join(WAYS)}")
    ways = ways or [name for name in WAYS if name not in SLOW]
    with TemporaryDirectory(prefix="vlocnetpp_speed_") as folder:
        return _measure(case, list(dict.fromkeys(ways)), repetitions, Path(folder))


def _measure(case: Case, ways: Sequence[str], repetitions: int, folder: Path) -> Report:
    def eager() -> Answer:
        with torch.inference_mode():
            _, state = case.step(*case.frames[0], case.cold())
            answer: Answer = case.step(*case.frames[1], state)[0]
            return answer

    expected = eager()
    steps: dict[str, Callable[[], object]] = {}
    runs: dict[str, Run] = {}
    differences, build_s, failed = {}, {}, {}
    for name in track(ways, "building"):
        began = time.perf_counter()
        try:
            run = WAYS[name](case, folder)
            _, state = run(case.frames[0], case.cold())
            answer, _ = run(case.frames[1], state)
        except FAILURES as error:
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            continue
        differences[name], build_s[name] = largest_difference(answer, expected), time.perf_counter() - began
        runs[name] = run
        steps[name] = lambda run=run, state=state: run(case.frames[1], state)  # type: ignore[misc]
    if not steps:
        raise ModelFileError(f"none of the ways runs here: {'; '.join(f'{n}: {why}' for n, why in failed.items())}")
    spent, joules = time_in_turn(case.device, steps, repetitions)
    shown = "runtime" if "runtime" in runs else next(iter(runs))
    precisions = {name: case.runtime_precision if name == "runtime" else case.precision for name in steps}
    return Report(
        case,
        gmac(case.config),
        tuple(
            Timing(name, tuple(spent[name]), differences[name], build_s[name], joules[name], precisions[name])
            for name in steps
        ),
        failed,
        {each: measure_roofline(case.device, PRECISIONS[each]) for each in sorted(set(precisions.values()))},
        by_stream(case, max(3, repetitions // 2)),
        by_operator(case, runs[shown]),
        shown,
        memory_mb(case),
    )


def time_in_turn(
    device: torch.device, steps: dict[str, Callable[[], object]], repetitions: int
) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """Milliseconds of each repetition, and joules a step where they can be read."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    joules: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in track(range(repetitions + WARM_UP), "timing"):
        for name, step in steps.items():
            before, began = energy_j(device), time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            took, after = time.perf_counter() - began, energy_j(device)
            if repetition >= WARM_UP:
                spent[name].append(took * 1e3)
                # The counter wraps around at its end; that step is left out.
                if before is not None and after is not None and after >= before:
                    joules[name].append(after - before)
    return spent, {name: float(np.mean(values)) if values else None for name, values in joules.items()}


def largest_difference(a: Answer, b: Answer) -> float:
    """Over all numbers; class ids are left out. Those of ONNX Runtime are on the CPU."""
    return max((float((a[n].to(b[n].device) - b[n]).abs().max()) for n in b if b[n].is_floating_point()), default=0.0)


def memory_mb(case: Case) -> dict[str, float]:
    """Megabytes of weights and of the ring of eight frames, and at most in use so far."""
    weights = sum(value.numel() * value.element_size() for value in case.step.state_dict().values())
    ring = RingBuffer(8, case.metadata.state_shapes, case.device, PRECISIONS[case.runtime_precision])
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {"weights": weights / 1e6, "ring of 8 frames": ring.memory_bytes / 1e6, "process at most": peak / 1e6}
    if case.device.type == "cuda":
        found["device at most"] = torch.cuda.max_memory_allocated(case.device) / 1e6
    return found
