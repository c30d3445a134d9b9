"""The localization node: a managed node that answers each camera image with pose, odometry and semantic mask.

    configure   read the parameters, load and warm the model, advertise the topics of its tasks
    activate    subscribe, start the worker
    deactivate  unsubscribe, finish the image in work
    cleanup     take the topics down, free the model

A failed transition logs the reason, leaves the process alive and can be tried again. Services are available before
PyTorch is imported, which takes seconds and is part of configure.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ROSInterruptException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from vlocnetpp_ros import diagnostics, health
from vlocnetpp_ros.camera_info import Camera
from vlocnetpp_ros.diagnostics import Health, Rates, Statistics
from vlocnetpp_ros.environment import MissingPackageError
from vlocnetpp_ros.health import Situation
from vlocnetpp_ros.inputs import NO_CAMERA_INFO, NO_INTRINSICS, Incoming, Inputs
from vlocnetpp_ros.latest import NEWER, Dropped, Finish, Latest, Tally
from vlocnetpp_ros.parameters import Parameters
from vlocnetpp_ros.settings import ParameterError, Settings

if TYPE_CHECKING:
    from vlocnetpp_ros.pipeline import Pipeline

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
RCLError = rclpy_implementation.RCLError
EXPECTED = (NEWER, NO_CAMERA_INFO, NO_INTRINSICS, "disabled", "deactivated")
"""Reasons that are no fault of the images, or that are reported elsewhere."""
WARN_PERIOD_S = 5.0


class LocalizationNode(LifecycleNode):
    """See the module. Parameters are those of `settings.Settings`, topics in `outputs.TOPICS`."""

    def __init__(self) -> None:
        super().__init__("localizer")
        self._declared = Parameters(self, self._on_live_change)
        self._label = "unconfigured"
        self._failure = ""
        self._enabled = True
        self._settings: Settings | None = None
        self._pipeline: Pipeline | None = None
        self._worker: Latest[Incoming] | None = None
        self._inputs: Inputs | None = None
        self._tally = Tally()
        self._statistics = Statistics()
        self._rates = Rates()
        self._last_answer = time.monotonic()
        self._reporting = threading.Lock()
        self._warned: dict[str, float] = {}
        self._last_drop = ""
        self._fault = ""
        """Why the latest image was dropped, empty once one is answered."""
        self._callback_errors = 0
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

    # Transitions. rclpy swallows exceptions of a callback, so each runs inside _attempt.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model; FAILURE with the reason in the log and on /diagnostics where it cannot be."""
        return self._attempt("configure", self._configure, lambda: super(LocalizationNode, self).on_configure(state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to answer."""

        def enable_publishers() -> TransitionCallbackReturn:
            result = super(LocalizationNode, self).on_activate(state)
            self._configured()[1].outputs.publish_latched()
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
        except (ParameterError, MissingPackageError) as error:
            self._failure = f"{name} failed: {error}"
            self.get_logger().error(self._failure)
            return FAILURE
        except Exception as error:  # noqa: BLE001 - whatever it is, rclpy would swallow it
            if not self.context.ok():
                return ERROR  # a signal has arrived, and the process is ending
            self._failure = f"{name} failed: {type(error).__name__}: {error}"
            self.get_logger().error(f"{self._failure}\n{traceback.format_exc()}")
            return ERROR
        finally:
            self._report()

    def _configure(self) -> str:
        from vlocnetpp_ros.pipeline import Pipeline

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
        self._last_answer = time.monotonic()
        self._fault = ""
        self._worker = Latest(self._work, self._tally, self._on_drop, self._on_work_error, held=NO_CAMERA_INFO)
        self._inputs = Inputs(self, settings, pipeline.reads_depth, self._worker, self._on_camera, self._warn)
        self._inputs.enabled = self._enabled
        self.get_logger().info(f"listening to {', '.join(self._inputs.open())}")
        return "active"

    def _deactivate(self) -> str:
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._worker.close("deactivated")
            self._worker = None
        if self._pipeline is not None:
            self._pipeline.rest()
        return "inactive"

    def _cleanup(self) -> str:
        # Cleared first, so that closing is not repeated where a lost device makes it fail.
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

    def _on_live_change(self, settings: Settings) -> None:
        self._settings = settings
        if self._pipeline is not None:
            self._pipeline.apply(settings)

    def _on_camera(self, camera: Camera) -> None:
        if self._pipeline is not None:
            self._pipeline.camera = camera

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._label == "active"
        if self._pipeline is not None and response.success:
            self._pipeline.request_reset()
        response.message = "the next image is a cold start" if response.success else f"the node is {self._label}"
        self._report()
        return response

    def _on_set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if self._inputs is not None:
            self._inputs.enabled = self._enabled
        response.success = True
        response.message = "images are answered" if request.data else "images are dropped"
        self._report()
        return response

    # Work on images, in the two threads of the worker.

    def _work(self, incoming: Incoming) -> Finish:
        _, pipeline = self._configured()
        return partial(self._finish, pipeline, pipeline.answer(incoming))

    def _finish(self, pipeline: Pipeline, publish: Finish) -> None:
        publish()
        self._fault, self._last_answer = "", time.monotonic()
        if pipeline.verdict is not None and not pipeline.verdict.publish:
            self._report()

    def _on_drop(self, dropped: Dropped) -> None:
        self._last_drop = str(dropped)
        if dropped.reason not in EXPECTED:
            self._fault = str(dropped)
        # Dropped images of a slow network are normal; /diagnostics counts them.
        if dropped.reason != NEWER:
            self._warn(dropped.reason, f"image dropped: {dropped}")
            try:
                self._report()
            except Exception as error:  # noqa: BLE001 - called in the worker's threads, which must live on
                self.callback_failed(error)

    def _on_work_error(self, error: Exception) -> Dropped:
        if not self.context.ok():
            return Dropped("shut down")
        self._warn("model error", "".join(traceback.format_exception(error)))
        if self._pipeline is not None:
            self._pipeline.distrust("model error")
        return Dropped("model error", f"{type(error).__name__}: {error}")

    def callback_failed(self, error: Exception) -> None:
        """Log the exception of a callback; the node keeps running."""
        self._callback_errors += 1
        text = "".join(traceback.format_exception(error))
        self._warn(f"callback: {type(error).__name__}", f"a callback failed and is ignored: {error}\n{text}")

    def _warn(self, reason: str, text: str, period_s: float = WARN_PERIOD_S) -> None:
        """Log at most once in a while for each reason; rclpy's own throttle would count all reasons as one."""
        now = time.monotonic()
        if self.context.ok() and now - self._warned.get(reason, -period_s) >= period_s:
            self._warned[reason] = now
            self.get_logger().warning(text)

    def _report(self) -> None:
        if not self.context.ok():
            return
        # Called by the timer and by the worker.
        with self._reporting:
            status = self._health()
            hardware = self._pipeline.hardware if self._pipeline is not None else ""
            stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(diagnostics.message(stamp, self.get_fully_qualified_name(), hardware, status))

    def _health(self) -> Health:
        counts = self._tally.counts()
        received, processed = self._rates.update(counts)
        pipeline, inputs = self._pipeline, self._inputs
        values = {"state": self._label, "enabled": str(self._enabled).lower(), "pid": str(os.getpid())}
        if self._settings is not None and pipeline is not None:
            values["model"] = self._settings.model
            values["device"] = pipeline.hardware
            values["image_topic"] = self._settings.image_input
        values["received_hz"], values["processed_hz"] = f"{received:.1f}", f"{processed:.1f}"
        share = inputs.arrivals.share() if inputs is not None else None
        values["images_wait_for"] = (self._worker.held or "nothing") if self._worker is not None else "activation"
        if share is not None:
            values["published_hz"] = f"{share.published_hz:.1f}"
            values["arriving_share"] = f"{share.share:.2f}"
        subscribers = pipeline.outputs.subscribers() if pipeline is not None else {}
        values.update(diagnostics.values(counts, self._statistics, subscribers))
        if pipeline is not None:
            values.update(pipeline.status())
        if self._last_drop:
            values["last_drop"] = self._last_drop
        values["callback_errors"] = str(self._callback_errors)
        now = Situation(
            self._label, self._failure, self._settings, pipeline, inputs, self._worker, self._fault, self._last_answer,
            received, self._who_publishes, self._warn,
        )  # fmt: skip
        level, summary = health.judge(now)
        return Health(level, summary, values)

    def _who_publishes(self, topic: str) -> str:
        """Who publishes on a topic, with the type where it is another; "0" where nobody does."""
        found = self.get_publishers_info_by_topic(topic)
        names = sorted(f"{each.node_namespace.rstrip('/')}/{each.node_name} ({each.topic_type})" for each in found)
        return f"{len(found)}" + (f", {', '.join(names)}" if names else "")

    def close(self) -> None:
        """Free everything at the end of the process."""
        self._free()


def run(arguments: Sequence[str]) -> None:
    """Spin until SIGINT or SIGTERM; `arguments` are those of the command line, without its name."""
    # rclpy ends the context. A KeyboardInterrupt within C code may end the process by the signal, caught or not.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=["localization_node", *arguments])
    try:
        _serve()
    except (KeyboardInterrupt, ExternalShutdownException, ROSInterruptException):
        pass
    except RCLError:
        # A signal during start-up shuts the context down under the running code.
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
        # `ros2 launch` sends one more than the terminal; at the end of the interpreter the default would take it.
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
        executor.remove_node(node)
        node.close()
        node.destroy_node()


def _spin(executor: SingleThreadedExecutor, node: LocalizationNode) -> None:
    """Run callbacks until the context is shut down.

    rclpy raises exceptions of callbacks out of spin, also of its own: for a /clock message with negative seconds, or
    the loss of a client that waits for a response. None of them may end the node.
    """
    while node.context.ok():
        try:
            executor.spin()
        except (ExternalShutdownException, ROSInterruptException):  # noqa: PERF203 - the loop outlives what is raised
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is
            if node.context.ok():
                node.callback_failed(error)
