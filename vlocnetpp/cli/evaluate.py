"""`vlocnetpp evaluate`: scores of a model file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments, replace_argument

FILES = (
    "trajectory.png", "path.png", "masks.png", "sheet.png", "video.mp4", "report.md", "metrics.json", "answers.csv",
    "estimate.tum", "ground_truth.tum", "odometry-*.tum", "masks",
)  # fmt: skip
"""What an evaluation writes, with labels or without, as its last line names it."""


def evaluate(args: argparse.Namespace) -> int:
    """Score an exported model on a split."""
    from vlocnetpp.reporting.out_folder import contents, result_folder

    with result_folder(args.out, FILES, args.replace) as folder:
        from vlocnetpp.data import open_dataset
        from vlocnetpp.evaluation.evaluate import evaluate as run
        from vlocnetpp.evaluation.unlabelled import evaluate_unlabelled
        from vlocnetpp.reporting import print_table
        from vlocnetpp.runtime import load_model

        model, dataset = load_model(args.model, args.device, args.precision), open_dataset(args.root, args.layout)
        if args.no_labels:
            metrics, notes = evaluate_unlabelled(model, dataset, args.split, folder)
        else:
            result = run(model, dataset, args.split, folder, baselines=not args.no_baselines)
    if args.no_labels:
        _print_metrics(metrics)
        print("\n".join(f"{args.out}: {note}" for note in notes))
        print(contents(args.out, FILES))
        return 0
    print(f"{args.model.name} on {args.split}: {result.verdict}")
    if result.gate:
        print(result.gate)
    for table in result.tables:
        print_table(*table)
    _print_metrics(result.metrics)
    print(contents(args.out, FILES))
    return 0


def _print_metrics(metrics: dict[str, Any]) -> None:
    from vlocnetpp.reporting import print_table
    from vlocnetpp.reporting.report import metric_rows, nested_tables

    for name, section in metrics.items():
        if rows := [row[:3] for row in metric_rows(name, section)]:
            print_table(name, ("figure", "value", "unit"), rows)
        for table in nested_tables(name, section):
            print_table(f"{name}: {table.title}", table.columns[:3], [row[:3] for row in table.rows])


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`evaluate`."""
    evaluator = commands.add_parser("evaluate", help="score an exported model, streamed as on the robot")
    evaluator.add_argument("model", type=Path, help="file written by export")
    dataset_arguments(evaluator)
    evaluator.add_argument("--split", default="test", help="which split (default: test)")
    evaluator.add_argument("--out", type=Path, required=True, help="folder for metrics, trajectories and report")
    replace_argument(evaluator)
    evaluator.add_argument(
        "--no-labels",
        action="store_true",
        help="look at no ground truth: poses, masks, uncertainty, a contact sheet and a film; also for a plain folder "
        "of images with a camera-intrinsics.txt",
    )
    evaluator.add_argument(
        "--no-baselines",
        action="store_true",
        help="without the methods that need no training (mean pose, retrieval, ORB + depth map + PnP): a minute less",
    )
    evaluator.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    evaluator.add_argument("--precision", help="fp32, fp16 or bf16 (default: what the robot would use on this machine)")
    evaluator.set_defaults(command=evaluate)
