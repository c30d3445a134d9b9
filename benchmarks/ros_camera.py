"""A camera, a listener and a lifecycle manager around the localization node, for the benchmarks of the node.

The node runs as a process of its own; this one publishes images over DDS and notes when which answer comes.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from vlocnetpp.runtime import read_metadata
from vlocnetpp_ros.environment import with_fast_dds_profile
from vlocnetpp_ros.stamps import stamp_message, stamp_ns

TOPIC, INFO_TOPIC = "/benchmark/image", "/benchmark/camera_info"
CHANNELS = {"bgra8": 4, "bgr8": 3, "rgb8": 3}
WAIT_S = 120.0


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    memory_mb: float
    threads: int
    files: int


def usage(pid: int) -> Usage:
    """Resident memory, threads and open files of a process, from the kernel."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory_mb = int(lines["VmRSS"].split()[0]) / 1024
    return Usage(memory_mb, int(lines["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir())))


@contextmanager
def node(model: Path, **parameters: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The localization node with a model, active by itself; SIGINT at the end must end it with status 0."""
    values = {
        "model": str(model.resolve()),
        "image_topic": TOPIC,
        "publish_tf": "none",
        "autostart": True,
        "image_frozen_after": 0,  # this camera shows one image all the time
        **parameters,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parameters.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        words = [sys.executable, "-m", "vlocnetpp_ros.localization_node", "--ros-args", "--params-file", str(file)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
            process.send_signal(signal.SIGINT)
            if (status := process.wait(WAIT_S)) != 0:
                raise SystemExit(f"the node ended with status {status}")
        finally:
            process.kill()
            process.wait()


class Camera:
    """Publishes images of one size and listens to pose, odometry and diagnostics."""

    def __init__(self, model: Path, width: int, height: int, encoding: str, reliable: bool = False) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("benchmark_camera", context=self._context)
        self._changed = threading.Condition()
        quality = QoSProfile(
            depth=5, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )
        self.compressed = encoding == "jpeg"
        kind, topic = (CompressedImage, f"{TOPIC}/compressed") if self.compressed else (Image, TOPIC)
        self._images = self.node.create_publisher(kind, topic, quality)
        self._infos = self.node.create_publisher(CameraInfo, INFO_TOPIC, 10)
        self._message = self._picture(width, height, encoding)
        self._info = self._intrinsics(model, width, height)
        self.answered: dict[int, float] = {}
        """Stamp of an image in nanoseconds -> seconds until its pose was here."""
        self.diagnostics: dict[str, str] = {}
        self.reports = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_subscription(PoseStamped, "/localizer/pose", self._on_pose, 10)
        self.node.create_subscription(Odometry, "/localizer/odometry", lambda _: None, 10)
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.try_shutdown()
        self._thread.join()
        self.node.destroy_node()

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Until `done()`; ends the benchmark with `what` after two minutes."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not done():
                self._changed.wait(0.05)
                if time.monotonic() > deadline:
                    raise SystemExit(f"waited {WAIT_S:.0f} s for {what}: {self.diagnostics.get('message')}")

    def wait_for_node(self, pid: int) -> None:
        """Until the node of this process is active and every topic is matched, and it knows the camera."""

        def there() -> bool:
            active = self.diagnostics.get("pid") == str(pid) and self.diagnostics.get("state") == "active"
            matched = self._images.get_subscription_count() and self._infos.get_subscription_count()
            return bool(active and matched and self.diagnostics.get("subscribers/~/pose") == "1")

        self.wait(there, "the node to be active")
        self._infos.publish(self._info)
        self.wait(lambda: "camera_info" not in self.diagnostics["message"], "the intrinsics to arrive")

    def publish(self) -> int:
        """One image, stamped with the time of now; the stamp in nanoseconds."""
        now_ns = time.time_ns()
        self._message.header.stamp = stamp_message(now_ns)
        self._images.publish(self._message)
        return now_ns

    def publish_compressed(self, data: bytes, seconds: int, nanoseconds: int) -> None:
        """One image of a recording, with its own stamp."""
        self._message.data = data
        self._message.header.stamp.sec, self._message.header.stamp.nanosec = seconds, nanoseconds
        self._images.publish(self._message)

    def at_rate(self, rate_hz: float, seconds: float) -> list[int]:
        """Images at a rate for a time; their stamps."""
        stamps: list[int] = []
        began = time.monotonic()
        while (due := began + len(stamps) / rate_hz) < began + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            stamps.append(self.publish())
        return stamps

    def answer_times(self, count: int) -> list[float]:
        """Images one by one, each once the one before it is answered: seconds from stamp to pose of each.

        An image that is not answered within two seconds was lost by the transport; the next one follows it.
        """
        found: list[float] = []
        given_up = time.monotonic() + WAIT_S
        while len(found) < count:
            stamp, sent = self.publish(), time.monotonic()
            self.wait(partial(self._answered_or_lost, stamp, sent + 2), "an answer")
            if stamp in self.answered:
                found.append(self.answered[stamp])
            elif time.monotonic() > given_up:
                raise SystemExit(f"the node answers too few images: {self.diagnostics.get('message')}")
        return found

    def _answered_or_lost(self, stamp: int, lost_at: float) -> bool:
        return stamp in self.answered or time.monotonic() > lost_at

    def _reported_since(self, reports: int) -> bool:
        return self.reports > reports

    def settle(self) -> dict[str, str]:
        """The diagnostics when nothing is pending any more."""
        while True:
            reports = self.reports
            self.call(SetBool, "set_enabled", SetBool.Request(data=True))
            self.wait(partial(self._reported_since, reports), "a report")
            if self.diagnostics["pending"] == "0":
                return dict(self.diagnostics)

    def transition(self, identifier: int) -> None:
        """A lifecycle transition that must succeed."""
        request = ChangeState.Request()
        request.transition.id = identifier
        if not self.call(ChangeState, "change_state", request).success:
            raise SystemExit(f"transition {identifier} failed: {self.diagnostics.get('message')}")

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service of the node."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f"/localizer/{service}")
        if not self._clients[service].wait_for_service(WAIT_S):
            raise SystemExit(f"no service {service}")
        future = self._clients[service].call_async(request)
        self.wait(future.done, f"the answer of {service}")
        return future.result()

    def _picture(self, width: int, height: int, encoding: str) -> Any:
        """A textured image message; its stamp is set at each publication."""
        coarse = np.random.default_rng(0).integers(0, 255, (9, 16, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        if self.compressed:
            message: Any = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", pixels)[1].tobytes())
        else:
            channels = CHANNELS[encoding]
            message = Image(height=height, width=width, encoding=encoding, step=width * channels)
            message.data = np.ascontiguousarray(pixels[:, :, np.arange(channels) % 3]).tobytes()
        message.header.frame_id = "benchmark_optical"
        return message

    @staticmethod
    def _intrinsics(model: Path, width: int, height: int) -> CameraInfo:
        """Those of the model's training camera at this image size, as a whole-image preset sees it."""
        metadata = read_metadata(model)
        if metadata.resize != "whole":
            raise SystemExit(f"{model}: crops its images; the benchmark needs a model that sees the whole image")
        scale = np.diag([width / metadata.input_width, height / metadata.input_height, 1.0])
        K_33 = scale @ np.array(metadata.K_33)
        K_33[:2, 2] += (np.diag(scale)[:2] - 1) / 2
        return CameraInfo(width=width, height=height, k=K_33.ravel().tolist())

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _on_pose(self, message: PoseStamped) -> None:
        at = stamp_ns(message.header.stamp)
        with self._changed:
            self.answered[at] = (time.time_ns() - at) * 1e-9
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            with self._changed:
                self.diagnostics = {value.key: value.value for value in status.values}
                self.diagnostics["message"] = status.message
                self.reports += 1
                self._changed.notify_all()


def alone() -> None:
    """A DDS domain of this benchmark on this machine, with the shipped profile; before rclpy starts."""
    os.environ.update(with_fast_dds_profile(dict(os.environ)))
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp())


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest, milliseconds."""
    values = 1e3 * np.percentile(seconds, (50, 95, 99, 100))
    return dict(zip(("p50", "p95", "p99", "max"), (round(float(value), 2) for value in values)))


def machine() -> str:
    """What the figures were measured on, in a line."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def save(report: dict[str, Any], path: Path | None) -> None:
    """Print a report, and write it where asked."""
    text = json.dumps(report, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
