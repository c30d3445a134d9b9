"""Corrections map->odom that wait for the odometry of their image's stamp. Nothing else waits for it.

The pose itself is published at once. Its correction is sent when the odometry arrives, or given up after a while; a
newer correction that can be sent takes the place of the older ones. Knows nothing of ROS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vlocnetpp_ros.frames import Floats

WAIT_S = 0.5
"""Longest time that a correction waits; a robot's odometry is rarely later than a tenth of a second."""
MOST = 32
"""Largest number of waiting corrections; when one more comes, the oldest is given up."""
POLL_S = 0.005
"""Time between two lookups of the odometry while a correction waits."""
FAILING = 3
"""So many given up in a row are reported as a failure, not as late messages."""


class NoTransformError(RuntimeError):
    """TF does not connect two frames at a stamp."""


@dataclass(frozen=True)
class TrustedPose:
    """A pose that the gate let through."""

    image_ns: int
    """Stamp of its image."""
    camera_frame: str
    map_camera_7: Floats
    answered_ns: int
    """ROS time when the pose was computed."""
    added: float
    """time.monotonic() when it began to wait."""


@dataclass(frozen=True)
class CorrectionCounts:
    """Fate of the corrections: each is counted here once, or still waits."""

    sent: int = 0
    overtaken: int = 0
    """A newer one was sent first."""
    given_up: int = 0
    """Its odometry did not come."""
    forgotten: int = 0
    """The camera was lost or the node reset while it waited."""
    waiting: int = 0


class Corrections:
    """A bounded waiting list with a thread of its own.

    Args:
        look_up: T_odom_camera for a camera frame and a stamp in nanoseconds. Raises NoTransformError where TF does not
            have it (yet).
        send: called with a pose and its T_odom_camera, by one thread at a time.
        give_up: called with the reason when a correction was given up.
        wait_s: how long a correction waits.
    """

    def __init__(
        self,
        look_up: Callable[[str, int], Floats],
        send: Callable[[TrustedPose, Floats], None],
        give_up: Callable[[str], None] = lambda reason: None,
        wait_s: float = WAIT_S,
    ) -> None:
        self._look_up = look_up
        self._send = send
        self._give_up = give_up
        self._wait_s = wait_s
        self._waiting: list[TrustedPose] = []
        self._sent, self._overtaken, self._given_up, self._forgotten = 0, 0, 0, 0
        self._failures, self._reason = 0, ""
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="corrections", daemon=True)
        self._thread.start()

    def add(self, image_ns: int, camera_frame: str, map_camera_7: Floats, answered_ns: int) -> None:
        """Send the correction of this pose as soon as its odometry is there. Returns at once."""
        with self._changed:
            while len(self._waiting) >= MOST:
                self._fail(self._waiting.pop(0), "too many corrections wait")
            self._waiting.append(TrustedPose(image_ns, camera_frame, map_camera_7, answered_ns, time.monotonic()))
            self._changed.notify()

    def forget(self) -> None:
        """Discard all waiting corrections. After this returns none of them is sent."""
        with self._changed:
            self._forgotten += len(self._waiting)
            self._waiting.clear()
            self._failures = 0

    def counts(self) -> CorrectionCounts:
        """A consistent copy."""
        with self._changed:
            return CorrectionCounts(self._sent, self._overtaken, self._given_up, self._forgotten, len(self._waiting))

    def failure(self) -> str:
        """Why corrections cannot be sent; empty while they can."""
        return self._reason if self._failures >= FAILING else ""

    def close(self) -> None:
        """Forget what waits and end the thread."""
        self.forget()
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                # Released while it waits, held while odometry is looked up (microseconds) and a correction sent.
                self._changed.wait(POLL_S if self._waiting else None)
                try:
                    self._send_what_can_be()
                except Exception as error:  # noqa: BLE001 - the thread must live on, whatever one pose does
                    for pose in self._waiting:
                        self._fail(pose, f"{type(error).__name__}: {error}")
                    self._waiting.clear()

    def _send_what_can_be(self) -> None:
        now = time.monotonic()
        while self._waiting and now - self._waiting[0].added > self._wait_s:
            late = self._waiting.pop(0)
            self._fail(late, self._missing(late) or "it came too late")
        # Odometry comes in order: if the oldest has none, a newer one can have it only if the oldest is too old for the
        # buffer.
        for first in dict.fromkeys((0, len(self._waiting) - 1)) if self._waiting else ():
            found = self._newest_from(first)
            if found is not None:
                index, odom_camera_7 = found
                self._send(self._waiting[index], odom_camera_7)
                self._sent, self._overtaken = self._sent + 1, self._overtaken + index
                self._failures = 0
                del self._waiting[: index + 1]
                return

    def _newest_from(self, first: int) -> tuple[int, Floats] | None:
        """The last pose of those that follow each other from `first` with odometry."""
        found = None
        for index in range(first, len(self._waiting)):
            pose = self._waiting[index]
            try:
                found = index, self._look_up(pose.camera_frame, pose.image_ns)
            except NoTransformError:
                break
        return found

    def _missing(self, pose: TrustedPose) -> str:
        try:
            self._look_up(pose.camera_frame, pose.image_ns)
        except NoTransformError as error:
            return str(error)
        return ""

    def _fail(self, pose: TrustedPose, reason: str) -> None:
        self._given_up += 1
        self._failures += 1
        self._reason = reason
        self._give_up(reason)
