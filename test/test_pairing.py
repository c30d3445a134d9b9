"""Images and depths paired by stamp."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vlocnetpp_ros.pairing import LONGEST, Pairing

TOLERANCE = 10


class Bench:
    """A pairing whose images and depths are their own stamps."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.unpaired: list[int] = []
        self.pairing: Pairing[int, int] = Pairing(
            TOLERANCE, lambda image, depth: self.pairs.append((image, depth)), self.unpaired.append
        )

    def image(self, stamp: int) -> None:
        self.pairing.image(stamp, stamp)

    def depth(self, stamp: int) -> None:
        self.pairing.depth(stamp, stamp)


def test_either_half_may_come_first() -> None:
    bench = Bench()
    bench.image(100)
    bench.depth(104)
    bench.depth(200)
    bench.image(195)
    assert bench.pairs == [(100, 104), (195, 200)]
    assert not bench.unpaired


def test_what_is_too_far_apart_is_no_pair() -> None:
    bench = Bench()
    bench.image(100)
    bench.depth(111)
    assert not bench.pairs
    bench.depth(300)
    bench.image(300)
    assert bench.pairs == [(300, 300)]
    assert bench.unpaired == [100], "older than an image that was answered"


def test_depth_that_stops_lets_images_go_one_by_one() -> None:
    bench = Bench()
    for stamp in range(0, 100 * (LONGEST + 3), 100):
        bench.image(stamp)
    assert bench.unpaired == [0, 100, 200]


def test_a_recording_that_starts_over_pairs_again() -> None:
    bench = Bench()
    for stamp in (1000, 1100):
        bench.image(stamp)
    bench.depth(2000)
    for stamp in (0, 100, 200):
        bench.image(stamp)
        bench.depth(stamp)
    assert bench.pairs == [(0, 0), (100, 100), (200, 200)]
    assert bench.unpaired == [1000, 1100]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), max_size=80))
def test_every_image_is_paired_once_or_unpaired_or_waits(events: list[tuple[bool, int]]) -> None:
    bench = Bench()
    images = []
    for number, (is_image, stamp) in enumerate(events):
        if is_image:
            images.append((number, stamp))
            bench.pairing.image(stamp, stamp)
        else:
            bench.depth(stamp)
    before = len(bench.unpaired)
    bench.pairing.clear()
    assert len(bench.pairs) + len(bench.unpaired) == len(images)
    assert len(bench.unpaired) - before <= LONGEST
    assert all(abs(image - depth) <= TOLERANCE for image, depth in bench.pairs)
