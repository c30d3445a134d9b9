"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

Subcommands = argparse._SubParsersAction  # what add_subparsers() returns; argparse has no public name for it


def dataset_arguments(command: argparse.ArgumentParser) -> None:
    """Which dataset a command works on."""
    command.add_argument("root", type=Path, help="folder of the dataset")
    command.add_argument("--layout", help="name of its layout, e.g. seven_scenes; by default recognized")


def seed(text: str) -> int:
    """A seed of random generators, a whole number from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def replace_argument(command: argparse.ArgumentParser) -> None:
    """`--replace`: the policy for folders of results, see reporting/out_folder.py."""
    command.add_argument("--replace", action="store_true", help="replace an earlier result in --out; other files stay")
