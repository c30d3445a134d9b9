"""Settings: read from YAML files that may name a base, changed by words of a command line, checked into dataclasses."""

from __future__ import annotations

import copy
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import yaml

from vlocnetpp.errors import ConfigError, nearest

if TYPE_CHECKING:
    from cattrs import Converter

BASE = "base"
"""Key of a file of settings that names another one, relative to its own folder, from which it starts."""
NUMBER_OR_NUMBERS = float | tuple[float, ...]
"""The one union that settings have: a number, or a list of numbers."""
Kind = TypeVar("Kind")
Either = tuple[tuple[str, str], ...]
"""Pairs of names that replace each other: where a change gives one, the other of the pair is forgotten."""


def build(kind: type[Kind], data: Mapping[str, Any], where: str) -> Kind:
    """A checked dataclass from plain data as YAML and JSON have it, with dataclasses and tuples of them inside.

    Types are exact: True is no number and 8.0 no int, but an int is a float. A list becomes a tuple, and a text where a
    list of texts is meant a list of one. A number may be written as text, because YAML 1.1 reads 1e-3 as text.

    Raises:
        ConfigError: one line with `where` and the key, for a key that does not exist, naming the nearest, for a value
            of another type, and for what a dataclass itself refuses with a ValueError.
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


def read_settings(path: Path, either: Either = ()) -> dict[str, Any]:
    """The settings of a YAML file, on top of those of the file that its key `base` names, if there is one.

    Raises ConfigError, naming the file, where one cannot be read, is no mapping, or is its own base.
    """
    return _read(path, either, ())


def on_base(settings: Mapping[str, Any], path: Path, either: Either = ()) -> dict[str, Any]:
    """Settings from the file `path` on top of those of the file that their key `base` names, if there is one.

    Raises ConfigError as `read_settings` does.
    """
    return _on_base(settings, path, either, ())


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any], either: Either = ()) -> dict[str, Any]:
    """Settings with changes on top: section by section; every other value, lists included, is replaced.

    Raises ConfigError where a change goes into what is not a section.
    """
    merged = copy.deepcopy(dict(settings))
    for pair in either:
        for name, other in (pair, pair[::-1]):
            if name in changes and other not in changes:
                merged.pop(other, None)
    for name, value in changes.items():
        if isinstance(value, dict) and name in merged:
            if not isinstance(merged[name], dict):
                raise ConfigError(f"{name}: '{merged[name]}' is not a section")
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def nested(words: Mapping[str, str], kind: type) -> dict[str, Any]:
    """`section.key: text` of a command line as nested settings of a kind; a text is read as YAML unless it is for text.

    Raises ConfigError for a text that is not YAML, or a key inside of another that has a value.
    """
    hints = {setting.name: setting.hint for setting in settings_of(kind)}
    data: dict[str, Any] = {}
    for dotted, text in words.items():
        *parents, key = dotted.split(".")
        section = data
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--{dotted}: '{parent}' is not a section")
        try:
            section[key] = text if hints.get(dotted) is str else yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--{dotted}: '{text}' is not a value in YAML") from None
    return data


class Setting(NamedTuple):
    """A field of a dataclass of settings, or of a dataclass inside of it."""

    name: str
    """With the sections that it is in, `data.depth_camera.focal`."""
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
    """What the docstring below each field of a dataclass says, for the fields that have one; inherited ones too."""
    from docstring_parser import parse_from_object

    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if is_dataclass(owner):
            texts = parse_from_object(owner).params
            found |= {each.arg_name: " ".join(each.description.split()) for each in texts if each.description}
    return found


def type_name(hint: Any) -> str:
    """A type as a message and the help call it: int, text, `float or list of float`, section, ..."""
    if is_dataclass(hint) or _origin(hint) is dict:
        return "section"
    if _origin(hint) is tuple:
        return f"list of {type_name(typing.get_args(hint)[0])}"
    if hint == NUMBER_OR_NUMBERS:
        return " or ".join(type_name(each) for each in typing.get_args(hint))
    return "text" if hint is str else str(hint.__name__)


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _read(path: Path, either: Either, readers: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in readers:
        raise ConfigError(f"{path}: is its own base, by way of {', '.join(each.name for each in readers)}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping of settings")
    return _on_base(data, path, either, (*readers, path.resolve()))


def _on_base(settings: Mapping[str, Any], path: Path, either: Either, readers: tuple[Path, ...]) -> dict[str, Any]:
    rest = {name: value for name, value in settings.items() if name != BASE}
    if BASE not in settings:
        return rest
    base = settings[BASE]
    if not isinstance(base, str):
        raise ConfigError(f"{path}: {BASE}: '{base}' is not the name of a file")
    return merge(_read(path.parent / base, either, readers), rest, either)


class _WrongType(ValueError):
    """A value is of another type than its setting."""


@functools.cache
def _converter() -> Converter:
    """cattrs, but with exact types and with our words for what is wrong."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn

    converter = Converter(forbid_extra_keys=True)

    def hook_of_dataclass(kind: type) -> Callable[[Any, Any], Any]:
        structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        wanted = f"must be a section with {', '.join(field.name for field in fields(kind))}"
        return lambda value, hint: structure(_of(Mapping, value, wanted), hint)

    def hook_of_dict(kind: Any) -> Callable[[Any, Any], Any]:
        structure = converter.gen_structure_mapping(kind)
        return lambda value, hint: structure(_of(Mapping, value, "must be a section"), hint)

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
    """Our words for what cattrs has found at a key; raises what is not of cattrs, such as what a dataclass refuses."""
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        key = min(map(str, error.extra_fields))
        return f"'{key}' is not a setting{nearest(key, (field.name for field in fields(error.cl)))}"
    if isinstance(error, KeyError) and kind is not None:
        return "is missing"
    if isinstance(error, _WrongType):
        return str(error)
    raise error
