"""TF: the correction map->odom of REP-105, and the camera's pose on the robot."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from vlocnetpp.poses import PoseError, checked_pose
from vlocnetpp_ros import environment
from vlocnetpp_ros.checked_transforms import CheckedTransforms
from vlocnetpp_ros.corrections import CorrectionCounts, Corrections, NoTransformError, TrustedPose
from vlocnetpp_ros.frames import Floats, compose, from_transform, inverse, to_transform
from vlocnetpp_ros.settings import Settings
from vlocnetpp_ros.stamps import stamp_message, stamp_ns

GIVEN_UP_LOG_S = 60.0
"""Interval at which failing corrections are logged."""


def require_packages(settings: Settings) -> Any:
    """tf2_ros if the settings need it; None if they do not, or if it is missing and `publish_tf` is `auto`. Raises
    MissingPackageError if it is required and not installed.
    """
    features = {
        f"base_frame '{settings.base_frame}'": bool(settings.base_frame),
        f"publish_tf '{settings.publish_tf}'": settings.publish_tf not in ("auto", "none"),
        "publish_odometry_tf": settings.publish_odometry_tf,
    }
    needed = [feature for feature, wanted in features.items() if wanted]
    there = environment.has("tf2_ros") and environment.has("tf2_msgs")
    if not needed and (settings.publish_tf == "none" or not there):
        return None
    feature = needed[0] if needed else "publish_tf 'auto'"
    tf2_ros = environment.need("tf2_ros", feature)
    environment.need("tf2_msgs", feature)
    return tf2_ros


@dataclass(frozen=True)
class _Held:
    """The correction of the last trusted pose, which is sent repeatedly."""

    map_odom_7: Floats
    image_ns: int
    """Stamp of its image."""
    at_ns: int
    """ROS time when the pose was computed."""


class Transforms:
    """Reads and broadcasts TF through `tf2_ros`, which `require_packages` has handed over.

    A correction map->odom needs the odometry of its image's stamp. Where that is late the correction waits for it, in a
    thread of its own (`corrections`), and nothing else does.

    map->odom is held: between two poses it is sent again at a rate of its own, so that a lookup at the newest time
    finds it (REP-105: odometry continues, the correction is constant). Its stamp is ahead of the image's, and advances
    by the ROS time that has passed, which is right for a camera, a simulation and a bag without /clock. It ends when
    the gate says that the camera is lost, or when no pose came for `tf_keep_alive_s`. Stamps only increase, so that a
    lookup finds the newest correction. They go back when the images do, as when a bag begins again; the TF buffer is
    then cleared, or it would reject the new odometry as too old.

    map->camera is sent once, at the image's stamp: the camera moves, so that it is nowhere but there and then.
    """

    def __init__(self, node: Node, settings: Settings, map_frame: str, tf2_ros: Any) -> None:
        self._tf2 = tf2_ros
        self.settings = settings
        """May be replaced by settings that differ in live parameters."""
        self._map_frame = map_frame
        self._buffer = tf2_ros.Buffer()
        self._checked = CheckedTransforms(self._buffer, node.get_logger().warning)
        self._listener = tf2_ros.TransformListener(self._checked, node)
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._node = node
        self._camera_is_placed = False
        self._held: _Held | None = None
        self._image_ns = 0
        """Stamp of the latest image with a broadcast request."""
        self._sent_ns = 0
        """Stamp of the latest message, ahead included."""
        self._sending = threading.Lock()
        self._corrections = Corrections(self._odom_camera, self._correct, self._given_up)
        self._timer = None
        if settings.publish_tf in ("auto", "map_to_odom") and settings.tf_rate_hz > 0:
            # A steady clock: simulated time may stand still, which would stop a timer on it.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(1.0 / settings.tf_rate_hz, self._send_again, clock=steady)

    def base_camera(self, camera_frame: str) -> Floats:
        """T_base_camera, fixed on the robot; the latest, since it may be calibrated anew. Raises NoTransformError until
        TF has it.
        """
        return self._look_up(self.settings.base_frame, camera_frame, Time())

    def broadcast(self, image: Header, map_camera_7: Floats) -> None:
        """Send the configured transform for a pose at the image's stamp, at once or when its odometry arrives."""
        mode = self.mode(image.frame_id)
        if mode == "none":
            return
        image_ns = stamp_ns(image.stamp)
        if image_ns < self._image_ns:
            self._checked.clear()  # keeps the static ones
            self.silence()
            self._sent_ns = 0
        self._image_ns = image_ns
        if mode == "map_to_odom":
            self._corrections.add(image_ns, image.frame_id, map_camera_7, self._now_ns())
        else:
            self._broadcaster.sendTransform(self._message(image.frame_id, map_camera_7, image_ns))

    def broadcast_odometry(self, image: Header, map_camera_7: Floats, odometry_camera_7: Floats) -> None:
        """Connect the map and the network's own odometry frame, where that is asked for: they meet at this pose."""
        if self.settings.publish_odometry_tf:
            map_odometry_7 = compose(map_camera_7, inverse(odometry_camera_7))
            at_ns = stamp_ns(image.stamp) + self._ahead_ns()
            self._broadcaster.sendTransform(self._message(self.settings.odometry_frame, map_odometry_7, at_ns))

    def mode(self, camera_frame: str) -> str:
        """The kind of broadcast: `publish_tf`, or for `auto` the one that fits the frames in TF."""
        if self.settings.publish_tf != "auto":
            return self.settings.publish_tf
        if not self._camera_is_placed:
            frames = yaml.safe_load(self._buffer.all_frames_as_yaml())
            placed = frames.get(camera_frame) if isinstance(frames, dict) else None
            # Our own map->camera is heard, too.
            self._camera_is_placed = placed is not None and placed["parent"] != self._map_frame
            if self._camera_is_placed:
                self.silence()
        return "map_to_odom" if self._camera_is_placed else "map_to_camera"

    def silence(self) -> None:
        """Send nothing until the next trusted pose."""
        self._corrections.forget()
        with self._sending:
            self._held = None

    def counts(self) -> CorrectionCounts:
        """Fate of the corrections map->odom."""
        return self._corrections.counts()

    def failure(self) -> str:
        """Why map->odom cannot be sent and what to do; empty while it can."""
        reason = self._corrections.failure()
        return reason and (
            f"{self._map_frame} -> {self.settings.odom_frame} cannot be sent: {reason}; start what publishes the "
            "odometry in TF, name its frame with odom_frame, or set publish_tf to map_to_camera or none"
        )

    def input_fault(self) -> str:
        """What of TF was left out in the last seconds because it is no transform; empty if nothing was."""
        return self._checked.fault()

    def input_values(self) -> dict[str, str]:
        """What was left out of TF, and which static transforms changed, as counts for /diagnostics."""
        return self._checked.values()

    def close(self) -> None:
        """Stop listening and broadcasting."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self.silence()
        self._corrections.close()
        self._listener.unregister()
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _odom_camera(self, camera_frame: str, image_ns: int) -> Floats:
        odom = self.settings.odom_frame
        try:
            return self._look_up(odom, camera_frame, Time(nanoseconds=image_ns))
        finally:  # looked at last: what closes a gap is noted before TF can interpolate over it
            if lost := self._checked.lost(odom, camera_frame, image_ns):
                raise NoTransformError(f"TF has no {odom} -> {camera_frame} at the image's stamp: {lost}")

    def _correct(self, pose: TrustedPose, odom_camera_7: Floats) -> None:
        """Send map->odom; called in the thread of the corrections."""
        map_odom_7 = compose(pose.map_camera_7, inverse(odom_camera_7))
        with self._sending:
            self._held = _Held(map_odom_7, pose.image_ns, pose.answered_ns)
            # The answer to a slow image, or to one of a slowly played bag, comes after TF was sent for a later time.
            self._send(self._held, max(pose.image_ns + self._ahead_ns(), self._sent_ns + 1))

    def _given_up(self, _: str) -> None:
        if failure := self.failure():
            self._node.get_logger().warning(failure, throttle_duration_sec=GIVEN_UP_LOG_S)

    def _send_again(self) -> None:
        with self._sending:
            if self._held is None:
                return
            passed_ns = self._now_ns() - self._held.at_ns
            if not 0 <= passed_ns <= self.settings.tf_keep_alive_s * 1e9:
                self._held = None  # too long ago, or the clock has gone back
                return
            at_ns = self._held.image_ns + passed_ns + self._ahead_ns()
            if at_ns > self._sent_ns:  # otherwise time stands still, and TF reports a repeated stamp as an error
                self._send(self._held, at_ns)

    def _ahead_ns(self) -> int:
        return round(self.settings.tf_future_s * 1e9)

    def _send(self, held: _Held, at_ns: int) -> None:
        self._broadcaster.sendTransform(self._message(self.settings.odom_frame, held.map_odom_7, at_ns))
        self._sent_ns = at_ns

    def _message(self, child: str, pose_7: Floats, at_ns: int) -> TransformStamped:
        message = TransformStamped(child_frame_id=child, transform=to_transform(pose_7))
        message.header.frame_id = self._map_frame
        message.header.stamp = stamp_message(at_ns)
        return message

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _look_up(self, parent: str, child: str, stamp: Time) -> Floats:
        try:
            found = self._buffer.lookup_transform(parent, child, stamp, Duration(seconds=0))
            return checked_pose(from_transform(found.transform), f"{parent} -> {child} in TF")
        except (self._tf2.TransformException, PoseError) as error:
            raise NoTransformError(f"TF has no {parent} -> {child} at the image's stamp: {error}") from error
