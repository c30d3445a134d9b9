"""TF and the names of the classes: what needs ROS packages that PyPI does not have. Skipped where they are missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_camera_models import random_model
from ros_peers import FOCAL, FRAME, HEIGHT, WIDTH, Peer, isolate, needs, node_process, picture

from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp_ros import frames
from vlocnetpp_ros.outputs import BOUND_TO_AXIS
from vlocnetpp_ros.stamps import stamp_message, stamp_ns

BASE_CAMERA = np.array([0.2, 0.05, 0.4, 0.5, -0.5, 0.5, -0.5])
"""T_base_camera: an optical frame that looks forward, ahead of and above the base."""
ODOM_BASE = np.array([1.0, -2.0, 0.0, np.cos(0.3), 0.0, 0.0, np.sin(0.3)])
RATE_HZ = 50.0
FUTURE_NS = 100_000_000
TEN_S = 10_000_000_000


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


class Robot:
    """Publishes the robot's own TF, and listens to what the node adds to it."""

    def __init__(self, peer: Peer) -> None:
        import tf2_ros
        from tf2_msgs.msg import TFMessage

        self._tf2 = tf2_ros
        self._peer = peer
        self.buffer = tf2_ros.Buffer()
        self.sent: list[tuple[int, np.ndarray, int]] = []
        """Of each map->odom: stamp, pose, and when it came (monotonic), nanoseconds."""
        self.placed: list[tuple[int, np.ndarray]] = []
        """Of each map->camera: stamp and pose."""
        self._listener = tf2_ros.TransformListener(self.buffer, peer.node)
        self._corrections = peer.node.create_subscription(TFMessage, "/tf", self._keep, 100)
        self._moving = tf2_ros.TransformBroadcaster(peer.node)
        self._fixed = tf2_ros.StaticTransformBroadcaster(peer.node)

    def close(self) -> None:
        """Static transforms are latched: the next test's camera must not hear of this robot."""
        self._listener.unregister()
        self._peer.node.destroy_subscription(self._corrections)
        for broadcaster in (self._moving, self._fixed):
            self._peer.node.destroy_publisher(broadcaster.pub_tf)

    def _keep(self, message: Any) -> None:
        for each in message.transforms:
            if each.child_frame_id == "odom":
                pose_7 = frames.from_transform(each.transform)
                self.sent.append((stamp_ns(each.header.stamp), pose_7, time.monotonic_ns()))
            elif each.child_frame_id == FRAME:
                self.placed.append((stamp_ns(each.header.stamp), frames.from_transform(each.transform)))

    def send(self, stamp: int) -> None:
        """odom -> base_link at a stamp, base_link -> camera once and for all."""
        from geometry_msgs.msg import TransformStamped

        for broadcaster, parent, child, pose_7 in (
            (self._fixed, "base_link", FRAME, BASE_CAMERA),
            (self._moving, "odom", "base_link", ODOM_BASE),
        ):
            message = TransformStamped(child_frame_id=child, transform=frames.to_transform(pose_7))
            message.header.frame_id = parent
            message.header.stamp = stamp_message(stamp)
            broadcaster.sendTransform(message)

    def find(self, parent: str, child: str) -> np.ndarray | None:
        from rclpy.time import Time

        try:
            return frames.from_transform(self.buffer.lookup_transform(parent, child, Time()).transform)
        except self._tf2.TransformException:
            return None

    def drive(self, step_ns: int) -> int:
        """One image with the odometry of its stamp, which is returned."""
        stamp = self._peer.next_stamp(step_ns)
        self.send(stamp)
        self._peer.publish_image(stamp)
        return stamp

    def fix(self, step_ns: int = TEN_S) -> int:
        """Drive until an image is answered with a correction; the stamp of that image."""
        driven: list[int] = []
        self.sent.clear()

        def corrected() -> list[int]:
            return [stamp for stamp in driven if any(each[0] == stamp + FUTURE_NS for each in self.sent)]

        while not corrected():
            assert len(driven) < 20, "no correction of twenty images"
            driven.append(self.drive(step_ns))
            self._peer.wait_for_answer(driven[-1])
            # Its odometry may have come too late for it, then the next image is answered.
            until = time.monotonic() + 1.0
            self._peer.wait(lambda until=until: bool(corrected()) or time.monotonic() > until, "map -> odom")
        return corrected()[-1]

    def stamps(self) -> list[int]:
        return [stamp for stamp, _, _ in self.sent]


@pytest.fixture
def robot(peer: Peer) -> Iterator[Robot]:
    robot = Robot(peer)
    yield robot
    robot.close()


def test_no_stamp_is_sent_twice_while_simulated_time_stands_still(
    peer: Peer, robot: Robot, model: Path, tmp_path: Path
) -> None:
    settings = {"publish_tf": "map_to_odom", "tf_rate_hz": 200.0, "use_sim_time": True, "autostart": True}
    with node_process(tmp_path, model=str(model), **settings) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid) and peer.active_and_matched())
        peer.calibrate()
        stamp = robot.fix()
        peer.next_report()
        peer.next_report()
        assert robot.stamps().count(stamp + FUTURE_NS) == 1
        assert robot.stamps()[-1] == stamp + FUTURE_NS


def test_map_to_odom_corrects_the_robot_s_odometry_and_poses_are_of_the_base(
    peer: Peer, robot: Robot, model: Path, tmp_path: Path
) -> None:
    # Not ahead of the image, or TF would blend this correction with the one before.
    settings = {"publish_tf": "map_to_odom", "base_frame": "base_link", "tf_future_s": 0.0, "autostart": True}
    begin = peer.stamp_ns
    with node_process(tmp_path, model=str(model), **settings):

        def seen() -> bool:
            stamp = peer.next_stamp()
            robot.send(stamp)
            peer.publish_info()
            peer.publish_image(stamp)
            return robot.find("lab", "odom") is not None and any(at > begin for at in peer.received["odometry"])

        peer.wait(seen, "map -> odom in TF")
        # A gap, so that the image is a cold start that can be compared with the model alone.
        stamp = peer.next_stamp(TEN_S)
        robot.send(stamp)
        peer.publish_image(stamp)
        pose, covariance, odometry = peer.answer(stamp, "pose", "pose_with_covariance", "odometry")
        base_7 = frames.from_pose(pose.pose)

        def corrected() -> bool:
            found = robot.find("lab", "base_link")
            return found is not None and bool(np.allclose(found, base_7, atol=1e-6))

        # The chain map -> odom -> base_link says the same as the published pose of the base.
        peer.wait(corrected, f"lab -> base_link to become {base_7}, it is {robot.find('lab', 'base_link')}")
    assert odometry.child_frame_id == "base_link"

    localizer = Localizer(load_model(model, "cpu"))
    K_33 = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    estimate = localizer.localize(picture(stamp), K_33, stamp, "rgb8")
    assert estimate.pose_7 is not None and estimate.sigma_2 is not None
    # T_map_camera = T_map_base T_base_camera
    np.testing.assert_allclose(frames.compose(base_7, BASE_CAMERA), estimate.pose_7, atol=1e-5)
    # 0.45 m from the camera: a wrong rotation moves the base, by the lever crossed with it.
    x, y, z = base_7[:3] - estimate.pose_7[:3]
    crossed_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    position, rotation = (estimate.sigma_2 / BOUND_TO_AXIS) ** 2
    matrix = np.reshape(covariance.pose.covariance, (6, 6))
    np.testing.assert_allclose(matrix[:3, :3], position * np.eye(3) + rotation * crossed_33 @ crossed_33.T, atol=1e-6)
    np.testing.assert_allclose(matrix[3:, 3:], rotation * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.abs(matrix[:3, 3:]), rotation * np.abs(crossed_33), atol=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_map_to_camera_is_sent_once_at_the_image_s_stamp(peer: Peer, robot: Robot, model: Path, tmp_path: Path) -> None:
    """Sent ahead or again, it would say that a moving camera stands still."""
    begin = peer.next_stamp(60_000_000_000)
    with node_process(tmp_path, model=str(model), publish_tf="map_to_camera", tf_rate_hz=200.0, autostart=True):

        def seen() -> bool:
            peer.publish_info()
            peer.publish_image(peer.next_stamp())
            return any(stamp > begin for stamp in peer.received["pose"]) and bool(robot.placed)

        peer.wait(seen, "map -> camera in TF")
        peer.next_report()
        peer.next_report()
        stamps = [stamp for stamp, _ in robot.placed]
        assert stamps == sorted(set(stamps)), "each image once"
        assert set(stamps) <= set(peer.received["pose"]), "no other time"
        for stamp, pose_7 in robot.placed:
            published_7 = frames.from_pose(peer.answer(stamp, "pose")[0].pose)
            np.testing.assert_allclose(pose_7, published_7, atol=1e-9)


def test_map_to_camera_and_the_names_of_the_classes(peer: Peer, robot: Robot, model: Path, tmp_path: Path) -> None:
    needs("vision_msgs")
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo

    names: list[str] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    begin = peer.next_stamp(60_000_000_000)
    with node_process(tmp_path, model=str(model), publish_tf="map_to_camera", map_frame="site", autostart=True):

        def seen() -> bool:
            peer.publish_info()
            peer.publish_image(peer.next_stamp())
            return any(stamp > begin for stamp in peer.received["pose"]) and robot.find("site", FRAME) is not None

        peer.wait(seen, "site -> camera in TF")
        # Subscribed late: the names are latched.
        subscription = peer.node.create_subscription(
            LabelInfo,
            "/localizer/semantic/label_info",
            lambda message: names.extend(each.class_name for each in message.class_map),
            latched,
        )
        peer.wait(lambda: names == ["Floor", "Wall", "Box"], "the names of the classes")
        peer.node.destroy_subscription(subscription)


# From here on one node serves all tests; the tests above have ended theirs.


@pytest.fixture(scope="module")
def _corrector(peer: Peer, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = {"publish_tf": "map_to_odom", "tf_rate_hz": RATE_HZ, "tf_keep_alive_s": 60.0, "gate_lose_after": 2}
    with node_process(tmp_path_factory.mktemp("node"), model=str(model), autostart=True, **settings) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid) and peer.active_and_matched())
        peer.calibrate()
        yield


@pytest.fixture
def correcting(_corrector: None, robot: Robot) -> Robot:
    """The robot beside a node that corrects its odometry."""
    return robot


def test_a_correction_is_sent_again_while_time_goes_on(peer: Peer, correcting: Robot) -> None:
    before = time.monotonic_ns()
    stamp = correcting.fix()
    peer.wait(lambda: len(correcting.sent) >= 20, "the correction to be sent again")
    sent = [each for each in correcting.sent if each[0] >= stamp + FUTURE_NS][:20]
    stamps = [each[0] for each in sent]
    assert stamps[0] == stamp + FUTURE_NS
    assert all(later > earlier for earlier, later in pairwise(stamps))
    for at_ns, pose_7, came_ns in sent:
        assert 0 <= at_ns - stamp - FUTURE_NS <= came_ns - before
        np.testing.assert_array_equal(pose_7, sent[0][1])
    # Nineteen steps at 50 Hz, of which the first may be short and one may be late.
    assert stamps[-1] - stamps[0] >= 17e9 / RATE_HZ


def test_a_pose_that_comes_late_is_stamped_after_what_was_sent(peer: Peer, correcting: Robot) -> None:
    stamp = correcting.fix()
    peer.wait(lambda: correcting.stamps()[-1] > stamp + FUTURE_NS + 100_000_000, "time to be sent ahead")
    first = correcting.sent[-1][1]
    peer.wait(lambda: correcting.drive(1_000_000) > 0 and not np.array_equal(correcting.sent[-1][1], first), "another")
    stamps = correcting.stamps()
    assert all(later > earlier for earlier, later in pairwise(stamps))


def test_a_bag_that_begins_again_is_followed(peer: Peer, correcting: Robot) -> None:
    """TF ignores odometry from long before what it knows; without forgetting that, the node would be silent."""
    late = correcting.fix()
    peer.stamp_ns -= 100 * TEN_S
    correcting.fix()
    early = correcting.fix()
    assert early < late
    assert max(correcting.stamps()) < late, "of the time before"


def test_no_correction_while_the_camera_is_lost(peer: Peer, correcting: Robot) -> None:
    correcting.fix()
    assert peer.set_parameter("gate_uncertainty_m", 1e-6).successful
    peer.wait(lambda: bool(correcting.drive(TEN_S)) and peer.diagnostics.get("localized") == "false", "to be lost")
    silent = len(correcting.sent)
    peer.next_report()
    peer.next_report()
    correcting.drive(TEN_S)
    peer.refresh()
    assert len(correcting.sent) == silent
    assert peer.diagnostics["message"].startswith("not localized: uncertainty")

    assert peer.set_parameter("gate_uncertainty_m", 0.0).successful
    regained: list[int] = []

    def sent_again() -> bool:
        regained.append(correcting.drive(TEN_S))
        return len(correcting.sent) > silent

    peer.wait(sent_again, "map -> odom after the camera is localized again")
    assert correcting.sent[silent][0] - FUTURE_NS in regained
    assert len(regained) >= 5, "five good poses in a row"


def reset(peer: Peer) -> None:
    assert peer.trigger_reset().success


def back(peer: Peer) -> None:
    peer.stamp_ns -= 100 * TEN_S


@pytest.mark.parametrize("begin_anew", [reset, back])
def test_no_correction_of_what_is_over_while_the_new_poses_are_not_trusted(
    peer: Peer, correcting: Robot, begin_anew: Callable[[Peer], None]
) -> None:
    """One withheld pose is not the end elsewhere; here nothing is left to go on from."""
    correcting.fix()
    assert peer.set_parameter("gate_uncertainty_m", 1e-6).successful
    try:
        peer.refresh()
        withheld = peer.count("withheld")
        begin_anew(peer)
        correcting.drive(TEN_S)
        peer.wait_for_count("withheld", withheld + 1)
        peer.next_report()
        silent = len(correcting.sent)
        peer.next_report()
        peer.next_report()
        assert len(correcting.sent) == silent
        assert peer.count("withheld") == withheld + 1
    finally:
        assert peer.set_parameter("gate_uncertainty_m", 0.0).successful
    correcting.fix()


def test_no_correction_long_after_the_last_pose(peer: Peer, correcting: Robot) -> None:
    assert peer.set_parameter("tf_keep_alive_s", 0.2).successful
    stamp = correcting.fix()
    peer.next_report()
    peer.next_report()
    ended = len(correcting.sent)
    peer.next_report()
    assert len(correcting.sent) == ended
    assert correcting.stamps()[-1] <= stamp + FUTURE_NS + 200_000_000
    assert peer.set_parameter("tf_keep_alive_s", 60.0).successful
    peer.next_report()
    assert len(correcting.sent) == ended, "what has ended comes back with the next pose only"
    correcting.fix()


def test_no_correction_of_a_node_that_is_not_active(peer: Peer, correcting: Robot) -> None:
    correcting.fix()
    assert peer.deactivate()
    peer.next_report()
    silent = len(correcting.sent)
    peer.next_report()
    assert len(correcting.sent) == silent
    assert peer.activate()
    peer.wait_for_matches()
    peer.calibrate()
    correcting.fix()
