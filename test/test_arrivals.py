"""The share of a camera's images that arrive, from the numbers that the publisher gives to its messages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp_ros.arrivals import FEWEST, WINDOW, Arrivals, sequence_number

PERIOD_S = 1 / 30


def arrivals(numbers: list[int], period_s: float = PERIOD_S) -> Arrivals:
    """A publisher of which only the messages with these numbers arrive."""
    found = Arrivals()
    for number in numbers:
        found.note(number * period_s, number, 1.0)
    return found


def test_nothing_is_said_before_there_is_enough() -> None:
    assert arrivals(list(range(FEWEST - 1))).share() is None
    assert arrivals(list(range(FEWEST))).share() is not None


@pytest.mark.parametrize("period_s", [PERIOD_S, 0.25])
def test_a_whole_stream_is_whole_at_any_rate(period_s: float) -> None:
    share = arrivals(list(range(100)), period_s).share()
    assert share is not None
    assert share.received_hz == pytest.approx(1 / period_s)
    assert share.share == 1.0


def test_a_camera_that_skips_is_no_loss() -> None:
    """Uneven stamps, as of a bag that holds some of the images, are no loss: the numbers have no hole."""
    rng = np.random.default_rng(1)
    found, at_s = Arrivals(), 0.0
    for number in range(WINDOW):
        at_s += PERIOD_S * rng.integers(1, 5)
        found.note(at_s, number, 1.0)
    share = found.share()
    assert share is not None and share.share == 1.0


def test_the_measured_best_effort_loss_is_seen() -> None:
    """13 of 30 images a second, lost at random: what the default transport does to 720p."""
    rng = np.random.default_rng(1)
    share = arrivals([i for i in range(300) if rng.random() < 13 / 30]).share()
    assert share is not None
    assert share.published_hz == pytest.approx(30.0, rel=0.01)
    assert share.share == pytest.approx(13 / 30, abs=0.12)


def test_a_pause_and_another_publisher_begin_anew() -> None:
    found = arrivals(list(range(WINDOW)))
    found.note(WINDOW * PERIOD_S + 2.0, WINDOW, 1.0)
    assert found.share() is None
    found = arrivals(list(range(WINDOW)))
    found.note(WINDOW * PERIOD_S, 0, 1.0)
    assert found.share() is None


def test_a_middleware_that_does_not_number_its_messages_says_nothing() -> None:
    assert sequence_number({}) is None and sequence_number({"publication_sequence_number": None}) is None
    found = arrivals(list(range(WINDOW)))
    found.note(WINDOW * PERIOD_S, None, 1.0)
    assert found.share() is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**12)), min_size=0, max_size=200))
def test_any_numbers_give_a_share_between_nothing_and_all(messages: list[tuple[float, int]]) -> None:
    found = Arrivals()
    for at_s, number in sorted(messages):
        found.note(at_s, number, 3600.0)
    share = found.share()
    assert share is None or 0.0 < share.share <= 1.0
