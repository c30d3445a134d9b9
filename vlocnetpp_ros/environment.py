"""Optional ROS 2 packages of this installation, and the paths of the package's own files.

The ROS 2 client from PyPI (wheels of rclpy, Fast DDS and the common interfaces) lacks packages that a ROS installation
has. Only this module names them, with the use of each and its substitute.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "vlocnetpp_ros"
FAST_DDS_PROFILE = "config/fastdds.xml"
FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 the second."""


class MissingPackageError(ImportError):
    """A feature was asked for that needs a ROS package which is not installed; the message says what to do."""


@dataclass(frozen=True)
class OptionalPackage:
    """A ROS package that the PyPI wheels lack."""

    name: str
    """As it is imported."""
    purpose: str
    """Its use."""
    without: str
    """Its substitute, or the feature that is refused without it."""
    debian: str
    """Name in a ROS distribution's apt repository, without `ros-<distro>-`."""
    loads: str = ""
    """The module whose import shows that it works, where the package itself can be imported without it."""


OPTIONAL_PACKAGES = {
    package.name: package
    for package in (
        OptionalPackage(
            "cv_bridge",
            "images of encodings that images.py does not know, such as bayer_rggb16 and rgb16",
            "such images are dropped as 'unknown encoding'; images.py views or converts the usual ones everywhere",
            "cv-bridge",
            loads="cv_bridge.boost.cv_bridge_boost",  # apt's is built for NumPy 1 and does not load beside NumPy 2
        ),
        OptionalPackage(
            "message_filters",
            "pairing a sensor's depth image with the colour image by stamp",
            "pairing.py finds the same pairs",
            "message-filters",
        ),
        OptionalPackage(
            "tf2_ros",
            "broadcasting map->odom or map->camera, and the camera's place on the robot",
            "publish_tf other than 'none' and a base_frame are refused",
            "tf2-ros-py",
        ),
        OptionalPackage(
            "tf2_msgs",
            "the message type of /tf",
            "publish_tf other than 'none' is refused",
            "tf2-msgs",
        ),
        OptionalPackage(
            "tf_transformations",
            "rotation matrices of quaternions where messages are made",
            "vlocnetpp.geometry has them",
            "tf-transformations",
        ),
        OptionalPackage(
            "launch",
            "the files in launch/",
            "start localization_node and replay as commands",
            "launch",
        ),
        OptionalPackage(
            "launch_ros",
            "the files in launch/",
            "start localization_node and replay as commands",
            "launch-ros",
        ),
        OptionalPackage(
            "vision_msgs",
            "~/semantic/label_info, the names of the mask's ids",
            "~/semantic/label_info is not advertised; the names are in `vlocnetpp inspect MODEL`",
            "vision-msgs",
        ),
    )
}


def has(name: str) -> bool:
    """Whether a package of `OPTIONAL_PACKAGES` is installed.

    A plain folder of that name on the module path, such as this repository's own `launch/`, does not count.
    """
    spec = importlib.util.find_spec(OPTIONAL_PACKAGES[name].name)
    return spec is not None and spec.origin is not None


def load(name: str) -> Any | None:
    """A package of `OPTIONAL_PACKAGES` where it is installed and loads; None where what stands in for it is used."""
    return _attempt(name)[0]


def why_not(name: str) -> str:
    """Why `load` has None for a package, as the end of a sentence; empty where it has the package."""
    return _attempt(name)[1]


@functools.cache
def _attempt(name: str) -> tuple[Any | None, str]:
    package = OPTIONAL_PACKAGES[name]
    if not has(name):
        return None, "is not installed"
    try:
        importlib.import_module(package.loads or name)
        return importlib.import_module(name), ""
    except (ImportError, AttributeError) as error:  # of another Python or NumPy, or without what it needs itself
        return None, f"does not load ({error})"


def need(name: str, feature: str, module: str = "") -> Any:
    """Import a package of `OPTIONAL_PACKAGES`, or a module in it such as `msg`, for a feature.

    Raises MissingPackageError where the package is not installed.
    """
    package = OPTIONAL_PACKAGES[name]
    if not has(name):
        distribution = os.environ.get("ROS_DISTRO", "<distro>")
        raise MissingPackageError(
            f"{feature} needs the ROS package {name} ({package.purpose}), which is not installed here: "
            f"install ros-{distribution}-{package.debian}; without it, {package.without}"
        )
    return importlib.import_module(f"{name}.{module}" if module else name)


def subscription_events() -> Any:
    """rclpy's class SubscriptionEventCallbacks, which moved after Humble."""
    module = "rclpy.event_handler" if importlib.util.find_spec("rclpy.event_handler") else "rclpy.qos_event"
    return importlib.import_module(module).SubscriptionEventCallbacks


def with_message_info(callback: Any) -> Any:
    """A subscription's callback `(message, info)`. Humble's rclpy has no info: it is empty there."""
    subscription = importlib.import_module("rclpy.subscription").Subscription
    return callback if hasattr(subscription, "CallbackType") else lambda message: callback(message, {})


def after_parameters_are_set(node: Any, callback: Any) -> None:
    """Call back with the parameters of a node, `list[Parameter]`, after they were set.

    Humble's rclpy has no such callback; there the node listens to its own events on /parameter_events.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(callback)
    else:
        hear_parameter_events(node, callback)


def hear_parameter_events(node: Any, callback: Any) -> None:
    """`after_parameters_are_set` by the topic /parameter_events; called while the node is spun."""
    event = importlib.import_module("rcl_interfaces.msg").ParameterEvent
    parameter = importlib.import_module("rclpy.parameter").Parameter
    quality = importlib.import_module("rclpy.qos").qos_profile_parameter_events

    def heard(message: Any) -> None:
        if message.node == node.get_fully_qualified_name():
            callback([parameter.from_parameter_msg(each) for each in message.changed_parameters])

    node.create_subscription(event, "/parameter_events", heard, quality)


def package_file(relative: str) -> Path:
    """A file the package ships, such as `config/localize.yaml`, from a checkout or where pip or colcon installed it.

    Raises FileNotFoundError if none of them has it.
    """
    from ament_index_python.packages import get_package_share_directory

    shares = [Path(__file__).resolve().parent.parent, Path(sys.prefix, "share", PACKAGE)]
    # LookupError: not in the package index; OSError: there is no index at all, as with the wheels alone.
    with suppress(LookupError, OSError):
        shares.append(Path(get_package_share_directory(PACKAGE)))
    for share in shares:
        if (share / relative).is_file():
            return share / relative
    raise FileNotFoundError(f"{relative} is in none of {', '.join(map(str, shares))}; install {PACKAGE} again")


def with_fast_dds_profile(environment: dict[str, str]) -> dict[str, str]:
    """The environment with the shipped Fast DDS profile, unless the user has chosen one.

    Without a large shared-memory segment, best-effort 720p images arrive at less than half their rate. It must be in
    the environment before rclpy starts, of the publishing process above all.
    """
    if any(environment.get(variable) for variable in FAST_DDS_VARIABLES):
        return environment
    return {**environment, **dict.fromkeys(FAST_DDS_VARIABLES, str(package_file(FAST_DDS_PROFILE)))}
