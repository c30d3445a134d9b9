"""The command `vlocnetpp`: look at data, convert it, train, export, evaluate, inspect, time."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlocnetpp.network import NetworkConfig


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


def data_render(args: argparse.Namespace) -> int:
    """Render the courtyard."""
    from vlocnetpp.data.world import render_world

    render_world(
        args.out,
        seed=args.seed,
        width=args.width,
        height=args.height,
        laps=args.laps,
        frames_per_lap=args.frames_per_lap,
        test_frames=args.test_frames,
        val_frames=args.val_frames,
    )
    print(f"{args.out}: rendered; look at it with 'vlocnetpp data info {args.out}'")
    return 0


def train(args: argparse.Namespace) -> int:
    """Train a network into a run folder."""
    from vlocnetpp.network import ConfigError
    from vlocnetpp.training import load_config
    from vlocnetpp.training import train as run

    overrides = parse_overrides(args.override)
    if args.budget is not None:
        overrides["budget"] = args.budget
    config = args.config
    if args.resume:
        config = args.out / "config.yaml"
        for name in overrides:
            if name not in ("budget", "device", "data.root"):
                raise ConfigError(f"--{name}: a run goes on as it began; only budget, device and data.root may change")
    finished = run(load_config(config, overrides), args.out, resume=args.resume)
    if finished:
        print(f"{args.out}: trained; next: vlocnetpp export {args.out} --out MODEL.ts")
        return 0
    print(f"{args.out}: stopped and saved; continue with the same command and --resume")
    return 130


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`--section.key value` and `--section.key=value` pairs. Raises ConfigError for anything else."""
    from vlocnetpp.network import ConfigError

    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"'{word}' is not understood; settings are given as --section.key value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} has no value")
            value = rest.pop(0)
        overrides[name] = value
    return overrides


def export(args: argparse.Namespace) -> int:
    """Write the file for the robot."""
    from vlocnetpp.export import export_run

    metadata = export_run(args.run, args.out, args.precision)
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: preset {metadata.preset}, {', '.join(metadata.tasks)}, {size:.1f} MB")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Score an exported model on a split."""
    from vlocnetpp.data import open_dataset
    from vlocnetpp.evaluation import print_table
    from vlocnetpp.evaluation.evaluate import evaluate as run
    from vlocnetpp.evaluation.report import metric_rows
    from vlocnetpp.runtime import load_model

    model, dataset = load_model(args.model, args.device), open_dataset(args.root, args.layout)
    metrics, peers = run(model, dataset, args.split, args.out)
    for name, section in metrics.items():
        if rows := [row[:3] for row in metric_rows(name, section)]:
            print_table(name, ("figure", "value", "unit"), rows)
        for inner, values in section.items():
            if isinstance(values, dict):
                print_table(f"{name}: {inner}", ("", "value"), list(values.items()))
    for table in peers:
        print_table(*table)
    print(f"{args.out}: metrics.json, report.md and, where there are poses, trajectories")
    return 0


def inspect(args: argparse.Namespace) -> int:
    """Describe a preset or a model file."""
    from vlocnetpp.network.summary import print_model, print_network
    from vlocnetpp.runtime.model_file import metadata_to_json, read_metadata

    if is_file(args.what):
        metadata = read_metadata(args.what)
        if args.json:
            print(metadata_to_json(metadata))
            return 0
        print_model(Path(args.what), metadata)
    print_network(named_config(args))
    return 0


def speed(args: argparse.Namespace) -> int:
    """Time a preset or a model file's network."""
    from vlocnetpp.runtime.model_file import choose_device
    from vlocnetpp.speed import measure, print_speed

    config = named_config(args)
    print_speed(config, measure(config, args.device, args.repetitions), str(choose_device(args.device)))
    return 0


def named_config(args: argparse.Namespace) -> NetworkConfig:
    """The network that `args.what` names: a preset at a width and input, or what is in a model file."""
    from vlocnetpp.network import network_config
    from vlocnetpp.network.presets import config_from_json
    from vlocnetpp.runtime import read_metadata

    if is_file(args.what):
        return config_from_json(read_metadata(args.what).network)
    settings = {"height": args.height, "width_px": args.width_px}
    return network_config(args.what, args.width, **{key: value for key, value in settings.items() if value})


def is_file(what: str) -> bool:
    """Whether a word means a file rather than a preset; a preset has no suffix."""
    return bool(Path(what).suffix) or Path(what).is_file()


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="vlocnetpp", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="look at data, convert it, render it")
    actions = data.add_subparsers(title="actions", required=True, metavar="ACTION")

    def dataset_arguments(command: argparse.ArgumentParser) -> None:
        command.add_argument("root", type=Path, help="folder of the dataset")
        command.add_argument("--layout", help="name of its layout, e.g. seven_scenes; by default recognized")

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

    render = actions.add_parser("render", help="render the courtyard of the demo (needs the extra 'render')")
    render.add_argument("out", type=Path, help="folder to write; must not exist")
    render.add_argument("--seed", type=int, default=0, help="of the scene and the drives (default: 0)")
    render.add_argument("--width", type=int, default=320, help="of an image, pixels (default: 320)")
    render.add_argument("--height", type=int, default=240, help="of an image, pixels (default: 240)")
    render.add_argument("--laps", type=int, default=6, help="training loops (default: 6)")
    render.add_argument("--frames-per-lap", type=int, default=300, help="frames of a training loop (default: 300)")
    render.add_argument("--test-frames", type=int, default=400, help="frames of the test loop (default: 400)")
    render.add_argument("--val-frames", type=int, default=120, help="frames of the validation loop (default: 120)")
    render.set_defaults(command=data_render)

    trainer = commands.add_parser(
        "train",
        help="train a network",
        epilog="Any setting of the configuration can be changed: --data.root ROOT --batch 16 --network.height 192",
    )
    trainer.add_argument("config", type=Path, help="YAML file, e.g. config/train/robot.yaml")
    trainer.add_argument("--out", type=Path, required=True, help="folder of the run")
    trainer.add_argument("--budget", help="time to train, e.g. 90s, 20m, 8h; the learning rate follows it")
    trainer.add_argument("--resume", action="store_true", help="continue the run in --out from its last checkpoint")
    trainer.set_defaults(command=train)

    exporter = commands.add_parser("export", help="write the one file that the robot runs")
    exporter.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    exporter.add_argument("--out", type=Path, required=True, help="file to write, e.g. lab.ts")
    exporter.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="of the stored weights (default: fp32)"
    )
    exporter.set_defaults(command=export)

    evaluator = commands.add_parser("evaluate", help="score an exported model, streamed as on the robot")
    evaluator.add_argument("model", type=Path, help="file written by export")
    dataset_arguments(evaluator)
    evaluator.add_argument("--split", default="test", help="which split (default: test)")
    evaluator.add_argument("--out", type=Path, required=True, help="folder for metrics, trajectories and report")
    evaluator.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    evaluator.set_defaults(command=evaluate)

    def network_arguments(command: argparse.ArgumentParser) -> None:
        command.add_argument("what", help="name of a preset, e.g. mtl, or a model file")
        command.add_argument("--width", default="full", help="of a preset: tiny or full (default: full)")
        command.add_argument("--height", type=int, help="rows of a preset's input (default: 224)")
        command.add_argument("--width-px", type=int, help="columns of a preset's input (default: 224)")

    inspector = commands.add_parser("inspect", help="stages, shapes, parameters and operations of a preset or file")
    network_arguments(inspector)
    inspector.add_argument("--json", action="store_true", help="print the metadata of a model file as JSON")
    inspector.set_defaults(command=inspect)

    timer = commands.add_parser("speed", help="time the network of a preset or file, streaming or recomputing")
    network_arguments(timer)
    timer.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    timer.add_argument("--repetitions", type=positive, default=20, help="of each way (default: 20)")
    timer.set_defaults(command=speed)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a user's mistake ends in one line on standard error and exit status 2."""
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    if rest and args.command is not train:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.override = rest
    try:
        return int(args.command(args))
    except BrokenPipeError:
        # The reader of a pipe has seen enough (`| head`); what is left must not be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("vlocnetpp: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"vlocnetpp: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except ValueError as error:
        # The rooms' own errors are a user's mistakes and name file and reason; any other ValueError is a bug.
        if not type(error).__module__.startswith("vlocnetpp"):
            raise
        print(f"vlocnetpp: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
