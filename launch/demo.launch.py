"""The bundled bag through the node with the bundled model: `replay.launch.py` with its arguments filled in.

    ros2 launch vlocnetpp_ros demo.launch.py
    ros2 launch vlocnetpp_ros demo.launch.py rviz:=true

Without launch, `make demo` in the repository does the same.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(__file__).resolve().parent.parent


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
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
