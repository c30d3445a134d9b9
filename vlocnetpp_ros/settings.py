"""The node's parameters: each is declared once, here, with default, description and allowed values.

From this follow the parameters of the node, `config/localize.yaml` and `docs/parameters.md` (written by
`parameter_table`), and the arguments of `localize.launch.py`. Knows nothing of ROS.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

Value = str | bool | int | float


class ParameterError(ValueError):
    """A parameter has a value that cannot be used; the message names it and the allowed values."""


@dataclass(frozen=True)
class Declaration:
    """One parameter."""

    name: str
    default: Value
    description: str
    choices: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    read_only: bool = False
    live: bool = False
    """Whether a change takes effect at once (a live parameter), or at the next configure."""

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value, in one line; None if it is allowed."""
        if self.choices and value not in self.choices:
            return f"parameter '{self.name}' is '{value}', it must be one of {', '.join(self.choices)}"
        if self.range and not isinstance(value, str) and not self.range[0] <= value <= self.range[1]:
            low, high = self.range
            return f"parameter '{self.name}' is {value:g}, it must be from {low:g} to {high:g}"
        return None

    def parse(self, text: str) -> Value:
        """Parse a value from text. Raises ParameterError for one that is not allowed."""
        value: Value = text
        try:
            if isinstance(self.default, bool):
                value = {"true": True, "false": False}[text.lower()]
            elif not isinstance(self.default, str):
                value = type(self.default)(text)
        except (KeyError, ValueError):
            kind = "true or false" if isinstance(self.default, bool) else f"of type {type(self.default).__name__}"
            raise ParameterError(f"parameter '{self.name}' is '{text}', it must be {kind}") from None
        if problem := self.problem(value):
            raise ParameterError(problem)
        return value


def _parameter(default: Value, description: str, **details: Any) -> Any:
    return field(metadata={"default": default, "description": description, **details})


@dataclass(frozen=True)
class Settings:
    """The values of all parameters."""

    model: str = _parameter(
        "",
        "Path of the model file, written by 'vlocnetpp export'.",
    )
    device: str = _parameter(
        "auto",
        "Where the network runs: auto (CUDA where there is one), cpu, cuda or cuda:N.",
    )
    precision: str = _parameter(
        "auto",
        "Arithmetic of the network. auto is the fastest: on a CPU bf16 where the processor multiplies it and a step "
        "is 0.5 GMAC or more, else fp32; on a GPU the file's own precision.",
        choices=("auto", "fp32", "fp16", "bf16"),
    )
    threads: int = _parameter(
        0,
        "CPU threads of a step. 0: one fewer than there are cores, which leaves one to the camera's driver and DDS.",
        range=(0, 1024),
    )
    image_topic: str = _parameter(
        "/zed/zed_node/rgb/color/rect/image",
        "Rectified colour image; with image_transport 'compressed' the topic below it, <image_topic>/compressed.",
    )
    image_transport: str = _parameter(
        "raw",
        "raw: sensor_msgs/Image. compressed: sensor_msgs/CompressedImage, JPEG or PNG.",
        choices=("raw", "compressed"),
    )
    camera_info_topic: str = _parameter(
        "",
        "Intrinsics of the image; empty: camera_info beside image_topic, the usual place.",
    )
    other_camera: str = _parameter(
        "refuse",
        "What becomes of images whose intrinsics differ from the training camera's beyond a change of resolution. "
        "refuse: they are dropped and said. remap: they are turned into what the training camera would have seen from"
        " there, black where they do not reach; masks come back on the image's own pixels.",
        choices=("refuse", "remap"),
    )
    depth_topic: str = _parameter(
        "",
        "Depth aligned with the image (32FC1 metres or 16UC1 millimetres), paired with it by stamp; for models that "
        "warp with a sensor's depth, e.g. /zed/zed_node/depth/depth_registered.",
    )
    depth_tolerance_s: float = _parameter(
        0.01,
        "Largest difference between the stamps of an image and its depth, seconds.",
        range=(0.0, 1.0),
    )
    map_frame: str = _parameter(
        "",
        "Frame of the poses; empty: the one the model was trained in.",
    )
    odom_frame: str = _parameter(
        "odom",
        "Frame of the robot's own odometry in TF, which map->odom corrects by REP-105.",
    )
    odometry_frame: str = _parameter(
        "visual_odom",
        "Frame of ~/odometry, the network's own: its origin is where the base or camera was at the first image, "
        "x forward, y left, z up.",
    )
    publish_odometry_tf: bool = _parameter(
        False,
        "Whether TF connects the map to odometry_frame, so that ~/odometry can be drawn in the map; corrected at every "
        "trusted pose. Needs tf2_ros.",
    )
    base_frame: str = _parameter(
        "",
        "Frame whose pose and motion are published, e.g. base_link, found from the camera by TF (needs tf2_ros); "
        "empty: the camera's optical frame.",
    )
    publish_tf: str = _parameter(
        "auto",
        "map_to_odom: correct the odometry that others publish in TF, by REP-105. map_to_camera: where no odometry is "
        "in TF. none: nothing. auto: map_to_odom if something in TF places the camera, else map_to_camera; none where "
        "tf2_ros is not installed. Only one node may publish map->odom: start the ZED wrapper with "
        "publish_map_tf:=false.",
        choices=("auto", "map_to_odom", "map_to_camera", "none"),
    )
    tf_future_s: float = _parameter(
        0.1,
        "Seconds map->odom is stamped ahead of the image, so that looking up the newest time works until the next.",
        range=(0.0, 5.0),
        live=True,
    )
    tf_rate_hz: float = _parameter(
        20.0,
        "How often map->odom is sent again between two poses, its stamp going on with time; 0: only with each pose.",
        range=(0.0, 200.0),
    )
    tf_keep_alive_s: float = _parameter(
        5.0,
        "Seconds after the last trusted pose in which map->odom is still sent; then TF is silent.",
        range=(0.0, 3600.0),
        live=True,
    )
    gate_uncertainty_m: float = _parameter(
        -1.0,
        "Withhold a pose whose position is less certain than this: the calibrated 68 % bound in metres. -1: the limit "
        "that comes with the model file. 0: never.",
        range=(-1.0, 1e4),
        live=True,
    )
    gate_uncertainty_deg: float = _parameter(
        -1.0,
        "Withhold a pose whose rotation is less certain than this: the calibrated 68 % bound in degrees. -1: the limit "
        "that comes with the model file. 0: never.",
        range=(-1.0, 180.0),
        live=True,
    )
    gate_novelty: float = _parameter(
        -1.0,
        "Withhold a pose whose image is less like the training images than this: the model's own number, where it "
        "gives one. -1: the limit that comes with the model file. 0: never.",
        range=(-1.0, 1e9),
        live=True,
    )
    gate_scale: float = _parameter(
        1.0,
        "Factor on the limits that come with the model file: below 1 fewer wrong poses pass, above 1 fewer good ones "
        "are withheld.",
        range=(0.01, 100.0),
        live=True,
    )
    gate_disagreement: float = _parameter(
        3.0,
        "Withhold a pose that lies farther than so many of its 68 % bounds from where the network's odometry puts the"
        " camera. 0: never.",
        range=(0.0, 1000.0),
        live=True,
    )
    gate_margin_m: float = _parameter(
        1.0,
        "Withhold a pose that lies farther than this outside of the box of the training positions, metres. -1: never.",
        range=(-1.0, 10000.0),
        live=True,
    )
    gate_lose_after: int = _parameter(
        3,
        "Withheld poses in a row after which the node is not localized: TF stops and /diagnostics warns.",
        range=(1, 1000),
        live=True,
    )
    gate_regain_after: int = _parameter(
        2,
        "Good poses in a row, by limits a fifth tighter, each where the odometry puts it, after which it is localized "
        "again where the camera can have come from the last trusted pose.",
        range=(1, 1000),
        live=True,
    )
    gate_relocalize_after: int = _parameter(
        10,
        "The same where it cannot have come from there, as after a robot was carried away, or may be anywhere.",
        range=(1, 1000),
        live=True,
    )
    gate_speed_m_s: float = _parameter(
        1.5,
        "Greatest speed of the camera, metres a second: how far it may have gone past images that the network cannot "
        "read.",
        range=(0.0, 1000.0),
        live=True,
    )
    image_contrast: float = _parameter(
        4.0,
        "Drop an image with less contrast than this: standard deviation of its grey levels, of 255, in a thumbnail. "
        "0: never.",
        range=(0.0, 128.0),
        live=True,
    )
    image_roughness: float = _parameter(
        0.6,
        "Drop an image that is rougher than this: how different neighbours in its thumbnail are; noise has 1, a view "
        "of a place less than 0.5. 0: never.",
        range=(0.0, 4.0),
        live=True,
    )
    image_frozen_after: int = _parameter(
        2,
        "Drop an image that is, to the pixel, the same as so many before it: the camera is frozen. 0: never, for a "
        "simulated camera without noise.",
        range=(0, 1000),
        live=True,
    )
    max_gap_s: float = _parameter(
        0.5,
        "Seconds without an image after which the past is forgotten and the next image is a cold start.",
        range=(0.001, 3600.0),
        live=True,
    )
    path_length: int = _parameter(
        1000,
        "Poses that ~/path holds; the oldest go first.",
        range=(1, 100000),
    )
    path_spacing: float = _parameter(
        0.05,
        "Metres between two poses of ~/path.",
        range=(0.0, 100.0),
        live=True,
    )
    overlay_opacity: float = _parameter(
        0.5,
        "Weight of the class colours in ~/semantic/overlay.",
        range=(0.0, 1.0),
        live=True,
    )
    odometry_linear_sigma: float = _parameter(
        -1.0,
        "Standard deviation of the linear velocity in ~/odometry along one axis, m/s. -1: from the bound that the "
        "model gives for each motion, or 0.1 where it gives none.",
        range=(-1.0, 1000.0),
        live=True,
    )
    odometry_angular_sigma: float = _parameter(
        -1.0,
        "Standard deviation of the angular velocity in ~/odometry about one axis, rad/s. -1: from the bound that "
        "the model gives for each motion, or 0.05 where it gives none.",
        range=(-1.0, 1000.0),
        live=True,
    )
    autostart: bool = _parameter(
        False,
        "Configure and activate at start, for use without a lifecycle manager.",
        read_only=True,
    )

    @property
    def image_input(self) -> str:
        """The topic that is subscribed to."""
        return f"{self.image_topic}/compressed" if self.image_transport == "compressed" else self.image_topic

    @property
    def camera_info_input(self) -> str:
        """The topic of the intrinsics: image_transport's convention is a sibling of the image."""
        above, slash, _ = self.image_topic.rpartition("/")
        return self.camera_info_topic or f"{above}{slash}camera_info"


DECLARATIONS = tuple(Declaration(each.name, **each.metadata) for each in fields(Settings))
"""All of them, in the order in which they are shown."""
