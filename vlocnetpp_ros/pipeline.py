"""Processing of one image: message to pixels, one step of the network, odometry, topics, TF.

A pipeline is made when the node is configured; one thread answers images, another publishes the answers, so that the
network need not wait for topics and TF. It is independent of the lifecycle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from vlocnetpp.runtime import CameraMismatchError, Estimate, ImageError, Localizer, Model, ModelFileError, load_model
from vlocnetpp.runtime.map_cloud import read_map_cloud
from vlocnetpp_ros import compressed, depth, images, virtual_camera
from vlocnetpp_ros.calibration import file_limits, gate_limits, image_limits
from vlocnetpp_ros.camera_info import Camera
from vlocnetpp_ros.corrections import NoTransformError
from vlocnetpp_ros.diagnostics import Statistics, Times
from vlocnetpp_ros.frames import Floats
from vlocnetpp_ros.gate import Gate, Verdict
from vlocnetpp_ros.image_check import ImageCheck
from vlocnetpp_ros.images import BadImage
from vlocnetpp_ros.inputs import Incoming
from vlocnetpp_ros.latest import Dropped
from vlocnetpp_ros.odometry import DeadReckoning
from vlocnetpp_ros.outputs import Outputs, Result
from vlocnetpp_ros.settings import ParameterError, Settings
from vlocnetpp_ros.stamps import stamp_ns
from vlocnetpp_ros.transforms import Transforms, require_packages
from vlocnetpp_ros.virtual_camera import View

CORES = torch.get_num_threads()
"""What PyTorch would use: the cores of this process, or OMP_NUM_THREADS."""
LEAST_COVERED = 0.95
"""Of the training camera's view. What is missing is black, and the network's uncertainty does not show it: on the demo
the errors are the same down to here, a fifth larger at 0.92 and three times as large at 0.75, with a bound that hardly
grows (docs/benchmarks/other_camera.json)."""


@dataclass(frozen=True)
class Answered:
    """An image and its answer, not yet published."""

    incoming: Incoming
    image: NDArray[np.uint8]
    encoding: str
    estimate: Estimate
    view: View | None
    base_camera_7: Floats | None
    depth_HW: NDArray[np.float32] | None
    """As the sensor gave it, on the pixels of the image."""
    K_33: Floats
    starts_over: bool
    """Whether a reset was requested: a new odom frame, an empty path, no TF until the next trusted pose."""
    pixels_s: float
    model_s: float


class Pipeline:
    """The loaded model and everything that turns its answers into messages.

    Raises ParameterError for a model file that cannot be used or that the parameters do not fit, MissingPackageError
    for a feature that this installation lacks.
    """

    def __init__(self, node: LifecycleNode, settings: Settings, statistics: Statistics) -> None:
        # Checked before the model is loaded, which takes seconds.
        tf2_ros = require_packages(settings)
        self.model = load(settings)
        metadata = self.model.metadata
        self.reads_depth = metadata.reads_depth
        if self.reads_depth and not settings.depth_topic:
            raise ParameterError("parameter 'depth_topic' is empty, and this model warps with the depth of a sensor")
        device = self.model.device
        self.hardware = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
        """The device in use, with its name; read once, since a lost device cannot be queried."""
        self._localizer = Localizer(self.model, max_gap_s=settings.max_gap_s)
        self._localizer.warm_up(metadata.input_height, metadata.input_width)
        map_cloud = _map_cloud(settings)
        gives_points = self.reads_depth or self._gives_coordinates()
        if not node.context.ok():
            raise ExternalShutdownException  # a signal has arrived: nothing can be advertised any more
        self._log = node.get_logger()
        self._statistics = statistics
        self._settings = settings
        self._check = ImageCheck()
        self._gate = None
        if "localization" in metadata.tasks:
            limits = gate_limits(settings, metadata)
            self._gate = Gate(limits, (metadata.position_min_3, metadata.position_max_3))
            self._log.info(
                f"poses less certain than {limits.uncertainty_m:.2f} m or {np.degrees(limits.uncertainty_rad):.1f} deg "
                f"are withheld (0: never), by the parameters and {file_limits(metadata)[1]}"
            )
        self.verdict: Verdict | None = None
        """The gate's verdict on the latest image with a pose; None before the first since activation or reset."""
        self._odometry = None
        if "odometry" in metadata.tasks:
            self._odometry = DeadReckoning(settings.odometry_linear_sigma, settings.odometry_angular_sigma)
        self._last_stamp_ns: int | None = None
        self._viewed: tuple[bytes, tuple[int, ...]] | None = None
        self._last_view: View | None = None
        self._reset = threading.Event()
        self._distrusted = ""
        self._starts_over = False
        """A reset that has not yet been applied to an answered image."""
        self.camera: Camera | None = None
        """From the latest CameraInfo; the images of one stream share it."""
        self._transforms = None
        if tf2_ros is None and settings.publish_tf == "auto":
            self._log.info("no TF is sent: the ROS package tf2_ros is not installed")
        if tf2_ros is not None:
            self._transforms = Transforms(node, settings, settings.map_frame or metadata.map_frame, tf2_ros)
        try:
            self.outputs = Outputs(node, settings, metadata, map_cloud, gives_points)
        except Exception:
            if self._transforms is not None:
                self._transforms.close()  # its timer and subscriptions would continue without a pipeline
            raise

    def answer(self, incoming: Incoming) -> Callable[[], None]:
        """Run one image through the network; what is returned publishes its answers, in another thread if wanted.

        Raises Dropped with the reason where it cannot be answered. The answers of one image are published before those
        of the next.
        """
        message = incoming.message
        taken_up = time.perf_counter()
        at_ns = stamp_ns(message.header.stamp)
        if self._distrusted:
            reason, self._distrusted = self._distrusted, ""
            self.forget(reason)
        if self._reset.is_set():
            self._reset.clear()
            self.forget("reset")
            self._starts_over = True
        if at_ns == self._last_stamp_ns:
            raise Dropped("repeated stamp", f"{at_ns} ns; does the camera driver set header.stamp?")
        image, encoding = self._pixels(message)
        camera = self._camera(image)
        if (fault := self._check.fault(image, encoding, image_limits(self._settings))) is not None:
            starts_over, self._starts_over = self._starts_over, False
            return partial(self._reject, starts_over, *fault)
        base_camera_7 = self._base_camera(message.header.frame_id)
        depth_HW = sensed_HW = self._metres(incoming.depth, image)
        K_33 = camera.K_33
        view = self._view(camera, image)
        seen = image
        if view is not None:
            seen, camera = (
                view.image(image),
                replace(camera, K_33=self._localizer.training_intrinsics(*image.shape[:2])),
            )
            depth_HW = None if depth_HW is None else view.depth(depth_HW)
        began = time.perf_counter()
        estimate = self._localize(seen, camera, at_ns, encoding, depth_HW)
        times = (began - taken_up, time.perf_counter() - began)
        self._last_stamp_ns = at_ns
        starts_over, self._starts_over = self._starts_over, False
        return partial(
            self._publish,
            Answered(incoming, image, encoding, estimate, view, base_camera_7, sensed_HW, K_33, starts_over, *times),
        )

    def _publish(self, answered: Answered) -> None:
        """Judge, integrate and publish the answer to one image."""
        began = time.perf_counter()
        header, estimate = answered.incoming.message.header, answered.estimate
        if answered.starts_over:
            self._start_over()
        if estimate.cold_start == "stamp went back" and self._transforms is not None:
            self._transforms.silence()  # whether or not this pose is trusted
        trusted = self._judge(estimate)
        motion = None
        if self._odometry is not None:
            motion = self._odometry.advance(
                estimate.relative_7, estimate.interval_s, answered.base_camera_7, estimate.motion_sigma_2
            )
        result = Result(
            header,
            answered.image,
            answered.encoding,
            estimate,
            trusted,
            motion,
            answered.view,
            answered.base_camera_7,
            answered.depth_HW,
            answered.K_33,
        )
        self.outputs.publish(result, self._localizer)
        if self._transforms is not None and estimate.pose_7 is not None and trusted:
            self._transforms.broadcast(header, estimate.pose_7)
            if motion is not None:
                self._transforms.broadcast_odometry(header, estimate.pose_7, motion.pose_7)
        done = time.perf_counter()
        times = Times(done - answered.incoming.arrived, answered.pixels_s, answered.model_s, done - began)
        self._statistics.answered(times, estimate.cold_start)

    def apply(self, settings: Settings) -> None:
        """Apply the live parameters; from any thread."""
        self._settings = settings
        self._localizer.max_gap_s = settings.max_gap_s
        self.outputs.settings = settings
        if self._gate is not None:
            self._gate.limits = gate_limits(settings, self.model.metadata)
        if self._odometry is not None:
            self._odometry.set_sigmas(settings.odometry_linear_sigma, settings.odometry_angular_sigma)
        if self._transforms is not None:
            self._transforms.settings = settings

    def request_reset(self) -> None:
        """Let the next image be a cold start with a new odom frame and an empty path, and send no TF until a pose is
        trusted; from any thread."""
        self._reset.set()
        if self._transforms is not None:
            self._transforms.silence()

    def distrust(self, reason: str) -> None:
        """Let the next image be a cold start that says `reason`; from any thread."""
        self._distrusted = reason

    def forget(self, reason: str) -> None:
        """Let the next image be a cold start that says `reason`; only while no image is being processed."""
        self._localizer.reset(reason)
        self._check.forget()
        self._last_stamp_ns = None

    def rest(self) -> None:
        """Forget the localization until the next trusted pose: no TF, no verdict, a new gate. Only while no image is
        being processed.
        """
        if self._transforms is not None:
            self._transforms.silence()
        if self._gate is not None:
            self._gate.forget()
        self.verdict = None

    def status(self) -> dict[str, str]:
        """Status of localization and TF for /diagnostics."""
        texts: dict[str, str] = {}
        if self._gate is not None:
            verdict = self.verdict  # another thread may forget it between two looks
            texts["localized"] = str(verdict is not None and verdict.localized).lower()
            texts["why_not"] = verdict.reason if verdict is not None else "no pose yet"
        if self._transforms is not None:
            counts = asdict(self._transforms.counts())
            texts.update({f"corrections/{name}": str(count) for name, count in counts.items()})
            texts.update(self._transforms.input_values())
        return texts

    def tf_failure(self) -> str:
        """Why map->odom cannot be sent and what to do, or what TF brings that is no transform; empty if neither."""
        return (self._transforms.failure() or self._transforms.input_fault()) if self._transforms is not None else ""

    def close(self) -> None:
        """Remove topics and TF, and free the memory of a GPU."""
        self.outputs.close()
        if self._transforms is not None:
            self._transforms.close()
        device = self.model.device
        del self._localizer, self.model
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def _gives_coordinates(self) -> bool:
        """Whether the model answers map coordinates, from one answer to a black image."""
        height, width = self.model.metadata.input_height, self.model.metadata.input_width
        K_33 = self._localizer.training_intrinsics(height, width)
        answer = self._localizer.localize(np.zeros((height, width, 3), np.uint8), K_33, 1)
        self._localizer.reset("first frame")
        return answer.coordinates_hw3 is not None

    def _start_over(self) -> None:
        self.rest()
        self.outputs.forget_path()
        if self._odometry is not None:
            self._odometry.reset()

    def _pixels(self, message: Image | CompressedImage) -> tuple[NDArray[np.uint8], str]:
        try:
            if isinstance(message, CompressedImage):
                known = self.camera is not None and self.camera.width > 0
                size = (self.camera.width, self.camera.height) if self.camera is not None and known else None
                return compressed.decode(message, size), "bgr8"
            return images.pixels(message)
        except BadImage as error:
            raise Dropped(error.reason, str(error)) from error

    def _camera(self, image: NDArray[np.uint8]) -> Camera:
        height, width = image.shape[:2]
        if self.camera is None:
            raise Dropped("no camera_info")
        if self.camera.width and (self.camera.width, self.camera.height) != (width, height):
            size = f"{self.camera.width} x {self.camera.height}"
            raise Dropped("camera_info of another size", f"it says {size}, the image has {width} x {height}")
        return self.camera

    def _base_camera(self, camera_frame: str) -> Floats | None:
        if not self._settings.base_frame or self._transforms is None:
            return None
        try:
            return self._transforms.base_camera(camera_frame)
        except NoTransformError as error:
            raise Dropped("no transform to base_frame", str(error)) from error

    def _metres(self, message: Image | None, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        if message is None:
            return None
        try:
            depth_HW = depth.metres(message)
        except BadImage as error:
            raise Dropped(error.reason, str(error)) from error
        if depth_HW.shape != image.shape[:2]:
            sizes = f"{depth_HW.shape[1]} x {depth_HW.shape[0]}, the image {image.shape[1]} x {image.shape[0]}"
            raise Dropped("depth of another size", f"it is {sizes}; it must be registered to the image")
        return depth_HW

    def _view(self, camera: Camera, image: NDArray[np.uint8]) -> View | None:
        """The mapping to the training camera, if images of other cameras are remapped and this camera is another."""
        if self._settings.other_camera != "remap":
            return None
        key = (camera.K_33.tobytes(), image.shape[:2])
        if key != self._viewed:
            height, width = image.shape[:2]
            training_K_33 = self._localizer.training_intrinsics(height, width)
            self._viewed, self._last_view = key, virtual_camera.view(camera.K_33, training_K_33, height, width)
            if self._last_view is not None:
                self._log.info(
                    f"images are remapped to the training camera; {self._last_view.covered:.0%} of its view is seen"
                )
        view = self._last_view
        if view is not None and view.covered < LEAST_COVERED:
            raise Dropped(
                "another camera", f"it sees {view.covered:.0%} of the training camera's view, too little to remap"
            )
        return view

    def _reject(self, starts_over: bool, kind: str, reason: str) -> None:
        """Drop an unusable image, after the answers before it: it counts for the gate."""
        if starts_over:
            self._start_over()
        if self._gate is not None:
            self.verdict = self._gate.reject(kind, f"{kind}: {reason}")
            if self._transforms is not None and not self.verdict.localized:
                self._transforms.silence()
        raise Dropped(kind, reason)

    def _judge(self, estimate: Estimate) -> bool:
        """Whether the pose may be published; the gate's verdict goes into `verdict` and the statistics."""
        if self._gate is None or estimate.pose_7 is None:
            return False
        self.verdict = self._gate.judge(estimate)
        self._statistics.judged(self.verdict, estimate.sigma_2)
        if self._transforms is not None and not self.verdict.localized:
            self._transforms.silence()
        return self.verdict.publish

    def _localize(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        at_ns: int,
        encoding: str,
        depth_HW: NDArray[np.float32] | None,
    ) -> Estimate:
        try:
            estimate = self._localizer.localize(image, camera.K_33, at_ns, encoding, depth_HW)
        except CameraMismatchError as error:
            raise Dropped("another camera", str(error)) from error
        except ImageError as error:
            raise Dropped("wrong size", str(error)) from error
        answers = (estimate.pose_7, estimate.relative_7, estimate.sigma_2)
        if any(answer is not None and not np.isfinite(answer).all() for answer in answers):
            # Its features would break the answers to later images.
            self.forget("not finite")
            raise Dropped("not finite", "the network answered NaN or infinity")
        return estimate


def load(settings: Settings) -> Model:
    """The model that the parameters name, and the threads that its steps use. Raises ParameterError."""
    torch.set_num_threads(settings.threads or max(1, CORES - 1))
    try:
        precision = None if settings.precision == "auto" else settings.precision
        return load_model(settings.model, settings.device, precision)
    except ModelFileError as error:
        raise ParameterError(str(error)) from error


def _map_cloud(settings: Settings) -> NDArray[np.void] | None:
    try:
        return read_map_cloud(settings.model)
    except ModelFileError as error:
        raise ParameterError(str(error)) from error
