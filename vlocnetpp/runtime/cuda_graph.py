"""A step as a CUDA graph: all of its kernels in one launch, on memory that is allocated once.

Not yet the loader's default: nobody has run it on a GPU. It checks itself against the plain step before it answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from vlocnetpp.step import Answer

Step = Callable[..., tuple[Any, Any]]
Work = Callable[[], tuple[Any, Any]]
Recorder = Callable[[Work, torch.device], tuple[Callable[[], None], tuple[Any, Any]]]
"""Runs work on fixed memory once. Returns a function that repeats it, and the tensors that hold its results."""
RECORDED = "CUDA graph"
"""Entry in a model's `optimizations` for a recorded step."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.05}
"""Largest difference of any pose, motion or log scale from the plain step, and share of other class ids."""
WARM_UP = 4
"""Steps before the recording: TorchScript profiles two and compiles, cuDNN chooses its kernels."""
CHECKED = 3
"""Steps, each on the state of the one before, in which both must answer alike."""
MOST = 2
"""Recordings kept, one for each size of image and depth; each holds memory for all maps of a step."""


def record_cuda(work: Work, device: torch.device) -> tuple[Callable[[], None], tuple[Any, Any]]:
    """Record work on a GPU. Raises RuntimeError where it waits for the GPU or takes memory of the host."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            results = work()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, results


class Recording:
    """One step on inputs of one size; `resident` as in `RecordedStep`."""

    def __init__(self, step: Step, inputs: tuple[Any, ...], record: Recorder, resident: bool = False) -> None:
        *frame, state = inputs
        self._resident = resident
        self._frame = [value.clone() for value in frame]
        self._state = {name: value.clone() for name, value in state.items()}

        def work() -> tuple[Any, Any]:
            answer, new_state = step(*self._frame, self._state)
            if not resident:
                return answer, new_state
            for name, mine in self._state.items():
                mine.copy_(new_state[name])
            return answer, self._state

        self._replay, self._results = record(work, self._frame[0].device)

    def __call__(self, *inputs: Any) -> tuple[Any, Any]:
        *frame, state = inputs
        for mine, value in zip(self._frame, frame):
            mine.copy_(value, non_blocking=True)
        for name, mine in self._state.items():
            if state[name].data_ptr() != mine.data_ptr():
                mine.copy_(state[name], non_blocking=True)
        self._replay()
        answer, new_state = self._results
        if self._resident:
            return dict(answer), dict(new_state)
        # Copies, made on the device: the next step overwrites the results.
        return (
            {name: value.clone() for name, value in answer.items()},
            {name: value.clone() for name, value in new_state.items()},
        )


class RecordedStep(torch.nn.Module):
    """Takes steps as the plain one does, from recordings that are made at the first frame of each size and checked.

    For a size whose recording fails or gives other answers the plain step is used, with a warning.

    Args:
        resident: the recording itself writes the state to where it reads it, and hands out that memory and its answers
            without a copy; both hold until the next step.
    """

    def __init__(self, step: Step, dtype: torch.dtype, record: Recorder = record_cuda, resident: bool = False) -> None:
        super().__init__()
        self.resident = resident
        self._step, self._dtype, self._record = step, dtype, record
        self._recordings: dict[Any, Step] = {}

    @torch.inference_mode()
    def forward(self, *inputs: Any) -> tuple[Any, Any]:
        *frame, _state = inputs
        size = tuple(tuple(value.shape) for value in frame)
        if size not in self._recordings:
            try:
                recording: Step = self.recorded(inputs)
            except RuntimeError as error:
                warnings.warn(f"no CUDA graph for images of {size[0]}: {error}", RuntimeWarning, stacklevel=2)
                recording = self._step
            while len(self._recordings) >= MOST:
                del self._recordings[next(iter(self._recordings))]
            self._recordings[size] = recording
        return self._recordings[size](*inputs)

    def recorded(self, inputs: tuple[Any, ...]) -> Recording:
        """A recording for inputs of this size. Raises RuntimeError where it cannot be made or answers otherwise."""
        recording = Recording(self._step, inputs, self._record, self.resident)
        *frame, state = inputs
        recorded_state = state
        for _ in range(CHECKED):
            answer, state = self._step(*frame, state)
            found, recorded_state = recording(*frame, recorded_state)
            apart = _difference(answer, found)
            if not apart <= TOLERANCE[self._dtype]:
                raise RuntimeError(f"its answers differ by {apart:.2g} from those of the plain step")
        return recording


def record_step(
    step: torch.nn.Module, example: tuple[Any, ...], dtype: torch.dtype, resident: bool = False
) -> tuple[torch.nn.Module, str]:
    """The recorded step and `RECORDED`, or the plain step and the reason where the example cannot be recorded."""
    recorded = RecordedStep(step, dtype, resident=resident)
    try:
        with torch.inference_mode():
            recorded.recorded(example)
    except RuntimeError as error:
        return step, f"no CUDA graph: {str(error).strip().splitlines()[0]}"
    return recorded, RECORDED


def _difference(answer: Answer, found: Answer) -> float:
    """Largest over all numbers and the share of other class ids; NaN stays NaN."""
    gaps = [
        (value.double() - found[name].double()).abs().max()
        if value.is_floating_point()
        else (value != found[name]).double().mean()
        for name, value in answer.items()
    ]
    return float(torch.stack(gaps).max())
