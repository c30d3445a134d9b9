"""Localize a camera: the node, configured and active, and RViz where it is asked for.

    ros2 launch vlocnetpp_ros localize.launch.py model:=lab.ts
    ros2 launch vlocnetpp_ros localize.launch.py model:=lab.ts camera:=realsense base_frame:=base_link rviz:=true

The later wins: the node's defaults, the camera's file, params_file, the arguments that are given. `--show-args` lists
them all; docs/node.md shows how a robot's bring-up includes this file.
"""

import os
import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vlocnetpp_ros.environment import FAST_DDS_VARIABLES, with_fast_dds_profile
from vlocnetpp_ros.parameter_names import unknown_argument
from vlocnetpp_ros.settings import DECLARATIONS, Value

SHARE = Path(__file__).resolve().parent.parent
CAMERAS = SHARE / "config" / "cameras"
NO_CAMERA = "none"
OVERRIDES = {declaration.name: declaration for declaration in DECLARATIONS if declaration.name != "autostart"}
"""Every parameter of the node is an argument: where it is given it replaces the parameter."""
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
SHOWN = ("map", "points", "path", "pose_with_covariance", "odometry", "semantic/overlay")
"""Topics of the node in the RViz configuration, which names them as they are without a namespace."""


def parameters(given: dict[str, str]) -> list[str | dict[str, Value]]:
    """Files and values for the node, the later wins. Raises ValueError, in one line, for invalid values."""
    chosen: list[str | dict[str, Value]] = []
    if given["camera"] != NO_CAMERA:
        chosen.append(str(CAMERAS / f"{given['camera']}.yaml"))
    if given["params_file"]:
        file = Path(given["params_file"]).expanduser().resolve()
        if not file.is_file():
            raise ValueError(f"params_file '{given['params_file']}' is not a file")
        chosen.append(str(file))
    if given["use_sim_time"].lower() not in ("", "true", "false"):
        raise ValueError(f"use_sim_time '{given['use_sim_time']}' must be true or false")
    values: dict[str, Value] = {
        name: declaration.parse(given[name]) for name, declaration in OVERRIDES.items() if given[name]
    }
    if given["use_sim_time"]:
        values["use_sim_time"] = given["use_sim_time"].lower() == "true"
    if "model" in values:
        # Relative to where the user is, not to where the node will run.
        values["model"] = str(Path(given["model"]).expanduser().resolve())
    return [*chosen, {**values, "autostart": given["autostart"] == "true"}]


def nodes(context: LaunchContext) -> list[Node]:
    """The node, and RViz if asked for."""
    given = context.launch_configurations
    localizer = Node(
        package="vlocnetpp_ros",
        executable="localization_node",
        name="localizer",
        namespace=LaunchConfiguration("namespace"),
        parameters=parameters(given),
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    # The model's own map frame is in its file, which is not read here: a frame that is named is RViz' fixed frame.
    fixed = ["-f", given["map_frame"]] if given["map_frame"] else []
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", LaunchConfiguration("rviz_config"), *fixed],
        parameters=[{"use_sim_time": given["use_sim_time"].lower() == "true"}],
        remappings=[(f"/localizer/{topic}", f"localizer/{topic}") for topic in SHOWN],
        condition=IfCondition(LaunchConfiguration("rviz")),
        output="log",
    )
    return [localizer, rviz]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    profile = with_fast_dds_profile(dict(os.environ))
    description = LaunchDescription(
        [
            DeclareLaunchArgument(
                "camera",
                default_value=NO_CAMERA,
                choices=[NO_CAMERA, *sorted(path.stem for path in CAMERAS.glob("*.yaml"))],
                description="Topics and frames of a camera driver, from config/cameras.",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value="",
                description="Parameters of the node that differ; config/localize.yaml lists them with comments.",
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description=declaration.description)
                for name, declaration in OVERRIDES.items()
            ),
            DeclareLaunchArgument("use_sim_time", default_value="", description="true: take the time from /clock."),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=["true", "false"],
                description="Configure and activate at start; false for a lifecycle manager (bond_timeout: 0.0).",
            ),
            DeclareLaunchArgument("log_level", default_value="info", choices=LOG_LEVELS, description="Of the node."),
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=["true", "false"], description="Start RViz with rviz_config."
            ),
            DeclareLaunchArgument(
                "rviz_config",
                default_value=str(SHARE / "rviz" / "localize.rviz"),
                description="RViz configuration.",
            ),
            # A large shared-memory segment, unless the user has chosen a profile. The camera driver needs it too.
            *(SetEnvironmentVariable(name, profile[name]) for name in FAST_DDS_VARIABLES if name in profile),
            OpaqueFunction(function=nodes),
        ]
    )
    if line := unknown_argument(__file__, {each.name for each in description.get_launch_arguments()}, sys.argv):
        raise ValueError(line)
    return description
