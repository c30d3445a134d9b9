"""TF: the correction map->odom that REP-105 asks of a localizer, and where the camera sits on the robot."""

from __future__ import annotations

import time
from typing import Any

from geometry_msgs.msg import TransformStamped
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


class Transforms:
    """Reads and broadcasts TF through `tf2_ros`, which `require_packages` has handed over."""

    def __init__(self, node: Node, settings: Settings, map_frame: str, tf2_ros: Any) -> None:
        self._tf2 = tf2_ros
        self._settings = settings
        self._map_frame = map_frame
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._node = node
        self._base_camera: dict[str, Floats] = {}

    def base_camera(self, camera_frame: str) -> Floats:
        """T_base_camera, fixed on the robot. Raises NoTransformError until TF has it."""
        if camera_frame not in self._base_camera:
            self._base_camera[camera_frame] = self._look_up(self._settings.base_frame, camera_frame, Time(), 0.0)
        return self._base_camera[camera_frame]

    def broadcast(self, image: Header, map_camera_7: Floats) -> None:
        """Send the configured transform for a pose at the image's stamp.

        Raises NoTransformError where map->odom needs the odometry of that stamp and TF does not have it.
        """
        if self._settings.publish_tf == "none":
            return
        child, pose_7 = image.frame_id, map_camera_7
        if self._settings.publish_tf == "map_to_odom":
            child = self._settings.odom_frame
            odom_camera = self._look_up(child, image.frame_id, Time.from_msg(image.stamp), WAIT_S)
            pose_7 = compose(map_camera_7, inverse(odom_camera))
        message = TransformStamped(child_frame_id=child, transform=to_transform(pose_7))
        message.header.frame_id = self._map_frame
        message.header.stamp = stamp_message(stamp_ns(image.stamp) + round(self._settings.tf_future_s * 1e9))
        self._broadcaster.sendTransform(message)

    def close(self) -> None:
        """Stop listening and broadcasting."""
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
