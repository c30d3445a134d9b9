"""`vlocnetpp data render`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands


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


def add_action(actions: Subcommands[argparse.ArgumentParser]) -> None:
    """`render` among the actions of `data`."""
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
