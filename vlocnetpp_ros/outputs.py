"""The node's topics and their content. Only subscribed topics are computed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from vlocnetpp.runtime import Estimate, Localizer, Metadata
from vlocnetpp_ros import clouds, environment, images, messages
from vlocnetpp_ros.frames import BOUND_TO_AXIS, Floats, compose, inverse, isotropic_covariance, twist_at
from vlocnetpp_ros.odometry import Motion
from vlocnetpp_ros.settings import Settings
from vlocnetpp_ros.virtual_camera import View

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS: dict[str, tuple[tuple[str, type], ...]] = {
    "localization": (
        ("~/pose", PoseStamped),
        ("~/pose_with_covariance", PoseWithCovarianceStamped),
        ("~/path", Path),
    ),
    "odometry": (("~/odometry", Odometry),),
    "segmentation": (("~/semantic/mask", Image), ("~/semantic/color", Image), ("~/semantic/overlay", Image)),
}
"""Topics of each task; those of a task that the model lacks are not advertised."""
LABEL_INFO = "~/semantic/label_info"
MAP = "~/map"
"""The map's point cloud, if the model file has one; latched, sent once somebody subscribes."""
POINTS = "~/points"
"""The camera's point cloud, if a depth sensor or the model gives depth."""


@dataclass(frozen=True)
class Result:
    """Everything that outputs need of one processed image."""

    header: Header
    """Of the image message."""
    image: NDArray[np.uint8]
    encoding: str
    estimate: Estimate
    trusted: bool
    """Whether the gate lets the pose through."""
    motion: Motion | None
    view: View | None
    """From the image to the training camera, where the image was remapped."""
    base_camera_7: Floats | None
    """T_base_camera where a base frame is published."""
    depth_HW: NDArray[np.float32] | None
    """Depth at the image's pixels, metres, with a depth sensor."""
    K_33: Floats
    """Intrinsics of the image."""


class Outputs:
    """Lifecycle publishers for what the model answers, silent until the node is active."""

    def __init__(
        self,
        node: LifecycleNode,
        settings: Settings,
        model: Metadata,
        map_cloud: NDArray[np.void] | None,
        gives_points: bool,
    ) -> None:
        self._node = node
        self.settings = settings
        """May be replaced by settings that differ in live parameters."""
        self._classes = model.classes
        self._palette = images.palette(model.classes)
        self._map_frame = settings.map_frame or model.map_frame
        self._path: deque[PoseStamped] = deque(maxlen=settings.path_length)
        self._map_cloud = map_cloud
        self._map_is_sent = False
        self._publishers: dict[str, LifecyclePublisher] = {}
        try:
            self._advertise(model)
            if map_cloud is not None:
                self._publishers[MAP] = node.create_lifecycle_publisher(PointCloud2, MAP, LATCHED)
            if gives_points:
                self._publishers[POINTS] = node.create_lifecycle_publisher(PointCloud2, POINTS, QoSProfile(depth=2))
        except Exception:
            self.close()  # the publishers that were made before the failure
            raise

    def _advertise(self, model: Metadata) -> None:
        for topic, message in (each for task in model.tasks for each in TOPICS[task]):
            self._publishers[topic] = self._node.create_lifecycle_publisher(
                message,
                topic,
                QoSProfile(depth=10),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        if "segmentation" in model.tasks:
            if environment.has("vision_msgs"):
                message = environment.need("vision_msgs", LABEL_INFO, "msg").LabelInfo
                self._publishers[LABEL_INFO] = self._node.create_lifecycle_publisher(message, LABEL_INFO, LATCHED)
            else:
                self._node.get_logger().info(
                    f"{LABEL_INFO} is not advertised: the ROS package vision_msgs is not installed; "
                    f"the mask's ids are {', '.join(f'{i} {name}' for i, (name, _) in enumerate(model.classes))}"
                )

    def subscribers(self) -> dict[str, int]:
        """Matched subscriptions by topic."""
        return {topic: publisher.get_subscription_count() for topic, publisher in self._publishers.items()}

    def publish_latched(self) -> None:
        """Send the latched topics: the names of the mask's ids, and the map."""
        self._map_is_sent = False
        self._publish_map()
        if LABEL_INFO in self._publishers:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._publishers[LABEL_INFO].publish(messages.label_info_message(header, self._classes))

    def publish(self, result: Result, localizer: Localizer) -> None:
        """Send what somebody subscribes to, with the image's stamp."""
        if result.trusted and result.estimate.pose_7 is not None and result.estimate.sigma_2 is not None:
            self._publish_pose(result, result.estimate.pose_7, result.estimate.sigma_2)
        if result.motion is not None:
            self._publish_odometry(result, result.motion)
        if result.estimate.mask_hw is not None:
            self._publish_semantics(result, localizer)
        self._publish_map()
        if publisher := self._wanted(POINTS):
            self._publish_points(publisher, result, localizer)

    def forget_path(self) -> None:
        """Begin ~/path again."""
        self._path.clear()

    def close(self) -> None:
        """Take the topics down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def _wanted(self, topic: str) -> LifecyclePublisher | None:
        publisher = self._publishers.get(topic)
        return publisher if publisher is not None and publisher.get_subscription_count() > 0 else None

    def _publish_map(self) -> None:
        if self._map_cloud is None or self._map_is_sent or not (publisher := self._wanted(MAP)):
            return
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._map_frame)
        publisher.publish(clouds.cloud_message(header, self._map_cloud["xyz"], self._map_cloud["rgb"]))
        self._map_is_sent = True

    def _publish_points(self, publisher: LifecyclePublisher, result: Result, localizer: Localizer) -> None:
        """The camera's points: from a sensor's depth in the camera's frame, from the model's coordinates in the map."""
        mask_hw, frame = result.estimate.mask_hw, result.header.frame_id
        if result.depth_HW is not None:
            points = clouds.points_of_depth(result.depth_HW, result.K_33)[:: clouds.STRIDE, :: clouds.STRIDE]
            mask = None if mask_hw is None else self._full_mask(result, localizer)
        elif result.estimate.coordinates_hw3 is not None and result.trusted:
            points, frame, mask = result.estimate.coordinates_hw3, self._map_frame, mask_hw
        else:
            return
        if mask is not None:
            colors = images.colored(mask, self._palette)
        else:
            colors = images.to_rgb(result.image, result.encoding)
            if result.depth_HW is None:  # the coordinates are those of what the network saw
                colors = localizer.seen_part(colors if result.view is None else result.view.image(colors))
        colors = clouds.at_size(colors, *points.shape[:2])
        header = Header(stamp=result.header.stamp, frame_id=frame)
        publisher.publish(clouds.cloud_message(header, points.reshape(-1, 3), colors.reshape(-1, 3)))

    def _publish_pose(self, result: Result, map_camera_7: Floats, sigma_2: Floats) -> None:
        header = Header(stamp=result.header.stamp, frame_id=self._map_frame)
        pose_7, lever = map_camera_7, None
        if result.base_camera_7 is not None:
            pose_7 = compose(map_camera_7, inverse(result.base_camera_7))
            lever = pose_7[:3] - map_camera_7[:3]
        message = messages.pose_message(header, pose_7)
        if publisher := self._wanted("~/pose"):
            publisher.publish(message)
        if publisher := self._wanted("~/pose_with_covariance"):
            variance = (sigma_2 / BOUND_TO_AXIS) ** 2
            covariance = isotropic_covariance(variance[0], variance[1], lever)
            publisher.publish(messages.pose_with_covariance_message(header, pose_7, covariance))
        if self._extends_path(message):
            self._path.append(message)
            if publisher := self._wanted("~/path"):
                publisher.publish(messages.path_message(header, list(self._path)))

    def _extends_path(self, message: PoseStamped) -> bool:
        if not self._path:
            return True
        a, b = self._path[-1].pose.position, message.pose.position
        return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2 >= self.settings.path_spacing**2

    def _publish_odometry(self, result: Result, motion: Motion) -> None:
        publisher = self._wanted("~/odometry")
        if publisher is None:
            return
        pose_7, linear, angular, lever = motion.pose_7, motion.linear_3, motion.angular_3, None
        twist_lever = None
        child = result.header.frame_id
        if result.base_camera_7 is not None:
            child = self.settings.base_frame
            pose_7 = compose(motion.pose_7, inverse(result.base_camera_7))
            lever = pose_7[:3] - motion.pose_7[:3]
            linear, angular = twist_at(result.base_camera_7, linear, angular)
            twist_lever = -result.base_camera_7[:3]
        publisher.publish(
            messages.odometry_message(
                Header(stamp=result.header.stamp, frame_id=self.settings.odometry_frame),
                child,
                pose_7,
                isotropic_covariance(motion.position_variance, motion.rotation_variance, lever),
                linear,
                angular,
                isotropic_covariance(motion.linear_variance, motion.angular_variance, twist_lever),
            )
        )

    def _full_mask(self, result: Result, localizer: Localizer) -> NDArray[np.uint8]:
        """(H, W) class ids on the pixels of the image."""
        ids = localizer.full_mask(result.estimate)
        return ids if result.view is None else result.view.mask(ids)

    def _publish_semantics(self, result: Result, localizer: Localizer) -> None:
        mask, color, overlay = (self._wanted(topic) for topic, _ in TOPICS["segmentation"])
        if mask is None and color is None and overlay is None:
            return
        ids = self._full_mask(result, localizer)
        if mask is not None:
            mask.publish(images.image_message(result.header, ids, "mono8"))
        if color is None and overlay is None:
            return
        colors = images.colored(ids, self._palette)
        if color is not None:
            color.publish(images.image_message(result.header, colors, "rgb8"))
        if overlay is not None:
            image = images.to_rgb(result.image, result.encoding)
            mixed = images.overlay(image, colors, ids, self.settings.overlay_opacity)
            overlay.publish(images.image_message(result.header, mixed, "rgb8"))
