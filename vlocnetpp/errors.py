"""Errors for invalid user input, which any package may raise, and the hint for an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DataError(ValueError):
    """A dataset, bag or file cannot be used; the message names the file and the reason in one line."""


class ConfigError(ValueError):
    """A setting does not exist or contradicts another; the message says which and what is allowed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """', did you mean X?' where one of the known names is close, else nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
