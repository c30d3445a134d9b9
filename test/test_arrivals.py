"""The share of a camera's images that arrive, from their stamps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp_ros.arrivals import FEWEST, WINDOW, Arrivals

PERIOD_NS = 33_333_333


def arrivals(numbers: list[int], jitter_ns: int = 0) -> Arrivals:
    """A 30 Hz camera of which only the images with these numbers arrive."""
    rng = np.random.default_rng(0)
    found = Arrivals()
    for number in numbers:
        found.note(number * PERIOD_NS + int(rng.integers(-jitter_ns, jitter_ns + 1)), 1.0)
    return found


def test_nothing_is_said_before_there_is_enough() -> None:
    assert arrivals(list(range(FEWEST - 1))).share() is None
    assert arrivals(list(range(FEWEST))).share() is not None


@pytest.mark.parametrize("jitter_ns", [0, 2_000_000])
def test_a_whole_stream_is_whole(jitter_ns: int) -> None:
    share = arrivals(list(range(100)), jitter_ns).share()
    assert share is not None
    assert share.received_hz == pytest.approx(30.0, rel=0.02)
    assert share.share > 0.9


def test_the_measured_best_effort_loss_is_seen() -> None:
    """13 of 30 images a second, lost at random: what the default transport does to 720p."""
    rng = np.random.default_rng(1)
    share = arrivals([i for i in range(300) if rng.random() < 13 / 30], 1_000_000).share()
    assert share is not None
    assert share.published_hz == pytest.approx(30.0, rel=0.15)
    assert share.share == pytest.approx(13 / 30, abs=0.12)


def test_a_pause_and_a_jump_back_begin_anew() -> None:
    found = arrivals(list(range(WINDOW)))
    found.note(WINDOW * PERIOD_NS + 2_000_000_000, 1.0)
    assert found.share() is None
    found = arrivals(list(range(WINDOW)))
    found.note(0, 1.0)
    assert found.share() is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=0, max_size=200))
def test_any_stamps_give_a_share_between_nothing_and_all(stamps: list[int]) -> None:
    found = Arrivals()
    for stamp in stamps:
        found.note(stamp, 3600.0)
    share = found.share()
    assert share is None or 0.0 < share.share <= 1.0
