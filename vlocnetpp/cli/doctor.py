"""`vlocnetpp data doctor` and `data align`."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments, positive, replace_argument, seed

if TYPE_CHECKING:
    from vlocnetpp.data.doctor import Finding

FILES = ("trajectories.png", "doctor.json")
"""What --out gets."""


def data_doctor(args: argparse.Namespace) -> int:
    """Print what is wrong with a dataset; 1 if there is an error, 0 if there is none."""
    import json

    from vlocnetpp.reporting.files import json_ready, write_json
    from vlocnetpp.reporting.out_folder import contents, result_folder

    with result_folder(args.out, FILES, args.replace) if args.out is not None else nullcontext() as folder:
        from vlocnetpp.data.doctor import examine

        report = examine(args.root, args.layout, args.pairs, args.seed)
        if folder is not None:
            write_json(folder / "doctor.json", report.to_json())
            if report.study is not None and any(examined.frame.pose_7 is not None for examined in report.study.frames):
                from vlocnetpp.data.doctor.picture import plot_splits

                plot_splits(folder / "trajectories.png", report.study)
    if args.json:
        print(json.dumps(json_ready(report.to_json()), indent=2, ensure_ascii=False))
    else:
        print(f"{args.root}: {_summary(report.errors, report.findings)}")
        for finding in report.findings:
            _show(finding)
        if not report.errors:
            print(f"next: vlocnetpp train --suggest {args.root}")
        if args.out is not None:
            print(contents(args.out, FILES))
    return 1 if report.errors else 0


def _show(finding: Finding) -> None:
    """A finding as a paragraph: what was measured, and, for a problem, what to do."""
    width = shutil.get_terminal_size((100, 0)).columns
    head = f"{finding.severity} {finding.kind} ({finding.where})"
    lines = [f"{head}: {finding.what}"]
    if finding.severity != "info":
        lines.append(f"to do: {finding.do}")
    for line, indent in zip(lines, ("", "    "), strict=False):
        print(textwrap.fill(line, width, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False))


def data_align(args: argparse.Namespace) -> int:
    """Write a copy of a dataset in which drives are moved into the map of the others."""
    from vlocnetpp.data.doctor.align import align

    joints = align(args.root, args.layout, args.sequence, args.out, args.pairs, args.seed)
    for name, joint in joints.items():
        print(f"{name}: moved by {joint}; {joint.images} images agree, cameras are {joint.error:.2g} m apart (median)")
    print(f"{args.out}: written; {args.root} is unchanged; next: vlocnetpp data doctor {args.out}")
    return 0


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
    _seeded(doctor)
    doctor.add_argument("--out", type=Path, metavar="DIR", help="write doctor.json and trajectories.png here")
    replace_argument(doctor)
    doctor.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    doctor.set_defaults(command=data_doctor)
    aligner = actions.add_parser(
        "align",
        help="move drives into the map of the others, into a new folder",
        description="Write a copy of a dataset in which the named sequences are in the map of the first one. The "
        "transform is measured: images of the sequence are located in what the other drives show.",
    )
    dataset_arguments(aligner)
    aligner.add_argument("sequence", nargs="+", help="name of a sequence that the doctor found in another map")
    aligner.add_argument("--out", type=Path, required=True, metavar="NEW", help="folder to write; must not exist")
    _seeded(aligner)
    aligner.set_defaults(command=data_align)


def _seeded(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pairs", type=positive, default=60, metavar="N", help="pairs of frames that test the poses (default: 60)"
    )
    command.add_argument("--seed", type=seed, default=0, metavar="S", help="seed for drawing the pairs (default: 0)")
