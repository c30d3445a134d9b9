"""Errors for invalid user input, which any package may raise, and the hint for an unknown name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser


MISTYPED = 0.8
"""Likeness of `difflib` from which a word is taken for a mistyped one."""


class DataError(ValueError):
    """A dataset, bag or file cannot be used; the message names the file and the reason in one line."""


class ConfigError(ValueError):
    """A setting does not exist or contradicts another; the message says which and what is allowed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """', did you mean X?' where one of the known names is close, else nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def refuse_mistyped_option(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Of a command that takes any setting as an option: end with status 2 and its usage where a word is almost one of
    its own options.
    """
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and (close := get_close_matches(name, parser._option_string_actions, 1, MISTYPED)):
            parser.error(f"unrecognized arguments: {name}, did you mean '{close[0]}'?")


def refuse_unknown_option(parser: ArgumentParser, words: Sequence[str]) -> None:
    """End with status 2 and the usage of this command where a word is none of its options, even in short; names the
    nearest one. Before parsing, because a typo would else be reported as a required option that is missing.
    """
    known = parser._option_string_actions  # argparse has no public name for it
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        # argparse takes a word with a space as a value.
        if word.startswith("--") and " " not in word and not any(option.startswith(name) for option in known):
            parser.error(f"unrecognized arguments: {name}{nearest(name, known)}")
