"""Where the time of a step goes: by stream of the network, and by operator."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from vlocnetpp.speed.case import Case, Run

PREPROCESSING, REST = "preprocessing", "everything else"
"""Streams that are no part of the network: what comes before it, and the step less all modules that are timed."""


def by_stream(case: Case, repetitions: int) -> dict[str, float]:
    """Median milliseconds of an eager step by stream; they add up to the step, hooks included."""
    spent: dict[str, float] = {}
    began: list[float] = []

    def now() -> float:
        if case.device.type == "cuda":
            torch.cuda.synchronize(case.device)
        return time.perf_counter()

    def before(_module: nn.Module, _inputs: Any) -> None:
        began.append(now())

    def after(stream: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            spent[stream] = spent.get(stream, 0.0) + (now() - began.pop()) * 1e3

        return hook

    handles = []
    for module, stream in called(case).items():
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after(stream))]
    rows: list[dict[str, float]] = []
    try:
        with torch.inference_mode():
            _, state = case.step(*case.frames[0], case.cold())
            for repetition in range(repetitions + 2):
                spent.clear()
                start = now()
                case.step(*case.frames[1], state)
                whole = (now() - start) * 1e3
                if repetition >= 2:
                    rows.append({**spent, REST: whole - sum(spent.values())})
    finally:
        for handle in handles:
            handle.remove()
    return {stream: float(np.median([row[stream] for row in rows])) for stream in rows[0]}


def called(case: Case) -> dict[nn.Module, str]:
    """The stream of every module that a step calls, the outermost ones alone: a network may call a part's own modules
    and never the part as a whole."""
    network = case.step.network
    streams = {"preprocess": PREPROCESSING, **{f"network.{path}": stream for path, stream in network.parts().items()}}
    inside: list[nn.Module] = []
    found: dict[nn.Module, str] = {}

    def before(stream: str) -> Any:
        def hook(module: nn.Module, _inputs: Any) -> None:
            if not inside:
                found[module] = stream
            inside.append(module)

        return hook

    def after(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        inside.pop()

    handles = []
    for path, stream in streams.items():
        for module in case.step.get_submodule(path).modules():
            handles += [module.register_forward_pre_hook(before(stream)), module.register_forward_hook(after)]
    try:
        with torch.inference_mode():
            case.step(*case.frames[0], case.cold())
    finally:
        for handle in handles:
            handle.remove()
    return found


def by_operator(case: Case, run: Run, repetitions: int = 5, most: int = 10) -> dict[str, float]:
    """Share of a step by operator of PyTorch, largest first, what is not among the `most` largest as `other`."""
    from torch.profiler import ProfilerActivity, profile

    _, state = run(case.frames[0], case.cold())
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (case.device.type == "cuda")
    with profile(activities=activities) as profiler:
        for _ in range(repetitions):
            run(case.frames[1], state)
    # Of a GPU its name differs by PyTorch's version: CUDA's until 2.3, the device's since.
    names = ["self_cpu_time_total"] if case.device.type == "cpu" else ["self_device_time_total", "self_cuda_time_total"]
    events = profiler.key_averages()
    on = next(name for name in names if all(hasattr(event, name) for event in events))
    spent = sorted(((getattr(event, on), event.key) for event in events), reverse=True)
    total = sum(value for value, _ in spent) or 1.0
    shares = {name: value / total for value, name in spent[:most]}
    return {**shares, "other": 1.0 - sum(shares.values())}
