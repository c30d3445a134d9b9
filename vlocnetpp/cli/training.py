"""`vlocnetpp train`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlocnetpp.cli.arguments import Subcommands

RESUMABLE = ("budget", "epochs", "device", "data.root", "data.also", "data.cache", "data.workers")
"""Settings that a resumed run may change."""
SETTINGS_FOLLOW = "the YAML file comes first, then the settings: vlocnetpp train CONFIG.yaml --section.key value"
OFTEN = """\
settings that are changed most often; --settings lists all
  --data.root ROOT                 folder of the dataset
  --data.also ROOT                 another dataset that the same network learns from
  --data.validation_sequences NAME a drive that is held out whole; several: '[A, B]'
  --budget TIME                    90s, 20m or 8h; or --epochs N
  --batch N                        clips per step
  --network.height ROWS            of the network's input; --network.width_px its columns
  --device NAME                    auto, cpu, cuda or cuda:N
"""
"""Named in the help by hand: importing all settings imports PyTorch, which takes seconds."""


def train(args: argparse.Namespace) -> int:
    """Train a network into a run folder."""
    from vlocnetpp.errors import ConfigError

    if args.settings:
        print(settings_text(args.config))
        return 0
    if args.suggest is not None:
        switches = [f"--{name}" for name in ("resume", "profile") if getattr(args, name)]
        if given := [*args.override, *switches, *([str(args.config)] if args.config else [])]:
            words = " ".join(given)
            raise ConfigError(f"--suggest takes a dataset and --out; '{words}' is for the command that it proposes")
        from vlocnetpp.training.suggest import suggest

        found = suggest(args.suggest, **({"out": str(args.out)} if args.out else {}))
        print("\n".join(f"- {reason}" for reason in found.reasons))
        print(f"\n    {found.command}")
        return 0
    if args.config is None or args.out is None:
        missing = "CONFIG, a YAML file such as config/train/robot.yaml" if args.config is None else "--out, a folder"
        raise ConfigError(f"train needs {missing}; vlocnetpp train --suggest ROOT proposes a command")
    from vlocnetpp.training import load_config
    from vlocnetpp.training import train as run

    overrides = parse_overrides(args.override)
    config = configuration(args.config)
    if args.resume:
        config = args.out / "config.yaml"
        begun = load_config(config)
        for name, value in overrides.items():
            # The same command with --resume gives all settings again.
            if name not in RESUMABLE and load_config(config, {name: value}) != begun:
                raise ConfigError(f"--{name}: a run goes on as it began; only {', '.join(RESUMABLE)} may change")
    stopped_by = run(load_config(config, overrides), args.out, resume=args.resume, profile=args.profile)
    if not stopped_by:
        print(f"{args.out}: trained; next: vlocnetpp export {args.out} --out MODEL.ts")
        return 0
    if (args.out / "last.pt").exists():
        print(f"{args.out}: stopped and saved; continue with the same command and --resume")
    else:
        print(f"{args.out}: stopped before the first step, nothing is lost; start again with the same command")
    return 128 + stopped_by


def configuration(path: Path) -> Path:
    """A file that is there, or else the one of that name that is installed, such as config/train/robot.yaml."""
    from vlocnetpp.shipped import shipped

    if path.exists() or path.is_absolute():
        return path
    try:
        return shipped(str(path))
    except FileNotFoundError:
        return path  # whoever reads it says what is wrong


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`--section.key value` and `--section.key=value` pairs. Raises ConfigError for anything else."""
    from vlocnetpp.errors import ConfigError

    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"'{word}' is not understood; {SETTINGS_FOLLOW}")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} has no value; {SETTINGS_FOLLOW}")
            value = rest.pop(0)
        overrides[name] = value
    return overrides


def settings_text(config: Path | None) -> str:
    """Every setting with its type, its value in a configuration or else its default, and what it does.

    Raises ConfigError for a file that cannot be read.
    """
    from vlocnetpp.network import configure
    from vlocnetpp.settings import read_settings
    from vlocnetpp.training.config import EITHER, StageConfig, TrainConfig, to_plain

    file = read_settings(configuration(config), EITHER) if config else {}
    network = configure(str(file.get("preset", TrainConfig.preset)))
    settings = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False)
    _add_settings(settings, TrainConfig, "--{}", _flat(file))
    _add_settings(settings, StageConfig, "each of stages: {}", {})
    for part in (network.view, network.scene, network.settings):
        _add_settings(settings, type(part), "--network.{}", to_plain(part) | _flat(file.get("network", {})))
    return settings.format_help().strip()


def _add_settings(parser: argparse.ArgumentParser, kind: type, name: str, values: Mapping[str, Any]) -> None:
    """Add the settings of a dataclass to a help, section by section, each with its value or else its default."""
    from vlocnetpp.settings import docs_of, settings_of, type_name
    from vlocnetpp.training.config import to_plain

    groups: dict[type, Any] = {}
    for setting in settings_of(kind):
        if setting.owner not in groups:
            section = name.format(setting.name.removesuffix(setting.key)).strip("-:. ")
            about = " ".join((setting.owner.__doc__ or "").split())
            groups[setting.owner] = parser.add_argument_group(f"settings, {section}" if section else "settings", about)
        value = json.dumps(to_plain(values.get(setting.name, setting.default)))
        text = f"{docs_of(setting.owner)[setting.key]} ({type_name(setting.hint)}: {value})".replace("%", "%%")
        groups[setting.owner].add_argument(name.format(setting.name), metavar=setting.key.upper(), help=text)


def _flat(settings: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """`{data: {root: x}}` as `{data: {root: x}, data.root: x}`: every value also under its full name."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat[f"{section}{key}"] = value
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{section}{key}.")
    return flat


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`train`."""
    trainer = commands.add_parser(
        "train",
        usage="%(prog)s [-h] (--suggest ROOT | --settings [config] | --out OUT [--resume] [--profile] config "
        "[--SETTING VALUE ...])",
        help="train a network",
        description="Train a network into a run folder. Any setting of the configuration can be changed on the command "
        "line.",
        epilog=OFTEN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    trainer.add_argument(
        "config", type=Path, nargs="?", help="YAML file, your own or an installed one: config/train/robot.yaml"
    )
    trainer.add_argument(
        "--settings", action="store_true", help="list every setting with its value in CONFIG, or its default, and stop"
    )
    trainer.add_argument("--out", type=Path, help="folder of the run; must not hold another one, but for --resume")
    trainer.add_argument(
        "--suggest",
        type=Path,
        metavar="ROOT",
        help="look at a dataset, print the command to train on it, do not train",
    )
    trainer.add_argument("--resume", action="store_true", help="continue the run in --out from its last checkpoint")
    trainer.add_argument("--profile", action="store_true", help="print at the end what the parts of a step cost")
    trainer.set_defaults(command=train, overrides=True)
