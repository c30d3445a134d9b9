"""The other side of the node in tests: a process that runs it, and a camera with subscriptions that talks to it.

Everything goes over real DDS between two processes. Nothing sleeps: `Peer.wait` returns when what it waits for arrives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from vlocnetpp_ros import environment

HEIGHT, WIDTH = 48, 72
FOCAL = 60.0
IMAGE_TOPIC = "/camera/image"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth"
FRAME = "camera_optical"
CLASSES = (("Floor", (128, 64, 128)), ("Wall", (70, 70, 70)), ("Box", (220, 20, 60)))
PERIOD_NS = 33_000_000
UNGATED = {"gate_uncertainty_m": 0.0, "gate_uncertainty_deg": 0.0, "gate_disagreement": 0.0}
"""Random weights answer poses that no gate would let through."""
TIMEOUT_S = 60.0
"""Long, since the machine may be busy with other things; a passing test never waits for it."""


def isolate(folder: Path) -> None:
    """A DDS domain of this test run alone, on this machine alone; before rclpy starts."""
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOG_DIR"] = str(folder)
    os.environ["OMP_NUM_THREADS"] = "1"


def needs(*packages: str) -> None:
    """Skip the test where a package that PyPI lacks is not installed."""
    missing = [name for name in packages if not environment.has(name)]
    if missing:
        pytest.skip(f"not installed here, as in ROS 2 from PyPI: {', '.join(missing)}")


@contextmanager
def node_process(folder: Path, name: str = "localizer", **parameters: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The localization node as a process of its own; its log is `folder/node.log`. Ends with it."""
    values = {"image_topic": IMAGE_TOPIC, "publish_tf": "none", "device": "cpu", **UNGATED, **parameters}
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vlocnetpp_ros.localization_node",
                "--ros-args",
                "--params-file",
                str(file),
                "--remap",
                f"__node:={name}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C, twice, as it comes from the terminal and from `ros2 launch`; the exit status."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    return process.wait(TIMEOUT_S)


class Peer:
    """A camera, a subscriber and a lifecycle manager in one."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("peer", context=self._context)
        self._changed = threading.Condition()
        self._clients: dict[str, Any] = {}
        self.received: dict[str, dict[int, Any]] = {}
        """Messages by topic and stamp in nanoseconds."""
        self.diagnostics: dict[str, str] = {}
        """Values of the latest status, and its `level` and `message`."""
        self.reports = 0
        """Diagnostics received so far."""
        self.parameters: dict[str, str | float] = {}
        """What was set last."""
        self.stamp_ns = 1_700_000_000_000_000_000
        self._image = self.node.create_publisher(Image, IMAGE_TOPIC, 10)
        self._compressed = self.node.create_publisher(CompressedImage, f"{IMAGE_TOPIC}/compressed", 10)
        self._info = self.node.create_publisher(CameraInfo, INFO_TOPIC, 10)
        self._depth = self.node.create_publisher(Image, DEPTH_TOPIC, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for topic, message in {
            "pose": PoseStamped,
            "pose_with_covariance": PoseWithCovarianceStamped,
            "path": PathMessage,
            "odometry": Odometry,
            "semantic/mask": Image,
            "semantic/color": Image,
            "semantic/overlay": Image,
        }.items():
            self.received[topic] = {}
            self.node.create_subscription(message, f"/localizer/{topic}", self._keep(topic), 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join()
        self.node.destroy_node()

    # Waiting.

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Until `done()`, looked at whenever something arrives. Fails the test with `what` after the timeout."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not done():
                # The graph changes without a message, so look now and then too.
                self._changed.wait(0.02)
                assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}; {self.diagnostics}"

    def wait_for_node(self) -> None:
        self.wait(lambda: "state" in self.diagnostics, "the node to appear")

    def wait_for_matches(self) -> None:
        """Until both directions are matched, so that no message is lost to discovery."""

        self.wait(self._matched, "publishers and subscriptions to match")

    def active_and_matched(self) -> bool:
        """Whether the node is active and nothing would be lost to discovery."""
        return self.diagnostics.get("state") == "active" and self._matched()

    def _matched(self) -> bool:
        wanted = [self.diagnostics.get(f"subscribers/~/{topic}") for topic in self.received]
        inputs = max(self._image.get_subscription_count(), self._compressed.get_subscription_count())
        # A topic that the model lacks is not mentioned; ~/semantic/label_info has no subscription here.
        return bool(inputs and self._info.get_subscription_count() and any(wanted) and "0" not in wanted)

    def begin_anew(self, there: Callable[[], bool]) -> None:
        """Wait for another node, told by `there`."""
        with self._changed:
            self.diagnostics = {}
            for messages in self.received.values():
                messages.clear()
        self._clients.clear()
        self.wait(there, "the node to be there")

    def wait_for_answer(self, stamp_ns: int, topic: str = "pose") -> None:
        self.wait(lambda: stamp_ns in self.received[topic], f"{topic} of {stamp_ns}")

    def attempt_pose(self) -> int | None:
        """Publish one image that is answered; its stamp if the answer has a pose, None if that was withheld."""
        self.refresh()
        poses, withheld, stamp = self.count("poses"), self.count("withheld"), self.next_stamp()
        self.publish_image(stamp)
        self.wait_for_answer(stamp, "odometry")
        self.refresh()
        assert self.count("poses") + self.count("withheld") == poses + withheld + 1
        return stamp if self.count("poses") > poses else None

    def next_report(self) -> None:
        reports = self.reports
        self.wait(lambda: self.reports > reports, "the next report")

    def count(self, key: str) -> int:
        """A figure of the latest diagnostics, 0 where it is not mentioned."""
        return int(self.diagnostics.get(key, "0"))

    def refresh(self) -> None:
        """Until the diagnostics say what became of every image so far; the node reports after a service call."""
        while True:
            self.report_now()
            if self.count("pending") == 0:
                return

    def report_now(self) -> None:
        """Until a report that the node was asked for by a service call."""
        reports = self.reports
        self.set_enabled(True)
        self.wait(lambda: self.reports > reports, "the diagnostics after a service call")

    def attempt(self, **image: Any) -> int | None:
        """Publish one image; its stamp if it was answered with a pose, None if it was dropped."""
        self.refresh()
        dropped, stamp = self.count("dropped"), self.next_stamp()
        self.publish_image(stamp, **image)
        self.wait(lambda: stamp in self.received["pose"] or self.count("dropped") > dropped, "one image's fate")
        return stamp if stamp in self.received["pose"] else None

    def wait_for_count(self, key: str, figure: int) -> None:
        self.wait(lambda: self.count(key) >= figure, f"{key} = {figure}")

    # Services.

    def call(self, kind: type, service: str, request: Any) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f"/localizer/{service}")
        client = self._clients[service]
        assert client.wait_for_service(TIMEOUT_S), f"no service {service}"
        future = client.call_async(request)
        self.wait(future.done, f"the answer of {service}", 2 * TIMEOUT_S)
        return future.result()

    def transition(self, identifier: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=identifier))
        return bool(self.call(ChangeState, "change_state", request).success)

    def configure(self) -> bool:
        return self.transition(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> bool:
        return self.transition(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        return self.transition(Transition.TRANSITION_DEACTIVATE)

    def cleanup(self) -> bool:
        return self.transition(Transition.TRANSITION_CLEANUP)

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def unconfigured(self) -> None:
        """Bring the node to the beginning of its life, from wherever a test left it."""
        identifier = self.call(GetState, "get_state", GetState.Request()).current_state.id
        if identifier == State.PRIMARY_STATE_ACTIVE:
            assert self.deactivate()
            identifier = State.PRIMARY_STATE_INACTIVE
        if identifier == State.PRIMARY_STATE_INACTIVE:
            assert self.cleanup()

    def set_parameter(self, name: str, value: str | float) -> Any:
        kind = ParameterType.PARAMETER_STRING if isinstance(value, str) else ParameterType.PARAMETER_DOUBLE
        held = ParameterValue(type=kind)
        setattr(held, "string_value" if isinstance(value, str) else "double_value", value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=held)])
        self.parameters[name] = value
        return self.call(SetParameters, "set_parameters", request).results[0]

    def trigger_reset(self) -> Any:
        return self.call(Trigger, "reset", Trigger.Request())

    def set_enabled(self, enabled: bool) -> Any:
        return self.call(SetBool, "set_enabled", SetBool.Request(data=enabled))

    # The camera.

    def next_stamp(self, step_ns: int = PERIOD_NS) -> int:
        self.stamp_ns += step_ns
        return self.stamp_ns

    def publish_info(self, focal: float = FOCAL, width: int = WIDTH, height: int = HEIGHT) -> None:
        message = CameraInfo(width=width, height=height)
        message.header.frame_id = FRAME
        message.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
        self._info.publish(message)

    def calibrate(self) -> None:
        """Publish the intrinsics until the active node has them.

        Once is not enough: a best-effort sample is lost where this end has discovered the subscription, and that
        has not yet discovered this end.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            assert time.monotonic() < deadline, f"waited {TIMEOUT_S} s for the intrinsics to arrive; {self.diagnostics}"
            self.publish_info()
            self.report_now()
            if self.diagnostics.get("images_wait_for") == "nothing":
                return

    def publish_image(self, stamp_ns: int, encoding: str = "rgb8", **changes: Any) -> None:
        """A textured image; `changes` are set on the message last, to make it wrong."""
        two_bytes = {"mono16": 2, "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2}
        channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, **two_bytes}.get(encoding, 3)
        message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * channels)
        message.header.stamp, message.header.frame_id = _time(stamp_ns), FRAME
        message.data = picture(stamp_ns)[:, :, np.arange(channels) % 3].tobytes()
        for name, value in changes.items():
            setattr(message, name, value)
        self._image.publish(message)

    def publish_depth(self, stamp_ns: int, encoding: str = "32FC1", **changes: Any) -> None:
        """Two metres everywhere; `changes` are set on the message last, to make it wrong."""
        pixels = np.full((HEIGHT, WIDTH), 2.0, "<f4") if encoding == "32FC1" else np.full((HEIGHT, WIDTH), 2000, "<u2")
        message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * pixels.itemsize)
        message.header.stamp, message.header.frame_id = _time(stamp_ns), FRAME
        message.data = pixels.tobytes()
        for name, value in changes.items():
            setattr(message, name, value)
        self._depth.publish(message)

    def publish_compressed(self, stamp_ns: int, data: bytes | None = None) -> None:
        message = CompressedImage(format="jpeg")
        message.header.stamp, message.header.frame_id = _time(stamp_ns), FRAME
        message.data = jpeg(stamp_ns) if data is None else data
        self._compressed.publish(message)

    def answer(self, stamp_ns: int, *topics: str) -> tuple[Any, ...]:
        """The messages with this stamp on each topic, when all are there."""
        self.wait(lambda: all(stamp_ns in self.received[topic] for topic in topics), f"{topics} of {stamp_ns}")
        return tuple(self.received[topic][stamp_ns] for topic in topics)

    # What comes in, in the executor's thread.

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _keep(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            stamp = message.header.stamp
            with self._changed:
                self.received[topic][stamp.sec * 1_000_000_000 + stamp.nanosec] = message
                self._changed.notify_all()

        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            with self._changed:
                self.diagnostics = {value.key: value.value for value in status.values}
                self.reports += 1
                self.diagnostics.update(level=str(status.level[0]), message=status.message, name=status.name)
                self._changed.notify_all()


def picture(seed: int) -> np.ndarray:
    """(H, W, 3) uint8, smooth enough for JPEG and different for every seed."""
    coarse = np.random.default_rng(seed % 2**32).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", picture(seed))[1].tobytes()


def _time(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


@contextmanager
def running(peer: Peer, place: Path, **parameters: object) -> Iterator[Peer]:
    """A node that is active, matched and has answered an image; at the end it must still be the same process."""
    place.mkdir(exist_ok=True)
    with node_process(place, autostart=True, gate_margin_m=-1.0, **parameters) as process:
        peer.begin_anew(lambda: peer.diagnostics.get("pid") == str(process.pid) and peer.active_and_matched())
        peer.calibrate()
        yield peer
        assert process.poll() is None, (place / "node.log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0, (place / "node.log").read_text()
