"""What a training run is told, as dataclasses that a YAML file and the command line fill."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vlocnetpp.losses import LossConfig
from vlocnetpp.network.presets import TASKS, WIDTHS, ConfigError, nearest


def _check(right: bool, message: str) -> None:
    if not right:
        raise ConfigError(message)


UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """90s, 20m or 8h in seconds. Raises ConfigError otherwise."""
    try:
        value = float(text[:-1]) * UNITS_S[text[-1:]]
    except (ValueError, KeyError):
        raise ConfigError(f"budget '{text}' is not a time; write 90s, 20m or 8h") from None
    if value <= 0:
        raise ConfigError(f"budget '{text}' is not a positive time")
    return value


@dataclass(frozen=True)
class DataConfig:
    """Which frames are trained on, and how they are cut into clips."""

    root: str = ""
    """Folder of the dataset, of any layout that `vlocnetpp data info` recognizes."""
    layout: str = ""
    """Name of the layout; empty: recognized from the folder."""
    split: str = "train"
    """Split that is trained on."""
    validation_share: float = 0.05
    """Share of each training sequence, its end, that is held out where the dataset has no split `val`."""
    clip_length: int = 2
    """Frames that one clip unrolls; the first of each is a cold start."""
    max_skip: int = 2
    """Frames of a clip are up to so many apart, as on a robot that drops some."""

    def __post_init__(self) -> None:
        _check(0 <= self.validation_share < 1, f"data.validation_share: {self.validation_share} is not within 0 and 1")
        _check(self.clip_length >= 1, f"data.clip_length: {self.clip_length} is not at least 1")
        _check(self.max_skip >= 1, f"data.max_skip: {self.max_skip} is not at least 1")


@dataclass(frozen=True)
class AugmentConfig:
    """Photometric changes of a whole clip; poses and masks stay true."""

    brightness: float = 0.3
    """Gain between 1 - b and 1 + b."""
    contrast: float = 0.3
    """Contrast around the image's mean between 1 - c and 1 + c."""
    colour: float = 0.1
    """Gain of each channel between 1 - c and 1 + c."""
    noise: float = 4.0
    """Standard deviation of pixel noise, of 255."""


@dataclass(frozen=True)
class StageConfig:
    """One stage of the schedule."""

    name: str = "joint"
    """Shown in the progress and the log."""
    tasks: tuple[str, ...] = ("localization", "odometry", "segmentation")
    """Trained in this stage: localization, odometry, segmentation, or depth alone (trained first, then frozen). Streams
    of other tasks are not run, so that task-specific stages cost what a task-specific network costs."""
    consistency: bool = True
    """Whether the relative motion of eq. 1 takes part. Early in training it holds every pose back at the mean: two
    equal answers are consistent."""
    share: float = 1.0
    """Share of the budget, relative to the other stages; positive."""
    learning_rate: float = 1e-3
    """At the start; it falls to a hundredth along a cosine."""

    def __post_init__(self) -> None:
        _check(self.share > 0, f"stage '{self.name}': share {self.share} is not positive")
        _check(self.learning_rate > 0, f"stage '{self.name}': learning_rate {self.learning_rate} is not positive")
        _check(bool(self.tasks), f"stage '{self.name}': trains no task")
        for task in self.tasks:
            known = (*TASKS, "depth")
            _check(task in known, f"stage '{self.name}': '{task}' is not a task{nearest(task, known)}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    preset: str = "mtl"
    """Network by name, see `vlocnetpp inspect`."""
    width: float = 0.25
    """Share of the paper's channels: full (1), tiny (0.25) or a number."""
    network: dict[str, Any] = field(default_factory=dict)
    """Settings of `NetworkConfig` that differ from the preset: height, width_px, resize, ..."""
    pretrained: str = ""
    """File of ImageNet weights (timm resnetv2_50 state dict) for full width; empty: Xavier."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stages: tuple[StageConfig, ...] = (StageConfig(),)
    batch: int = 32
    """Clips per step."""
    budget: str = "20m"
    """Time for the steps of all stages, e.g. 90s, 20m, 8h; the learning rate follows the share that has passed. Loading
    and validation come on top."""
    weight_decay: float = 1e-4
    """Of convolutions and layers; norms, biases, fusion and loss weights have none."""
    validations: int = 6
    """How often the run is validated, spread over the budget."""
    seed: int = 0
    """Of initialization, clips and augmentation."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        seconds(self.budget)
        _check(self.batch >= 1, f"batch: {self.batch} is not at least 1")
        _check(self.validations >= 1, f"validations: {self.validations} is not at least 1")
        _check(bool(self.stages), "stages: there is none")


def load_config(path: Path, overrides: dict[str, str] | None = None) -> TrainConfig:
    """Read a YAML file and apply `section.key: text` overrides from the command line.

    Raises ConfigError naming the file and the key for anything unknown or of a wrong type.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping of settings")
    for dotted, text in (overrides or {}).items():
        *parents, key = dotted.split(".")
        section = data
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--{dotted}: '{parent}' is not a section")
        try:
            section[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--{dotted}: '{text}' is not a value in YAML") from None
    data["width"] = WIDTHS.get(str(data.get("width")), data.get("width", TrainConfig.width))
    return _build(TrainConfig, data, str(path))


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads back."""
    path.write_text(yaml.safe_dump(to_plain(config), sort_keys=False))


def to_plain(value: Any) -> Any:
    """Dataclasses and tuples as dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _build(kind: Any, data: Any, where: str) -> Any:
    """A dataclass of a kind from plain data, checking names and types on the way down."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be a section with {', '.join(f.name for f in dataclasses.fields(kind))}")
    hints = typing.get_type_hints(kind)
    for key in data:
        if key not in hints:
            raise ConfigError(f"{where}: '{key}' is not a setting{nearest(key, hints)}")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: must be a list")
        return tuple(_value(typing.get_args(hint)[0], item, where) for item in value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{where}: '{value}' is not a number") from None
    expected = typing.get_origin(hint) or hint
    if isinstance(expected, types.UnionType) or not isinstance(value, expected) or (hint is int and value is True):
        raise ConfigError(f"{where}: '{value}' is not of type {expected.__name__}")
    return value
