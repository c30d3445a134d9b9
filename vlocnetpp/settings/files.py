"""Plain settings before they are checked: a YAML file merged onto its base, with changes from the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vlocnetpp.errors import ConfigError
from vlocnetpp.settings.describe import settings_of

BASE = "base"
"""Key of a file of settings that names another one, relative to its own folder, from which it starts."""
Either = tuple[tuple[str, str], ...]
"""Pairs of names that replace each other: where a change gives one, the other is removed."""


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
