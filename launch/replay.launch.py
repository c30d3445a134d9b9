"""Play a bag through the localization node and score it; RViz shows it while it runs where it is asked for.

    ros2 launch vlocnetpp_ros replay.launch.py model:=lab.ts bag:=monday out:=out/monday
    ros2 launch vlocnetpp_ros replay.launch.py model:=lab.ts bag:=monday out:=out/monday fast:=true

Without launch, `ros2 run vlocnetpp_ros replay --help` does the same and has more options.
"""

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from vlocnetpp_ros.parameter_names import unknown_argument

SHARE = Path(__file__).resolve().parent.parent
OPTIONS = {
    "image_topic": ("--image-topic", "Rectified colour image, raw or compressed; found in the bag where not named."),
    "camera_info_topic": ("--camera-info-topic", "Intrinsics; by default beside the image."),
    "ground_truth": (
        "--ground-truth",
        "Pose topic to compare with; by default the only one that does not drift.",
    ),
    "pose_frame": ("--pose-frame", "Frame whose poses that topic has, e.g. base_link; by default the camera's."),
    "camera_frame": ("--camera-frame", "Frame of the camera; by default that of the images."),
    "extrinsics": (
        "--extrinsics",
        "Pose of the camera in pose_frame, x,y,z,qx,qy,qz,qw, without /tf_static.",
    ),
    "map_frame": ("--map-frame", "Frame of the map, where the poses are those of /tf."),
    "device": ("--device", "auto, cpu, cuda or cuda:N."),
    "precision": ("--precision", "auto, fp32, fp16 or bf16."),
}
SWITCHES = {"replace": "--replace", "no_gate": "--no-gate"}


def ended(event: ProcessExited, context: LaunchContext) -> list[LogInfo]:
    """End as replay did: an exception is what makes `ros2 launch` end with another status than 0. RViz stays open."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"replay ended with status {event.returncode}; what it said is above")
    if context.is_shutdown or context.launch_configurations["rviz"] == "false":
        return []
    return [LogInfo(msg="the bag is played; RViz shows where it ended until you close it or press Ctrl+C")]


def words(given: dict[str, str]) -> list[str]:
    """The command line of replay for the arguments that were given."""
    model, bag, out = (str(Path(given[name]).expanduser().resolve()) for name in ("model", "bag", "out"))
    pace = ["--fast"] if given["fast"].lower() == "true" else ["--rate", given["rate"]]
    switches = [option for name, option in SWITCHES.items() if given[name].lower() == "true"]
    # One word each, since a value may begin with a minus.
    options = [f"{option}={given[name]}" for name, (option, _) in OPTIONS.items() if given[name]]
    scale = [f"--parameter=gate_scale:={given['gate_scale']}"] if given["gate_scale"] else []
    return [model, bag, "--out", out, *pace, *switches, *options, *scale]


def nodes(context: LaunchContext) -> list[Node]:
    """The command `replay`, which starts the localization node itself and ends with it."""
    replay = Node(
        package="vlocnetpp_ros",
        executable="replay",
        arguments=words(context.launch_configurations),
        output="screen",
        on_exit=ended,
        # The node that it started gets ten seconds to end before it is killed.
        sigterm_timeout="15",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "localize.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
        output="log",
    )
    return [replay, rviz]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    description = LaunchDescription(
        [
            DeclareLaunchArgument("model", description="Path of the model file, written by 'vlocnetpp export'."),
            DeclareLaunchArgument("bag", description="rosbag2 folder, .mcap, .db3, or a rosbag1 .bag."),
            DeclareLaunchArgument("out", default_value="out/replay", description="Result folder."),
            DeclareLaunchArgument(
                "replace", default_value="false", choices=["true", "false"], description="Replace an earlier result."
            ),
            DeclareLaunchArgument(
                "no_gate",
                default_value="false",
                choices=["true", "false"],
                description="Publish every pose, also those that the node would withhold.",
            ),
            DeclareLaunchArgument(
                "gate_scale",
                default_value="",
                description="Factor on the limits of the gate, as evaluate names it.",
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="Pace; 1 is as it was recorded."),
            DeclareLaunchArgument(
                "fast",
                default_value="false",
                choices=["true", "false"],
                description="Publish the next image when the last one was answered, instead of at `rate`.",
            ),
            *(DeclareLaunchArgument(name, default_value="", description=text) for name, (_, text) in OPTIONS.items()),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=["true", "false"],
                description="In RViz, which stays open afterwards.",
            ),
            OpaqueFunction(function=nodes),
        ]
    )
    if line := unknown_argument(__file__, {each.name for each in description.get_launch_arguments()}, sys.argv):
        raise ValueError(line)
    return description
