"""What TF brings, checked before it is believed: samples that are no transforms, and static ones that change.

A localization or an odometry that has lost its way sends NaN or a quaternion of zeros. tf2 leaves these out, without a
count and without a way to ask, takes infinity for a place, and interpolates over what is missing as if nothing were.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from geometry_msgs.msg import TransformStamped

from vlocnetpp.poses import QUATERNION_TOLERANCE
from vlocnetpp_ros.stamps import stamp_ns

NOT_FINITE = "not finite"
NO_ROTATION = "no rotation"
"""A quaternion whose length is not 1; zero above all."""
SAME = 1e-6
"""Metres, or parts of a quaternion: static transforms that differ by less say the same."""
MOST_GAPS = 32
"""Kept of each frame, the oldest goes for one more; an image asks for the last half second."""
LASTING_S = 2.0
"""So long after a sample was left out, the status says so."""


def fault_of(transform: Any) -> str:
    """What is wrong with a Transform: NOT_FINITE, NO_ROTATION by the tolerance of tf2, or empty."""
    t, q = transform.translation, transform.rotation
    if not all(map(math.isfinite, (t.x, t.y, t.z, q.x, q.y, q.z, q.w))):
        return NOT_FINITE
    return "" if abs(q.x**2 + q.y**2 + q.z**2 + q.w**2 - 1.0) <= QUATERNION_TOLERANCE else NO_ROTATION


def _seven(transform: Any) -> tuple[float, ...]:
    t, q = transform.translation, transform.rotation
    sign = -1.0 if q.w < 0 else 1.0
    return (t.x, t.y, t.z, sign * q.x, sign * q.y, sign * q.z, sign * q.w)


class CheckedTransforms:
    """Stands between a `tf2_ros.TransformListener` and its buffer. Called by several threads.

    Args:
        buffer: a `tf2_ros.Buffer`.
        warn: called with a text for the log; not more often than something changes.
    """

    def __init__(self, buffer: Any, warn: Callable[[str], None]) -> None:
        self._buffer = buffer
        self._warn = warn
        self._lock = threading.Lock()
        self._left_out: Counter[str] = Counter()
        self._last, self._last_at = "", -math.inf
        self._parents: dict[str, str] = {}
        self._static: dict[str, tuple[str, tuple[float, ...]]] = {}
        self._changed = 0
        self._good_ns: dict[str, int] = {}
        """Stamp of the latest good sample of each moving frame."""
        self._lost_ns: dict[str, int] = {}
        """Of each frame that is lost now, the stamp of the last good sample before."""
        self._gaps: dict[str, deque[tuple[int, int]]] = {}

    # What a TransformListener calls.

    def set_transform(self, message: TransformStamped, authority: str) -> None:
        """One of /tf: into the buffer, or counted and left out."""
        child, at_ns = message.child_frame_id, stamp_ns(message.header.stamp)
        fault = fault_of(message.transform)
        with self._lock:
            self._parents[child] = message.header.frame_id
            good_ns = self._good_ns.get(child, 0)
            if fault:
                self._lost_ns[child] = min(good_ns, self._lost_ns.get(child, good_ns))
                self._note(message, fault)
            else:
                if child in self._lost_ns and at_ns > self._lost_ns[child]:
                    gaps = self._gaps.setdefault(child, deque(maxlen=MOST_GAPS))
                    gaps.append((self._lost_ns.pop(child), at_ns))
                self._good_ns[child] = at_ns
        if not fault:
            self._buffer.set_transform(message, authority)

    def set_transform_static(self, message: TransformStamped, authority: str) -> None:
        """One of /tf_static: into the buffer, or counted and left out. The latest counts, as tf2 has it."""
        parent, child = message.header.frame_id, message.child_frame_id
        fault = fault_of(message.transform)
        changed = False
        with self._lock:
            if fault:
                self._note(message, fault)
            else:
                self._parents[child] = parent
                now, before = (parent, _seven(message.transform)), self._static.get(child)
                self._static[child] = now
                changed = before is not None and _differ(before, now)
                self._changed += changed
        if changed:
            self._warn(f"the static transform {parent} -> {child} has changed; the latest counts from now on")
        if not fault:
            self._buffer.set_transform_static(message, authority)

    # What the node asks.

    def lost(self, parent: str, child: str, at_ns: int) -> str:
        """Why the way from `parent` to `child` is not known at a stamp though TF interpolates it; empty if it is."""
        with self._lock:
            for frame, above in pairwise(self._way_up(parent, child)):
                before_ns = self._lost_ns.get(frame)
                gaps = self._gaps.get(frame, ())
                if (before_ns is not None and at_ns > before_ns) or any(a < at_ns < b for a, b in gaps):
                    return f"{above} -> {frame} was lost there"
        return ""

    def clear(self) -> None:
        """Time begins anew; what is static stays, and so do the counts."""
        with self._lock:
            self._good_ns.clear()
            self._lost_ns.clear()
            self._gaps.clear()
        self._buffer.clear()

    def fault(self) -> str:
        """What was left out in the last seconds; empty if nothing was."""
        with self._lock:
            if time.monotonic() - self._last_at > LASTING_S:
                return ""
            return f"TF: {self._last}; such samples are left out, {sum(self._left_out.values())} so far"

    def values(self) -> dict[str, str]:
        """Counts for /diagnostics."""
        with self._lock:
            texts = {"tf/left_out": str(sum(self._left_out.values())), "tf/static_changed": str(self._changed)}
            texts.update({f"tf/left_out/{fault}": str(count) for fault, count in sorted(self._left_out.items())})
            if self._last:
                texts["tf/last_left_out"] = self._last
            return texts

    def _note(self, message: TransformStamped, fault: str) -> None:
        self._left_out[fault] += 1
        what = "is not finite" if fault == NOT_FINITE else "has a quaternion that is not of unit length"
        self._last, self._last_at = f"{message.header.frame_id} -> {message.child_frame_id} {what}", time.monotonic()

    def _way_up(self, parent: str, child: str) -> list[str]:
        way = [child]
        while way[-1] != parent and way[-1] in self._parents and len(way) <= len(self._parents):
            way.append(self._parents[way[-1]])
        return way


def _differ(before: tuple[str, tuple[float, ...]], now: tuple[str, tuple[float, ...]]) -> bool:
    return before[0] != now[0] or any(abs(a - b) > SAME for a, b in zip(before[1], now[1]))
