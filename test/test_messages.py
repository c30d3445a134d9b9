"""What happens at the border between messages and arrays, and the one-slot mailbox; without DDS."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from transforms3d import quaternions

from vlocnetpp_ros import frames, latest, odometry, stamps

POSE = np.array([1.0, -2.0, 3.0, *quaternions.axangle2quat([1.0, 2.0, -0.5], 0.7)])


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_survive_to_the_nanosecond(nanoseconds: int) -> None:
    assert stamps.stamp_ns(stamps.stamp_message(nanoseconds)) == nanoseconds
    assert stamps.stamp_ns(Time(sec=1, nanosec=5)) == 1_000_000_005


# Poses.


def test_quaternions_change_their_order_at_the_border_only() -> None:
    message = frames.to_pose(POSE)
    assert (message.orientation.w, message.orientation.x) == (POSE[3], POSE[4])
    np.testing.assert_array_equal(frames.from_pose(message), POSE)
    np.testing.assert_array_equal(frames.from_transform(frames.to_transform(POSE)), POSE)


def test_poses_compose_as_transforms3d_and_scipy_say() -> None:
    product = frames.compose(POSE, POSE)
    np.testing.assert_allclose(product[:3], quaternions.quat2mat(POSE[3:]) @ POSE[:3] + POSE[:3])
    np.testing.assert_allclose(product[3:], quaternions.qmult(POSE[3:], POSE[3:]))
    np.testing.assert_allclose(frames.compose(POSE, frames.inverse(POSE)), frames.IDENTITY, atol=1e-12)
    np.testing.assert_allclose(
        frames.rotation_matrix(POSE[3:]), Rotation.from_quat(POSE[[4, 5, 6, 3]]).as_matrix(), atol=1e-12
    )


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3),
    st.floats(0.01, 2.0),
)
def test_a_twist_held_for_the_time_gives_the_motion_back(linear: list, angular: list, seconds: float) -> None:
    from scipy.linalg import expm

    T = np.zeros((4, 4))
    T[:3, :3], T[:3, 3] = frames.cross_matrix(np.array(angular)), linear
    T = expm(T * min(seconds, 0.95 * np.pi / (np.linalg.norm(angular) + 1e-9)))
    seconds = min(seconds, 0.95 * np.pi / (np.linalg.norm(angular) + 1e-9))
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    v, omega = frames.twist(np.array([*T[:3, 3], w, x, y, z]), seconds)
    np.testing.assert_allclose(v, linear, atol=1e-5)
    np.testing.assert_allclose(omega, angular, atol=1e-5)


def test_a_camera_ahead_of_the_base_moves_sideways_when_the_base_turns() -> None:
    # 0.5 m ahead of a base that turns left with 1 rad/s and does not move; the camera's axes are the base's.
    base_camera = np.array([0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    linear, angular = frames.twist_at(base_camera, np.array([0.0, 0.5, 0.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(linear, 0.0, atol=1e-12)
    np.testing.assert_allclose(angular, [0, 0, 1])


def test_an_optical_frame_is_turned_into_the_body_frame() -> None:
    # REP-103: optical z is the body's x, optical x its -y, optical y its -z.
    base_optical = np.array([0, 0, 0, *quaternions.mat2quat(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))], float)
    linear, angular = frames.twist_at(base_optical, np.array([0.0, 0.0, 2.0]), np.array([0.0, -1.0, 0.0]))
    np.testing.assert_allclose(linear, [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(angular, [0, 0, 1], atol=1e-12)


def test_covariance_with_a_lever_agrees_with_drawn_errors() -> None:
    rng = np.random.default_rng(0)
    lever = np.array([0.4, -0.2, 1.0])
    shift, turn = 0.02 * rng.standard_normal((200_000, 3)), 0.01 * rng.standard_normal((200_000, 3))
    drawn = np.cov(np.hstack([shift + np.cross(turn, lever), turn]).T)
    covariance = frames.isotropic_covariance(0.02**2, 0.01**2, lever)
    np.testing.assert_allclose(covariance, drawn, atol=3e-6)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_odometry_starts_at_its_own_origin_with_x_forward_and_z_up() -> None:
    camera = odometry.DeadReckoning(linear_sigma=0.1, angular_sigma=0.05)
    start = camera.advance(None, None, None).pose_7
    optical_axes = frames.rotation_matrix(start[3:])
    np.testing.assert_allclose(optical_axes[:, 2], [1, 0, 0], atol=1e-12)  # where the camera looks
    np.testing.assert_allclose(optical_axes[:, 1], [0, 0, -1], atol=1e-12)  # its rows go down
    ahead = camera.advance(np.array([0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0]), 0.1, None)
    np.testing.assert_allclose(ahead.pose_7[:3], [0.5, 0, 0], atol=1e-12)
    base = odometry.DeadReckoning(linear_sigma=0.1, angular_sigma=0.05)
    moved = base.advance(None, None, POSE)  # the camera sits at POSE on the base, and the base at the origin
    np.testing.assert_allclose(frames.compose(moved.pose_7, frames.inverse(POSE)), frames.IDENTITY, atol=1e-12)


@pytest.mark.parametrize(
    ("parameter", "bounds", "expected"),
    [
        (-1.0, (0.018779, 0.0018779), (0.1, 0.01)),  # of a motion of 0.1 s, as velocities along one axis
        (-1.0, None, odometry.UNPREDICTED),
        (0.3, (0.018779, 0.0018779), (0.3, 0.3)),
        (0.0, None, (odometry.LEAST_SIGMA, odometry.LEAST_SIGMA)),
        (-1.0, (0.0, 0.0), (odometry.LEAST_SIGMA, odometry.LEAST_SIGMA)),
    ],
)
def test_the_twist_is_as_certain_as_the_model_says_unless_a_parameter_replaces_it(
    parameter: float, bounds: tuple[float, float] | None, expected: tuple[float, float]
) -> None:
    track = odometry.DeadReckoning(parameter, parameter)
    track.advance(None, None, None)
    motion = track.advance(frames.IDENTITY, 0.1, None, None if bounds is None else np.array(bounds))
    assert (motion.linear_variance, motion.angular_variance) == pytest.approx(np.square(expected))
    assert motion.position_variance == pytest.approx(odometry.FIRST_VARIANCE + expected[0] ** 2 * 0.01)


def test_odometry_goes_on_by_motions_and_is_held_at_a_cold_start() -> None:
    track = odometry.DeadReckoning(linear_sigma=0.1, angular_sigma=0.05)
    step = np.array([0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    first = track.advance(None, None, POSE)
    np.testing.assert_array_equal(first.pose_7, POSE)
    assert first.position_variance == odometry.FIRST_VARIANCE
    assert first.linear_variance == odometry.UNKNOWN_VARIANCE
    second = track.advance(step, 0.1, POSE)
    np.testing.assert_allclose(second.pose_7, frames.compose(POSE, step))
    np.testing.assert_allclose(second.linear_3, [1.0, 0.0, 0.0])
    assert second.linear_variance == pytest.approx(0.01)
    assert odometry.FIRST_VARIANCE < second.position_variance < 1e-3
    held = track.advance(None, None, POSE)
    np.testing.assert_allclose(held.pose_7, second.pose_7)
    assert held.position_variance == held.linear_variance == odometry.UNKNOWN_VARIANCE
    track.reset()
    np.testing.assert_array_equal(track.advance(None, None, POSE).pose_7, POSE)


# The mailbox.


class Bench:
    """A mailbox whose work waits until the test lets it go; so does finishing it, where `finishes` says so."""

    def __init__(self, held: str | None = None, finishes: bool = False) -> None:
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.finishing, self.finish = threading.Semaphore(0), threading.Semaphore(0)
        self.finishes = finishes
        self.worked: list[object] = []
        self.dropped: list[str] = []
        self.tally = latest.Tally()
        self.box = latest.Latest(self._work, self.tally, self._on_drop, self._on_error, held)

    def _work(self, item: object) -> latest.Finish:
        self.started.release()
        self.go.acquire()
        if isinstance(item, Exception):
            raise item
        return partial(self._finish, item)

    def _finish(self, item: object) -> None:
        if self.finishes:
            self.finishing.release()
            self.finish.acquire()
        if item == "unpublishable":
            raise RuntimeError(item)
        self.worked.append(item)

    def _on_drop(self, dropped: latest.Dropped) -> None:
        self.dropped.append(dropped.reason)

    def _on_error(self, error: Exception) -> latest.Dropped:
        return latest.Dropped("broken", str(error))


def test_the_newest_item_wins_and_every_item_is_counted() -> None:
    bench = Bench()
    bench.box.put("a")
    bench.started.acquire()
    for item in "bcd":
        bench.box.put(item)
    assert bench.tally.counts().pending == 2
    for _ in range(2):
        bench.go.release()
    bench.started.acquire()
    bench.box.close("closed")
    counts = bench.tally.counts()
    assert bench.worked == ["a", "d"]
    assert counts == latest.Counts(4, 2, {latest.NEWER: 2})
    assert counts.pending == 0


def test_items_wait_for_what_they_need_and_are_dropped_for_that_reason() -> None:
    bench = Bench(held="no camera_info")
    for item in "abc":
        bench.box.put(item)
    bench.box.release()
    bench.started.acquire()
    bench.go.release()
    bench.box.close("closed")
    assert bench.worked == ["c"]
    assert bench.tally.counts().dropped == {"no camera_info": 2}


def test_what_work_raises_drops_one_item_and_the_thread_lives_on() -> None:
    bench = Bench()
    for item in (latest.Dropped("undecodable", "x"), RuntimeError("boom"), "good"):
        bench.box.put(item)
        bench.started.acquire()
        bench.go.release()
    bench.box.close("closed")
    bench.box.refuse("disabled")
    assert bench.worked == ["good"]
    assert bench.dropped == ["undecodable", "broken", "disabled"]
    assert bench.tally.counts().pending == 0


def test_it_says_for_how_long_it_has_been_at_work_on_an_item() -> None:
    bench = Bench()
    assert bench.box.busy_s == 0.0
    began = time.monotonic()
    bench.box.put("a")
    bench.started.acquire()
    first = bench.box.busy_s
    time.sleep(0.01)
    assert first + 0.01 <= bench.box.busy_s <= time.monotonic() - began
    bench.go.release()
    bench.box.close("closed")
    assert bench.box.busy_s == 0.0 and bench.worked == ["a"]


def test_closing_drops_what_waits() -> None:
    bench = Bench()
    bench.box.put("a")
    bench.started.acquire()
    bench.box.put("b")
    bench.go.release()
    bench.box.close("deactivated")
    counts = bench.tally.counts()
    assert counts.processed + sum(counts.dropped.values()) == counts.received == 2
    # Which of the two the worker still got is its own business; whatever it did not is dropped for this reason.
    assert set(counts.dropped) <= {"deactivated"}


def test_the_next_item_is_worked_on_while_the_last_is_finished_and_then_waits_for_it() -> None:
    bench = Bench(finishes=True)
    bench.box.put("a")
    bench.started.acquire()
    bench.go.release()
    bench.finishing.acquire()
    bench.box.put("b")
    bench.started.acquire()  # "b" is in work, and "a" is not finished yet
    assert bench.worked == [] and bench.tally.counts().pending == 2
    bench.go.release()
    bench.box.put("c")
    assert not bench.started.acquire(timeout=0.05), "nothing queues up behind what is not finished"
    bench.finish.release()
    bench.finishing.acquire()
    assert bench.worked == ["a"]
    bench.finish.release()
    bench.started.acquire()
    bench.go.release()
    bench.finish.release()
    bench.box.close("closed")
    assert bench.worked == ["a", "b", "c"] and bench.tally.counts() == latest.Counts(3, 3, {})


def test_what_finishing_raises_drops_that_item_alone() -> None:
    bench = Bench()
    for item in ("unpublishable", "good"):
        bench.box.put(item)
        bench.started.acquire()
        bench.go.release()
    bench.box.close("closed")
    assert bench.worked == ["good"] and bench.dropped == ["broken"]
    assert bench.tally.counts() == latest.Counts(2, 1, {"broken": 1})
