"""Corrections that wait for their odometry, without TF: the part of it that decides, and what it costs the mailbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from vlocnetpp_ros.corrections import FAILING, MOST, CorrectionCounts, Corrections, NoTransformError, TrustedPose
from vlocnetpp_ros.frames import IDENTITY, Floats
from vlocnetpp_ros.latest import Dropped, Finish, Latest, Tally

PERIOD_NS = 33_333_333


class Odometry:
    """What TF knows: odometry up to a stamp, from another."""

    def __init__(self) -> None:
        self.first_ns, self.last_ns = 0, -1

    def look_up(self, camera_frame: str, stamp_ns: int) -> Floats:
        if not self.first_ns <= stamp_ns <= self.last_ns:
            raise NoTransformError(f"TF has no odom -> {camera_frame}")
        return IDENTITY


class Bench:
    def __init__(self, wait_s: float = 30.0) -> None:
        self.odometry = Odometry()
        self.sent: list[int] = []
        self.reasons: list[str] = []
        self._changed = threading.Condition()
        self.corrections = Corrections(self.odometry.look_up, self._send, self._give_up, wait_s)

    def _send(self, pose: TrustedPose, _: Floats) -> None:
        with self._changed:
            self.sent.append(pose.image_ns)
            self._changed.notify_all()

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self.reasons.append(reason)
            self._changed.notify_all()

    def add(self, *stamps_ns: int) -> None:
        for stamp_ns in stamps_ns:
            self.corrections.add(stamp_ns, "camera", IDENTITY, stamp_ns)

    def wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, 30.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.corrections.close()


def test_a_correction_whose_odometry_is_there_is_sent_at_once(bench: Bench) -> None:
    bench.odometry.last_ns = 10
    bench.add(5)
    bench.wait(lambda: bench.sent == [5])
    assert bench.corrections.counts() == CorrectionCounts(sent=1)


def test_a_correction_waits_and_is_sent_when_its_odometry_arrives(bench: Bench) -> None:
    bench.add(5)
    assert bench.corrections.counts() == CorrectionCounts(waiting=1)
    bench.odometry.last_ns = 5
    bench.wait(lambda: bench.sent == [5])


def test_of_several_the_newest_that_can_be_sent_is_and_what_is_newer_goes_on_waiting(bench: Bench) -> None:
    bench.add(1, 2, 3, 4)
    bench.odometry.last_ns = 3
    bench.wait(lambda: bench.sent == [3])
    assert bench.corrections.counts() == CorrectionCounts(sent=1, overtaken=2, waiting=1)
    bench.odometry.last_ns = 9
    bench.wait(lambda: bench.sent == [3, 4])


def test_a_pose_from_before_the_odometry_began_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.odometry.first_ns, bench.odometry.last_ns = 10, 20
    bench.add(1, 15)
    bench.wait(lambda: bench.sent == [15])
    assert bench.corrections.counts() == CorrectionCounts(sent=1, overtaken=1)


def test_what_waits_too_long_is_given_up_counted_and_said_and_one_that_is_sent_ends_the_complaint() -> None:
    bench = Bench(wait_s=0.02)
    try:
        bench.add(*range(FAILING))
        bench.wait(lambda: len(bench.reasons) == FAILING)
        assert bench.corrections.failure() == "TF has no odom -> camera"
        assert bench.corrections.counts() == CorrectionCounts(given_up=FAILING)
        bench.odometry.last_ns = 100
        bench.add(50)
        bench.wait(lambda: bench.sent == [50])
        assert bench.corrections.failure() == ""
    finally:
        bench.corrections.close()


def test_nothing_is_sent_of_what_was_forgotten(bench: Bench) -> None:
    bench.add(1, 2)
    bench.corrections.forget()
    bench.odometry.last_ns = 5
    bench.add(3)
    bench.wait(lambda: bench.sent == [3])
    assert bench.corrections.counts() == CorrectionCounts(sent=1, forgotten=2)


def test_the_waiting_list_is_bounded(bench: Bench) -> None:
    bench.add(*range(MOST + 5))
    assert bench.corrections.counts() == CorrectionCounts(given_up=5, waiting=MOST)


def test_an_error_of_the_sender_gives_these_up_and_the_next_is_sent() -> None:
    sent: list[int] = []
    told = threading.Event()

    def send(pose: TrustedPose, _: Floats) -> None:
        if pose.image_ns == 1:
            raise RuntimeError("no wire")
        sent.append(pose.image_ns)
        told.set()

    reasons: list[str] = []
    corrections = Corrections(
        lambda frame, stamp: IDENTITY, send, lambda reason: (reasons.append(reason), told.set())[0]
    )
    try:
        corrections.add(1, "camera", IDENTITY, 1)
        assert told.wait(30.0) and reasons == ["RuntimeError: no wire"]
        told.clear()
        corrections.add(2, "camera", IDENTITY, 2)
        assert told.wait(30.0) and sent == [2]
    finally:
        corrections.close()


LATE_S = {"on time": 0.0, "50 ms late": 0.05, "100 ms late": 0.1, "150 ms late": 0.15, "never": None}


def answered(late_s: float | None, images: int, work_s: float) -> tuple[int, list[float]]:
    """Images answered by a mailbox with a stand-in for the network while odometry is late; seconds from put to pose."""
    taken: dict[int, float] = {}
    latencies: list[float] = []
    published = threading.Semaphore(0)

    def look_up(_: str, stamp_ns: int) -> Floats:
        if late_s is None or time.monotonic() < taken[stamp_ns] + late_s:
            raise NoTransformError("late")
        return IDENTITY

    corrections = Corrections(look_up, lambda pose, odom: None)

    def work(stamp_ns: int) -> Finish:
        time.sleep(work_s)
        return partial(publish, stamp_ns)

    def publish(stamp_ns: int) -> None:
        latencies.append(time.monotonic() - taken[stamp_ns])
        corrections.add(stamp_ns, "camera", IDENTITY, stamp_ns)
        published.release()

    box = Latest(work, Tally(), lambda dropped: None, lambda error: Dropped("error", str(error)))
    for image in range(images):
        taken[image] = time.monotonic()
        box.put(image)
        assert published.acquire(timeout=30.0)  # the next image comes when this one's pose is out
    box.close("closed")
    counts = corrections.counts()
    corrections.close()
    assert counts.sent + counts.overtaken + counts.waiting + counts.given_up == images
    return len(latencies), latencies


def test_late_odometry_costs_the_poses_nothing() -> None:
    """Every image is answered, and as fast as on time; waiting for odometry would add its lateness to each."""
    images, work_s = 30, 0.005
    medians = {}
    for name, late_s in LATE_S.items():
        count, latencies = answered(late_s, images, work_s)
        assert count == images
        medians[name] = float(np.median(latencies))
    for name, median in medians.items():
        # A busy machine adds milliseconds here and there; the shortest lateness that would show is 50 of them.
        assert median < medians["on time"] + 0.02, (name, medians)
