"""Localize a camera: the node, configured and active, and RViz where it is asked for.

    ros2 launch vlocnetpp_ros localize.launch.py model:=lab.ts
    ros2 launch vlocnetpp_ros localize.launch.py model:=lab.ts image_topic:=/camera/color/image_raw rviz:=true

An argument that is left empty is taken from params_file. `--show-args` lists them all.
"""

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vlocnetpp_ros.environment import FAST_DDS_VARIABLES, with_fast_dds_profile

SHARE = Path(__file__).resolve().parent.parent
OVERRIDES = {
    "model": "Path of the model file, written by 'vlocnetpp export'.",
    "device": "auto, cpu, cuda or cuda:N.",
    "precision": "auto, fp32, fp16 or bf16.",
    "image_topic": "Rectified colour image; ZED wrapper up to 5.0: /zed/zed_node/rgb/image_rect_color.",
    "image_transport": "raw or compressed.",
    "camera_info_topic": "Intrinsics; by default 'camera_info' beside the image.",
    "map_frame": "Frame of the poses; by default the model's.",
    "odom_frame": "Frame of ~/odometry, child of the map frame in TF.",
    "base_frame": "Frame whose pose is published, e.g. base_link; by default the camera's optical frame.",
    "publish_tf": "map_to_odom, map_to_camera or none. Start the ZED wrapper with publish_map_tf:=false.",
}
"""Arguments that replace a parameter of the same name."""


def nodes(context: LaunchContext) -> list[Node]:
    """The node with the parameters of params_file, then the arguments that were given."""
    given = {name: context.launch_configurations[name] for name in OVERRIDES}
    parameters = {name: value for name, value in given.items() if value}
    if parameters.get("model"):
        # Relative to where the user is, not to where the node will run.
        parameters["model"] = str(Path(parameters["model"]).expanduser().resolve())
    localizer = Node(
        package="vlocnetpp_ros",
        executable="localization_node",
        name="localizer",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            parameters,
            {
                "autostart": context.launch_configurations["autostart"].lower() == "true",
                "use_sim_time": context.launch_configurations["use_sim_time"].lower() == "true",
            },
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", LaunchConfiguration("rviz_config")],
        parameters=[{"use_sim_time": context.launch_configurations["use_sim_time"].lower() == "true"}],
        condition=IfCondition(LaunchConfiguration("rviz")),
        output="log",
    )
    return [localizer, rviz]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    profile = with_fast_dds_profile(dict(os.environ))
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value="", description=text) for name, text in OVERRIDES.items()),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(SHARE / "config" / "localize.yaml"),
                description="Parameters of the node, with comments.",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=["true", "false"],
                description="Configure and activate at start; false for a lifecycle manager (bond_timeout: 0.0).",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                choices=["true", "false"],
                description="Take the time from /clock.",
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error."),
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
