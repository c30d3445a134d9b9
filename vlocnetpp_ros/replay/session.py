"""Plays a bag through the node once: discovery, lifecycle, pace, and the times of the answers."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vlocnetpp.data.bags.reader import SECOND_NS
from vlocnetpp.errors import DataError
from vlocnetpp.progress import track
from vlocnetpp_ros.latest import NEWER
from vlocnetpp_ros.replay.process import NodeProcess
from vlocnetpp_ros.replay.recording import Recording, type_name
from vlocnetpp_ros.replay.source import Source, Topics

NODE = "/localizer"
ANSWERS: dict[str, tuple[str, Any]] = {
    "localization": (f"{NODE}/pose", PoseStamped),
    "odometry": (f"{NODE}/odometry", Odometry),
    "segmentation": (f"{NODE}/semantic/mask", Image),
}
"""One topic for each task; an image is answered when all of the model's tasks have answered it."""
EXTRAS: dict[str, tuple[str, Any]] = {
    "pose_with_covariance": (f"{NODE}/pose_with_covariance", PoseWithCovarianceStamped),
    "overlay": (f"{NODE}/semantic/overlay", Image),
}
DIAGNOSTICS = "/diagnostics"
HOPELESS = 20
"""After so many dropped images without a single answer the replay is stopped."""
QUIET_S = 3.0
"""After the last image, answers are awaited for so long since the last one."""


class ReplayError(DataError):
    """The node could not be started, configured or kept answering; the message quotes it."""


@dataclass
class Played:
    """Times of images and answers, measured outside the node."""

    published_at: dict[int, float] = field(default_factory=dict)
    """Image stamp -> seconds on the clock of this process; of a repeated stamp the first."""
    published: int = 0
    """Images, also those with a repeated stamp."""
    answered_at: dict[int, float] = field(default_factory=dict)
    """Image stamp -> when the last of its answers came."""
    node: dict[str, str] = field(default_factory=dict)
    """Values of the node's last diagnostics message."""
    seconds: float = 0.0
    """From the first image published to the last answer."""


class Session:
    """Publishes as the camera, subscribes as the robot, manages the node's lifecycle.

    Every wait ends when what it waits for arrives, when the node's process has ended, or after `timeout_s`; the latter
    two raise ReplayError.
    """

    def __init__(
        self,
        source: Source,
        tasks: tuple[str, ...],
        process: NodeProcess,
        recording: Recording,
        timeout_s: float,
        extras: tuple[str, ...] = (),
    ) -> None:
        self._source = source
        self._process = process
        self._recording = recording
        self._timeout_s = timeout_s
        self._expected = [ANSWERS[task] for task in tasks]
        self._recorded = self._expected + [EXTRAS[extra] for extra in extras]
        self._changed = threading.Condition()
        self._arrived: dict[int, set[str]] = {}
        self._status = ""
        self._strangers: set[str] = set()
        """Processes of other nodes with the same name."""
        self._last_news = time.monotonic()
        self._played = Played()
        self._context = rclpy.Context()
        # Without the command line, in which rcl would take `--parameter a:=b` for a remapping.
        rclpy.init(args=[], context=self._context)
        self._node = rclpy.create_node("replay", context=self._context)
        reliable = QoSProfile(depth=10)
        topics = source.topics
        image_type = CompressedImage if topics.compressed else Image
        self._image_topic = f"{topics.image_base}/compressed" if topics.compressed else topics.image_base
        self._image = self._node.create_publisher(image_type, self._image_topic, QoSProfile(depth=images_kept(topics)))
        self._info = self._node.create_publisher(CameraInfo, topics.camera_info, reliable)
        for topic, message_type in self._recorded:
            self._node.create_subscription(
                message_type, topic, self._keeper(topic, type_name(message_type)), reliable, raw=True
            )
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, reliable)
        self._change_state = self._node.create_client(ChangeState, f"{NODE}/change_state")
        self._broken: Exception | None = None
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="replay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._context.try_shutdown()
        self._thread.join()
        self._node.destroy_node()

    def prepare(self) -> None:
        """Wait for the node, configure and activate it, and wait until both directions are matched."""
        self._wait(lambda: bool(self._strangers or self._played.node), "the node to start")
        if self._strangers:
            raise ReplayError(
                f"another {NODE} runs in this ROS domain (process {', '.join(sorted(self._strangers))}); "
                "stop it or set another ROS_DOMAIN_ID"
            )
        self._wait(self._change_state.service_is_ready, "the node's services")
        self._transition(Transition.TRANSITION_CONFIGURE, "configure")
        self._transition(Transition.TRANSITION_ACTIVATE, "activate")
        self._wait(self._matched, "publishers and subscriptions to match")
        if self._node.count_publishers(self._image_topic) > 1:
            raise ReplayError(f"another node publishes {self._image_topic}; stop it or set another ROS_DOMAIN_ID")

    def play(self, rate: float | None) -> Played:
        """Publish the whole bag, at `rate` times its own pace, or as fast as the node answers where it is None."""
        self._info.publish(self._source.first_camera_info)
        messages = track(self._images_with_their_info(), "replay", len(self._source.stamps_ns))
        first: tuple[int, float] | None = None
        for log_time_ns, stamp_ns, cdr in messages:
            if rate is not None:
                first = first or (log_time_ns, time.perf_counter())
                self._wait_until(first[1] + (log_time_ns - first[0]) / SECOND_NS / rate)
            unanswered = self._unanswered()
            with self._changed:
                self._played.published_at.setdefault(stamp_ns, time.perf_counter())
                self._played.published += 1
            self._image.publish(cdr)
            if rate is None:
                self._wait(partial(self._fate_known, stamp_ns, unanswered), "an answer")
            self._stop_if_hopeless()
        self._wait(self._all_accounted_for, "the last answers")
        self._transition(Transition.TRANSITION_DEACTIVATE, "deactivate")
        self._wait(lambda: self._played.node.get("state") == "inactive", "the node's last diagnostics")
        played = self._played
        if not played.answered_at and not self._count("withheld"):
            raise ReplayError(f"the node answered none of {played.published} images: {self._why_dropped()}")
        ended = max(played.answered_at.values(), default=time.perf_counter())
        played.seconds = ended - min(played.published_at.values())
        return played

    # The pace.

    def _images_with_their_info(self) -> Iterator[tuple[int, int, bytes]]:
        """(log time, stamp, CDR) of each image; camera_info in between goes out at once."""
        for each in self._source.play():
            if each.topic == self._source.topics.image:
                yield each.log_time_ns, each.header_stamp_ns(), each.cdr()
            else:
                self._info.publish(each.cdr())

    def _wait_until(self, due: float) -> None:
        pause = threading.Event()
        while (left := due - time.perf_counter()) > 0:
            self._check_process()
            pause.wait(min(left, 0.5))

    def _fate_known(self, stamp_ns: int, unanswered_before: int) -> bool:
        return stamp_ns in self._played.answered_at or self._unanswered() > unanswered_before

    def _unanswered(self) -> int:
        """Images that the node reports as dropped, or whose pose it withheld."""
        return self._count("dropped") + self._count("withheld")

    def _all_accounted_for(self) -> bool:
        if self._count("pending"):
            return False
        accounted = len(self._played.answered_at) + self._unanswered()
        # An image that the transport lost is never reported, nor is an answer that it lost.
        settled = self._count("processed") + self._count("dropped") >= self._count("received")
        quiet = time.monotonic() - self._last_news > QUIET_S and settled
        return quiet or accounted >= self._played.published

    def _stop_if_hopeless(self) -> None:
        dropped = self._count("dropped")
        if dropped >= HOPELESS and not self._played.answered_at and not self._count("withheld"):
            raise ReplayError(f"the node dropped the first {dropped} images: {self._why_dropped()}")

    def _why_dropped(self) -> str:
        return with_advice(self._played.node.get("last_drop", self._status))

    # The node.

    def _transition(self, identifier: int, name: str) -> None:
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(id=identifier)))
        self._wait(future.done, f"the node to {name}")
        if not future.result().success:
            # It reports the reason before the response, or with its next diagnostics.
            self._wait(lambda: "failed" in self._status, f"why the node did not {name}")
            raise ReplayError(f"the node refused: {self._status}")

    def _matched(self) -> bool:
        wanted = [topic.replace(NODE, "~") for topic, _ in self._recorded]
        heard = all(self._count(f"subscribers/{topic}") for topic in wanted)
        return heard and bool(self._image.get_subscription_count() and self._info.get_subscription_count())

    def _count(self, key: str) -> int:
        return int(self._played.node.get(key, "0"))

    def _check_process(self) -> None:
        if self._broken is not None:
            raise ReplayError(f"the node's answers cannot be recorded: {self._broken}") from self._broken
        if self._process.status is not None:
            raise ReplayError(f"the node ended with status {self._process.status}: {self._process.last_words()}")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not done():
            with self._changed:
                # The graph and the process change without a message, so look now and then too.
                self._changed.wait(0.05)
            self._check_process()
            if time.monotonic() > deadline:
                said = self._why_dropped() or self._process.last_words()
                raise ReplayError(f"waited {self._timeout_s:g} s for {what}; the node's last words: {said}")

    # What comes in, in the executor's thread.

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - of whatever kind: the main thread tells of it
            self._broken = error

    def _keeper(self, topic: str, msgtype: str) -> Callable[[bytes], None]:
        expected = {name for name, _ in self._expected}

        def keep(cdr: bytes) -> None:
            now = time.perf_counter()
            seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] else ">iI", cdr, 4)
            stamp_ns = seconds * SECOND_NS + nanoseconds
            self._recording.write(topic, msgtype, stamp_ns, cdr)
            if topic not in expected:
                return
            with self._changed:
                arrived = self._arrived.setdefault(stamp_ns, set())
                arrived.add(topic)
                if arrived == expected:
                    del self._arrived[stamp_ns]
                    self._played.answered_at[stamp_ns] = now
                    self._last_news = time.monotonic()
                    self._changed.notify_all()

        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name != f"{NODE}: localization":
                continue
            values = {value.key: value.value for value in status.values}
            with self._changed:
                if values.get("pid") != str(self._process.pid):
                    self._strangers.add(values.get("pid", "unknown"))
                    self._changed.notify_all()
                    continue
                if values.get("received") != self._played.node.get("received"):
                    self._last_news = time.monotonic()
                self._played.node = values
                self._status = status.message
                # They are recorded at the bag's time of their arrival.
                played_ns = next(reversed(self._played.published_at), int(self._source.stamps_ns[0]))
                self._changed.notify_all()
            self._recording.write(DIAGNOSTICS, type_name(DiagnosticArray), played_ns, serialize_message(message))


def with_advice(reason: str) -> str:
    """Why the node dropped an image, with what to do where the images come faster than it answers."""
    return f"{reason}; --fast plays as fast as the node answers" if reason == NEWER else reason


def images_kept(topics: Topics) -> int:
    """Images that DDS keeps for a reader that is late; of compressed ones more fit into the same memory."""
    return 100 if topics.compressed else 10


@contextmanager
def session(
    source: Source,
    tasks: tuple[str, ...],
    process: NodeProcess,
    recording: Recording,
    timeout_s: float,
    extras: tuple[str, ...] = (),
) -> Iterator[Session]:
    """A Session that is closed at the end."""
    opened = Session(source, tasks, process, recording, timeout_s, extras)
    try:
        yield opened
    finally:
        opened.close()
