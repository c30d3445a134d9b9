"""`vlocnetpp data doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments, positive, seed


def data_doctor(args: argparse.Namespace) -> int:
    """Print what is wrong with a dataset; 1 if there is an error, 0 if there is none."""
    import json

    from vlocnetpp.data.doctor import examine
    from vlocnetpp.reporting import print_table
    from vlocnetpp.reporting.files import json_ready, replacing, write_json

    report = examine(args.root, args.layout, args.pairs, args.seed)
    written = []
    if args.out is not None:
        write_json(args.out / "doctor.json", report.to_json())
        written.append("doctor.json")
        if report.study is not None and any(examined.frame.pose_7 is not None for examined in report.study.frames):
            from vlocnetpp.data.doctor.picture import plot_splits

            with replacing(args.out / "trajectories.png") as partial:
                plot_splits(partial, report.study)
            written.append("trajectories.png")
    if args.json:
        print(json.dumps(json_ready(report.to_json()), indent=2, ensure_ascii=False))
    else:
        rows = [[f.severity, f.kind, f.where, f.what, f"{f.confidence:.2f}", f.do] for f in report.findings]
        columns = ("severity", "check", "where", "what", "confidence", "what to do")
        print_table(f"{args.root}: {_summary(report.errors, report.findings)}", columns, rows)
        if written:
            print(f"{args.out}: {' and '.join(written)}")
    return 1 if report.errors else 0


def _summary(errors: int, findings: tuple) -> str:
    warnings = sum(finding.severity == "warning" for finding in findings)
    return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"


def add_action(actions: Subcommands[argparse.ArgumentParser]) -> None:
    """`doctor` among the actions of `data`."""
    doctor = actions.add_parser(
        "doctor",
        help="check a dataset before training on it",
        epilog="Exit status: 0 no error found, 1 at least one error, 2 the dataset cannot be opened. "
        "See docs/doctor.md.",
    )
    dataset_arguments(doctor)
    doctor.add_argument("--out", type=Path, metavar="DIR", help="write doctor.json and trajectories.png here")
    doctor.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    doctor.add_argument(
        "--pairs", type=positive, default=60, metavar="N", help="pairs of frames that test the poses (default: 60)"
    )
    doctor.add_argument("--seed", type=seed, default=0, metavar="S", help="seed for drawing the pairs (default: 0)")
    doctor.set_defaults(command=data_doctor)
