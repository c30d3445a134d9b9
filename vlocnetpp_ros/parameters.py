"""The node's parameters: one table, declared with description and range, read into one dataclass at configure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vlocnetpp_ros.gate import Limits

Value = str | bool | int | float


class ParameterError(ValueError):
    """A parameter has a value that cannot be used; the message names it and says what would do."""


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
    """Whether a change acts at once; any other waits for the next configure."""


DECLARATIONS = (
    Declaration("model", "", "Path of the model file, written by 'vlocnetpp export'."),
    Declaration("device", "auto", "Where the network runs: auto (CUDA where there is one), cpu, cuda or cuda:N."),
    Declaration(
        "precision",
        "auto",
        "Arithmetic of the network. auto is the fastest: on a CPU bf16 where the processor multiplies it and a step is "
        "0.5 GMAC or more, else fp32; on a GPU the file's own precision.",
        choices=("auto", "fp32", "fp16", "bf16"),
    ),
    Declaration(
        "image_topic",
        "/zed/zed_node/rgb/color/rect/image",
        "Rectified colour image; with image_transport 'compressed' the topic below it, <image_topic>/compressed.",
    ),
    Declaration(
        "image_transport",
        "raw",
        "raw: sensor_msgs/Image. compressed: sensor_msgs/CompressedImage, JPEG or PNG.",
        choices=("raw", "compressed"),
    ),
    Declaration(
        "camera_info_topic", "", "Intrinsics of the image; empty: camera_info beside image_topic, the usual place."
    ),
    Declaration(
        "other_camera",
        "refuse",
        "What becomes of images whose intrinsics differ from the training camera's beyond a change of resolution. "
        "refuse: they are dropped and said. remap: they are turned into what the training camera would have seen from "
        "there, black where they do not reach; masks come back on the image's own pixels.",
        choices=("refuse", "remap"),
    ),
    Declaration(
        "depth_topic",
        "",
        "Depth aligned with the image (32FC1 metres or 16UC1 millimetres), paired with it by stamp; for models that "
        "warp with a sensor's depth, e.g. /zed/zed_node/depth/depth_registered.",
    ),
    Declaration(
        "depth_tolerance_s",
        0.01,
        "Largest difference between the stamps of an image and its depth, seconds.",
        range=(0.0, 1.0),
    ),
    Declaration("map_frame", "", "Frame of the poses; empty: the one the model was trained in."),
    Declaration("odom_frame", "odom", "Frame of ~/odometry and, by REP-105, child of the map frame in TF."),
    Declaration(
        "base_frame",
        "",
        "Frame whose pose and motion are published, e.g. base_link, found from the camera by TF (needs tf2_ros); "
        "empty: the camera's optical frame.",
    ),
    Declaration(
        "publish_tf",
        "map_to_odom",
        "map_to_odom: correct the odometry that others publish in TF, by REP-105. map_to_camera: where no odometry is "
        "in TF. none: nothing. All but none need tf2_ros. Only one node may publish map->odom: start the ZED wrapper "
        "with publish_map_tf:=false.",
        choices=("map_to_odom", "map_to_camera", "none"),
    ),
    Declaration(
        "tf_future_s",
        0.1,
        "Seconds that the TF is stamped ahead of the image, so that looking up the newest time works until the next.",
        range=(0.0, 5.0),
        live=True,
    ),
    Declaration(
        "tf_rate_hz",
        20.0,
        "How often map->odom is sent again between two poses, its stamp going on with time; 0: only with each pose.",
        range=(0.0, 200.0),
    ),
    Declaration(
        "tf_keep_alive_s",
        5.0,
        "Seconds after the last trusted pose in which map->odom is still sent; then TF is silent.",
        range=(0.0, 3600.0),
        live=True,
    ),
    Declaration(
        "gate_uncertainty_m",
        1.0,
        "Withhold a pose whose position is less certain than this: the calibrated 68 % bound in metres. 0: never.",
        range=(0.0, 1e4),
        live=True,
    ),
    Declaration(
        "gate_uncertainty_deg",
        15.0,
        "Withhold a pose whose rotation is less certain than this: the calibrated 68 % bound in degrees. 0: never.",
        range=(0.0, 180.0),
        live=True,
    ),
    Declaration(
        "gate_disagreement",
        3.0,
        "Withhold a pose that lies farther than so many of its 68 % bounds from where the network's odometry puts the "
        "camera. 0: never.",
        range=(0.0, 1e3),
        live=True,
    ),
    Declaration(
        "gate_margin_m",
        1.0,
        "Withhold a pose that lies farther than this outside of the box of the training positions, metres. -1: never.",
        range=(-1.0, 1e4),
        live=True,
    ),
    Declaration(
        "gate_lose_after",
        3,
        "Withheld poses in a row after which the node is not localized: TF stops and /diagnostics warns.",
        range=(1, 1000),
        live=True,
    ),
    Declaration(
        "gate_regain_after",
        5,
        "Good poses in a row, by limits a fifth tighter, after which it is localized again.",
        range=(1, 1000),
        live=True,
    ),
    Declaration(
        "max_gap_s",
        0.5,
        "Seconds without an image after which the past is forgotten and the next image is a cold start.",
        range=(0.001, 3600.0),
        live=True,
    ),
    Declaration("path_length", 1000, "Poses that ~/path holds; the oldest go first.", range=(1, 100_000)),
    Declaration("path_spacing", 0.05, "Metres between two poses of ~/path.", range=(0.0, 100.0), live=True),
    Declaration(
        "overlay_opacity", 0.5, "Weight of the class colours in ~/semantic/overlay.", range=(0.0, 1.0), live=True
    ),
    Declaration(
        "odometry_linear_sigma",
        0.1,
        "Standard deviation of the linear velocity in ~/odometry, m/s; the network does not predict one.",
        range=(1e-6, 1e3),
        live=True,
    ),
    Declaration(
        "odometry_angular_sigma",
        0.05,
        "Standard deviation of the angular velocity in ~/odometry, rad/s; the network does not predict one.",
        range=(1e-6, 1e3),
        live=True,
    ),
    Declaration(
        "autostart",
        False,
        "Configure and activate at start, for use without a lifecycle manager.",
        read_only=True,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The values of all parameters, fields named as in DECLARATIONS."""

    model: str
    device: str
    precision: str
    image_topic: str
    image_transport: str
    camera_info_topic: str
    other_camera: str
    depth_topic: str
    depth_tolerance_s: float
    map_frame: str
    odom_frame: str
    base_frame: str
    publish_tf: str
    tf_future_s: float
    tf_rate_hz: float
    tf_keep_alive_s: float
    gate_uncertainty_m: float
    gate_uncertainty_deg: float
    gate_disagreement: float
    gate_margin_m: float
    gate_lose_after: int
    gate_regain_after: int
    max_gap_s: float
    path_length: int
    path_spacing: float
    overlay_opacity: float
    odometry_linear_sigma: float
    odometry_angular_sigma: float
    autostart: bool

    @property
    def image_input(self) -> str:
        """The topic that is really subscribed to."""
        return f"{self.image_topic}/compressed" if self.image_transport == "compressed" else self.image_topic

    @property
    def camera_info_input(self) -> str:
        """The topic of the intrinsics: image_transport's convention is a sibling of the image."""
        return self.camera_info_topic or f"{self.image_topic.rpartition('/')[0]}/camera_info"

    @property
    def gate(self) -> Limits:
        """What a pose may be like to be published."""
        return Limits(
            uncertainty_m=self.gate_uncertainty_m,
            uncertainty_rad=math.radians(self.gate_uncertainty_deg),
            disagreement=self.gate_disagreement,
            margin_m=self.gate_margin_m,
            lose_after=self.gate_lose_after,
            regain_after=self.gate_regain_after,
        )


class Parameters:
    """The node's declared parameters. A wrong value at start does not kill the node: configure refuses it instead.

    `on_live` gets the settings anew when a parameter that acts at once has been changed after `read`.
    """

    def __init__(self, node: Node, on_live: Callable[[Settings], None] | None = None) -> None:
        self._node = node
        self._on_live = on_live
        self._settings: Settings | None = None
        self._refused: dict[str, str] = {}
        for declaration in DECLARATIONS:
            self._declare(declaration)
        node.add_on_set_parameters_callback(self._check)

    def read(self) -> Settings:
        """The current values. Raises ParameterError for one that was refused and not corrected since, or is missing."""
        for reason in self._refused.values():
            raise ParameterError(reason)
        settings = Settings(**{d.name: self._node.get_parameter(d.name).value for d in DECLARATIONS})
        if not settings.model:
            raise ParameterError("parameter 'model' is empty: give the path of a file written by 'vlocnetpp export'")
        if not settings.image_topic:
            raise ParameterError("parameter 'image_topic' is empty: give the topic of the rectified colour image")
        self._settings = settings
        return settings

    def forget(self) -> None:
        """The node is no longer configured: nothing is left for a live change to act on."""
        self._settings = None

    def _declare(self, declaration: Declaration) -> None:
        descriptor = _descriptor(declaration)
        try:
            value = self._node.declare_parameter(declaration.name, declaration.default, descriptor).value
            problem = _problem(declaration, value)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            self._node.declare_parameter(declaration.name, declaration.default, descriptor, ignore_override=True)
            problem = f"parameter '{declaration.name}' cannot be used: {error.args[0]}"
            if isinstance(declaration.default, str):
                problem += " (YAML reads off, no, on and yes as booleans: put the value in quotes)"
        if problem:
            self._refused[declaration.name] = problem

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        declarations = {d.name: d for d in DECLARATIONS}
        for parameter in parameters:
            declaration = declarations.get(parameter.name)
            problem = _problem(declaration, parameter.value) if declaration else None
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        for parameter in parameters:
            self._refused.pop(parameter.name, None)
        if self._settings is None:
            return SetParametersResult(successful=True)
        live = {p.name: p.value for p in parameters if p.name in declarations and declarations[p.name].live}
        waiting = [p.name for p in parameters if p.name in declarations and p.name not in live]
        if live:
            self._settings = replace(self._settings, **live)
            if self._on_live is not None:
                self._on_live(self._settings)
        if waiting:
            # rclpy answers with the result of its own callback, which comes last: a reason would not be heard.
            self._node.get_logger().info(f"{', '.join(waiting)}: acts when the node is configured next")
        return SetParametersResult(successful=True)


def _problem(declaration: Declaration, value: Value) -> str | None:
    if declaration.choices and value not in declaration.choices:
        return f"parameter '{declaration.name}' is '{value}', it must be one of {', '.join(declaration.choices)}"
    return None


def _descriptor(declaration: Declaration) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=declaration.description, read_only=declaration.read_only)
    if declaration.choices:
        descriptor.additional_constraints = f"one of {', '.join(declaration.choices)}"
    if declaration.range and isinstance(declaration.default, float):
        low, high = declaration.range
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif declaration.range:
        first, last = map(int, declaration.range)
        descriptor.integer_range = [IntegerRange(from_value=first, to_value=last, step=1)]
    return descriptor
