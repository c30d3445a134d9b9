"""`vlocnetpp train` and `vlocnetpp export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands


def train(args: argparse.Namespace) -> int:
    """Train a network into a run folder."""
    from vlocnetpp.network import ConfigError
    from vlocnetpp.training import load_config
    from vlocnetpp.training import train as run

    overrides = parse_overrides(args.override)
    if args.budget is not None:
        overrides["budget"] = args.budget
    config = args.config
    if args.resume:
        config = args.out / "config.yaml"
        for name in overrides:
            if name not in ("budget", "device", "data.root"):
                raise ConfigError(f"--{name}: a run goes on as it began; only budget, device and data.root may change")
    finished = run(load_config(config, overrides), args.out, resume=args.resume)
    if finished:
        print(f"{args.out}: trained; next: vlocnetpp export {args.out} --out MODEL.ts")
        return 0
    print(f"{args.out}: stopped and saved; continue with the same command and --resume")
    return 130


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`--section.key value` and `--section.key=value` pairs. Raises ConfigError for anything else."""
    from vlocnetpp.network import ConfigError

    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"'{word}' is not understood; settings are given as --section.key value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} has no value")
            value = rest.pop(0)
        overrides[name] = value
    return overrides


def export(args: argparse.Namespace) -> int:
    """Write the file for the robot."""
    from vlocnetpp.export import export_run

    metadata = export_run(args.run, args.out, args.precision)
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: preset {metadata.preset}, {', '.join(metadata.tasks)}, {size:.1f} MB")
    return 0


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`train` and `export`."""
    trainer = commands.add_parser(
        "train",
        help="train a network",
        epilog="Any setting of the configuration can be changed: --data.root ROOT --batch 16 --network.height 192",
    )
    trainer.add_argument("config", type=Path, help="YAML file, e.g. config/train/robot.yaml")
    trainer.add_argument("--out", type=Path, required=True, help="folder of the run")
    trainer.add_argument("--budget", help="time to train, e.g. 90s, 20m, 8h; the learning rate follows it")
    trainer.add_argument("--resume", action="store_true", help="continue the run in --out from its last checkpoint")
    trainer.set_defaults(command=train)

    exporter = commands.add_parser("export", help="write the one file that the robot runs")
    exporter.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    exporter.add_argument("--out", type=Path, required=True, help="file to write, e.g. lab.ts")
    exporter.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="of the stored weights (default: fp32)"
    )
    exporter.set_defaults(command=export)
