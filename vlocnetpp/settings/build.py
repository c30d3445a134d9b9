"""A checked dataclass from plain data, by cattrs with exact types and with our own error messages."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vlocnetpp.errors import ConfigError, nearest
from vlocnetpp.settings.describe import NUMBER_OR_NUMBERS, type_name

if TYPE_CHECKING:
    from cattrs import Converter

Kind = TypeVar("Kind")


def build(kind: type[Kind], data: Mapping[str, Any], where: str) -> Kind:
    """A checked dataclass from plain data as YAML and JSON have it, with dataclasses and tuples of them inside.

    Types are exact: True is no number and 8.0 no int, but an int is a float. A list becomes a tuple, and a text in
    place of a list of texts becomes a list of one. A number may be written as text, because YAML 1.1 reads 1e-3 as
    text.

    Raises:
        ConfigError: one line with `where` and the key, for a key that does not exist, naming the nearest, for a value
        of another type, and for a ValueError of a dataclass itself.
    """
    from cattrs import BaseValidationError, transform_error

    try:
        return _converter().structure(data, kind)
    except (BaseValidationError, _WrongType) as error:
        try:
            message, _, place = transform_error(error, format_exception=_message)[0].rpartition(" @ $")
        except ValueError as refused:
            raise ConfigError(f"{where}: {refused}") from None
        key = place.removeprefix(".")
        raise ConfigError(f"{where}: {key}: {message}" if key else f"{where}: {message}") from None


class _WrongType(ValueError):
    """A value is of another type than its setting."""


@functools.cache
def _converter() -> Converter:
    """Made once, when the first settings are built."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn

    converter = Converter(forbid_extra_keys=True)

    def hook_of_dataclass(kind: type) -> Callable[[Any, Any], Any]:
        structure: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        wanted = f"must be a section with {', '.join(field.name for field in fields(kind))}"
        return lambda value, hint: structure(_of(Mapping, value, wanted), hint)

    def hook_of_dict(kind: Any) -> Callable[[Any, Any], Any]:
        key, content = typing.get_args(kind)

        # Not cattrs' own hook: once made, it would be registered for this type and bypass the check.
        def hook(value: Any, _: Any) -> dict[Any, Any]:
            section = _of(Mapping, value, "must be a section")
            return {
                converter.structure(name, key): converter.structure(each, content) for name, each in section.items()
            }

        return hook

    def hook_of_tuple(kind: Any) -> Callable[[Any, Any], Any]:
        first, *others = typing.get_args(kind)
        if set(others) - {first, Ellipsis}:
            raise TypeError(f"{kind}: settings have no tuple of several types")
        length = None if Ellipsis in others else 1 + len(others)
        as_list = types.GenericAlias(list, (first,))
        structure: Callable[[Any, Any], Any] = converter.get_structure_hook(as_list)

        def hook(value: Any, _: Any) -> tuple[Any, ...]:
            items = [value] if isinstance(value, str) and first is str else value
            _of(list | tuple, items, "must be a list")
            if length not in (None, len(items)):
                raise _WrongType(f"must be a list of {length}")
            return tuple(structure(items, as_list))

        return hook

    def number_or_numbers(value: Any, _: Any) -> Any:
        return converter.structure(value, tuple[float, ...] if isinstance(value, list | tuple) else float)

    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _exact)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(NUMBER_OR_NUMBERS, number_or_numbers)
    converter.register_structure_hook_factory(is_dataclass, hook_of_dataclass)
    converter.register_structure_hook_factory(lambda hint: _origin(hint) is dict, hook_of_dict)
    converter.register_structure_hook_factory(lambda hint: _origin(hint) is tuple, hook_of_tuple)
    return converter


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint)


def _exact(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _WrongType(f"'{value}' is not of type {type_name(kind)}")
    return value


def _number(value: Any, kind: type) -> float:
    if type(value) not in (int, float, str):
        raise _WrongType(f"'{value}' is not of type {type_name(kind)}")
    try:
        return float(value)
    except ValueError:
        raise _WrongType(f"'{value}' is not a number") from None


def _of(kind: Any, value: Any, message: str) -> Any:
    if not isinstance(value, kind):
        raise _WrongType(message)
    return value


def _message(error: BaseException, kind: type | None) -> str:
    """Our message for an error that cattrs found at a key; re-raises other errors, such as those of a dataclass
    itself.
    """
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        key = min(map(str, error.extra_fields))
        return f"'{key}' is not a setting{nearest(key, (field.name for field in fields(error.cl)))}"
    if isinstance(error, KeyError) and kind is not None:
        return "is missing"
    if isinstance(error, _WrongType):
        return str(error)
    raise error
