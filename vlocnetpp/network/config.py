"""What a network is built from: name, width, view of the image, values taken from the data, and its own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from vlocnetpp.errors import ConfigError, nearest

WIDTHS = {"tiny": 0.25, "full": 1.0}
"""Shares of the paper's channels that have a name."""


@dataclass(frozen=True)
class ViewConfig:
    """What the network sees of an image."""

    height: int = 224
    """Rows of the network's input, a multiple of 32."""
    width_px: int = 224
    """Columns of the network's input, a multiple of 32."""
    resize: str = "crop"
    """`crop`: short side scaled to 256/224 of the input, then cropped (the paper); `whole`: the whole image."""

    def __post_init__(self) -> None:
        require_choice("resize", self.resize, ("crop", "whole"))
        if self.height % 32 or self.width_px % 32 or min(self.height, self.width_px) < 32:
            raise ConfigError(f"input {self.height} x {self.width_px}: rows and columns must be multiples of 32")


@dataclass(frozen=True)
class SceneConfig:
    """Values that come from the training data; the trainer sets them."""

    classes: int = 10
    """Number of semantic classes."""
    focal_correction: float = 1.0
    """Factor for the focal lengths of the K that comes with an image: where a recording gives the K of the depth camera
    beside the colour camera, or a wrong one."""
    position_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of the training positions in the map, metres."""
    position_spread: float = 1.0
    """Standard deviation of the training positions, metres."""
    scene_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of the points that the training frames see, metres; set where scene coordinates are predicted."""
    scene_spread: float = 1.0
    """Standard deviation of those points, metres."""
    recorded_camera: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Place in the colour camera, metres, of the camera whose poses were recorded and are answered: a depth camera
    beside it. Read by networks that solve for the pose of the colour camera."""
    motion_spread: float = 1.0
    """Root mean square of the training motions between frames, metres."""

    def __post_init__(self) -> None:
        if not self.focal_correction > 0:
            raise ConfigError(f"focal_correction: {self.focal_correction} is not positive")


@dataclass(frozen=True)
class Traits:
    """Properties of a network that follow from its settings and are needed before it is built."""

    tasks: tuple[str, ...]
    """Which of localization, odometry and segmentation it answers."""
    reads_depth: bool = False
    """Whether the step reads measured depth, on the robot too."""
    trains_depth: bool = False
    """Whether it has a depth network, which is trained first in a stage of its own and then frozen."""
    answers_coordinates: bool = False
    """Whether it predicts scene coordinates, which are learned from the depth of posed frames."""
    depth_optional: bool = False
    """Whether its scene coordinates are also learned where frames have no depth."""
    chooses_hypothesis: bool = False
    """Whether its pose is that of the hypothesis with the best score, among which the last digits may decide."""
    trains_cells: bool = False
    """Whether a stage of its own trains scene coordinates on single cells, from poses and what depth there is."""
    learns_from_depth: bool = False
    """Whether its training needs the depth of posed frames, though nothing like it is predicted: for the reprojection
    error, or for new views."""
    keeps_frames: bool = False
    """Whether it answers from training frames, whose features and poses its file carries."""
    attribution: tuple[str, ...] = ()
    """Origin and licence of weights that it always begins from; they travel in the model file."""
    own_answers: Mapping[str, str] = field(default_factory=dict)
    """Fields of the state that repeat a prediction of the step before, and which: `{"pose_B7": "pose_B7"}`."""

    def __post_init__(self) -> None:
        for task in self.tasks:
            require_choice("tasks", task, ("localization", "odometry", "segmentation"))
        if not self.tasks:
            raise ConfigError("tasks: at least one of localization, odometry, segmentation")

    @property
    def uses_depth(self) -> bool:
        """Whether measured depth is read, at least while training."""
        learned = self.trains_depth or self.answers_coordinates or self.learns_from_depth or self.trains_cells
        return self.reads_depth or learned

    @property
    def labels(self) -> tuple[str, ...]:
        """Which of pose, mask and depth the training frames must have."""
        of_task = {"localization": "pose", "odometry": "pose", "segmentation": "mask"}
        coordinates = self.answers_coordinates and not self.depth_optional
        depth = ["depth"] if self.trains_depth or coordinates or self.learns_from_depth else []
        return tuple(dict.fromkeys([*(of_task[task] for task in self.tasks), *depth]))


class Settings(Protocol):
    """A frozen dataclass with the settings of one network."""

    @property
    def traits(self) -> Traits:
        """What follows from the settings."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that a network is built from."""

    name: str
    """Name in the registry."""
    width: float
    """Share of the paper's channels: 1 is `full`, 0.25 `tiny`."""
    view: ViewConfig
    scene: SceneConfig
    settings: Any
    """The network's own `Settings`."""

    def __post_init__(self) -> None:
        if not 0 < self.width <= 4:
            raise ConfigError(f"width: {self.width} is not within 0 and 4; tiny is 0.25, full is 1")
        if "segmentation" in self.tasks and not 2 <= self.scene.classes <= 255:
            raise ConfigError(f"classes: {self.scene.classes} is not within 2 and 255")

    @property
    def traits(self) -> Traits:
        """Properties that are needed before the network is built."""
        traits: Traits = self.settings.traits
        return traits

    @property
    def tasks(self) -> tuple[str, ...]:
        """Which of localization, odometry and segmentation it answers."""
        return self.traits.tasks


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError unless a value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{name}: '{value}' is not one of {', '.join(allowed)}{nearest(value, allowed)}")


def require_dropout(value: float) -> None:
    """Raise ConfigError unless a share of units may be dropped."""
    if not 0 <= value < 1:
        raise ConfigError(f"dropout: {value} is not within 0 and 1")
