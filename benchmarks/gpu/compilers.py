"""torch.compile, AOTInductor and ONNX Runtime, which build for a minute: the flagship, then the full multitask network.

ONNX Runtime's state goes through the host, since the file's outputs are copied there; its CUDA provider is used where
it is installed, else the row says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.networks import Named, case_of, networks
from benchmarks.gpu.part import Order, main, milliseconds, reason, say, spread
from vlocnetpp.runtime.cuda_graph import Recording, record_cuda
from vlocnetpp.speed import WAYS, Case
from vlocnetpp.speed.measure import largest_difference
from vlocnetpp.speed.ways import FAILURES
from vlocnetpp.step import Answer

SMALL = (Named("stl_pose", 0.0625, 32, 32),)
"""For the rehearsal: Inductor takes minutes of one core for a network of several tasks."""
LEAST_S = 10.0
"""A build is not begun with less."""


def in_a_graph(case: Case, order: Order) -> Callable[..., Any]:
    """The compiled step, recorded as a CUDA graph."""
    if not order.cuda:
        raise RuntimeError("a CUDA graph needs a GPU")
    step = torch.compile(case.step, dynamic=False)
    recording = Recording(step, (*case.frames[1], case.cold()), record_cuda, resident=True)
    return lambda inputs, state: recording(*inputs, state)


def run(order: Order) -> None:
    """The part."""
    builders: dict[str, Callable[[Case], Callable[..., Any]]] = {
        "onnx": lambda case: WAYS["onnx"](case, order.scratch),
        "compile": lambda case: WAYS["compile"](case, order.scratch),
        "compile, CUDA graph": lambda case: in_a_graph(case, order),
        "aot-inductor": lambda case: WAYS["aot-inductor"](case, order.scratch),
    }
    for named in SMALL if order.rehearse else networks(order, 2):
        case = case_of(named, order)
        with torch.inference_mode():
            _, state = case.step(*case.frames[0], case.cold())
            expected: Answer = case.step(*case.frames[1], state)[0]
        for name, build in builders.items():
            label = f"{named.label}, {name}"
            if order.left_s < LEAST_S:
                say(label, "not reached", "the part's time was over")
                continue
            began = time.monotonic()
            try:
                with torch.inference_mode():
                    step = build(case)
                    answer = step(case.frames[1], state)[0]
                    built_s = time.monotonic() - began
                    seconds = min(4.0, order.left_s)
                    frames = 10 if order.rehearse else 2000
                    times: np.ndarray = milliseconds(order, lambda: step(case.frames[1], state), frames, seconds)  # noqa: B023
            except FAILURES as error:
                say(label, "does not run", reason(error))
                continue
            apart = largest_difference({key: value.to(order.device) for key, value in answer.items()}, expected)
            say(label, spread(times), f"ms; built in {built_s:.0f} s, difference {apart:.0e}")


if __name__ == "__main__":
    main(__doc__, run)
