"""The command `replay`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml

from vlocnetpp.errors import DataError, refuse_unknown_option
from vlocnetpp.extras import missing_extra
from vlocnetpp_ros.missing_ros import missing_ros
from vlocnetpp_ros.parameter_names import DECLARED, unknown_parameter
from vlocnetpp_ros.settings import ParameterError

if TYPE_CHECKING:
    # Imported by the functions that use them, so that the help and a wrong word are answered at once and without ROS.
    from vlocnetpp.runtime import Metadata
    from vlocnetpp_ros.replay.source import Source

EPILOG = """\
DIR gets
  metrics.json       scores (metres, degrees, ms) and the node's own counts
  estimate.tum, odometry.tum, ground_truth.tum   trajectories: stamp x y z qx qy qz qw
  trajectory.png     ground truth and estimates seen from above, error coloured
  report.md          all of it on one page
  bag/               what the node published, as an mcap rosbag2 with the images' stamps
  node.log, parameters.yaml                      of the node's process

examples
  replay models/demo.ts models/demo_bag --out out/demo --fast
  replay lab.ts ~/bags/monday --out out/monday --rate 0.5 --pose-topic /amcl_pose --pose-frame base_link
"""


FILES = (
    "trajectory.png", "report.md", "metrics.json", "estimate.tum", "odometry.tum", "ground_truth.tum", "bag",
    "node.log", "parameters.yaml",
)  # fmt: skip
"""What a result folder gets, as the last line names it, and --replace takes out of an earlier one."""
UNGATED = {
    "gate_uncertainty_m": 0.0, "gate_uncertainty_deg": 0.0, "gate_novelty": 0.0, "gate_disagreement": 0.0,
    "gate_margin_m": -1.0,
}  # fmt: skip
"""Parameters that switch every limit of the gate off."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for something unusable in one line on stderr, 130 after Ctrl-C."""
    if arguments is None:
        arguments = _without_ros_arguments(sys.argv[1:])
    parser = _parser()
    refuse_unknown_option(parser, arguments)
    args = parser.parse_args(arguments)
    if sys.stderr.isatty():  # PyTorch and ROS take seconds to import
        print("replay: starting", file=sys.stderr, flush=True)
    # They must unwind like Ctrl-C, or the node's process would keep running; SIGHUP comes when the terminal closes.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        replay(args, ["replay", *arguments])
        from vlocnetpp.reporting.out_folder import contents

        print(contents(args.out, FILES))
    except ValueError as error:
        # Our own errors are mistakes of the user; any other ValueError is a bug.
        if not type(error).__module__.startswith("vlocnetpp"):
            raise
        print(f"replay: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (missing := missing_ros(error) or missing_extra(error, "replay")) is None:
            raise
        print(f"replay: {missing}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"replay: {error.filename or args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replay: interrupted, nothing was written", file=sys.stderr)
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def replay(args: argparse.Namespace, command: Sequence[str]) -> dict[str, Any]:
    """Play, record, score and print one bag as in `args`. Returns the metrics. Raises DataError or ModelFileError."""
    if (unknown := unknown_parameter(name for name, _ in args.parameter)) is not None:
        raise DataError(f"--parameter: {unknown}")
    from vlocnetpp.reporting.out_folder import result_folder

    with result_folder(args.out, FILES, args.replace) as folder:
        from vlocnetpp.data.bags.pose_source import FrameWishes, parse_extrinsics
        from vlocnetpp.runtime import read_metadata
        from vlocnetpp_ros.replay.source import survey

        extrinsics_7 = parse_extrinsics(args.extrinsics) if args.extrinsics else None
        frames = FrameWishes(args.map_frame, args.camera_frame, args.pose_frame, extrinsics_7)
        model = read_metadata(args.model)
        source = survey(
            args.bag, args.image_topic, args.camera_info_topic, args.pose_topic, args.max_association, frames
        )
        try:
            return _run(args, command, model, source, folder)
        except BaseException:
            _keep_log(folder, args.out)
            raise


def _run(
    args: argparse.Namespace, command: Sequence[str], model: Metadata, source: Source, folder: Path
) -> dict[str, Any]:
    from vlocnetpp_ros import environment
    from vlocnetpp_ros.replay import score
    from vlocnetpp_ros.replay.process import node_process
    from vlocnetpp_ros.replay.recording import Recording
    from vlocnetpp_ros.replay.session import session
    from vlocnetpp_ros.replay.withheld import in_words, limits_of

    # Before rclpy starts, here and in the node: the shared memory belongs to the process that publishes.
    profile = environment.with_fast_dds_profile(dict(os.environ))
    os.environ.update(profile)
    parameters = node_parameters(args, source)
    extras = ["pose_with_covariance"] if "localization" in model.tasks else []
    if args.overlay and "segmentation" in model.tasks:
        extras.append("overlay")
    with (
        node_process(parameters, folder, profile) as process,
        Recording(folder / "bag") as recording,
        session(source, model.tasks, process, recording, args.timeout, tuple(extras)) as player,
    ):
        player.prepare()
        played = player.play(None if args.fast else args.rate)
    title = f"{args.model.name} on {args.bag.resolve().name}"
    heard = score.listen(folder / "bag")
    metrics = score.score(source, folder / "bag", heard, played, model)
    pace = "as fast as the node answers" if args.fast else f"at {args.rate:g} times its own pace"
    notes = [
        f"command: `{shlex.join(command)}`",
        f"model: preset {model.preset}, {', '.join(model.tasks)}, written by {model.source_revision or 'unknown'}",
        f"bag: {len(source.stamps_ns)} images of {source.topics.image} over {source.seconds:.1f} s, played {pace}",
        f"ground truth: {source.topics.truth or 'none'}, masks: {source.topics.masks or 'none'}",
    ]
    limits = in_words(limits_of(parameters, model))
    findings = score.findings(source, heard, metrics, model, args.no_gate, limits)
    score.write_results(folder, title, source, heard, metrics, [*findings, *notes])
    score.show(title, metrics, findings, limits)
    return metrics


def node_parameters(args: argparse.Namespace, source: Source) -> dict[str, Any]:
    """Parameters of the node: poses of the camera, reliable images so that only the node itself drops any.

    TF, where it is installed, connects the camera to the map, so that RViz can be watched beside.
    """
    from vlocnetpp_ros import environment
    from vlocnetpp_ros.replay.session import images_kept

    topics = source.topics
    has_tf = environment.has("tf2_ros") and environment.has("tf2_msgs")
    subscribed = f"{topics.image_base}/compressed" if topics.compressed else topics.image_base
    return {
        "model": str(args.model.resolve()),
        "device": args.device,
        "precision": args.precision,
        "image_topic": topics.image_base,
        "image_transport": "compressed" if topics.compressed else "raw",
        "camera_info_topic": topics.camera_info,
        "publish_tf": "map_to_camera" if has_tf else "none",
        "qos_overrides": {subscribed: {"subscription": {"reliability": "reliable", "depth": images_kept(topics)}}},
        **(UNGATED if args.no_gate else {}),
        **dict(args.parameter),
    }


def _keep_log(partial: Path, out: Path) -> None:
    """Keep the node's log after a failure, beside the folder that was not written."""
    log = partial / "node.log"
    if log.is_file():
        log.replace(out.with_name(f"{out.name}.node.log"))


def _without_ros_arguments(words: Sequence[str]) -> list[str]:
    """The command's own words; those behind --ros-args, which launch adds, are left out."""
    if "--ros-args" not in words:
        return list(words)
    from rclpy.utilities import remove_ros_args

    return list(remove_ros_args(["replay", *words])[1:])


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="replay",
        description=(
            "Play a bag through the real localization node, running as its own process behind DDS; record what it "
            "publishes, and compare it with the ground truth in the bag."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="file written by 'vlocnetpp export'")
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap, .db3, or a rosbag1 .bag")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="result folder; new, or see --replace")
    parser.add_argument("--replace", action="store_true", help="replace an earlier result in --out; other files stay")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--rate", type=_positive, default=1.0, metavar="X", help="pace, 1 as it was recorded (default); images may drop"
    )
    pace.add_argument(
        "--fast", action="store_true", help="publish the next image when the last one was answered; none drops"
    )
    topics = parser.add_argument_group("topics", "found in the bag where they are not named")
    topics.add_argument("--image-topic", metavar="TOPIC", help="rectified colour image, raw or compressed")
    topics.add_argument("--camera-info-topic", metavar="TOPIC", help="default: beside the image")
    topics.add_argument(
        "--pose-topic",
        "--ground-truth",
        metavar="TOPIC",
        help="ground truth: PoseStamped, PoseWithCovarianceStamped, Odometry or /tf; '' leaves it out (default: "
        "/ground_truth/pose if the bag has it, else the only one, unless it is an odometry's)",
    )
    topics.add_argument(
        "--pose-frame",
        metavar="FRAME",
        help="frame whose poses that topic has, e.g. base_link; /tf_static leads from there to the camera. '': poses "
        "of the camera's optical frame (default: child_frame_id of Odometry, else the camera's)",
    )
    topics.add_argument(
        "--extrinsics",
        metavar="X,Y,Z,QX,QY,QZ,QW",
        help="pose of the camera's optical frame in the frame of the poses, metres and a quaternion in ROS order, "
        "instead of a look-up",
    )
    topics.add_argument("--map-frame", metavar="FRAME", help="with /tf: frame that poses are in")
    topics.add_argument("--camera-frame", metavar="FRAME", help="the camera's optical frame (default: of the images)")
    topics.add_argument(
        "--max-association",
        type=_positive,
        default=0.02,
        metavar="S",
        help="a ground-truth pose this near in time, seconds, counts for an image (default 0.02)",
    )
    node = parser.add_argument_group("node")
    node.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    node.add_argument("--precision", default="auto", choices=("auto", "fp32", "fp16", "bf16"))
    node.add_argument(
        "--parameter",
        action="append",
        type=_parameter,
        default=[],
        metavar="NAME:=VALUE",
        help="any other parameter of the node, may be repeated",
    )
    node.add_argument(
        "--no-gate", action="store_true", help="publish and judge every pose, also those that the node would withhold"
    )
    node.add_argument("--overlay", action="store_true", help="record ~/semantic/overlay too; large")
    node.add_argument(
        "--timeout", type=_positive, default=120.0, metavar="S", help="longest wait for the node, seconds (default 120)"
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition(":=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME:=VALUE")
    if name in DECLARED:
        try:
            return name, DECLARED[name].parse(value)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return name, yaml.safe_load(value)
