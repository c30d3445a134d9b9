"""`vlocnetpp data`: look at data, convert it, render it."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli import render
from vlocnetpp.cli.arguments import Subcommands, dataset_arguments


def data_info(args: argparse.Namespace) -> int:
    """Print what a dataset holds."""
    from vlocnetpp.data import open_dataset
    from vlocnetpp.evaluation import print_table

    dataset = open_dataset(args.root, args.layout)
    rows = []
    for split, sequences in dataset.splits.items():
        for sequence in sequences:
            frames = sequence.frames
            span_s = (frames[-1].stamp_ns - frames[0].stamp_ns) * 1e-9 if frames else 0.0
            counts = [sum(getattr(f, key) is not None for f in frames) for key in ("pose_7", "depth_path", "mask_path")]
            rows.append([split, sequence.name, len(frames), f"{span_s:.1f}", *counts])
    title = f"{dataset.root}: layout {dataset.layout}, {len(dataset.classes)} classes, poses in '{dataset.map_frame}'"
    print_table(title, ("split", "sequence", "frames", "seconds", "poses", "depths", "masks"), rows)
    return 0


def data_to_bag(args: argparse.Namespace) -> int:
    """Write a split as a rosbag2."""
    from vlocnetpp.data import open_dataset, write_bag

    dataset = open_dataset(args.root, args.layout)
    summary = write_bag(
        dataset, args.split, args.bag, storage=args.storage, jpeg_quality=args.jpeg_quality, depth=not args.no_depth
    )
    print(summary)
    return 0


def data_from_bag(args: argparse.Namespace) -> int:
    """Turn a bag into a training folder."""
    from vlocnetpp.data import read_bag

    summary = read_bag(
        {args.split: args.bag, "test": args.test} if args.test else args.bag,
        args.out,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        pose_topic=args.pose_topic,
        depth_topic=args.depth_topic,
        mask_topic=args.mask_topic,
        max_association_s=args.max_association,
        split=args.split,
        gap_s=args.gap,
        min_translation_m=args.min_translation,
        min_rotation_deg=args.min_rotation,
    )
    print(summary)
    return 0


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`data` and its actions."""
    data = commands.add_parser("data", help="look at data, convert it, render it")
    actions = data.add_subparsers(title="actions", required=True, metavar="ACTION")

    info = actions.add_parser("info", help="sequences, frames and labels of a dataset")
    dataset_arguments(info)
    info.set_defaults(command=data_info)

    to_bag = actions.add_parser("to-bag", help="write a split of a dataset as a rosbag2 with its ground truth")
    dataset_arguments(to_bag)
    to_bag.add_argument("bag", type=Path, help="folder of the bag to write; must not exist")
    to_bag.add_argument("--split", default="test", help="which split (default: test)")
    to_bag.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (default: mcap)")
    to_bag.add_argument("--jpeg-quality", type=int, metavar="1-100", help="encode images anew; default: copy them")
    to_bag.add_argument("--no-depth", action="store_true", help="leave the depth images out")
    to_bag.set_defaults(command=data_to_bag)

    from_bag = actions.add_parser("from-bag", help="turn a recording into a training folder")
    from_bag.add_argument("bag", type=Path, help="rosbag1 file, rosbag2 folder, .mcap or .db3")
    from_bag.add_argument("out", type=Path, help="folder to write; must not exist")
    from_bag.add_argument("--image-topic", help="raw or compressed image; needed only where a bag has several")
    from_bag.add_argument("--camera-info-topic", help="sensor_msgs/CameraInfo of that image")
    from_bag.add_argument("--pose-topic", help="PoseStamped, PoseWithCovarianceStamped or Odometry of the camera")
    from_bag.add_argument("--depth-topic", help="depth aligned with the image; '' leaves it out")
    from_bag.add_argument("--mask-topic", help="mask of class ids; '' leaves it out")
    from_bag.add_argument("--split", default="train", help="name of the split it becomes (default: train)")
    from_bag.add_argument("--test", type=Path, metavar="BAG", help="a second recording, which becomes the split test")
    from_bag.add_argument(
        "--max-association", type=float, default=0.02, metavar="S", help="a pose or depth must be this near (0.02 s)"
    )
    from_bag.add_argument("--gap", type=float, default=1.0, metavar="S", help="a longer pause splits sequences (1 s)")
    from_bag.add_argument(
        "--min-translation", type=float, default=0.0, metavar="M", help="leave out frames that moved less (0 m)"
    )
    from_bag.add_argument(
        "--min-rotation", type=float, default=0.0, metavar="DEG", help="and turned less than this (0 deg)"
    )
    from_bag.set_defaults(command=data_from_bag)

    render.add_action(actions)
