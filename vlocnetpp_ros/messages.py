"""Poses, motions and names of classes as messages."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, Vector3
from nav_msgs.msg import Odometry, Path
from std_msgs.msg import Header

from vlocnetpp_ros import environment
from vlocnetpp_ros.frames import Floats, to_pose
from vlocnetpp_ros.images import Classes


def pose_message(header: Header, pose_7: Floats) -> PoseStamped:
    """A PoseStamped of a pose in the header's frame."""
    return PoseStamped(header=header, pose=to_pose(pose_7))


def pose_with_covariance_message(header: Header, pose_7: Floats, covariance_66: Floats) -> PoseWithCovarianceStamped:
    """A PoseWithCovarianceStamped; the covariance is about the fixed axes of the header's frame (REP-103)."""
    message = PoseWithCovarianceStamped(header=header)
    message.pose.pose = to_pose(pose_7)
    message.pose.covariance = covariance_66.reshape(-1)
    return message


def odometry_message(
    header: Header,
    child_frame: str,
    pose_7: Floats,
    pose_covariance_66: Floats,
    linear_3: Floats,
    angular_3: Floats,
    twist_covariance_66: Floats,
) -> Odometry:
    """An Odometry: the pose in the header's frame, the twist in the child frame."""
    message = Odometry(header=header, child_frame_id=child_frame)
    message.pose.pose = to_pose(pose_7)
    message.pose.covariance = pose_covariance_66.reshape(-1)
    message.twist.twist.linear = Vector3(**dict(zip("xyz", map(float, linear_3))))
    message.twist.twist.angular = Vector3(**dict(zip("xyz", map(float, angular_3))))
    message.twist.covariance = twist_covariance_66.reshape(-1)
    return message


def path_message(header: Header, poses: list[PoseStamped]) -> Path:
    """A Path of poses that are all in the header's frame."""
    return Path(header=header, poses=poses)


def label_info_message(header: Header, classes: Classes) -> Any:
    """A vision_msgs/LabelInfo with the names of the mask's ids. Raises MissingPackageError without vision_msgs."""
    messages = environment.need("vision_msgs", "~/semantic/label_info", "msg")
    named = [messages.VisionClass(class_id=i, class_name=name) for i, (name, _) in enumerate(classes)]
    return messages.LabelInfo(header=header, class_map=named, threshold=0.0)
