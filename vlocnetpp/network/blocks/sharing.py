"""A network's parts as networks of their own, with the very same parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def without(module: Module, names: list[str]) -> Module:
    """A module that shares everything with another one except some of its children."""
    part = copy.copy(module)
    part._modules = {name: None if name in names else child for name, child in module._modules.items()}
    return part


def existing(module: nn.Module, table: dict[str, str]) -> dict[str, str]:
    """The entries of a table whose key is the path of an existing submodule."""
    paths = {name for name, _ in module.named_modules()}
    return {path: value for path, value in table.items() if path in paths}
