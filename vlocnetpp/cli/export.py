"""`vlocnetpp export`: from a run to the files that a robot runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands


def export(args: argparse.Namespace) -> int:
    """Write the files for the robot and print how far they differ from the network, and which checkpoint it is."""
    from vlocnetpp.reporting.out_folder import refuse_earlier

    onnx, parity = (args.out.parent / f"{args.out.stem}{suffix}" for suffix in (".onnx", ".parity.json"))
    refuse_earlier([args.out, onnx, parity], args.replace)
    from vlocnetpp.export import export_run
    from vlocnetpp.export.choice import why_this_checkpoint
    from vlocnetpp.export.parity import in_words, table
    from vlocnetpp.reporting import print_table

    made = export_run(args.run, args.out, args.precision, args.onnx, args.checkpoint, args.image_size, args.verify)
    title = f"largest differences from {made.checkpoint} in fp32, files in {args.precision}"
    print_table(title, *table(made.parity))
    print(f"{in_words(made.parity)}; those of each frame are in {made.files[-1].name}")
    if made.checkpoint is not None:
        print(why_this_checkpoint(made.checkpoint))
    print(f"preset {made.metadata.preset}, {', '.join(made.metadata.tasks)}")
    for file in made.files:
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    if not args.onnx and onnx.is_file():
        onnx.unlink()
        print(f"{onnx}: was of the earlier export and is removed; --onnx writes a new one")
    return 0


def image_size(text: str) -> tuple[int, int]:
    """Rows and columns from `HxW`, for argparse."""
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write rows x columns, e.g. 720x1280")
    return int(rows), int(columns)


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`export`."""
    exporter = commands.add_parser(
        "export",
        help="write the one file that the robot runs",
        description="Write MODEL.ts, with --onnx MODEL.onnx, and MODEL.parity.json, which says how far they differ "
        "from the network over a clip. A difference beyond the tolerance of the precision writes nothing.",
    )
    exporter.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    exporter.add_argument("--out", type=Path, required=True, help="TorchScript file to write, e.g. lab.ts")
    exporter.add_argument("--replace", action="store_true", help="replace the files of an earlier export")
    exporter.add_argument("--onnx", action="store_true", help="write ONNX beside it (needs the extra 'onnx')")
    exporter.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="of the stored weights (default: fp32)"
    )
    exporter.add_argument(
        "--checkpoint", choices=("best", "last"), help="which to export (default: best where there is one, else last)"
    )
    exporter.add_argument(
        "--image-size",
        type=image_size,
        metavar="HxW",
        help="rows and columns of the images that the ONNX file takes (default: of the training images where the run "
        "says it, of ROOT's, or what the network needs not resize)",
    )
    exporter.add_argument("--verify", type=Path, metavar="ROOT", help="compare on first frames of this dataset too")
    exporter.set_defaults(command=export)
