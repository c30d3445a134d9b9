"""`vlocnetpp benchmark`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments, positive


def benchmark(args: argparse.Namespace) -> int:
    """Run every peer and method on a dataset and write the report; with `--plan` only print what would be run."""
    from vlocnetpp.benchmark import SECTIONS, BenchmarkError, Settings, begin_anew, command_line, exit_status, open_plan
    from vlocnetpp.benchmark import benchmark as run
    from vlocnetpp.network import WIDTHS
    from vlocnetpp.reporting import print_table

    overrides = dict(args.set or ())
    budget = args.budget_per_model or ("" if "epochs" in overrides else "10m")
    width = None
    if args.width is not None:
        try:
            width = WIDTHS[args.width] if args.width in WIDTHS else float(args.width)
        except ValueError:
            raise BenchmarkError(f"--width: '{args.width}' is not {', '.join(WIDTHS)} or a number") from None
    settings = Settings(
        budget=budget,
        seeds=args.seeds,
        methods=names(args.methods),
        methods_in=args.methods_in,
        peers=not args.no_peers,
        sections=names(args.sections) or SECTIONS,
        splits=names(args.split),
        layout=args.layout or "",
        device=args.device,
        width=width,
        overrides=overrides,
    )
    table, time = open_plan(args.root, args.out, settings, args.replace)
    print_table(*table)
    print(time)
    if args.plan:
        return 0
    if args.replace:
        begin_anew(args.out)
    outcome = run(args.root, args.out, settings, command_line())
    if outcome.stopped_by:
        print(f"{args.out}: stopped and saved; the same command goes on")
        return exit_status(outcome)
    for key in outcome.failed:
        print(f"{key}: no result; report.md says why")
    print(f"{args.out}: report.md, report.html, benchmark.json, figures/, results/")
    return exit_status(outcome)


def names(text: str | None) -> tuple[str, ...]:
    """`a,b` as names; an empty text gives none."""
    return tuple(word for word in (part.strip() for part in (text or "").split(",")) if word)


def setting(text: str) -> tuple[str, str]:
    """`section.key=value`, for argparse."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a setting; write section.key=value, e.g. batch=16")
    return name, value


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`benchmark`."""
    command = commands.add_parser(
        "benchmark",
        help="every method and every peer on the same frames, one report",
        description="Train every method under an equal budget, run every peer, and write one report as Markdown, "
        "HTML and JSON. If interrupted, the same command continues; finished rows are not repeated.",
        epilog="Exit status: 0 every row has a result, 1 some rows have failed (the report says why), 2 a mistake, "
        "130 interrupted.",
    )
    dataset_arguments(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the benchmark, new or to be continued")
    command.add_argument(
        "--replace", action="store_true", help="begin anew: remove the benchmark in --out; other files stay"
    )
    command.add_argument("--plan", action="store_true", help="print what would be run and for how long, and stop")
    command.add_argument(
        "--budget-per-model", metavar="TIME", help="training time of each method and seed, e.g. 90s, 10m (default: 10m)"
    )
    command.add_argument("--seeds", type=positive, default=3, help="trainings of each method (default: 3)")
    command.add_argument("--methods", help="what to train, e.g. stl_pose,mtl, or none (default: all)")
    command.add_argument("--no-peers", action="store_true", help="run no peer, only what is trained")
    command.add_argument(
        "--methods-in",
        default="config/benchmark",
        metavar="FOLDER",
        help="of the methods' files; config/ablation has robot with one change each (default: config/benchmark)",
    )
    command.add_argument("--sections", help="of localization,odometry,segmentation (default: all)")
    command.add_argument(
        "--split",
        default="test",
        metavar="NAMES",
        help="which splits are judged on, e.g. test,lane_025, or all: every one but train and val (default: test)",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    command.add_argument("--width", help="of all networks: tiny, full or a number (default: tiny)")
    command.add_argument(
        "--set",
        type=setting,
        action="append",
        metavar="KEY=VALUE",
        help="a setting of the trainer for every method, e.g. batch=16 or data.workers=2; epochs=N takes the place of "
        "the budget; may be repeated",
    )
    command.set_defaults(command=benchmark)
