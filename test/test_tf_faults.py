"""What is wrong with the robot's own TF: the node leaves it out, says so, and sends no transform that rests on it.

Over DDS with tf2; skipped where it is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from random_camera_models import random_model
from ros_peers import FRAME, PERIOD_NS, Peer, isolate, needs, node_process
from test_tf import BASE_CAMERA, ODOM_BASE, TEN_S, Robot

from vlocnetpp_ros import frames
from vlocnetpp_ros.stamps import stamp_message

LOST = {
    "NaN": np.full(7, np.nan),
    "infinity": np.array([np.inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    "a quaternion of zeros": np.zeros(7),
    "a quaternion that is too long": ODOM_BASE * [1, 1, 1, 1.2, 1.2, 1.2, 1.2],
}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    needs("tf2_ros", "tf2_msgs")
    isolate(tmp_path_factory.mktemp("log"))
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model") / "random.ts")


@pytest.fixture(scope="module")
def _node(peer: Peer, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = {"publish_tf": "map_to_odom", "base_frame": "base_link", "tf_keep_alive_s": 0.1}
    with node_process(tmp_path_factory.mktemp("node"), model=str(model), autostart=True, **settings) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid) and peer.active_and_matched())
        peer.calibrate()
        yield


@pytest.fixture
def robot(_node: None, peer: Peer) -> Iterator[Robot]:
    robot = Robot(peer)
    yield robot
    robot.close()


def send(robot: Robot, stamp: int, pose_7: np.ndarray, parent: str = "odom", child: str = "base_link") -> None:
    """One sample as it is, with whatever is wrong with it."""
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    message = TransformStamped(child_frame_id=child, transform=frames.to_transform(pose_7))
    message.header.frame_id, message.header.stamp = parent, stamp_message(stamp)
    # Not through the broadcaster of static transforms, which sends the first of each frame for ever.
    publisher = robot._moving.pub_tf if child == "base_link" else robot._fixed.pub_tf
    publisher.publish(TFMessage(transforms=[message]))


@pytest.mark.parametrize("kind", LOST)
def test_no_correction_rests_on_odometry_that_was_lost(peer: Peer, robot: Robot, kind: str) -> None:
    robot.fix()
    peer.refresh()
    left_out, given_up = peer.count("tf/left_out"), peer.count("corrections/given_up")
    robot.sent.clear()
    before, lost, after = (peer.next_stamp(TEN_S if i == 0 else PERIOD_NS) for i in range(3))
    send(robot, before, ODOM_BASE)
    send(robot, lost, LOST[kind])
    send(robot, after, ODOM_BASE)
    peer.publish_image(lost)
    peer.wait_for_answer(lost)  # the pose needs no odometry, and goes out
    peer.wait_for_count("corrections/given_up", given_up + 1)
    peer.refresh()
    assert peer.count("tf/left_out") == left_out + 1
    assert "odom -> base_link" in peer.diagnostics["tf/last_left_out"]
    assert all(stamp < before for stamp in robot.stamps()), "the one before may be sent again, nothing newer"
    robot.fix()  # what comes after is corrected


def test_odometry_that_is_lost_is_said_and_the_end_of_it_too(peer: Peer, robot: Robot) -> None:
    robot.fix()

    def said() -> bool:
        stamp = peer.next_stamp()
        send(robot, stamp, LOST["NaN"])
        peer.publish_image(stamp)
        peer.wait_for_answer(stamp)
        return peer.diagnostics["message"].startswith("TF: odom -> base_link is not finite") or (
            "was lost there" in peer.diagnostics["message"]
        )

    peer.wait(said, "a word about the odometry")
    assert peer.diagnostics["level"] == "1"

    def well() -> bool:
        robot.fix()
        return peer.diagnostics["level"] == "0"

    peer.wait(well, "the end of the warning")


def test_a_static_transform_that_changes_counts_from_then_on(peer: Peer, robot: Robot) -> None:
    robot.fix()
    peer.refresh()
    changed = peer.count("tf/static_changed")
    moved_7 = BASE_CAMERA + [0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    poses = {}
    for name, base_camera_7 in (("before", BASE_CAMERA), ("after", moved_7)):
        send(robot, peer.stamp_ns, base_camera_7, "base_link", FRAME)
        if name == "after":
            peer.wait_for_count("tf/static_changed", changed + 1)
        peer.next_stamp(TEN_S)  # a cold start, so that the camera's pose is that of the picture alone
        picture_stamp = peer.stamp_ns - peer.stamp_ns % 2**32 + 5 + 2**32
        peer.stamp_ns = picture_stamp  # the picture is drawn from the stamp modulo 2^32
        send(robot, picture_stamp, ODOM_BASE)
        peer.publish_image(picture_stamp)
        peer.wait_for_answer(picture_stamp)
        pose_7 = frames.from_pose(peer.received["pose"][picture_stamp].pose)
        poses[name] = frames.compose(pose_7, base_camera_7)
    # The same picture, so the same camera; the base is elsewhere, by the new mount.
    np.testing.assert_allclose(poses["before"], poses["after"], atol=1e-5)
    assert peer.count("tf/static_changed") == changed + 1
    send(robot, peer.stamp_ns, BASE_CAMERA, "base_link", FRAME)
