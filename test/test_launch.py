"""Launch files, TF and label names: what needs ROS packages that PyPI does not have. Skipped where they are missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from conftest import ROOT
from random_camera_models import random_model
from ros_peers import (
    FRAME,
    IMAGE_TOPIC,
    INFO_TOPIC,
    TIMEOUT_S,
    Peer,
    isolate,
    node_process,
)

from vlocnetpp_ros import environment, frames
from vlocnetpp_ros.parameters import DECLARATIONS

LAUNCH_FILES = ("localize", "replay", "demo")
BASE_CAMERA = np.array([0.2, 0.05, 0.4, 0.5, -0.5, 0.5, -0.5])
"""T_base_camera: an optical frame that looks forward, ahead of and above the base."""
ODOM_BASE = np.array([1.0, -2.0, 0.0, np.cos(0.3), 0.0, 0.0, np.sin(0.3)])


def needs(*packages: str) -> None:
    missing = [name for name in packages if not environment.has(name)]
    if missing:
        pytest.skip(f"not installed here, as in ROS 2 from PyPI: {', '.join(missing)}")


def loaded(name: str) -> ModuleType:
    needs("launch", "launch_ros")
    spec = importlib.util.spec_from_file_location(f"{name}_launch", ROOT / "launch" / f"{name}.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launch")


@pytest.fixture(scope="module")
def peer(folder: Path) -> Iterator[Peer]:
    isolate(folder)
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_model(folder / "random.ts")


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_a_launch_file_loads_and_every_argument_is_described(name: str) -> None:
    description = loaded(name).generate_launch_description()
    arguments = description.get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert len(argument.description) > 5, argument.name


def test_arguments_that_override_parameters_are_parameters() -> None:
    assert set(loaded("localize").OVERRIDES) <= {declaration.name for declaration in DECLARATIONS}


def test_the_user_s_fast_dds_profile_wins_over_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("localize")
    from launch.actions import SetEnvironmentVariable

    def sets() -> list[SetEnvironmentVariable]:
        entities = module.generate_launch_description().entities
        return [entity for entity in entities if isinstance(entity, SetEnvironmentVariable)]

    for variable in environment.FAST_DDS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert len(sets()) == len(environment.FAST_DDS_VARIABLES)
    monkeypatch.setenv(environment.FAST_DDS_VARIABLES[0], "/mine.xml")
    assert {action.value[0].text for action in sets()} == {"/mine.xml"}


def test_rviz_shows_what_the_node_publishes() -> None:
    shown = yaml.safe_load((ROOT / "rviz/localize.rviz").read_text())["Visualization Manager"]
    topics = {display["Topic"]["Value"] for display in shown["Displays"] if "Topic" in display}
    assert topics == {
        f"/localizer/{name}"
        for name in ("pose", "pose_with_covariance", "path", "odometry", "semantic/mask", "semantic/color")
    } | {"/localizer/semantic/overlay"}
    assert shown["Global Options"]["Fixed Frame"] == "map"
    assert "rviz_default_plugins/TF" in {display["Class"] for display in shown["Displays"]}


def test_ros2_launch_starts_the_node_active_and_ends_it(peer: Peer, model: Path, folder: Path) -> None:
    needs("launch", "launch_ros")
    ros2 = shutil.which("ros2")
    if ros2 is None:
        pytest.skip("the command ros2 is not installed here")
    from ament_index_python.packages import get_packages_with_prefixes

    if environment.PACKAGE not in get_packages_with_prefixes():
        pytest.skip(f"{environment.PACKAGE} is not in the package index; build it with colcon and source it")
    arguments = [f"model:={model}", f"image_topic:={IMAGE_TOPIC}", "publish_tf:=none", "device:=cpu"]
    with (folder / "launch.log").open("wb") as log:
        process = subprocess.Popen(
            [ros2, "launch", environment.PACKAGE, "localize.launch.py", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def seen() -> bool:
            peer.publish_info()
            peer.publish_image(peer.next_stamp())
            return bool(peer.received["pose"]) and bool(peer.received["semantic/mask"])

        peer.wait(seen, "an answer of the launched node")
        assert IMAGE_TOPIC.rpartition("/")[0] + "/camera_info" == INFO_TOPIC
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
        assert "process has finished cleanly" in (folder / "launch.log").read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


class Robot:
    """Publishes the robot's own TF and listens to what the node adds to it."""

    def __init__(self, peer: Peer) -> None:
        import tf2_ros

        self._tf2 = tf2_ros
        self._peer = peer
        self.buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self.buffer, peer.node)
        self._moving = tf2_ros.TransformBroadcaster(peer.node)
        self._fixed = tf2_ros.StaticTransformBroadcaster(peer.node)

    def close(self) -> None:
        """Static transforms are latched: the next test's camera must not hear of this robot."""
        self._listener.unregister()
        for broadcaster in (self._moving, self._fixed):
            self._peer.node.destroy_publisher(broadcaster.pub_tf)

    def send(self, stamp_ns: int) -> None:
        """odom -> base_link at a stamp, base_link -> camera once and for all."""
        from geometry_msgs.msg import TransformStamped

        from vlocnetpp_ros.messages import stamp_message

        for broadcaster, parent, child, pose_7 in (
            (self._fixed, "base_link", FRAME, BASE_CAMERA),
            (self._moving, "odom", "base_link", ODOM_BASE),
        ):
            message = TransformStamped(child_frame_id=child, transform=frames.to_transform(pose_7))
            message.header.frame_id = parent
            message.header.stamp = stamp_message(stamp_ns)
            broadcaster.sendTransform(message)

    def find(self, parent: str, child: str) -> np.ndarray | None:
        from rclpy.time import Time

        try:
            return frames.from_transform(self.buffer.lookup_transform(parent, child, Time()).transform)
        except self._tf2.TransformException:
            return None


@pytest.fixture
def robot(peer: Peer) -> Iterator[Robot]:
    needs("tf2_ros", "tf2_msgs")
    robot = Robot(peer)
    yield robot
    robot.close()


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
        stamp = peer.next_stamp(10_000_000_000)
        robot.send(stamp)
        peer.publish_image(stamp)
        pose, covariance, odometry = peer.answer(stamp, "pose", "pose_with_covariance", "odometry")
        expected = frames.from_pose(pose.pose)

        def corrected() -> bool:
            found = robot.find("lab", "base_link")
            return found is not None and bool(np.allclose(found, expected, atol=1e-6))

        # The chain map -> odom -> base_link says the same as the published pose of the base.
        peer.wait(corrected, f"lab -> base_link to become {expected}, it is {robot.find('lab', 'base_link')}")
    assert odometry.child_frame_id == "base_link"
    matrix = np.reshape(covariance.pose.covariance, (6, 6))
    # 0.45 m from the camera: a wrong rotation moves the base.
    assert matrix[0, 0] > 0 and np.abs(matrix[:3, 3:]).max() > 0
    assert np.linalg.eigvalsh(matrix).min() > 0


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


def test_launch_files_are_python_that_compiles_here_too() -> None:
    for name in LAUNCH_FILES:
        path = ROOT / "launch" / f"{name}.launch.py"
        compile(path.read_text(), str(path), "exec")
    assert sys.version_info >= (3, 10)
