"""The settings of a dataclass: the name, type, default and docstring of each."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NamedTuple

NUMBER_OR_NUMBERS = float | tuple[float, ...]
"""The only union type of settings: a number, or a list of numbers."""


class Setting(NamedTuple):
    """A field of a dataclass of settings, or of a dataclass inside of it."""

    name: str
    """Full name with its sections, e.g. `data.depth_camera.focal`."""
    hint: Any
    """Its Python type."""
    default: Any
    """`dataclasses.MISSING` where it must be given."""
    owner: type
    """The dataclass whose field it is."""

    @property
    def key(self) -> str:
        """The name without the sections."""
        return self.name.rpartition(".")[2]


def settings_of(kind: type, section: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass: those of a section in its place, a tuple of dataclasses as one."""
    hints = typing.get_type_hints(kind)
    for field in fields(kind):
        name, hint = f"{section}{field.name}", hints[field.name]
        if is_dataclass(hint):
            yield from settings_of(typing.cast(type, hint), f"{name}.")
        else:
            yield Setting(name, hint, _default(field), kind)


@functools.cache
def docs_of(kind: type) -> dict[str, str]:
    """The docstring below each field of a dataclass, for the fields that have one; inherited ones too."""
    from docstring_parser import parse_from_object

    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if is_dataclass(owner):
            texts = parse_from_object(owner).params
            found |= {each.arg_name: " ".join(each.description.split()) for each in texts if each.description}
    return found


def type_name(hint: Any) -> str:
    """A type as a message and the help call it: int, text, `float or list of float`, section, ..."""
    origin: Any = typing.get_origin(hint)
    if is_dataclass(hint) or origin is dict:
        return "section"
    if origin is tuple:
        return f"list of {type_name(typing.get_args(hint)[0])}"
    if hint == NUMBER_OR_NUMBERS:
        return " or ".join(type_name(each) for each in typing.get_args(hint))
    return "text" if hint is str else str(hint.__name__)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
