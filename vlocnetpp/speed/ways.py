"""The compared ways to run a step, in one table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlocnetpp.export.files import export_network
from vlocnetpp.export.onnx import write_onnx
from vlocnetpp.export.parity import Inputs, onnx_runner, torch_runner
from vlocnetpp.network import Network
from vlocnetpp.runtime import ModelFileError, RingBuffer, load_model
from vlocnetpp.runtime.cuda_graph import RECORDED
from vlocnetpp.runtime.model_file import metadata_to_json
from vlocnetpp.speed.case import Case, Run
from vlocnetpp.step import Answer, Prediction, State


class Recompute(nn.Module):
    """Computes both frames at every step, as a network without memory would have to."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, previous_B3HW: Tensor, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, cold: State
    ) -> Prediction:
        _, state = self.network(previous_B3HW, K_B33, depth_B1HW, cold)
        prediction, _ = self.network(image_B3HW, K_B33, depth_B1HW, state)
        return prediction


def script(case: Case) -> torch.jit.ScriptModule:
    """The step as TorchScript, neither frozen nor optimized."""
    return torch.jit.script(copy.deepcopy(case.step))


def optimized(case: Case, folder: Path) -> Run:
    """PyTorch's own further passes: oneDNN's layouts on a CPU, fused convolutions on a GPU."""
    return torch_runner(torch.jit.optimize_for_inference(script(case)))


def channels_last(case: Case, folder: Path) -> Run:
    """Frozen, with weights in the layout in which a camera's pixels lie."""
    step: Any = copy.deepcopy(case.step)  # whose `to` takes a layout, which its type annotations leave out
    step.to(memory_format=torch.channels_last)
    return torch_runner(torch.jit.freeze(torch.jit.script(step)))


def runtime(case: Case, folder: Path, cuda_graph: bool = False) -> Run:
    """As on the robot: the file as loaded by the runtime, the state through the ring buffer."""
    path = case.file
    if path is None:
        path = folder / "runtime.ts"
        export_network(copy.deepcopy(case.step.network).cpu().float(), path, K_33=case.metadata.K_33)
    model = load_model(path, str(case.device), case.runtime_precision, cuda_graph)
    if cuda_graph and model.optimizations[-1] != RECORDED:
        raise ModelFileError(model.optimizations[-1])
    ring = RingBuffer(8, model.metadata.state_shapes, model.device, model.dtype)
    step = torch_runner(model.step)
    clock = iter(range(1, 1 << 62))

    def run(inputs: Inputs, state: State) -> tuple[Answer, State]:
        answer, new_state = step(inputs, {name: value.to(model.dtype) for name, value in state.items()})
        with torch.inference_mode():
            ring.push(next(clock), new_state)
        return answer, ring.latest()

    return run


def onnx_runtime(case: Case, folder: Path) -> Run:
    """The ONNX file that an export writes beside, in fp32 on the CPU, on a GPU as its provider of CUDA runs it."""
    cuda = case.device.type == "cuda"
    if not cuda and case.precision != "fp32":
        raise ModelFileError("compared on the CPU in fp32 only")
    path = folder / "way.onnx"
    network = copy.deepcopy(case.step.network).cpu().float() if cuda else case.step.network
    write_onnx(network, path, case.precision, metadata_to_json(case.metadata), case.image_size)
    return onnx_runner(path, "CUDAExecutionProvider" if cuda else "CPUExecutionProvider")


def compiled(case: Case, folder: Path) -> Run:
    """torch.compile: kernels of Inductor, compiled here in minutes."""
    return torch_runner(torch.compile(copy.deepcopy(case.step), dynamic=False))


def ahead_of_time(case: Case, folder: Path) -> Run:
    """torch.export and AOTInductor: a shared library for this machine, which a robot would have to trust unchecked."""
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    with torch.no_grad():
        program = torch.export.export(copy.deepcopy(case.step), (*case.frames[0], case.cold()))
        library = aoti_compile_and_package(program, package_path=str(folder / "way.pt2"))
    compiled_step = aoti_load_package(str(library))

    def step(*inputs: Any) -> tuple[Answer, State]:
        *frame, state = inputs
        # The library assumes the memory layout of the example and does not check it.
        found: tuple[Answer, State] = compiled_step(*frame, {name: value.contiguous() for name, value in state.items()})
        return found

    return torch_runner(step)


def recomputing(case: Case, folder: Path) -> Run:
    """The frozen step on the previous frame and on this one."""
    step = torch_runner(torch.jit.freeze(script(case)))
    cold = case.cold()

    def run(inputs: Inputs, state: State) -> tuple[Answer, State]:
        _, past = step(case.frames[0], cold)
        return step(inputs, past)

    return run


WAYS: dict[str, Callable[[Case, Path], Run]] = {
    "eager": lambda case, folder: torch_runner(case.step),
    "scripted": lambda case, folder: torch_runner(script(case)),
    "frozen": lambda case, folder: torch_runner(torch.jit.freeze(script(case))),
    "optimized": optimized,
    "channels-last": channels_last,
    "runtime": runtime,
    "cuda-graph": lambda case, folder: runtime(case, folder, cuda_graph=True),
    "recomputing": recomputing,
    "onnx": onnx_runtime,
    "compile": compiled,
    "aot-inductor": ahead_of_time,
}
"""Each builds a way from a case, with a scratch folder that lives until all of them are timed."""
SLOW = ("compile", "aot-inductor")
"""Ways that compile for minutes; run where they are named."""
FAILURES = (RuntimeError, ValueError, ImportError, OSError, TypeError, AttributeError, AssertionError, KeyError)
"""Errors of compilers and runtimes that cannot run a step; the reason becomes the way's row."""
