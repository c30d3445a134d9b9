"""The bundled bag through the node with the bundled model: `replay.launch.py` with its arguments filled in.

    ros2 launch vlocnetpp_ros demo.launch.py
    ros2 launch vlocnetpp_ros demo.launch.py rviz:=true

Without launch, `make demo` in the repository does the same.
"""

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from vlocnetpp_ros.parameter_names import unknown_argument

SHARE = Path(__file__).resolve().parent.parent


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    description = LaunchDescription(
        [
            DeclareLaunchArgument("out", default_value="out/demo", description="Result folder."),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=["true", "false"],
                description="In RViz, which stays open afterwards.",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / "launch" / "replay.launch.py")),
                launch_arguments={
                    "model": str(SHARE / "models" / "demo.ts"),
                    "bag": str(SHARE / "models" / "demo_bag"),
                    "out": LaunchConfiguration("out"),
                    "rviz": LaunchConfiguration("rviz"),
                }.items(),
            ),
        ]
    )
    if line := unknown_argument(__file__, {each.name for each in description.get_launch_arguments()}, sys.argv):
        raise ValueError(line)
    return description
