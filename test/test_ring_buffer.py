"""The ring buffer of states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp.runtime import (
    RingBuffer,
)
from vlocnetpp.step import State

# --- the ring buffer ------------------------------------------------------------------------------------------------

SHAPES = {"known": (2,), "seen": (2,)}
"""Any names do."""


def state_of(value: float) -> State:
    return {name: torch.full((1, 2), value) for name in SHAPES}


@given(st.integers(1, 5), st.lists(st.integers(1, 10), max_size=20))
@settings(max_examples=60)
def test_ring_keeps_the_last_n_by_stamp(capacity, steps):
    ring = RingBuffer(capacity, SHAPES, torch.device("cpu"), torch.float32)
    memory = ring.memory_bytes
    stamps = np.cumsum(steps).tolist()
    for stamp in stamps:
        ring.push(stamp, state_of(float(stamp)))
    kept = stamps[-capacity:] if stamps else []
    assert list(ring.stamps_ns) == kept and len(ring) == len(kept)
    for stamp in kept:
        assert all((value == stamp).all() for value in ring.at(stamp).values())
    for stamp in set(stamps) - set(kept):
        with pytest.raises(KeyError):
            ring.at(stamp)
    latest = ring.latest()
    assert all((value == (kept[-1] if kept else 0)).all() for value in latest.values())
    assert ring.memory_bytes == memory


@given(st.integers(-5, 0))
def test_ring_refuses_stamps_that_do_not_advance(step):
    ring = RingBuffer(3, SHAPES, torch.device("cpu"), torch.float32)
    ring.push(10, state_of(1.0))
    with pytest.raises(ValueError, match="not after"):
        ring.push(10 + step, state_of(2.0))
    assert ring.stamps_ns == (10,) and (ring.latest()["known"] == 1).all()


def test_ring_never_allocates_and_forgets_on_clear():
    ring = RingBuffer(2, SHAPES, torch.device("cpu"), torch.float32)
    ring.push(1, state_of(1.0))
    where = ring.at(1)["known"].data_ptr()
    ring.push(2, state_of(2.0))
    ring.push(3, state_of(3.0))
    assert ring.at(3)["known"].data_ptr() == where
    ring.clear()
    assert len(ring) == 0 and (ring.latest()["known"] == 0).all()
    ring.push(1, state_of(5.0))
    assert (ring.latest()["known"] == 5).all()


def test_ring_needs_room():
    with pytest.raises(ValueError, match="at least one"):
        RingBuffer(0, SHAPES, torch.device("cpu"), torch.float32)
