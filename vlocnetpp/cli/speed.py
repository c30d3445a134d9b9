"""`vlocnetpp speed`: how long a step takes, with every backend that this machine has."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands, positive, replace_argument
from vlocnetpp.cli.inspect import is_file, is_onnx, named_config, network_arguments, settings_file

FILES = ("speed.json", "speed.png")
"""What --out gets."""


def speed(args: argparse.Namespace) -> int:
    """Time a preset or a model file's network."""
    from vlocnetpp.reporting.out_folder import result_folder

    with result_folder(args.out, FILES, args.replace) if args.out else nullcontext() as folder:
        from vlocnetpp.reporting import print_table
        from vlocnetpp.runtime import ModelFileError
        from vlocnetpp.speed import case_of_file, case_of_preset, measure
        from vlocnetpp.speed.report import tables, write

        if settings_file(args.what) is None and is_file(args.what):
            if is_onnx(Path(args.what)):
                raise ModelFileError(f"{args.what}: is ONNX; name the TorchScript file beside it, both ways are timed")
            case = case_of_file(Path(args.what), args.device, args.precision)
        else:
            case = case_of_preset(named_config(args), args.device, args.precision)
        report = measure(case, args.ways or (), args.repetitions)
        for table in tables(report):
            print_table(*table)
        if folder is not None:
            write(report, folder)
    if args.out:
        print(f"{args.out}: speed.json and speed.png")
    return 0


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`speed`."""
    timer = commands.add_parser("speed", help="time a preset or file in every way this machine can run it")
    network_arguments(timer)
    timer.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    timer.add_argument(
        "--precision",
        help="fp32, fp16 or bf16 of every way (default: fp32 on a CPU, else that of the file; the way 'runtime' "
        "chooses for itself, as on the robot)",
    )
    timer.add_argument(
        "--ways",
        nargs="+",
        metavar="WAY",
        help="which ones; the others are compared with the first: eager, scripted, frozen, optimized, "
        "channels-last, runtime, cuda-graph, recomputing, onnx, compile, aot-inductor (default: all but the last two, "
        "which compile for minutes)",
    )
    timer.add_argument("--repetitions", type=positive, default=20, help="of each way (default: 20)")
    timer.add_argument("--out", type=Path, help="folder for speed.json and speed.png")
    replace_argument(timer)
    timer.set_defaults(command=speed)
