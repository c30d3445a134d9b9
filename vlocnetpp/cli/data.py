"""`vlocnetpp data`: look at data, convert it, render it."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence as Several
from pathlib import Path
from typing import TYPE_CHECKING

from vlocnetpp.cli import doctor, render
from vlocnetpp.cli.arguments import Subcommands, dataset_arguments

if TYPE_CHECKING:
    from vlocnetpp.data import Sequence

MOST_ROWS = 30
"""Of a split with more sequences, only the total is shown."""


def data_info(args: argparse.Namespace) -> int:
    """Print the contents of a dataset."""
    from vlocnetpp.data import open_dataset
    from vlocnetpp.reporting import print_table

    dataset = open_dataset(args.root, args.layout)
    rows = []
    for split, sequences in dataset.splits.items():
        shown = sequences if len(sequences) <= MOST_ROWS else ()
        rows += [[split, sequence.name, *_counts([sequence])] for sequence in shown]
        if len(sequences) != 1:
            rows.append([split, f"all {len(sequences)}", *_counts(sequences)])
    title = f"{dataset.root}: layout {dataset.layout}, {len(dataset.classes)} classes, poses in '{dataset.map_frame}'"
    print_table(title, ("split", "sequence", "frames", "seconds", "poses", "depths", "masks"), rows)
    for note in dataset.notes:
        print(f"  note: {note}")
    return 0


def _counts(sequences: Several[Sequence]) -> list[int | str]:
    """Frames, seconds, and frames with a pose, a depth and a mask."""
    frames = [frame for sequence in sequences for frame in sequence.frames]
    spans_s = [(each.frames[-1].stamp_ns - each.frames[0].stamp_ns) * 1e-9 for each in sequences if each.frames]
    labels = [sum(getattr(frame, key) is not None for frame in frames) for key in ("pose_7", "depth_path", "mask_path")]
    return [len(frames), f"{sum(spans_s):.1f}", *labels]


def data_to_bag(args: argparse.Namespace) -> int:
    """Write a split as a rosbag2."""
    from vlocnetpp.data import open_dataset, write_bag

    dataset = open_dataset(args.root, args.layout)
    stop_cleanly()
    summary = write_bag(
        dataset,
        args.split,
        args.bag,
        storage=args.storage,
        jpeg_quality=args.jpeg_quality,
        camera=args.camera,
        depth=not args.no_depth,
        sequence=args.sequence,
    )
    print(summary)
    return 0


def data_from_bag(args: argparse.Namespace) -> int:
    """Turn a bag into a training folder."""
    from vlocnetpp.data import DataError, read_bag

    if args.test and args.split == "test":
        raise DataError(f"{args.out}: --split test and --test both give the split test; name the first one train")
    if args.test_poses and not (args.test and args.poses):
        raise DataError(f"{args.out}: --test-poses is for --test and beside --poses")
    poses = {args.split: args.poses, "test": args.test_poses} if args.test_poses else args.poses
    stop_cleanly()
    summary = read_bag(
        {args.split: args.bag, "test": args.test} if args.test else args.bag,
        args.out,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        pose_topic=args.pose_topic,
        poses=poses,
        pose_offset_s=args.pose_offset,
        depth_topic=args.depth_topic,
        mask_topic=args.mask_topic,
        map_frame=args.map_frame,
        camera_frame=args.camera_frame,
        pose_frame=args.pose_frame,
        extrinsics=args.extrinsics,
        max_pose_distance_s=args.max_pose_distance,
        max_association_s=args.max_association,
        split=args.split,
        gap_s=args.gap,
        min_translation_m=args.min_translation,
        min_rotation_deg=args.min_rotation,
        jpeg_quality=args.jpeg_quality,
    )
    print(summary)
    print(f"  how it was made: {args.out / 'conversion.json'}; next: vlocnetpp data doctor {args.out} --out out/doctor")
    return 0


def stop_cleanly() -> None:
    """Let SIGTERM end a conversion as Ctrl-C does, so that no partial output is left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def quality(text: str) -> int:
    """A JPEG quality, for argparse."""
    number = int(text)
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 100")
    return number


def amount(text: str) -> float:
    """A finite number from 0 on, for argparse."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return number


def offset(text: str) -> float:
    """Seconds between two clocks of any epochs, for argparse."""
    number = float(text)
    if not abs(number) < 4e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds between two clocks")
    return number


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`data` and its actions."""
    data = commands.add_parser("data", help="look at data, convert it, render it")
    actions = data.add_subparsers(title="actions", required=True, metavar="ACTION")
    info = actions.add_parser("info", help="sequences, frames and labels of a dataset")
    dataset_arguments(info)
    info.set_defaults(command=data_info)
    _add_to_bag(actions)
    _add_from_bag(actions)
    render.add_action(actions)
    doctor.add_action(actions)


def _add_to_bag(actions: Subcommands[argparse.ArgumentParser]) -> None:
    to_bag = actions.add_parser("to-bag", help="write a split of a dataset as a rosbag2 with its ground truth")
    dataset_arguments(to_bag)
    to_bag.add_argument("bag", type=Path, help="folder of the bag to write; must not exist")
    to_bag.add_argument("--split", default="test", help="which split (default: test)")
    to_bag.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (default: mcap)")
    to_bag.add_argument("--sequence", metavar="NAME", help="only this sequence of the split (default: all)")
    to_bag.add_argument("--jpeg-quality", type=quality, metavar="1-100", help="encode images anew; default: copy them")
    to_bag.add_argument(
        "--camera", default="/zed/zed_node", metavar="NAME", help="namespace of the camera's topics (/zed/zed_node)"
    )
    to_bag.add_argument("--no-depth", action="store_true", help="leave the depth images out")
    to_bag.set_defaults(command=data_to_bag)


def _add_from_bag(actions: Subcommands[argparse.ArgumentParser]) -> None:
    from_bag = actions.add_parser(
        "from-bag", help="turn a recording into a training folder", description="More in docs/recordings.md."
    )
    option = from_bag.add_argument
    option("bag", type=Path, help="rosbag1 file, rosbag2 folder, .mcap or .db3, or a folder with the parts of one")
    option("out", type=Path, help="folder to write; must not exist")
    option("--image-topic", metavar="TOPIC", help="raw or compressed image; needed only where a bag has several")
    option("--camera-info-topic", metavar="TOPIC", help="sensor_msgs/CameraInfo of that image")
    option(
        "--pose-topic",
        metavar="TOPIC",
        help="PoseStamped, PoseWithCovarianceStamped, Odometry or /tf; '' leaves poses out (default: the only one)",
    )
    option(
        "--poses",
        type=Path,
        metavar="FILE",
        help="poses from a file, e.g. of an offline SLAM, not a topic: TUM text (stamp x y z qx qy qz qw) or CSV",
    )
    option("--test-poses", type=Path, metavar="FILE", help="the same for the recording of --test")
    option(
        "--pose-offset",
        type=offset,
        metavar="S",
        help="seconds to add to the stamps of --poses (default: estimated from the camera's rotation, and printed)",
    )
    option("--map-frame", metavar="FRAME", help="with /tf: frame that poses are in (default: map, or the tree's root)")
    option("--camera-frame", metavar="FRAME", help="the camera's optical frame (default: frame_id of the images)")
    option(
        "--pose-frame",
        metavar="FRAME",
        help="with a pose topic: frame whose poses it has, e.g. base_link; /tf_static leads from there to the camera. "
        "'': poses of the camera itself (default: child_frame_id of Odometry, else the camera itself)",
    )
    option(
        "--extrinsics",
        metavar="X,Y,Z,QX,QY,QZ,QW",
        help="pose of the camera's optical frame in the frame of the poses, metres and a quaternion in ROS order, "
        "instead of a look-up; write --extrinsics=-0.1,... if it begins with a minus",
    )
    option("--depth-topic", metavar="TOPIC", help="depth aligned with the image; '' leaves it out")
    option("--mask-topic", metavar="TOPIC", help="mask of class ids; '' leaves it out")
    option("--split", default="train", metavar="NAME", help="name of the split it becomes (default: train)")
    option("--test", type=Path, metavar="BAG", help="a second recording, which becomes the split test")
    option(
        "--max-pose-distance",
        type=amount,
        default=0.1,
        metavar="S",
        help="an image must lie between two poses and be this near to one of them (0.1 s)",
    )
    option(
        "--max-association", type=amount, default=0.02, metavar="S", help="depth and mask must be this near (0.02 s)"
    )
    option("--gap", type=amount, default=1.0, metavar="S", help="a longer pause splits sequences (1 s)")
    option(
        "--min-translation", type=amount, default=0.0, metavar="M", help="leave out frames that moved less (0 m: keep)"
    )
    option("--min-rotation", type=amount, default=0.0, metavar="DEG", help="and turned less than this (0 deg: keep)")
    option("--jpeg-quality", type=quality, default=92, metavar="1-100", help="of images recorded raw (92)")
    from_bag.set_defaults(command=data_from_bag)
