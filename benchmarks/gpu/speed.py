"""Latency of the flagship and of the full multitask network, each way, beside the roofline of their own kernels.

Frames lie on the device. A frame is timed from the call until the device has done it, p50, p95 and p99 in milliseconds
over 2000 frames, or as many as the part has time for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.networks import FULL, TINY, case_of, networks
from benchmarks.gpu.part import Order, main, milliseconds, reason, say, spread
from benchmarks.gpu.roofline import Kernels, Rates, measure_rates
from vlocnetpp.export.parity import torch_runner
from vlocnetpp.reporting import print_table
from vlocnetpp.runtime import RingBuffer, load_model
from vlocnetpp.runtime.cuda_graph import Recording, record_cuda
from vlocnetpp.runtime.model_file import PRECISIONS, load_script
from vlocnetpp.speed import WAYS, Case
from vlocnetpp.speed.breakdown import by_operator
from vlocnetpp.speed.ways import FAILURES
from vlocnetpp.step import State

FRAMES, REHEARSED = 2000, 10
BATCHES = (1, 2, 4, 8, 16, 32)
Step = Callable[[], object]


def through_ring(case: Case, step: Any, resident: bool = False) -> Step:
    """One frame as the localizer runs it: the state from the ring and back."""
    dtype = PRECISIONS[case.precision]
    ring = RingBuffer(1 if resident else 8, case.metadata.state_shapes, case.device, dtype, copies=not resident)
    clock = iter(range(1, 1 << 62))

    @torch.inference_mode()
    def run() -> None:
        _, state = step(*case.frames[1], ring.latest())
        ring.push(next(clock), state)

    return run


def steps(case: Case, folder: Path) -> dict[str, Callable[[], Step]]:
    """What builds each way. Those that compile for a minute are a part of their own."""
    assert case.file is not None
    file = case.file

    def loaded(cuda_graph: bool = False, resident: bool = False) -> Step:
        model = load_model(file, str(case.device), case.precision, cuda_graph, resident)
        if cuda_graph and not model.optimizations[-1].startswith("CUDA graph"):
            raise RuntimeError(model.optimizations[-1])
        return through_ring(case, model.step, resident)

    def recomputing() -> Step:
        run = WAYS["recomputing"](case, folder)
        return lambda: run(case.frames[1], case.cold())

    return {
        "eager": lambda: through_ring(case, case.step),
        "scripted": lambda: through_ring(case, load_script(file, case.device).eval()),
        "frozen": loaded,
        "CUDA graph": lambda: loaded(cuda_graph=True),
        "CUDA graph, resident": lambda: loaded(cuda_graph=True, resident=True),
        "recomputing": recomputing,
    }


def kernels_of(case: Case, rates: Rates) -> Kernels:
    """What the second frame of an eager step runs."""
    with torch.no_grad():  # not inference mode, in which an operator that is made of others is not taken apart
        _, state = case.step(*case.frames[0], case.cold())
        with Kernels(rates) as kernels:
            case.step(*case.frames[1], state)
    return kernels


def batched(case: Case, batch: int) -> tuple[Any, ...]:
    """The second frame so many times, with a cold state."""

    def repeat(value: Tensor) -> Tensor:
        return value.repeat(batch, *[1] * (value.ndim - 1))

    image, channels, K, depth = case.frames[1]
    state: State = {name: repeat(value) for name, value in case.cold().items()}
    return repeat(image), channels, repeat(K), repeat(depth), state


def measure_batches(order: Order, case: Case, label: str, seconds: float) -> None:
    """Frames a second of the frozen step, recorded on a GPU, by batch."""
    assert case.file is not None
    step = load_model(case.file, str(case.device), case.precision).step
    sizes = BATCHES[:2] if order.rehearse else BATCHES
    for batch in sizes:
        inputs = batched(case, batch)
        with torch.inference_mode():
            run = Recording(step, inputs, record_cuda, resident=True) if order.cuda else step
            *frame, state = inputs
            times = milliseconds(order, lambda: run(*frame, state), 200, seconds / len(sizes))  # noqa: B023
        p50 = float(np.median(times))
        say(f"{label}, batch {batch}", f"{p50:.2f} ms, {1e3 * batch / p50:.0f} frames/s", f"p50 of {len(times)}")


def measure_case(order: Order, case: Case, label: str, rates: Rates, seconds: float) -> None:
    """Every way, and what the best of them is of the roofline."""
    kernels = kernels_of(case, rates)
    limit_ms = kernels.seconds * 1e3
    say(f"{label}, roofline", f"{limit_ms:.3f}",
        f"ms; {kernels.flop / 2e9:.2f} GMAC, {kernels.bytes / 1e6:.0f} MB")  # fmt: skip
    longest = sorted(kernels.operators.items(), key=lambda item: -item[1])[:12]
    print_table(f"{label}: roofline by operator", ("operator", "ms"), [[name, s * 1e3] for name, s in longest])
    builders = steps(case, order.scratch)
    medians: dict[str, float] = {}
    for name, build in builders.items():
        try:
            step = build()
            graph = name.startswith("CUDA graph")
            share = seconds / len(builders) * (2 if graph else 0.6)
            frames = REHEARSED if order.rehearse else FRAMES
            times = milliseconds(order, step, frames, min(share, order.left_s))
        except FAILURES as error:
            say(f"{label}, {name}", "does not run", reason(error))
            continue
        medians[name] = float(np.median(times))
        say(f"{label}, {name}", spread(times), f"ms; {limit_ms / medians[name]:.0%} of the roofline")
    if "recomputing" in medians and "frozen" in medians:
        saved = medians["recomputing"] / medians["frozen"]
        say(f"{label}, streaming", f"{saved:.2f}", "times as fast as recomputing")
    run = torch_runner(copy.deepcopy(case.step))
    shares = by_operator(case, run, 3)
    print_table(f"{label}: eager, by operator", ("operator", "share"), list(shares.items()))


def run(order: Order) -> None:
    """The part."""
    precision = "fp16" if order.cuda else "fp32"
    rates = measure_rates(order, PRECISIONS[precision])
    say(f"matrix product, {precision}", f"{rates.flop_s / 1e12:.3g}", "TFLOP/s")
    say("copy, read and written", f"{rates.byte_s / 1e9:.4g}", "GB/s")
    named = networks(order)
    for number, each in enumerate(named):
        if order.left_s < 5:
            say(each.label, "not reached", "the part's time was over")
            continue
        case = case_of(each, order)
        share = min(order.left_s / (len(named) - number), 6.0 if order.rehearse else 600.0)
        with torch.no_grad():
            measure_case(order, case, each.label, rates, share * 0.7)
            if each in (*networks(order, 1), FULL, TINY[1]):
                measure_batches(order, case, each.label, min(share * 0.2, 10.0))
        del case


if __name__ == "__main__":
    main(__doc__, run)
