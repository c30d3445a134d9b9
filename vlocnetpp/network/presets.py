"""Every network of the paper, and those it is compared with, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from vlocnetpp.errors import ConfigError, nearest

TASKS = ("localization", "odometry", "segmentation")
WIDTHS = {"tiny": 0.25, "full": 1.0}


@dataclass(frozen=True)
class NetworkConfig:
    """What `network.multitask.VLocNetPlusPlus` is built from."""

    preset: str = "mtl"
    """Name that the settings started from."""
    tasks: tuple[str, ...] = TASKS
    """Which of localization, odometry and segmentation the network answers."""
    width: float = 1.0
    """Share of the paper's channels: 1 is `full`, 0.25 `tiny`."""
    height: int = 224
    """Rows of the network's input, a multiple of 32."""
    width_px: int = 224
    """Columns of the network's input, a multiple of 32."""
    resize: str = "crop"
    """`crop`: short side scaled to 256/224 of the input, then cropped (the paper); `whole`: the whole image."""
    classes: int = 10
    """Number of semantic classes."""
    past: str = "features"
    """What localization sees of the previous frame: `none`, `features` (Res5a) or `pose` (its own last prediction)."""
    semantics: str = "none"
    """How localization sees the segmentation: `none`, `fuse` (Res5c into `semantic_site`), `concat` (Res5c beside
    Res4f), `input` (the mask as a fourth channel), `shared` (one encoder up to Res4)."""
    semantic_site: str = "4c"
    """Unit of localization's Res4 after which semantics are fused."""
    warp: tuple[str, ...] = ()
    """Segmentation maps into which the warped previous ones are fused: of `4f` and `5c`."""
    fusion: str = "adaptive"
    """`adaptive` (eq. 8) or `concat` (linear 1x1 of the concatenation)."""
    depth: str = "none"
    """Where warping takes the depth from: `network` (monocular, trained first) or `sensor`."""
    coordinates: str = "none"
    """From which map of localization scene coordinates are predicted, by which the pose is refined: `none` or `res3`.
    Trained with depth images, used without."""
    siamese: str = "tied"
    """Odometry's two streams: `tied`, the previous frame costs nothing; `untied`, the previous one has own weights."""
    activation: str = "elu"
    """Of localization and odometry: `elu` (the paper) or `relu`."""
    segmentation_activation: str = "relu"
    """Of AdapNet: `relu` or `elu`."""
    segmentation_decoder: str = "adapnet"
    """`adapnet`: multi-scale units, output stride 16, one skip; `fcn8s` (Long et al., 2015), to compare with: a plain
    ResNet of output stride 32 with skips from Res4 and Res3, for segmentation alone."""
    dropout: float = 0.2
    """After fc1, while training."""
    focal_correction: float = 1.0
    """What the focal lengths of the K that comes with an image are multiplied by first: set by the trainer where a
    recording gives the K of a depth camera beside the colour camera."""
    position_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of the training positions in the map, metres; the trainer sets it from the data."""
    position_spread: float = 1.0
    """Standard deviation of the training positions, metres; set by the trainer."""
    scene_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean of the points that the training frames see, metres; set by the trainer where coordinates are predicted."""
    scene_spread: float = 1.0
    """Standard deviation of those points, metres; set by the trainer."""
    motion_spread: float = 1.0
    """Root mean square of the training motions between frames, metres; set by the trainer."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if item not in allowed:
                    raise ConfigError(f"{name}: '{item}' is not one of {', '.join(allowed)}")
        if not self.tasks:
            raise ConfigError("tasks: at least one of localization, odometry, segmentation")
        if self.height % 32 or self.width_px % 32 or min(self.height, self.width_px) < 32:
            raise ConfigError(f"input {self.height} x {self.width_px}: rows and columns must be multiples of 32")
        if not self.focal_correction > 0:
            raise ConfigError(f"focal_correction: {self.focal_correction} is not positive")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout} is not within 0 and 1")
        if not 0 < self.width <= 4:
            raise ConfigError(f"width: {self.width} is not within 0 and 4; tiny is 0.25, full is 1")
        if self.semantics != "none" and not {"localization", "segmentation"} <= set(self.tasks):
            raise ConfigError(f"semantics: '{self.semantics}' needs the tasks localization and segmentation")
        if self.warp and not {"odometry", "segmentation"} <= set(self.tasks):
            raise ConfigError("warp: needs the tasks odometry and segmentation")
        if self.warp and self.depth == "none":
            raise ConfigError("warp: needs a depth, 'network' or 'sensor'")
        if self.warp and self.semantics == "input":
            raise ConfigError("warp: cannot go with semantics 'input', whose mask must exist before odometry does")
        if self.segmentation_decoder == "fcn8s" and self.tasks != ("segmentation",):
            raise ConfigError("segmentation_decoder: 'fcn8s' is for the task segmentation alone, at output stride 32")
        if self.coordinates != "none" and ("localization" not in self.tasks or self.semantics == "shared"):
            raise ConfigError(
                f"coordinates: '{self.coordinates}' needs the task localization with an encoder of its own"
            )
        if "segmentation" in self.tasks and not 2 <= self.classes <= 255:
            raise ConfigError(f"classes: {self.classes} is not within 2 and 255")


CHOICES: dict[str, tuple[str, ...]] = {
    "tasks": TASKS,
    "resize": ("crop", "whole"),
    "past": ("none", "features", "pose"),
    "semantics": ("none", "fuse", "concat", "input", "shared"),
    "semantic_site": tuple(f"4{unit}" for unit in "abcdef"),
    "warp": ("4f", "5c"),
    "fusion": ("adaptive", "concat"),
    "depth": ("none", "sensor", "network"),
    "coordinates": ("none", "res3"),
    "siamese": ("tied", "untied"),
    "activation": ("elu", "relu"),
    "segmentation_activation": ("elu", "relu"),
    "segmentation_decoder": ("adapnet", "fcn8s"),
}

_MTL: dict[str, Any] = {"semantics": "fuse", "warp": ("4f", "5c"), "depth": "network"}
_NO_WARP: dict[str, Any] = {"warp": (), "depth": "none"}
PRESETS: dict[str, dict[str, Any]] = {
    "pose_single": {"tasks": ("localization",), "past": "none"},
    "vlocnet": {"tasks": ("localization", "odometry"), "past": "pose"},
    "stl_pose": {"tasks": ("localization",)},
    "stl_odometry": {"tasks": ("odometry",), "past": "none"},
    "stl_segmentation": {"tasks": ("segmentation",), "past": "none"},
    "mtl": _MTL,
    "mtl_input_concat": {**_NO_WARP, "semantics": "input"},
    "mtl_mid_concat": {**_MTL, "semantics": "concat"},
    "mtl_shared": {**_MTL, "semantics": "shared"},
    "mtl_no_warp": {**_MTL, **_NO_WARP},
    "mtl_no_fusion": {**_MTL, "fusion": "concat"},
    "stl_coordinates": {"tasks": ("localization",), "past": "none", "coordinates": "res3"},
    "mtl_coordinates": {**_MTL, "coordinates": "res3"},
    "fcn8s": {"tasks": ("segmentation",), "past": "none", "segmentation_decoder": "fcn8s"},
}
"""What each preset changes in `NetworkConfig`'s defaults."""


PLAIN_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "tuple": (tuple, list)}
"""What YAML gives for the types of `NetworkConfig`."""


def network_config(preset: str, width: str | float = "full", **settings: Any) -> NetworkConfig:
    """The configuration of a preset at a width, with single settings changed.

    Raises ConfigError for an unknown preset, width or setting, naming the nearest one.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset '{preset}' does not exist{nearest(preset, PRESETS)}; there are {', '.join(PRESETS)}")
    if isinstance(width, str) and width not in WIDTHS:
        raise ConfigError(f"width '{width}' does not exist; there are {', '.join(WIDTHS)}, or a number")
    kinds = {field.name: str(field.type).split("[")[0] for field in fields(NetworkConfig)}
    kinds = {name: kind for name, kind in kinds.items() if name not in ("preset", "width")}
    for name, value in settings.items():
        if name not in kinds:
            raise ConfigError(f"network setting '{name}' does not exist{nearest(name, kinds)}")
        if isinstance(value, bool) or not isinstance(value, PLAIN_TYPES[kinds[name]]):
            raise ConfigError(f"network setting '{name}': '{value}' is not of type {kinds[name]}")
    scale = WIDTHS[width] if isinstance(width, str) else width
    tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    merged: dict[str, Any] = {**PRESETS[preset], **tuples}
    return NetworkConfig(preset=preset, width=scale, **merged)


def config_to_json(config: NetworkConfig) -> dict[str, Any]:
    """Plain data of a configuration, to be read back by `NetworkConfig(**...)` after lists become tuples."""
    return asdict(config)


def config_from_json(data: dict[str, Any]) -> NetworkConfig:
    """The configuration that `config_to_json` wrote."""
    settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return NetworkConfig(**settings)
