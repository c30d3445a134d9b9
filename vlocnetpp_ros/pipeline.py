"""What happens to one image: message to pixels, one step of the network, odometry, topics, TF.

A pipeline is made when the node is configured and used by its worker thread; it knows nothing of the lifecycle.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from vlocnetpp.runtime import CameraMismatchError, Estimate, ImageError, Localizer, load_model
from vlocnetpp_ros import messages
from vlocnetpp_ros.diagnostics import Statistics
from vlocnetpp_ros.frames import Floats
from vlocnetpp_ros.latest import Dropped
from vlocnetpp_ros.messages import BadImage, Camera
from vlocnetpp_ros.odometry import DeadReckoning
from vlocnetpp_ros.outputs import Outputs, Result
from vlocnetpp_ros.parameters import Settings
from vlocnetpp_ros.transforms import NoTransformError, Transforms, require_packages


@dataclass(frozen=True)
class Incoming:
    """An image message and when its callback ran."""

    message: Image | CompressedImage
    arrived: float
    """time.perf_counter()"""


class Pipeline:
    """The loaded model with all that turns its answers into messages.

    Raises ModelFileError for a model file that cannot be used, MissingPackageError for a feature that this
    installation lacks.
    """

    def __init__(self, node: LifecycleNode, settings: Settings, statistics: Statistics) -> None:
        # Refused before the seconds that a model takes to load.
        tf2_ros = require_packages(settings)
        precision = None if settings.precision == "auto" else settings.precision
        self.model = load_model(settings.model, settings.device, precision)
        metadata = self.model.metadata
        self._localizer = Localizer(self.model, max_gap_s=settings.max_gap_s)
        self._localizer.warm_up(metadata.input_height, metadata.input_width)
        self._log = node.get_logger()
        self._statistics = statistics
        self._base_frame = settings.base_frame
        self._odometry = None
        if "odometry" in metadata.tasks:
            self._odometry = DeadReckoning(settings.odometry_linear_sigma, settings.odometry_angular_sigma)
        self._last_stamp_ns: int | None = None
        self._reset = threading.Event()
        self.camera: Camera | None = None
        """From the latest CameraInfo; the images of one stream share it."""
        self._transforms = None
        if tf2_ros is not None:
            self._transforms = Transforms(node, settings, settings.map_frame or metadata.map_frame, tf2_ros)
        self.outputs = Outputs(node, settings, metadata)

    def process(self, incoming: Incoming) -> None:
        """Answer one image. Raises Dropped with the reason where it cannot be answered."""
        message = incoming.message
        stamp_ns = messages.stamp_ns(message.header.stamp)
        if self._reset.is_set():
            self._reset.clear()
            self._start_over("reset")
        if stamp_ns == self._last_stamp_ns:
            raise Dropped("repeated stamp", f"{stamp_ns} ns; does the camera driver set header.stamp?")
        image, encoding = self._pixels(message)
        camera = self._camera(image)
        base_camera_7 = self._base_camera(message.header.frame_id)
        began = time.perf_counter()
        estimate = self._localize(image, camera, stamp_ns, encoding)
        model_s = time.perf_counter() - began
        self._last_stamp_ns = stamp_ns
        motion = None
        if self._odometry is not None:
            motion = self._odometry.advance(estimate.relative_7, estimate.interval_s, estimate.pose_7)
        self.outputs.publish(Result(message.header, image, encoding, estimate, motion, base_camera_7), self._localizer)
        if self._transforms is not None and estimate.pose_7 is not None:
            try:
                self._transforms.broadcast(message.header, estimate.pose_7)
            except NoTransformError as error:
                self._log.warning(str(error), throttle_duration_sec=5.0)
        self._statistics.answered(time.perf_counter() - incoming.arrived, model_s, estimate.cold_start)

    @property
    def hardware(self) -> str:
        """The device that is really used, with its name."""
        device = self.model.device
        return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

    def request_reset(self) -> None:
        """Let the next image be a cold start with a new odom frame and an empty path; from any thread."""
        self._reset.set()

    def forget(self, reason: str) -> None:
        """Let the next image be a cold start that says `reason`; only while no image is being processed."""
        self._localizer.reset(reason)
        self._last_stamp_ns = None

    def close(self) -> None:
        """Take topics and TF down and give the memory of a GPU back."""
        self.outputs.close()
        if self._transforms is not None:
            self._transforms.close()
        device = self.model.device
        del self._localizer, self.model
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def _start_over(self, reason: str) -> None:
        self.forget(reason)
        self.outputs.forget_path()
        if self._odometry is not None:
            self._odometry.reset()

    def _pixels(self, message: Image | CompressedImage) -> tuple[NDArray[np.uint8], str]:
        try:
            if isinstance(message, CompressedImage):
                return messages.decode(message), "bgr8"
            return messages.image_view(message), message.encoding
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
        if not self._base_frame or self._transforms is None:
            return None
        try:
            return self._transforms.base_camera(camera_frame)
        except NoTransformError as error:
            raise Dropped("no transform to base_frame", str(error)) from error

    def _localize(self, image: NDArray[np.uint8], camera: Camera, stamp_ns: int, encoding: str) -> Estimate:
        try:
            estimate = self._localizer.localize(image, camera.K_33, stamp_ns, encoding)
        except CameraMismatchError as error:
            raise Dropped("another camera", str(error)) from error
        except ImageError as error:
            raise Dropped("wrong size", str(error)) from error
        answers = (estimate.pose_7, estimate.relative_7, estimate.sigma_2)
        if any(answer is not None and not np.isfinite(answer).all() for answer in answers):
            # The features that led to it would spoil every image after it.
            self.forget("not finite")
            raise Dropped("not finite", "the network answered NaN or infinity")
        return estimate
