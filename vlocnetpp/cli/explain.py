"""`vlocnetpp explain`: pictures that explain a model's pose."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands, dataset_arguments, positive, replace_argument

FILES = ("explain.md", "explain.json", "activation.*", "embedding.*", "scene.*")
"""What an explanation writes."""


def explain(args: argparse.Namespace) -> int:
    """Write the pictures and print where they are."""
    from vlocnetpp.reporting.out_folder import result_folder

    with result_folder(args.out, FILES, args.replace) as folder:
        from vlocnetpp.data import open_dataset
        from vlocnetpp.explain import Options
        from vlocnetpp.explain import explain as run
        from vlocnetpp.export import rebuild
        from vlocnetpp.reporting import print_table

        sources = [args.model] + ([args.beside] if args.beside is not None else [])
        models = [rebuild(source, args.device) for source in sources]
        dataset = open_dataset(args.root, args.layout)
        options = Options(
            split=args.split,
            frames=args.frames,
            points=args.points,
            layers=tuple(dict.fromkeys(args.layer)),
            scalar=args.scalar,
            voxel_m=args.voxel,
            pdf=args.pdf,
        )
        tables = run(models, dataset, folder, options)
    for table in tables:
        print_table(*table)
    print(f"{args.out}: explain.md, with activation.png, embedding.png, scene.png; scene.ply, embedding.csv")
    return 0


def length(text: str) -> float:
    """A positive, finite number of metres, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a length above 0")
    return number


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`explain`."""
    explainer = commands.add_parser(
        "explain",
        help="show what a pose rests on: activation maps, feature embedding, trajectory in the scene",
        description="More in docs/explain.md.",
    )
    explainer.add_argument("model", type=Path, metavar="MODEL", help="file written by export, or folder of a run")
    dataset_arguments(explainer)
    explainer.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and report")
    replace_argument(explainer)
    explainer.add_argument("--beside", type=Path, metavar="OTHER", help="a second model or run, side by side")
    explainer.add_argument("--split", default="test", help="which split (default: test)")
    explainer.add_argument(
        "--frames", type=positive, default=4, metavar="N", help="frames with activation maps, spread over it (4)"
    )
    explainer.add_argument(
        "--points", type=positive, default=400, metavar="N", help="frames that are embedded at most (400)"
    )
    explainer.add_argument(
        "--layer",
        nargs="+",
        default=["last"],
        metavar="NAME",
        help="where activation maps are taken: last, or a unit of the paper such as res4c (default: last)",
    )
    explainer.add_argument(
        "--scalar",
        choices=("position", "rotation"),
        default="position",
        help="which part of the pose the maps explain (default: position)",
    )
    explainer.add_argument(
        "--voxel", type=length, metavar="M", help="edge of the scene's voxels, metres (default: by the scene's size)"
    )
    explainer.add_argument("--pdf", action="store_true", help="write the pictures as PDF, too")
    explainer.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    explainer.set_defaults(command=explain)
