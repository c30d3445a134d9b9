"""The command `replay`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from rclpy.utilities import remove_ros_args

from vlocnetpp.errors import DataError
from vlocnetpp.extras import missing_extra
from vlocnetpp.runtime import Metadata, ModelFileError, read_metadata
from vlocnetpp_ros import environment
from vlocnetpp_ros.replay import score
from vlocnetpp_ros.replay.process import node_process
from vlocnetpp_ros.replay.recording import Recording
from vlocnetpp_ros.replay.session import images_kept, session
from vlocnetpp_ros.replay.source import Source, survey

EPILOG = """\
DIR gets
  metrics.json       scores (metres, degrees, ms) and the node's own counts
  estimate.tum, odometry.tum, ground_truth.tum   trajectories: stamp x y z qx qy qz qw
  trajectory.png     ground truth and estimates seen from above, error coloured
  report.md          all of it on one page
  bag/               what the node published, as an mcap rosbag2 with the images' stamps
  node.log, parameters.yaml                      of the node's process

examples
  replay models/demo.ts demo_bag --out out/demo --fast
  replay lab.ts ~/bags/monday --out out/monday --rate 0.5 --ground-truth /amcl_pose
"""


UNGATED = {"gate_uncertainty_m": 0.0, "gate_uncertainty_deg": 0.0, "gate_disagreement": 0.0, "gate_margin_m": -1.0}
"""Parameters that switch every limit of the gate off."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for something unusable in one line on stderr, 130 after Ctrl-C."""
    if arguments is None:
        arguments = remove_ros_args(sys.argv)[1:]
    args = _parser().parse_args(arguments)
    # They must unwind like Ctrl-C, or the node's process would keep running; SIGHUP comes when the terminal closes.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        title, metrics = replay(args, ["replay", *arguments])
        score.show(title, metrics)
        print(f"{args.out}: report.md, metrics.json, trajectories and the bag of what the node published")
    except (DataError, ModelFileError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error, "replay")) is None:
            raise
        print(f"replay: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replay: interrupted, nothing was written", file=sys.stderr)
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def replay(args: argparse.Namespace, command: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Play, record and score one bag as in `args`. Returns title and metrics. Raises DataError or ModelFileError."""
    model = read_metadata(args.model)
    source = survey(args.bag, args.image_topic, args.camera_info_topic, args.ground_truth, args.max_association)
    out: Path = args.out
    if out.exists() and not (out.is_dir() and ((out / "metrics.json").is_file() or not any(out.iterdir()))):
        raise DataError(f"{out}: exists and is not the result of a replay; name another folder")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        result = _run(args, command, model, source, partial)
        # Both renames are in one folder; the old result goes only once the new one is whole.
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        _keep_log(partial, out)
        shutil.rmtree(partial, ignore_errors=True)
    return result


def _run(
    args: argparse.Namespace, command: Sequence[str], model: Metadata, source: Source, folder: Path
) -> tuple[str, dict[str, Any]]:
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
    score.write_results(folder, title, source, heard, metrics, notes)
    return title, metrics


def node_parameters(args: argparse.Namespace, source: Source) -> dict[str, Any]:
    """Parameters of the node: poses of the camera, reliable images so that only the node itself drops any.

    TF, where it is installed, connects the camera to the map, so that RViz can be watched beside.
    """
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
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="result folder, replaced if it is one")
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
        "--ground-truth",
        metavar="TOPIC",
        help="pose of the camera's optical frame in the map: PoseStamped, PoseWithCovarianceStamped or Odometry "
        "(default: /ground_truth/pose if the bag has it)",
    )
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
    return name, yaml.safe_load(value)
