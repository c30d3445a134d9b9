"""What to install where ROS 2 itself is missing; `environment` is about packages that some installations lack."""

from __future__ import annotations

ROS_MODULES = (
    "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs", "rcl_interfaces", "rclpy",
    "rpyutils", "sensor_msgs", "std_msgs", "std_srvs",
)  # fmt: skip
"""Modules of the ROS 2 client and of its common interfaces."""
INSTALL_ROS = (
    "source a ROS 2 installation, or pip install 'ros-jazzy-rclpy[fastrtps]' ros-jazzy-common-interfaces "
    "(docs/installation.md)"
)


def missing_ros(error: ModuleNotFoundError) -> str | None:
    """One line that says what to install for a module of ROS 2 that is missing, None for any other module."""
    name = (error.name or "").partition(".")[0]
    return f"this needs ROS 2 ({error.name}): {INSTALL_ROS}" if name in ROS_MODULES else None
