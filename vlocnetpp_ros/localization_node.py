"""The localization node: a managed node that answers each camera image with pose, odometry and semantic mask.

    configure   read the parameters, load and warm the model, advertise the topics of its tasks
    activate    subscribe, start the worker
    deactivate  unsubscribe, finish the image in work
    cleanup     take the topics down, free the model

A transition that fails says why, leaves the process alive and can be tried again.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ROSInterruptException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from vlocnetpp.runtime import ModelFileError
from vlocnetpp_ros import diagnostics, messages
from vlocnetpp_ros.arrivals import Arrivals
from vlocnetpp_ros.diagnostics import Health, Rates, Statistics
from vlocnetpp_ros.environment import MissingPackageError, subscription_events
from vlocnetpp_ros.latest import NEWER, Dropped, Finish, Latest, Tally
from vlocnetpp_ros.pairing import Pairing
from vlocnetpp_ros.parameters import ParameterError, Parameters, Settings
from vlocnetpp_ros.pipeline import Incoming, Pipeline

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
RCLError = rclpy_implementation.RCLError
NO_CAMERA_INFO = "no camera_info"
NO_INTRINSICS = "camera_info without intrinsics"
NO_DEPTH = "no depth of its stamp"
EXPECTED = (NEWER, NO_CAMERA_INFO, NO_INTRINSICS, "disabled", "deactivated")
"""Reasons that are no fault of the images, or are told in another way."""
SILENCE_S = 2.0
"""Without an image for so long, the status is no longer OK."""
SILENCE_LOG_S = 5.0
"""And so long it takes until the log says so, once."""
LEAST_SHARE = 0.7
"""Of the images that the camera publishes; where fewer arrive, the transport loses them."""
WARN_PERIOD_S = 5.0
DROP_REPORT_S = 0.1
"""A dropped image or withheld pose is reported on /diagnostics at once, but not more often than this."""


def input_qos() -> QoSProfile:
    """Best effort reads from every publisher, reliable or not; the newest image is all that matters.

    Each policy can be overridden by the standard parameters `qos_overrides.<topic>.subscription.*`.
    """
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class LocalizationNode(LifecycleNode):
    """See the module. Parameters are in `parameters.DECLARATIONS`, topics in `outputs.TOPICS`."""

    def __init__(self) -> None:
        super().__init__("localizer")
        self._declared = Parameters(self, self._on_live_change)
        self._label = "unconfigured"
        self._failure = ""
        self._enabled = True
        self._settings: Settings | None = None
        self._pipeline: Pipeline | None = None
        self._worker: Latest[Incoming] | None = None
        self._subscriptions_held: list[Subscription] = []
        self._tally = Tally()
        self._statistics = Statistics()
        self._rates = Rates()
        self._pairing: Pairing[Incoming, Image] | None = None
        self._arrivals = Arrivals()
        self._incompatible: dict[str, str] = {}
        self._last_image = self._last_answer = time.monotonic()
        self._last_report = 0.0
        self._reporting = threading.Lock()
        self._warned: dict[str, float] = {}
        self._last_drop = ""
        self._fault = ""
        """Why the latest image was dropped, empty once one is answered."""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: with use_sim_time and no /clock, a timer on ROS time would never fire.
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._refuse_illegal_transitions()

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at start."""
        return bool(self.get_parameter("autostart").value)

    # Transitions. rclpy swallows what a callback raises, so each runs inside _attempt.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model; FAILURE with the reason in the log and on /diagnostics where it cannot be."""
        return self._attempt("configure", self._configure, lambda: super(LocalizationNode, self).on_configure(state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to answer."""

        def enable_publishers() -> TransitionCallbackReturn:
            result = super(LocalizationNode, self).on_activate(state)
            self._configured()[1].outputs.publish_labels()
            return result

        return self._attempt("activate", self._activate, enable_publishers)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop answering; the model stays loaded."""
        return self._attempt("deactivate", self._deactivate, lambda: super(LocalizationNode, self).on_deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        return self._attempt("cleanup", self._cleanup, lambda: super(LocalizationNode, self).on_cleanup(state))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whatever state."""

        def free() -> str:
            self._free()
            return "finalized"

        return self._attempt("shutdown", free, lambda: super(LocalizationNode, self).on_shutdown(state))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected exception in a transition: free everything; SUCCESS means unconfigured, to try again."""
        failure = self._failure
        result = self._attempt("recover", self._free, lambda: SUCCESS)
        self._failure = self._failure or failure
        return result

    def _attempt(
        self, name: str, work: Callable[[], str], entities: Callable[[], TransitionCallbackReturn]
    ) -> TransitionCallbackReturn:
        try:
            label = work()
            result = entities()
            if result == SUCCESS:
                self._label, self._failure = label, ""
            return result
        except (ParameterError, ModelFileError, MissingPackageError) as error:
            self._failure = f"{name} failed: {error}"
            self.get_logger().error(self._failure)
            return FAILURE
        except Exception as error:  # noqa: BLE001 - whatever it is, rclpy would swallow it
            if not self.context.ok():
                return ERROR  # a signal came meanwhile, and everything is going
            self._failure = f"{name} failed: {type(error).__name__}: {error}"
            self.get_logger().error(f"{self._failure}\n{traceback.format_exc()}")
            return ERROR
        finally:
            self._report()

    def _configure(self) -> str:
        settings = self._declared.read()
        began = time.monotonic()
        self._statistics.forget_latest()
        self._pipeline = Pipeline(self, settings, self._statistics)
        self._settings = settings
        metadata = self._pipeline.model.metadata
        self.get_logger().info(
            f"{settings.model}: {metadata.preset} ({', '.join(metadata.tasks)}) on {self._pipeline.hardware} in "
            f"{self._pipeline.model.arithmetic}, loaded and warm in {time.monotonic() - began:.1f} s"
        )
        return "inactive"

    def _activate(self) -> str:
        settings, pipeline = self._configured()
        pipeline.forget("first frame")
        pipeline.camera = None
        self._last_image = self._last_answer = time.monotonic()
        self._fault = ""
        self._arrivals.forget()
        self._incompatible.clear()
        self._worker = Latest(self._work, self._tally, self._on_drop, self._on_work_error, held=NO_CAMERA_INFO)
        image_type = CompressedImage if settings.image_transport == "compressed" else Image
        inputs: list[tuple[type, str, Callable[[Any], None]]] = [
            (CameraInfo, settings.camera_info_input, self._on_camera_info),
            (image_type, settings.image_input, self._on_image),
        ]
        if pipeline.reads_depth:
            tolerance_ns = round(settings.depth_tolerance_s * 1e9)
            self._pairing = Pairing(tolerance_ns, self._on_pair, lambda _: self._refuse(NO_DEPTH))
            inputs.append((Image, settings.depth_topic, self._on_depth))
        for each in inputs:
            # One by one: if one cannot be made, those before it are still known and taken down.
            self._subscriptions_held.append(self._subscribe(*each))
        self.get_logger().info(f"listening to {', '.join(topic for _, topic, _ in inputs)}")
        return "active"

    def _subscribe(self, message_type: type, topic: str, callback: Callable[[Any], None]) -> Subscription:
        def incompatible(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self._incompatible[topic] = policy
            self._warn(
                f"incompatible QoS on {topic}",
                f"a publisher on {topic} offers another QoS than is asked for ({policy}), nothing of it arrives: "
                f"set qos_overrides.{topic}.subscription",
            )

        return self.create_subscription(
            message_type,
            topic,
            callback,
            input_qos(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=subscription_events()(incompatible_qos=incompatible),
        )

    def _deactivate(self) -> str:
        for subscription in self._subscriptions_held:
            self.destroy_subscription(subscription)
        self._subscriptions_held = []
        if self._pairing is not None:
            self._pairing.clear()
            self._pairing = None
        if self._worker is not None:
            self._worker.close("deactivated")
            self._worker = None
        if self._pipeline is not None:
            self._pipeline.rest()
        return "inactive"

    def _cleanup(self) -> str:
        # Forgotten first: where a lost device makes closing fail, it is not tried for ever.
        pipeline, self._pipeline, self._settings = self._pipeline, None, None
        self._declared.forget()
        if pipeline is not None:
            pipeline.close()
        del pipeline
        gc.collect()
        return "unconfigured"

    def _free(self) -> str:
        self._deactivate()
        return self._cleanup()

    def _configured(self) -> tuple[Settings, Pipeline]:
        if self._settings is None or self._pipeline is None:
            raise RuntimeError("the node is not configured")
        return self._settings, self._pipeline

    def _refuse_illegal_transitions(self) -> None:
        """Answer an illegal request, such as activate while unconfigured, with `success: false`.

        rclpy lets RCLError out of the service callback, which ends the executor and leaves the caller without answer.
        """
        change_state = self._service_change_state.callback

        def refuse(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RCLError:
                asked = request.transition.label or f"transition {request.transition.id}"
                self.get_logger().warning(f"{asked} is refused: the node is {self._label}")
                response.success = False
                return response

        self._service_change_state.callback = refuse

    # Inputs.

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._worker is None:
            return
        self._last_image = time.monotonic()
        stamp_ns = messages.stamp_ns(message.header.stamp)
        self._arrivals.note(stamp_ns, SILENCE_S)
        incoming = Incoming(message, time.perf_counter())
        if not self._enabled:
            self._worker.refuse("disabled")
        elif self._pairing is not None:
            self._pairing.image(stamp_ns, incoming)
        else:
            self._worker.put(incoming)

    def _on_depth(self, message: Image) -> None:
        if self._pairing is not None and self._enabled:
            self._pairing.depth(messages.stamp_ns(message.header.stamp), message)

    def _on_pair(self, incoming: Incoming, depth: Image) -> None:
        if self._worker is not None:
            self._worker.put(replace(incoming, depth=depth))

    def _refuse(self, reason: str) -> None:
        if self._worker is not None:
            self._worker.refuse(reason)

    def _on_live_change(self, settings: Settings) -> None:
        self._settings = settings
        if self._pipeline is not None:
            self._pipeline.apply(settings)

    def _on_camera_info(self, message: CameraInfo) -> None:
        if self._worker is None or self._pipeline is None or self._settings is None:
            return
        camera = messages.camera(message, self._settings.image_topic)
        if camera is not None:
            self._pipeline.camera = camera
            self._worker.release()
        elif self._pipeline.camera is None:
            self._worker.hold(NO_INTRINSICS)
            self._warn(NO_INTRINSICS, "camera_info has no intrinsics (fx or fy is 0): calibrate the camera")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._label == "active"
        if self._pipeline is not None and response.success:
            self._pipeline.request_reset()
        response.message = "the next image is a cold start" if response.success else f"the node is {self._label}"
        self._report()
        return response

    def _on_set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = "images are answered" if request.data else "images are dropped"
        self._report()
        return response

    # What becomes of the images, in the two threads of the worker.

    def _work(self, incoming: Incoming) -> Finish:
        _, pipeline = self._configured()
        return partial(self._finish, pipeline, pipeline.answer(incoming))

    def _finish(self, pipeline: Pipeline, publish: Finish) -> None:
        publish()
        self._fault, self._last_answer = "", time.monotonic()
        withheld = pipeline.verdict is not None and not pipeline.verdict.publish
        if withheld and time.monotonic() - self._last_report > DROP_REPORT_S:
            self._report()

    def _on_drop(self, dropped: Dropped) -> None:
        self._last_drop = str(dropped)
        if dropped.reason not in EXPECTED:
            self._fault = str(dropped)
        # That a slow network skips images is its way to keep up; /diagnostics says how many.
        if dropped.reason != NEWER:
            self._warn(dropped.reason, f"image dropped: {dropped}")
        if time.monotonic() - self._last_report > DROP_REPORT_S:
            self._report()

    def _on_work_error(self, error: Exception) -> Dropped:
        if not self.context.ok():
            return Dropped("shut down")
        self._warn("model error", "".join(traceback.format_exception(error)))
        if self._pipeline is not None:
            self._pipeline.distrust("model error")
        return Dropped("model error", f"{type(error).__name__}: {error}")

    def _warn(self, reason: str, text: str) -> None:
        """Log at most once in a while for each reason; rclpy's own throttle would count all reasons as one."""
        now = time.monotonic()
        if self.context.ok() and now - self._warned.get(reason, -WARN_PERIOD_S) >= WARN_PERIOD_S:
            self._warned[reason] = now
            self.get_logger().warning(text)

    def _report(self) -> None:
        if not self.context.ok():
            return
        # The timer and the worker both come here.
        with self._reporting:
            self._last_report = time.monotonic()
            health = self._health()
            hardware = self._pipeline.hardware if self._pipeline is not None else ""
            stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(diagnostics.message(stamp, self.get_fully_qualified_name(), hardware, health))

    def _health(self) -> Health:
        counts = self._tally.counts()
        subscribers = self._pipeline.outputs.subscribers() if self._pipeline is not None else {}
        values = {"state": self._label, "enabled": str(self._enabled).lower(), "pid": str(os.getpid())}
        if self._settings is not None and self._pipeline is not None:
            values["model"] = self._settings.model
            values["device"] = self._pipeline.hardware
            values["image_topic"] = self._settings.image_input
        received, processed = self._rates.update(counts)
        values["received_hz"], values["processed_hz"] = f"{received:.1f}", f"{processed:.1f}"
        share = self._arrivals.share()
        if share is not None:
            values["published_hz"] = f"{share.published_hz:.1f}"
            values["arriving_share"] = f"{share.share:.2f}"
        values.update(diagnostics.values(counts, self._statistics, subscribers))
        if self._pipeline is not None and self._pipeline.localizes:
            verdict = self._pipeline.verdict
            values["localized"] = str(verdict is not None and verdict.localized).lower()
            values["why_not"] = verdict.reason if verdict is not None else "no pose yet"
        if self._last_drop:
            values["last_drop"] = self._last_drop
        level, summary = self._judgement(received)
        return Health(level, summary, values)

    def _judgement(self, received_hz: float) -> tuple[bytes, str]:
        if self._failure:
            return DiagnosticStatus.ERROR, self._failure
        if self._settings is None or self._pipeline is None or self._worker is None:
            return DiagnosticStatus.OK, self._label
        silent_s = time.monotonic() - self._last_image
        missing = {
            self._settings.image_input: silent_s > SILENCE_S,
            self._settings.camera_info_input: self._worker.held is not None,
            self._settings.depth_topic: self._fault == NO_DEPTH,
        }
        for topic, policy in list(self._incompatible.items()):
            if missing.get(topic):
                return DiagnosticStatus.WARN, f"a publisher on {topic} offers another QoS ({policy}); see qos_overrides"
        if silent_s > SILENCE_S:
            topic = self._settings.image_input
            silence = f"no image on {topic} for {silent_s:.0f} s; publishers there: {self._who_publishes(topic)}"
            if silent_s > SILENCE_LOG_S:
                self._warn("silence", silence)
            return DiagnosticStatus.WARN, silence
        if not self._enabled:
            return DiagnosticStatus.OK, "disabled by ~/set_enabled"
        if self._worker.held is not None:
            topic = self._settings.camera_info_input
            return DiagnosticStatus.WARN, (
                f"{self._worker.held} on {topic}; publishers there: {self._who_publishes(topic)}"
            )
        unanswered_s = time.monotonic() - self._last_answer
        if self._fault and unanswered_s > SILENCE_S:
            where = ""
            if self._fault == NO_DEPTH:
                topic = self._settings.depth_topic
                where = f" on {topic}; publishers there: {self._who_publishes(topic)}"
            return DiagnosticStatus.WARN, f"no image is answered for {unanswered_s:.0f} s: {self._fault}{where}"
        verdict = self._pipeline.verdict
        if verdict is not None and not verdict.localized:
            return DiagnosticStatus.WARN, f"not localized: {verdict.reason}"
        share = self._arrivals.share()
        if share is not None and share.share < LEAST_SHARE:
            lost = (
                f"only {share.received_hz:.1f} of {share.published_hz:.1f} images/s arrive, the transport loses the "
                "others: start the camera with the shipped config/fastdds.xml, or lower its resolution"
            )
            self._warn("images lost", lost)
            return DiagnosticStatus.WARN, lost
        return DiagnosticStatus.OK, f"answering, {received_hz:.1f} images/s come in"

    def _who_publishes(self, topic: str) -> str:
        """Who publishes on a topic, with the type where it is another; "0" where nobody does."""
        found = self.get_publishers_info_by_topic(topic)
        names = sorted(f"{each.node_namespace.rstrip('/')}/{each.node_name} ({each.topic_type})" for each in found)
        return f"{len(found)}" + (f", {', '.join(names)}" if names else "")

    def close(self) -> None:
        """Free everything at the end of the process."""
        self._free()


def main(args: list[str] | None = None) -> None:
    """Entry point `localization_node`: spin until SIGINT or SIGTERM, exit with 0."""
    rclpy.init(args=args)
    try:
        _serve()
    except (KeyboardInterrupt, ExternalShutdownException, ROSInterruptException):
        pass
    except RCLError:
        # A signal while the node comes up takes the context away from whatever is at work.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
        # Shutting down has put the handler back that was there before rclpy.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _serve() -> None:
    executor = SingleThreadedExecutor()
    node = LocalizationNode()
    try:
        executor.add_node(node)
        if node.autostart and node.trigger_configure() == SUCCESS:
            node.trigger_activate()
        _spin(executor, node)
    finally:
        # Ctrl-C reaches the node from the terminal and once more from `ros2 launch`; the first one is enough.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        executor.remove_node(node)
        node.close()
        node.destroy_node()


def _spin(executor: SingleThreadedExecutor, node: LocalizationNode) -> None:
    """Run callbacks until the context is shut down.

    rclpy raises RCLError out of spin for the loss of one client that waits for a response, and when the context goes
    while it waits; neither may end the node.
    """
    while node.context.ok():
        try:
            executor.spin()
        except RCLError as error:  # noqa: PERF203 - it is the loop that outlives it
            if node.context.ok():
                node.get_logger().warning(f"rclpy: {error}")


if __name__ == "__main__":
    main()
