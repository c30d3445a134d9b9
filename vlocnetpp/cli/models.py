"""`vlocnetpp evaluate` and `inspect`: what a model file or a preset is worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments

if TYPE_CHECKING:
    from vlocnetpp.network import NetworkConfig
    from vlocnetpp.runtime import Metadata


def evaluate(args: argparse.Namespace) -> int:
    """Score an exported model on a split."""
    from vlocnetpp.data import open_dataset
    from vlocnetpp.evaluation.evaluate import evaluate as run
    from vlocnetpp.evaluation.unlabelled import look
    from vlocnetpp.reporting import print_table
    from vlocnetpp.runtime import load_model

    model, dataset = load_model(args.model, args.device, args.precision), open_dataset(args.root, args.layout)
    if args.no_labels:
        metrics, notes = look(model, dataset, args.split, args.out)
        _print_metrics(metrics)
        print("\n".join(f"{args.out}: {note}" for note in notes))
        return 0
    metrics, peers = run(model, dataset, args.split, args.out)
    _print_metrics(metrics)
    for table in peers:
        print_table(*table)
    print(f"{args.out}: metrics.json, answers.csv, report.md and, where there are poses, trajectories")
    return 0


def _print_metrics(metrics: dict[str, Any]) -> None:
    from vlocnetpp.reporting import print_table
    from vlocnetpp.reporting.report import metric_rows, nested_tables

    for name, section in metrics.items():
        if rows := [row[:3] for row in metric_rows(name, section)]:
            print_table(name, ("figure", "value", "unit"), rows)
        for table in nested_tables(name, section):
            print_table(f"{name}: {table.title}", table.columns[:3], [row[:3] for row in table.rows])


def inspect(args: argparse.Namespace) -> int:
    """Describe a preset or a model file."""
    from vlocnetpp.network.summary import print_model, print_network
    from vlocnetpp.runtime.model_file import metadata_to_json

    if is_file(args.what):
        metadata = file_metadata(Path(args.what))
        if args.json:
            print(metadata_to_json(metadata))
            return 0
        print_model(Path(args.what), metadata)
        if is_onnx(Path(args.what)):
            from vlocnetpp.export.onnx import onnx_interface
            from vlocnetpp.reporting import print_table

            print_table("ONNX", ("", "name", "type and shape"), onnx_interface(Path(args.what)))
    print_network(named_config(args))
    return 0


def named_config(args: argparse.Namespace) -> NetworkConfig:
    """The network that `args.what` names: a preset at a width and input, or what is in a model file."""
    from vlocnetpp.network import network_config
    from vlocnetpp.network.presets import config_from_json

    if is_file(args.what):
        return config_from_json(file_metadata(Path(args.what)).network)
    settings = {"height": args.height, "width_px": args.width_px}
    return network_config(args.what, args.width, **{key: value for key, value in settings.items() if value})


def file_metadata(path: Path) -> Metadata:
    """What a TorchScript or an ONNX file says of itself. Raises ModelFileError."""
    if is_onnx(path):
        from vlocnetpp.export import read_onnx_metadata

        return read_onnx_metadata(path)
    from vlocnetpp.runtime import read_metadata

    return read_metadata(path)


def is_onnx(path: Path) -> bool:
    """Whether a file is read as ONNX, by its suffix."""
    return path.suffix == ".onnx"


def is_file(what: str) -> bool:
    """Whether a word means a file rather than a preset; a preset has no suffix."""
    return bool(Path(what).suffix) or Path(what).is_file()


def network_arguments(command: argparse.ArgumentParser) -> None:
    """Which network a command is about; see `named_config`."""
    command.add_argument("what", help="name of a preset, e.g. mtl, or a model file (.ts or .onnx)")
    command.add_argument("--width", default="full", help="of a preset: tiny or full (default: full)")
    command.add_argument("--height", type=int, help="rows of a preset's input (default: 224)")
    command.add_argument("--width-px", type=int, help="columns of a preset's input (default: 224)")


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`evaluate` and `inspect`."""
    evaluator = commands.add_parser("evaluate", help="score an exported model, streamed as on the robot")
    evaluator.add_argument("model", type=Path, help="file written by export")
    dataset_arguments(evaluator)
    evaluator.add_argument("--split", default="test", help="which split (default: test)")
    evaluator.add_argument("--out", type=Path, required=True, help="folder for metrics, trajectories and report")
    evaluator.add_argument(
        "--no-labels",
        action="store_true",
        help="look at no ground truth: poses, masks, uncertainty, a contact sheet and a film; also for a plain folder "
        "of images with a camera-intrinsics.txt",
    )
    evaluator.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    evaluator.add_argument("--precision", help="fp32, fp16 or bf16 (default: what the robot would use on this machine)")
    evaluator.set_defaults(command=evaluate)

    inspector = commands.add_parser("inspect", help="stages, shapes, parameters and operations of a preset or file")
    network_arguments(inspector)
    inspector.add_argument("--json", action="store_true", help="print the metadata of a model file as JSON")
    inspector.set_defaults(command=inspect)
