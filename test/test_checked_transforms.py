"""What a lost localization or odometry sends to TF: left out, counted, and the gap it leaves is not bridged."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped

from vlocnetpp_ros import frames
from vlocnetpp_ros.checked_transforms import (
    LASTING_S,
    MOST_GAPS,
    NO_ROTATION,
    NOT_FINITE,
    CheckedTransforms,
    fault_of,
)
from vlocnetpp_ros.stamps import stamp_message, stamp_ns

GOOD = np.array([1.0, 2.0, 3.0, 0.8, 0.0, 0.0, 0.6])
NAN, INFINITE = np.full(7, np.nan), np.array([np.inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
ZERO = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0])
LONG = np.array([0.0, 0.0, 0.0, 1.1, 0.0, 0.0, 0.0])


class Kept:
    """What came through to the buffer, child and stamp."""

    def __init__(self) -> None:
        self.moving: list[tuple[str, int]] = []
        self.static: list[str] = []
        self.cleared = 0

    def set_transform(self, message: TransformStamped, authority: str) -> None:
        assert authority == "someone"
        self.moving.append((message.child_frame_id, stamp_ns(message.header.stamp)))

    def set_transform_static(self, message: TransformStamped, authority: str) -> None:
        assert authority == "someone"
        self.static.append(message.child_frame_id)

    def clear(self) -> None:
        self.cleared += 1


class Tf:
    def __init__(self) -> None:
        self.kept, self.warnings = Kept(), []
        self.checked = CheckedTransforms(self.kept, self.warnings.append)

    def send(self, at_ns: int, pose_7: np.ndarray = GOOD, parent: str = "odom", child: str = "base_link") -> None:
        self.checked.set_transform(message(parent, child, pose_7, at_ns), "someone")

    def fix(self, pose_7: np.ndarray = GOOD, parent: str = "base_link", child: str = "camera") -> None:
        self.checked.set_transform_static(message(parent, child, pose_7, 0), "someone")

    def lost(self, at_ns: int) -> bool:
        return bool(self.checked.lost("odom", "camera", at_ns))


def message(parent: str, child: str, pose_7: np.ndarray, at_ns: int) -> TransformStamped:
    made = TransformStamped(child_frame_id=child, transform=frames.to_transform(pose_7))
    made.header.frame_id, made.header.stamp = parent, stamp_message(at_ns)
    return made


@pytest.fixture
def tf() -> Tf:
    tf = Tf()
    tf.fix()
    return tf


@pytest.mark.parametrize(
    ("pose_7", "fault"), [(NAN, NOT_FINITE), (INFINITE, NOT_FINITE), (ZERO, NO_ROTATION), (LONG, NO_ROTATION)]
)
def test_what_is_no_transform_is_left_out_counted_and_said(tf: Tf, pose_7: np.ndarray, fault: str) -> None:
    tf.send(10)
    tf.send(20, pose_7)
    tf.send(30)
    tf.fix(pose_7)
    assert tf.kept.moving == [("base_link", 10), ("base_link", 30)]
    assert tf.kept.static == ["camera"]
    values = tf.checked.values()
    assert (values["tf/left_out"], values[f"tf/left_out/{fault}"]) == ("2", "2")
    assert values["tf/last_left_out"].startswith("base_link -> camera ")
    assert tf.checked.fault().endswith("such samples are left out, 2 so far")
    assert tf.warnings == []


@pytest.mark.parametrize("length", [0.9951, 1.0049])
def test_a_quaternion_within_the_tolerance_of_tf2_is_one(length: float) -> None:
    assert fault_of(frames.to_transform(np.array([0.0, 0.0, 0.0, length, 0.0, 0.0, 0.0]))) == ""
    assert fault_of(frames.to_transform(np.array([0.0, 0.0, 0.0, length**2, 0.0, 0.0, 0.0]))) == NO_ROTATION


def test_nothing_is_known_between_the_neighbours_of_what_was_left_out(tf: Tf) -> None:
    assert not tf.lost(5), "TF itself says that there is no odometry yet"
    tf.send(10)
    tf.send(20, NAN)
    assert [tf.lost(at) for at in (5, 10, 11, 20, 30)] == [False, False, True, True, True]
    tf.send(30, ZERO)
    tf.send(40)
    tf.send(50)
    assert [tf.lost(at) for at in (10, 11, 30, 39, 40, 45, 50)] == [False, True, True, True, False, False, False]
    assert tf.checked.lost("odom", "camera", 20) == "odom -> base_link was lost there"


def test_before_the_first_good_sample_nothing_is_known(tf: Tf) -> None:
    tf.send(10, NAN)
    tf.send(20)
    assert [tf.lost(at) for at in (10, 19, 20)] == [True, True, False]


def test_a_frame_that_is_not_on_the_way_does_not_matter(tf: Tf) -> None:
    tf.send(10)
    tf.send(10, GOOD, "base_link", "arm")
    tf.send(20, NAN, "base_link", "arm")
    tf.send(20, NAN, "map", "odom")
    tf.send(30)
    assert not tf.lost(20)
    assert tf.checked.values()["tf/left_out"] == "2"


def test_time_that_begins_anew_has_no_gaps_and_keeps_its_counts(tf: Tf) -> None:
    tf.send(100)
    tf.send(200, NAN)
    tf.checked.clear()
    tf.send(10)
    assert not tf.lost(5)
    assert not tf.lost(300)
    assert tf.kept.cleared == 1
    assert tf.checked.values()["tf/left_out"] == "1"


def test_the_gaps_that_are_kept_are_bounded_and_the_latest_ones(tf: Tf) -> None:
    for i in range(3 * MOST_GAPS):
        tf.send(100 * i)
        tf.send(100 * i + 50, NAN)
    newest = 100 * (3 * MOST_GAPS - 1)
    assert tf.lost(newest - 50)
    assert not tf.lost(50)


def test_frames_in_a_circle_end_the_search(tf: Tf) -> None:
    tf.send(10, GOOD, "camera", "base_link")
    assert not tf.lost(10)


def test_a_static_transform_that_changes_is_counted_and_logged_once(tf: Tf) -> None:
    tf.fix(GOOD * [1, 1, 1, -1, -1, -1, -1])  # the same rotation
    assert tf.checked.values()["tf/static_changed"] == "0"
    tf.fix(GOOD + [0.01, 0, 0, 0, 0, 0, 0])
    tf.fix(GOOD + [0.01, 0, 0, 0, 0, 0, 0])
    assert tf.checked.values()["tf/static_changed"] == "1"
    assert tf.warnings == ["the static transform base_link -> camera has changed; the latest counts from now on"]
    tf.fix(GOOD + [0.01, 0, 0, 0, 0, 0, 0], parent="torso")
    assert tf.checked.values()["tf/static_changed"] == "2"
    assert tf.kept.static == ["camera"] * 5, "tf2 takes the latest"


def test_the_status_is_good_again_when_nothing_was_left_out_for_a_while(
    tf: Tf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.send(10, NAN)
    assert tf.checked.fault().startswith("TF: odom -> base_link is not finite;")
    later = time.monotonic() + LASTING_S + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert tf.checked.fault() == ""
