"""The features of the last N frames in preallocated device memory, keyed by the stamp of their image."""

from __future__ import annotations

import torch

from vlocnetpp.step import State, cold_state


def _in_layout(state: State) -> State:
    """On a CPU maps are stored channels last, as in the step, so that copies need no reordering."""
    return {
        name: value.contiguous(memory_format=torch.channels_last)
        if value.ndim == 4 and value.device.type == "cpu"
        else value
        for name, value in state.items()
    }


class RingBuffer:
    """Bounded memory of states; a slot is overwritten in place when its turn comes again.

    Args:
        capacity: number of frames kept.
        shapes: shape of each field of a state for one stream, without the batch axis.
        device, dtype: where and how the states live.
        copies: whether a state is copied into its slot. If not, that of the newest frame stays where the step wrote it,
            which is for a step that overwrites it with the next, and the capacity is 1.
    """

    def __init__(
        self,
        capacity: int,
        shapes: dict[str, tuple[int, ...]],
        device: torch.device,
        dtype: torch.dtype,
        copies: bool = True,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a ring buffer holds at least one frame, not {capacity}")
        if not copies and capacity > 1:
            raise ValueError(f"a ring buffer without copies holds one frame, not {capacity}")
        self.capacity = capacity
        self._copies = copies
        self._slots = _in_layout(cold_state(shapes, capacity, device, dtype))
        self._cold = _in_layout(cold_state(shapes, 1, device, dtype))
        self._stamps_ns: list[int] = []
        """Oldest first; the state of the i-th oldest lies in slot `(self._next - len + i) % capacity`."""
        self._next = 0

    def __len__(self) -> int:
        return len(self._stamps_ns)

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Stamps of the frames kept, oldest first."""
        return tuple(self._stamps_ns)

    @property
    def memory_bytes(self) -> int:
        """Device memory held, the same from the first frame to the last."""
        return sum(
            tensor.numel() * tensor.element_size() for state in (self._slots, self._cold) for tensor in state.values()
        )

    @property
    def cold(self) -> State:
        """The state at a cold start: zeros."""
        return self._cold

    def push(self, stamp_ns: int, state: State) -> None:
        """Keep the state of one frame, dropping the oldest when full.

        Raises ValueError unless the stamp is after the last one; the caller must clear the buffer first.
        """
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            raise ValueError(f"stamp {stamp_ns} is not after {self._stamps_ns[-1]}; clear the buffer first")
        if not self._copies:
            self._slots = dict(state)
        else:
            for name, slot in self._slots.items():
                slot[self._next].copy_(state[name][0])
        self._next = (self._next + 1) % self.capacity
        self._stamps_ns.append(stamp_ns)
        del self._stamps_ns[: -self.capacity]

    def at(self, stamp_ns: int) -> State:
        """The state of the frame with this stamp, as views into the buffer. Raises KeyError if it is not kept."""
        try:
            index = self._stamps_ns.index(stamp_ns)
        except ValueError:
            raise KeyError(stamp_ns) from None
        slot = (self._next - len(self._stamps_ns) + index) % self.capacity
        return {name: tensor[slot : slot + 1] for name, tensor in self._slots.items()}

    def latest(self) -> State:
        """The state of the newest frame, or the cold state when empty."""
        return self.at(self._stamps_ns[-1]) if self._stamps_ns else self._cold

    def clear(self) -> None:
        """Forget every frame; the memory stays."""
        self._stamps_ns.clear()
        self._next = 0
