"""`vlocnetpp data render`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands


def data_render(args: argparse.Namespace) -> int:
    """Render a scene, or list all scenes."""
    from vlocnetpp.data.frames import DataError
    from vlocnetpp.data.world import render_world

    if args.list:
        _print_scenes(args.frames_scale)
        return 0
    if args.scene is None or args.out is None:
        raise DataError("render needs SCENE and OUT; 'vlocnetpp data render --list' shows the scenes")
    try:
        render_world(
            args.out,
            args.scene,
            seed=args.seed,
            width=args.width,
            height=args.height,
            frames_scale=args.frames_scale,
            jobs=args.jobs,
        )
    except KeyboardInterrupt:
        partial = args.out.with_name(args.out.name + ".partial")
        if partial.exists():
            print(f"{partial}: complete sequences are kept, the same command goes on there", file=sys.stderr)
        raise
    print(f"{args.out}: rendered; look at it with 'vlocnetpp data info {args.out}'")
    return 0


def _print_scenes(frames_scale: float) -> None:
    from vlocnetpp.data.world import SCENES
    from vlocnetpp.data.world.suite import SPLITS, size_of
    from vlocnetpp.reporting import print_table

    for scene in SCENES.values():
        sizes = size_of(scene, frames_scale)
        rows = [[split, sequences, frames, SPLITS[split]] for split, (sequences, frames) in sizes.items()]
        total = sum(frames for _, frames in sizes.values())
        megabytes, minutes = total * scene.frame_kb / 1000, total * scene.frame_core_s / 60
        title = (
            f"{scene.name}: {scene.summary}\n"
            f"{total} frames, about {megabytes:.0f} MB; {minutes:.0f} core-minutes without a graphics card"
        )
        print_table(title, ("split", "sequences", "frames", "what it asks"), rows)


def add_action(actions: Subcommands[argparse.ArgumentParser]) -> None:
    """`render` among the actions of `data`."""
    render = actions.add_parser(
        "render",
        help="render a scene with exact poses, depth and masks (needs the extra 'render')",
        description="Render a scene. An interrupted rendering goes on with the same command.",
    )
    render.add_argument("scene", nargs="?", metavar="SCENE", help="such as suite/campus; --list shows all")
    render.add_argument("out", nargs="?", type=Path, metavar="OUT", help="folder to write; must not exist")
    render.add_argument("--list", action="store_true", help="print scenes, splits, frames, size and time, and stop")
    render.add_argument("--seed", type=int, default=0, help="of the scene and the drives (default: 0)")
    render.add_argument("--width", type=int, default=320, help="of an image, pixels (default: 320)")
    render.add_argument("--height", type=int, default=240, help="of an image, pixels (default: 240)")
    render.add_argument(
        "--frames-scale", type=float, default=1.0, metavar="F", help="times as many frames of the same drives (1)"
    )
    render.add_argument("--jobs", type=int, metavar="N", help="processes (default: one a core); the result is the same")
    render.set_defaults(command=data_render)
