"""The methods that a benchmark trains: each a file of config/benchmark, or of another folder, a complete training
configuration on a base.

Every method has the same time budget for all its tasks together and 64 frames in each step; only scene coordinates,
which need many small steps, have fewer. The input size is the same for all, so that the rows of a table see the same
pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlocnetpp.errors import ConfigError, nearest
from vlocnetpp.network import configure
from vlocnetpp.network.registry import entry
from vlocnetpp.settings import build, on_base, read_settings
from vlocnetpp.shipped import shipped
from vlocnetpp.training.config import EITHER

FOLDER = "config/benchmark"
SECTIONS = ("localization", "odometry", "segmentation")


@dataclass(frozen=True)
class Method:
    """A trained row of the benchmark."""

    name: str
    """That of its file."""
    section: str
    """localization, odometry or segmentation: its main task; it is shown in every table for which it has results."""
    order: int
    """Rows stand in the tables in the order of these numbers."""
    note: str
    train: dict[str, Any]
    """Settings of `TrainConfig`; a benchmark sets the place of the data, budget, seed and device."""
    greyed: bool = False
    """Looks at the ground truth."""

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            hint = nearest(self.section, SECTIONS)
            raise ConfigError(f"section: '{self.section}' is not one of {', '.join(SECTIONS)}{hint}")


def methods(folder: str = FOLDER) -> dict[str, Method]:
    """Every method of a folder by name, in the order of a benchmark's tables.

    Args:
        folder: a path, or the place of a shipped one such as `config/ablation`.

    Raises ConfigError where there is no such folder or no method in it, and as `read_method` does.
    """
    return _methods(Path(folder) if Path(folder).is_dir() and folder != FOLDER else _shipped(folder))


@functools.cache
def _methods(folder: Path) -> dict[str, Method]:
    found = [read_method(path) for path in folder.glob("*.yaml")]
    if not found:
        raise ConfigError(f"{folder}: has no method, that is, no file .yaml")
    return {method.name: method for method in sorted(found, key=lambda method: method.order)}


def _shipped(folder: str) -> Path:
    try:
        return shipped(folder)
    except FileNotFoundError:
        raise ConfigError(f"{folder}: is no folder of methods; there are {FOLDER} and config/ablation") from None


def read_method(path: Path) -> Method:
    """A method from its file; the file and its section `train` may each name a base.

    Raises ConfigError naming the file and the key for anything unknown or of a wrong type.
    """
    method = build(Method, {"name": path.stem, **read_settings(path)}, str(path))
    return replace(method, train=on_base(method.train, path, EITHER))


def needs(method: Method) -> tuple[str, ...]:
    """Which of pose, mask and depth the training frames of a method must have."""
    if entry(method.train["preset"]).follows_labels:
        views = method.train.get("augment", {}).get("views", {})
        label = "mask" if method.section == "segmentation" else "pose"
        return (label, "depth") if views.get("translation_m") else (label,)
    return configure(method.train["preset"], "tiny").traits.labels
