"""The settings of a training run, as dataclasses that a YAML file and the command line fill."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vlocnetpp.data.new_views import ViewConfig
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.data.transforms import GeometricConfig, PhotometricConfig
from vlocnetpp.errors import ConfigError, nearest
from vlocnetpp.losses import LossConfig
from vlocnetpp.network import WIDTHS
from vlocnetpp.network.registry import ENTRIES
from vlocnetpp.reporting.files import write_text
from vlocnetpp.settings import build, merge, nested, read_settings
from vlocnetpp.step import TASKS


def _check(right: bool, message: str) -> None:
    if not right:
        raise ConfigError(message)


PRECISIONS = ("fp32", "bf16", "fp16")
METRICS = {
    "localization.median_translation_m": -1,
    "localization.median_rotation_deg": -1,
    "localization.mean_translation_m": -1,
    "localization.mean_rotation_deg": -1,
    "localization.p95_translation_m": -1,
    "localization.p95_rotation_deg": -1,
    "localization.recall_5cm_5deg": 1,
    "localization.recall_25cm_5deg": 1,
    "odometry.rpe_translation_m": -1,
    "odometry.rpe_rotation_deg": -1,
    "odometry.translation_percent": -1,
    "odometry.rotation_deg_per_m": -1,
    "segmentation.mean_iou": 1,
}
"""Metrics of a validation that may choose the best checkpoint: 1 where more is better, -1 where less is."""
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
    also: tuple[str, ...] = ()
    """Folders of more datasets that the same network learns from, such as one with masks beside one with poses. The
    first dataset that has poses is the map."""
    weights: tuple[float, ...] = ()
    """How often each frame of a dataset, `root` first, ends a clip in an epoch; empty: once. [1, 4] shows each frame of
    a second, small dataset four times."""
    layout: str = ""
    """Name of the layout of `root`; empty: recognized from the folder."""
    split: str = "train"
    """Split that is trained on."""
    validation_share: float = 0.05
    """Share of each training sequence, its end, that is held out where the dataset has no split `val`."""
    validation_sequences: tuple[str, ...] = ()
    """Names of training sequences that are held out whole instead of the ends of all, or of the split `val`: validation
    then measures the error on a drive that the network has never seen, whereas the end of a sequence looks like the
    frames before it."""
    clip_length: int = 2
    """Frames that one clip unrolls; the first of each is a cold start."""
    truncate: int = 0
    """Gradients flow back through so many frames of a clip at most; 0: through the whole clip."""
    max_skip: int = 2
    """Frames of a clip are up to so many apart, as on a robot that drops some."""
    workers: int = 0
    """Processes that make the batches ahead of the training step; 0: the training process makes them itself."""
    depth_camera: DepthCameraConfig = field(default_factory=DepthCameraConfig)
    """Where depth is not registered to colour, and K and the poses are the depth camera's."""
    cache: str = ""
    """Folder for decoded frames, `none` to keep them in memory; empty: the user's cache folder."""

    def __post_init__(self) -> None:
        _check(0 <= self.validation_share < 1, f"data.validation_share: {self.validation_share} is not within 0 and 1")
        _check(all(weight > 0 for weight in self.weights), f"data.weights: {list(self.weights)} are not all positive")
        _check(self.clip_length >= 1, f"data.clip_length: {self.clip_length} is not at least 1")
        _check(self.truncate >= 0, f"data.truncate: {self.truncate} is negative")
        _check(self.max_skip >= 1, f"data.max_skip: {self.max_skip} is not at least 1")
        _check(self.workers >= 0, f"data.workers: {self.workers} is negative")


@dataclass(frozen=True)
class AugmentConfig(PhotometricConfig):
    """Changes of light, of a clip's geometry, and new views of it; poses and masks stay true."""

    geometric: GeometricConfig = field(default_factory=GeometricConfig)
    views: ViewConfig = field(default_factory=ViewConfig)


UNCHANGED = AugmentConfig(brightness=0, contrast=0, colour=0, noise=0)
"""A random crop alone."""


@dataclass(frozen=True)
class StageConfig:
    """One stage of the schedule."""

    name: str = "joint"
    """Shown in the progress and the log."""
    tasks: tuple[str, ...] = ("localization", "odometry", "segmentation")
    """Trained in this stage: localization, odometry, segmentation, or depth alone (trained first, then frozen). Streams
    of other tasks are not run, so that task-specific stages cost what a task-specific network costs."""
    consistency: bool = True
    """Whether the relative motion of eq. 1 takes part. Early in training it pulls every pose to the mean, since the
    same answer for both frames is nearly right by eq. 1."""
    terms: tuple[str, ...] = ()
    """Names of the loss terms that this stage trains, such as `reproj`; empty: all of its tasks."""
    share: float = 1.0
    """Share of the budget or of the epochs, relative to the other stages; positive."""
    augment: bool = True
    """Whether the images of this stage are changed as `augment` says; else only the crop is random. The paper augments
    for segmentation, not for poses (section III-E)."""
    frozen_shared: bool = False
    """Whether parameters that an earlier stage has trained are frozen, so that this stage does not change what another
    task depends on. Norms still take their statistics from the batch. Has no effect, and the run prints a note, where
    the tasks of a network cannot be trained separately (mtl_input_concat, mtl_mid_concat, mtl_shared)."""
    front_rate: float = 0.0
    """Of a network on a pretrained front: learning rate of the front relative to the stage's; its norms are frozen. 0
    freezes the front. Scene coordinates depend on the front: tune it before the stage of cells."""
    cells: int = 0
    """Where positive, the stage trains scene coordinates alone, on so many single cells a step: the features of all
    images are computed once through the frozen front and kept in the cache; `tasks` are not read."""
    augmentations: int = 3
    """Of a stage of cells: number of further versions of each image, in another light, turned, zoomed or from another
    place. With a budget there are half as many, a quarter and so on, where the features of all would take over a third
    of the stage."""
    half: bool = True
    """Of a stage of cells: the frozen front and the hidden layers in bfloat16, four times as fast; float32 on CPUs
    without instructions for it."""
    learning_rate: float | tuple[float, ...] = 1e-3
    """A number: reached after a short warm-up, it falls to a hundredth along a cosine. A list such as [1e-3, 1e-4]:
    each holds for an equal part of the stage."""

    def __post_init__(self) -> None:
        _check(self.share > 0, f"stage '{self.name}': share {self.share} is not positive")
        rates = self.learning_rate if isinstance(self.learning_rate, tuple) else (self.learning_rate,)
        _check(bool(rates), f"stage '{self.name}': learning_rate is an empty list")
        for rate in rates:
            _check(rate > 0, f"stage '{self.name}': learning_rate {rate} is not positive")
        _check(bool(self.tasks), f"stage '{self.name}': trains no task")
        _check(self.cells >= 0 and self.augmentations >= 0, f"stage '{self.name}': cells and augmentations are counts")
        _check(0 <= self.front_rate <= 1, f"stage '{self.name}': front_rate {self.front_rate} is not within 0 and 1")
        single = not isinstance(self.learning_rate, tuple)
        _check(single or not self.cells, f"stage '{self.name}': a stage of cells has one learning rate, not a list")
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
    """Settings of the network that differ from the preset: height, width_px, resize, ..."""
    pretrained: str = ""
    """File of ImageNet weights (timm resnetv2_50 state dict) for full width; empty: Xavier."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stages: tuple[StageConfig, ...] = (StageConfig(),)
    """One after the other, each a section with the settings below."""
    budget: str = ""
    """Time for the steps of all stages, e.g. 90s, 20m, 8h; the learning rate follows the share that has passed. Opening
    the data and validation come on top; the run says ahead how long that is. Give either this or `epochs`."""
    epochs: float = 0.0
    """Times that all stages together see every frame; the same result on a machine of any speed."""
    batch: int = 32
    """Clips per step, of all devices together."""
    accumulate: int = 1
    """Parts that each device runs its share of a batch in, one after the other, where memory is short. Losses stay
    those of the whole batch, norms see the parts."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """Of Adam (paper, section IV)."""
    eps: float = 1e-10
    """Of Adam (paper, section IV)."""
    weight_decay: float = 1e-4
    """Of convolutions and layers, decoupled (AdamW; 0 is Adam); norms, biases, fusion and loss weights have none."""
    validations: int = 6
    """How often the run is validated, spread over the stages."""
    best: str = ""
    """Metric by which best.pt is chosen, e.g. localization.median_translation_m or segmentation.mean_iou; empty: the
    first that the network's tasks have. Only stages that train all tasks of the last one count. Of the median position
    error the uncertainty is known: the newest checkpoint within it of the best one is taken."""
    leak_probe: bool = False
    """Only for preset vlocnet, only to measure a mistake: while training and validating, the network is given the true
    pose of the previous frame in place of its own answer, as public reimplementations do. No robot has it, so such a
    run cannot be exported."""
    seed: int = 0
    """Of initialization, clips, augmentation and dropout."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: str = "fp32"
    """fp32, bf16 or fp16: precision of convolutions; weights and losses stay fp32."""
    channels_last: bool = False
    """Memory layout that is faster on recent GPUs."""
    compile: bool = False
    """Whether to use torch.compile; worthwhile for long runs."""

    def __post_init__(self) -> None:
        _check(self.batch >= 1, f"batch: {self.batch} is not at least 1")
        _check(self.accumulate >= 1, f"accumulate: {self.accumulate} is not at least 1")
        _check(self.validations >= 1, f"validations: {self.validations} is not at least 1")
        _check(bool(self.stages), "stages: there is none")
        cells = next((number for number, stage in enumerate(self.stages) if stage.cells), len(self.stages))
        for stage in self.stages[cells + 1 :]:
            _check(
                not stage.front_rate,
                f"stage '{stage.name}': front_rate after the stage '{self.stages[cells].name}', whose cells need the "
                "front as it was; put it before",
            )
        _check(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas: {list(self.betas)} are not two numbers within 0 and 1",
        )
        _check(self.eps > 0, f"eps: {self.eps} is not positive")
        _check(self.weight_decay >= 0, f"weight_decay: {self.weight_decay} is negative")
        _check(self.epochs >= 0, f"epochs: {self.epochs} is negative")
        _check(
            self.precision in PRECISIONS,
            f"precision: '{self.precision}' is not one of {', '.join(PRECISIONS)}{nearest(self.precision, PRECISIONS)}",
        )
        _check(
            not self.best or self.best in METRICS,
            f"best: '{self.best}' is not a metric; there are {', '.join(METRICS)}{nearest(self.best, METRICS)}",
        )
        if self.budget:
            seconds(self.budget)
        _check(bool(self.budget) != (self.epochs > 0), "give the run either a budget, e.g. 20m, or epochs, e.g. 30")


EITHER = (("budget", "epochs"),)
"""Settings that exclude each other: the one given last, by a file over its base or by the command line, replaces the
other."""


def load_config(path: Path, overrides: Mapping[str, str] | None = None) -> TrainConfig:
    """Read a YAML file, on top of those that it names as `base`, and apply `section.key: text` of the command line.

    Raises ConfigError naming the file and the key for anything unknown or of a wrong type.
    """
    return build_config(read_settings(path, EITHER), overrides or {}, str(path))


def build_config(settings: Mapping[str, Any], overrides: Mapping[str, str], where: str) -> TrainConfig:
    """A configuration from plain data as YAML has it, with overrides as `load_config` takes them.

    Raises ConfigError naming `where` and the key for anything unknown or of a wrong type.
    """
    if {"budget", "epochs"} <= set(overrides):
        raise ConfigError("--budget and --epochs: give one of them; the other follows from it")
    data = merge(settings, nested(overrides, TrainConfig), EITHER)
    if (entry := ENTRIES.get(str(data.get("preset")))) and isinstance(data.get("loss", {}), dict):
        data["loss"] = {**entry.loss, **data.get("loss", {})}
    data["width"] = WIDTHS.get(str(data.get("width")), data.get("width", TrainConfig.width))
    if isinstance(data["width"], str):
        raise ConfigError(f"{where}: width: '{data['width']}' is not {', '.join(WIDTHS)} or a number such as 0.25")
    return build(TrainConfig, data, where)


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads back, whole or not at all."""
    write_text(path, yaml.safe_dump(to_plain(config), sort_keys=False))


def to_plain(value: Any) -> Any:
    """Dataclasses and tuples as dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple | list) else value
