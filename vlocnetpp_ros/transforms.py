"""TF: the correction map->odom that REP-105 asks of a localizer, and where the camera sits on the robot."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from vlocnetpp_ros import environment
from vlocnetpp_ros.frames import Floats, compose, from_transform, inverse, to_transform
from vlocnetpp_ros.messages import stamp_message, stamp_ns
from vlocnetpp_ros.parameters import Settings

WAIT_S = 0.1
"""How long an image waits for the odometry of its own stamp, which may come a little later."""


class NoTransformError(RuntimeError):
    """TF does not connect two frames at a stamp."""


def require_packages(settings: Settings) -> Any:
    """tf2_ros where the settings need it, else None. Raises MissingPackageError where it is not installed."""
    if settings.publish_tf == "none" and not settings.base_frame:
        return None
    feature = f"base_frame '{settings.base_frame}'" if settings.base_frame else f"publish_tf '{settings.publish_tf}'"
    tf2_ros = environment.need("tf2_ros", feature)
    environment.need("tf2_msgs", feature)
    return tf2_ros


@dataclass(frozen=True)
class _Held:
    """The correction of the last trusted pose, to be sent again."""

    child: str
    pose_7: Floats
    image_ns: int
    """Stamp of its image."""
    at_ns: int
    """ROS time when it was found."""


class Transforms:
    """Reads and broadcasts TF through `tf2_ros`, which `require_packages` has handed over.

    map->odom is held: between two poses it is sent again at a rate of its own, so that whoever looks up the newest time
    finds it (REP-105: odometry goes on, the correction stays). Its stamp goes on from the image's by the ROS time that
    has passed, which is right for a camera, a simulation and a bag without /clock. It ends when the gate says that the
    camera is lost, or when no pose came for `tf_keep_alive_s`.

    Stamps only rise, so that the newest correction is the one that is looked up. They go back where the images do, as
    when a bag begins again; what TF knows is then forgotten, or it would take the odometry that comes for too old.
    """

    def __init__(self, node: Node, settings: Settings, map_frame: str, tf2_ros: Any) -> None:
        self._tf2 = tf2_ros
        self.settings = settings
        """May be replaced by others that differ in what acts at once."""
        self._map_frame = map_frame
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._node = node
        self._base_camera: dict[str, Floats] = {}
        self._held: _Held | None = None
        self._image_ns = 0
        """Stamp of the latest image whose transform was asked for."""
        self._sent_ns = 0
        """Stamp of the latest message, ahead included."""
        self._sending = threading.Lock()
        self._timer = None
        if settings.publish_tf == "map_to_odom" and settings.tf_rate_hz > 0:
            # A steady clock: simulated time may stand still, and then a timer on it would too.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(1.0 / settings.tf_rate_hz, self._send_again, clock=steady)

    def base_camera(self, camera_frame: str) -> Floats:
        """T_base_camera, fixed on the robot. Raises NoTransformError until TF has it."""
        if camera_frame not in self._base_camera:
            self._base_camera[camera_frame] = self._look_up(self.settings.base_frame, camera_frame, Time(), 0.0)
        return self._base_camera[camera_frame]

    def broadcast(self, image: Header, map_camera_7: Floats) -> None:
        """Send the configured transform for a pose at the image's stamp.

        Raises NoTransformError where map->odom needs the odometry of that stamp and TF does not have it.
        """
        if self.settings.publish_tf == "none":
            return
        image_ns = stamp_ns(image.stamp)
        if image_ns < self._image_ns:
            self._buffer.clear()  # keeps the static ones
            self.silence()
            self._sent_ns = 0
        self._image_ns = image_ns
        child, pose_7 = image.frame_id, map_camera_7
        if self.settings.publish_tf == "map_to_odom":
            child = self.settings.odom_frame
            odom_camera = self._look_up(child, image.frame_id, Time.from_msg(image.stamp), WAIT_S)
            pose_7 = compose(map_camera_7, inverse(odom_camera))
        with self._sending:
            self._held = _Held(child, pose_7, image_ns, self._now_ns())
            # An image that took long, or one of a bag that is played slowly, comes after TF was sent for a later time.
            self._send(self._held, max(image_ns + self._ahead_ns(), self._sent_ns + 1))

    def silence(self) -> None:
        """Send nothing until the next trusted pose."""
        with self._sending:
            self._held = None

    def _send_again(self) -> None:
        with self._sending:
            if self._held is None:
                return
            passed_ns = self._now_ns() - self._held.at_ns
            if not 0 <= passed_ns <= self.settings.tf_keep_alive_s * 1e9:
                self._held = None  # too long ago, or the clock has gone back
                return
            at_ns = self._held.image_ns + passed_ns + self._ahead_ns()
            if at_ns > self._sent_ns:  # else time stands still, and TF takes a repeated stamp for a mistake
                self._send(self._held, at_ns)

    def _ahead_ns(self) -> int:
        return round(self.settings.tf_future_s * 1e9)

    def _send(self, held: _Held, at_ns: int) -> None:
        message = TransformStamped(child_frame_id=held.child, transform=to_transform(held.pose_7))
        message.header.frame_id = self._map_frame
        message.header.stamp = stamp_message(at_ns)
        self._broadcaster.sendTransform(message)
        self._sent_ns = at_ns

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def close(self) -> None:
        """Stop listening and broadcasting."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self.silence()
        self._listener.unregister()
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _look_up(self, parent: str, child: str, stamp: Time, wait_s: float) -> Floats:
        # Buffer's own timeout counts in ROS time, which stands still when a simulation is paused.
        deadline = time.monotonic() + wait_s
        while True:
            try:
                found = self._buffer.lookup_transform(parent, child, stamp, Duration(seconds=0))
                return from_transform(found.transform)
            except self._tf2.TransformException as error:
                if time.monotonic() >= deadline:
                    raise NoTransformError(f"TF has no {parent} -> {child} at the image's stamp: {error}") from error
            time.sleep(0.005)
