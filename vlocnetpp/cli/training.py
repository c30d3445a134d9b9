"""`vlocnetpp train`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vlocnetpp.cli.arguments import Subcommands

RESUMABLE = ("budget", "epochs", "device", "data.root", "data.also", "data.cache", "data.workers")
"""Settings that a resumed run may change."""


def train(args: argparse.Namespace) -> int:
    """Train a network into a run folder."""
    from vlocnetpp.errors import ConfigError
    from vlocnetpp.training import load_config
    from vlocnetpp.training import train as run

    overrides = parse_overrides(args.override)
    for name in ("budget", "epochs"):
        if getattr(args, name) is not None:
            overrides[name] = getattr(args, name)
    config = args.config
    if args.resume:
        config = args.out / "config.yaml"
        for name in overrides:
            if name not in RESUMABLE:
                raise ConfigError(f"--{name}: a run goes on as it began; only {', '.join(RESUMABLE)} may change")
    stopped_by = run(load_config(config, overrides), args.out, resume=args.resume, profile=args.profile)
    if not stopped_by:
        print(f"{args.out}: trained; next: vlocnetpp export {args.out} --out MODEL.ts")
        return 0
    print(f"{args.out}: stopped and saved; continue with the same command and --resume")
    return 128 + stopped_by


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`--section.key value` and `--section.key=value` pairs. Raises ConfigError for anything else."""
    from vlocnetpp.errors import ConfigError

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


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`train`."""
    trainer = commands.add_parser(
        "train",
        help="train a network",
        epilog="Any setting of the configuration can be changed: --data.root ROOT --batch 16 --network.height 192",
    )
    trainer.add_argument("config", type=Path, help="YAML file, e.g. config/train/robot.yaml")
    trainer.add_argument("--out", type=Path, required=True, help="folder of the run")
    trainer.add_argument("--budget", help="time to train, e.g. 90s, 20m, 8h; the learning rate follows it")
    trainer.add_argument("--epochs", help="instead of a budget: how often every frame is seen, in all stages together")
    trainer.add_argument("--resume", action="store_true", help="continue the run in --out from its last checkpoint")
    trainer.add_argument("--profile", action="store_true", help="print at the end what the parts of a step cost")
    trainer.set_defaults(command=train, overrides=True)
