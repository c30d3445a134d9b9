"""Level and message of the node's status on /diagnostics, from the state of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus

from vlocnetpp_ros.inputs import NO_DEPTH, Incoming, Inputs
from vlocnetpp_ros.latest import Latest
from vlocnetpp_ros.settings import Settings

if TYPE_CHECKING:  # it brings PyTorch, whose import takes seconds
    from vlocnetpp_ros.pipeline import Pipeline

SILENCE_S = 2.0
"""Without an image for so long, the status is no longer OK."""
SILENCE_LOG_S = 5.0
"""Without an image for so long, it is logged too."""
REMINDER_S = 60.0
"""A lasting condition is logged again after this time."""
LEAST_SHARE = 0.7
"""Smallest share of the published images that must arrive; below it the transport is reported."""

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Judgement = tuple[bytes, str]


@dataclass(frozen=True)
class Situation:
    """The state of the node's parts; parts of an active node are None while it is inactive."""

    label: str
    """Lifecycle state."""
    failure: str
    """Why the last transition failed, empty if it did not."""
    settings: Settings | None
    pipeline: Pipeline | None
    inputs: Inputs | None
    worker: Latest[Incoming] | None
    fault: str
    """Why the latest image was dropped, empty once one is answered."""
    last_answer: float
    """time.monotonic()"""
    received_hz: float
    who_publishes: Callable[[str], str]
    """Who publishes on a topic, in words."""
    warn: Callable[[str, str, float], None]
    """Log a text under a key, at most once in so many seconds."""


def judge(now: Situation) -> Judgement:
    """The first condition that holds: a failed transition, a missing input, unanswered images or poses, or OK."""
    if now.failure:
        return ERROR, now.failure
    if now.settings is None or now.pipeline is None or now.inputs is None or now.worker is None:
        return OK, now.label
    missing = _missing_input(now, now.settings, now.inputs, now.worker)
    if missing is not None:
        return missing
    unanswered_s = time.monotonic() - now.last_answer
    if now.fault and unanswered_s > SILENCE_S:
        where = ""
        if now.fault == NO_DEPTH:
            topic = now.settings.depth_topic
            where = f" on {topic}; publishers there: {now.who_publishes(topic)}"
        return WARN, f"no image is answered for {unanswered_s:.0f} s: {now.fault}{where}"
    if now.worker.busy_s > SILENCE_S:
        return WARN, f"no image is answered for {unanswered_s:.0f} s: the network has been at work on one since"
    verdict = now.pipeline.verdict
    if verdict is not None and not verdict.localized:
        return WARN, f"not localized: {verdict.reason}"
    if failure := now.pipeline.tf_failure():
        return WARN, failure
    if now.inputs.camera_fault:
        return WARN, now.inputs.camera_fault
    share = now.inputs.arrivals.share()
    if share is not None and share.share < LEAST_SHARE:
        lost = (
            f"only {share.received_hz:.1f} of {share.published_hz:.1f} images/s arrive, the transport loses the "
            "others: start the camera with the shipped config/fastdds.xml, or lower its resolution"
        )
        now.warn("images lost", lost, REMINDER_S)
        return WARN, lost
    return OK, f"answering, {now.received_hz:.1f} images/s come in"


def _missing_input(now: Situation, settings: Settings, inputs: Inputs, worker: Latest[Incoming]) -> Judgement | None:
    silent_s = time.monotonic() - inputs.last_image
    missing = {
        settings.image_input: silent_s > SILENCE_S,
        settings.camera_info_input: worker.held is not None,
        settings.depth_topic: now.fault == NO_DEPTH,
    }
    for topic, policy in list(inputs.incompatible.items()):
        if missing.get(topic):
            return WARN, f"a publisher on {topic} offers another QoS ({policy}); see qos_overrides"
    if silent_s > SILENCE_S:
        topic = settings.image_input
        silence = f"no image on {topic} for {silent_s:.0f} s; publishers there: {now.who_publishes(topic)}"
        if silent_s > SILENCE_LOG_S:
            now.warn("silence", silence, REMINDER_S)
        return WARN, silence
    if not inputs.enabled:
        return OK, "disabled by ~/set_enabled"
    if worker.held is not None:
        topic = settings.camera_info_input
        return WARN, f"{worker.held} on {topic}; publishers there: {now.who_publishes(topic)}"
    return None
