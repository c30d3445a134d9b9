"""Pixels to the device and answers back: plainly, or through pinned memory with one wait a frame.

Nobody has run the second on a GPU; docs/speed.md says what is unproven. On a CPU nothing is moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.step import Answer


def pinned_memory(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Host memory that a GPU reads and writes by itself, while the host goes on."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def wait(device: torch.device) -> None:
    """Until the device has done all that was asked of it."""
    torch.cuda.current_stream(device).synchronize()


class Transfers:
    """Moves the arrays of one stream of frames, one frame at a time.

    Args:
        device: where the network runs.
        pinned: copy what goes up into pinned memory first, from which the device fetches it while the host goes on.
        one_wait: bring all answers down at once and wait once, not for each of them.
    """

    def __init__(self, device: torch.device, pinned: bool = False, one_wait: bool = False) -> None:
        self.device = device
        self.pinned, self.one_wait = (wanted and device.type == "cuda" for wanted in (pinned, one_wait))
        self._staged: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._constants: dict[str, tuple[bytes, Tensor]] = {}

    def up(self, name: str, array: NDArray[Any]) -> Tensor:
        """The array on the device. Where it is pinned, the frame before must have been brought down."""
        host = torch.from_numpy(np.ascontiguousarray(array))
        if not self.pinned:
            return host.to(self.device)
        return self._stage(name, host).copy_(host).to(self.device, non_blocking=True)

    def constant(self, name: str, array: NDArray[Any]) -> Tensor:
        """As `up`, for a small array that hardly ever changes: moved only when it does."""
        key = array.tobytes()
        if name not in self._constants or self._constants[name][0] != key:
            self._constants[name] = key, torch.from_numpy(array.copy()).to(self.device)
        return self._constants[name][1]

    def down(self, answer: Answer) -> dict[str, NDArray[Any]]:
        """The first row of each tensor as an array of its own."""
        if not self.one_wait:
            return {name: value[0].cpu().numpy() for name, value in answer.items()}
        staged = {
            name: self._stage(name, value[0]).copy_(value[0], non_blocking=True) for name, value in answer.items()
        }
        wait(self.device)
        return {name: value.numpy().copy() for name, value in staged.items()}

    def _stage(self, name: str, like: Tensor) -> Tensor:
        """Pinned memory for tensors of this name; for one size, since a stream of frames has one."""
        key = name, tuple(like.shape)
        if key not in self._staged:
            self._staged = {other: value for other, value in self._staged.items() if other[0] != name}
            self._staged[key] = pinned_memory(key[1], like.dtype)
        return self._staged[key]
