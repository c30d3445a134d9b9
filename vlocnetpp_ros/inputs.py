"""Subscriptions of an active node: images, their intrinsics and, for some models, depth images of the same stamp."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vlocnetpp_ros import environment
from vlocnetpp_ros.arrivals import Arrivals, sequence_number
from vlocnetpp_ros.camera_info import Camera, camera
from vlocnetpp_ros.environment import subscription_events, with_message_info
from vlocnetpp_ros.latest import Latest
from vlocnetpp_ros.pairing import FilteredPairing, Pairing
from vlocnetpp_ros.settings import Settings
from vlocnetpp_ros.stamps import stamp_ns

NO_CAMERA_INFO = "no camera_info"
NO_INTRINSICS = "camera_info without intrinsics"
NO_DEPTH = "no depth of its stamp"
LONGEST_GAP_S = 2.0
"""A longer pause between two images is a pause of the camera, not a loss of the transport."""


@dataclass(frozen=True)
class Incoming:
    """An image message and the time of its callback."""

    message: Image | CompressedImage
    arrived: float
    """time.perf_counter()"""
    depth: Image | None = None
    """Of the same moment, where the model reads a sensor's depth."""


def input_qos() -> QoSProfile:
    """Best effort reads from every publisher, reliable or not; the newest image is all that matters.

    Each policy can be overridden by the standard parameters `qos_overrides.<topic>.subscription.*`.
    """
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Inputs:
    """The subscriptions from `open` to `close`. Images go into the worker, intrinsics to `on_camera`.

    Args:
        reads_depth: whether an image waits for the depth of its stamp.
        warn: called with a key and a text, for the log.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        reads_depth: bool,
        worker: Latest[Incoming],
        on_camera: Callable[[Camera], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._worker = worker
        self._on_camera = on_camera
        self._warn = warn
        self._held: list[Subscription] = []
        self._pairing: Pairing[Incoming, Image] | FilteredPairing[Incoming, Image] | None = None
        if reads_depth:
            rules = (round(settings.depth_tolerance_s * 1e9), self._on_pair, lambda _: self._worker.refuse(NO_DEPTH))
            filters = environment.load("message_filters")
            self._pairing = Pairing(*rules) if filters is None else FilteredPairing(filters, *rules)
        self._calibrated = False
        self.enabled = True
        """Where it is False, images are counted and dropped."""
        self.camera_fault = ""
        """Fault of the latest CameraInfo after a good one, which is still used."""
        self.last_image = time.monotonic()
        """Time of the latest image, or of creation."""
        self.arrivals = Arrivals()
        self.incompatible: dict[str, str] = {}
        """Topics of which a publisher offers another quality of service, with the policy."""

    def open(self) -> list[str]:
        """Subscribe; the topics. Those that were made before one that cannot be are taken down by `close`."""
        image_type = CompressedImage if self._settings.image_transport == "compressed" else Image
        inputs: list[tuple[type, str, Callable[..., None]]] = [
            (CameraInfo, self._settings.camera_info_input, self._on_camera_info),
            (image_type, self._settings.image_input, with_message_info(self._on_image)),
        ]
        if self._pairing is not None:
            inputs.append((Image, self._settings.depth_topic, self._on_depth))
        for each in inputs:
            self._held.append(self._subscribe(*each))
        return [topic for _, topic, _ in inputs]

    def close(self) -> None:
        """Unsubscribe; images that wait for their depth are dropped."""
        for subscription in self._held:
            self._node.destroy_subscription(subscription)
        self._held = []
        if self._pairing is not None:
            self._pairing.clear()

    def _subscribe(self, message_type: type, topic: str, callback: Callable[..., None]) -> Subscription:
        def incompatible(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self.incompatible[topic] = policy
            self._warn(
                f"incompatible QoS on {topic}",
                f"a publisher on {topic} offers another QoS than is asked for ({policy}), nothing of it arrives: "
                f"set qos_overrides.{topic}.subscription",
            )

        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            input_qos(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=subscription_events()(incompatible_qos=incompatible),
        )

    def _on_image(self, message: Image | CompressedImage, info: dict[str, Any]) -> None:
        self.last_image = time.monotonic()
        self.arrivals.note(self.last_image, sequence_number(info), LONGEST_GAP_S)
        incoming = Incoming(message, time.perf_counter())
        if not self.enabled:
            self._worker.refuse("disabled")
        elif self._pairing is not None:
            self._pairing.image(stamp_ns(message.header.stamp), incoming)
        else:
            self._worker.put(incoming)

    def _on_depth(self, message: Image) -> None:
        if self._pairing is not None and self.enabled:
            self._pairing.depth(stamp_ns(message.header.stamp), message)

    def _on_pair(self, incoming: Incoming, depth: Image) -> None:
        self._worker.put(replace(incoming, depth=depth))

    def _on_camera_info(self, message: CameraInfo) -> None:
        found = camera(message, self._settings.image_topic)
        if found is not None:
            self._calibrated, self.camera_fault = True, ""
            self._on_camera(found)
            self._worker.release()
            return
        topic = self._settings.camera_info_input
        fault = f"{topic} has no intrinsics (fx and fy must be positive, all of it finite)"
        if self._calibrated:
            self.camera_fault = f"{fault}; images are answered with the last good ones"
            self._warn(NO_INTRINSICS, self.camera_fault)
        else:
            self._worker.hold(NO_INTRINSICS)
            self._warn(NO_INTRINSICS, f"{fault}: calibrate the camera")
