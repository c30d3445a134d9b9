"""The node's status on /diagnostics (REP-107: 1 Hz, one status per function, values as strings)."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from vlocnetpp_ros.latest import Counts

if TYPE_CHECKING:  # they bring PyTorch, whose import takes seconds
    from vlocnetpp_ros.frames import Floats
    from vlocnetpp_ros.gate import Verdict

WINDOW = 1000
"""Latest answers over which percentiles of latency are taken."""
PERCENTILES = (50, 95, 99)
SHORTEST_S = 0.9
"""Shortest time over which rates are computed."""


@dataclass(frozen=True)
class Times:
    """Durations of one answer, seconds. `latency` less `model` is the node's own cost."""

    latency: float
    """From the callback to the last publication."""
    pixels: float
    """Viewing or decoding the message, and the checks."""
    model: float
    """The network, with the upload and the reading of its answer."""
    publish: float
    """Building and publishing messages and TF."""


class Statistics:
    """Times, cold starts and withheld poses of the answered images; written by the worker, read by the timer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: deque[Times] = deque(maxlen=WINDOW)
        self._cold_starts: Counter[str] = Counter()
        self._withheld: Counter[str] = Counter()
        self._published = 0
        self._sigma_2: Floats | None = None

    def forget_latest(self) -> None:
        """Clear times and uncertainty, which belong to one model; counters are kept."""
        with self._lock:
            self._times.clear()
            self._sigma_2 = None

    def answered(self, times: Times, cold_start: str | None) -> None:
        """Add one answer."""
        with self._lock:
            self._times.append(times)
            if cold_start is not None:
                # "gap of 0.7 s" counts as "gap": few names, whatever the recording.
                self._cold_starts[re.sub(r" of \d.*", "", cold_start)] += 1

    def judged(self, verdict: Verdict, sigma_2: Floats | None) -> None:
        """Add the gate's verdict on a pose, and the pose's uncertainty: metres and radians."""
        with self._lock:
            self._sigma_2 = sigma_2
            if verdict.publish:
                self._published += 1
            else:
                self._withheld[verdict.kind] += 1

    def gate(self) -> dict[str, str]:
        """Poses published and withheld by reason, and the latest uncertainty; empty before the first pose."""
        with self._lock:
            if not self._published and not self._withheld:
                return {}
            texts = {"poses": str(self._published), "withheld": str(sum(self._withheld.values()))}
            texts.update({f"withheld/{kind}": str(count) for kind, count in sorted(self._withheld.items())})
            if self._sigma_2 is not None:
                texts["uncertainty_m"] = f"{self._sigma_2[0]:.3f}"
                texts["uncertainty_deg"] = f"{np.degrees(self._sigma_2[1]):.2f}"
            return texts

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Each field of `Times`, and `own`, with p50, p95 and p99; empty before the first answer."""
        with self._lock:
            times = list(self._times)
        if not times:
            return {}
        samples = {f"{field.name}_ms": [getattr(each, field.name) for each in times] for field in fields(Times)}
        samples["own_ms"] = [each.latency - each.model for each in times]
        return {
            name: {f"p{p}": float(value) for p, value in zip(PERCENTILES, 1e3 * np.percentile(seconds, PERCENTILES))}
            for name, seconds in samples.items()
        }

    def cold_starts(self) -> dict[str, int]:
        """Number of cold starts, by reason."""
        with self._lock:
            return dict(self._cold_starts)


@dataclass(frozen=True)
class Health:
    """A snapshot of the node for its status."""

    level: bytes
    summary: str
    values: dict[str, str]


class Rates:
    """Images per second, over a second or so."""

    def __init__(self) -> None:
        self._last = Counts()
        self._at = time.monotonic()
        self._rates = (0.0, 0.0)

    def update(self, counts: Counts) -> tuple[float, float]:
        """(received, processed) per second; an extra report repeats the figures of the last."""
        now = time.monotonic()
        seconds = now - self._at
        if seconds >= SHORTEST_S:
            received = (counts.received - self._last.received) / seconds
            self._rates = (received, (counts.processed - self._last.processed) / seconds)
            self._last, self._at = counts, now
        return self._rates


def values(counts: Counts, statistics: Statistics, subscribers: dict[str, int]) -> dict[str, str]:
    """The counters of every status: received = processed + dropped + pending."""
    texts = {
        "received": str(counts.received),
        "processed": str(counts.processed),
        "dropped": str(sum(counts.dropped.values())),
        "pending": str(counts.pending),
    }
    texts.update({f"dropped/{reason}": str(count) for reason, count in sorted(counts.dropped.items())})
    for name, percentiles in statistics.percentiles_ms().items():
        texts.update({f"{name}/{percentile}": f"{value:.2f}" for percentile, value in percentiles.items()})
    texts.update(statistics.gate())
    cold_starts = statistics.cold_starts()
    texts["cold_starts"] = str(sum(cold_starts.values()))
    texts.update({f"cold_starts/{reason}": str(count) for reason, count in sorted(cold_starts.items())})
    texts.update({f"subscribers/{topic}": str(count) for topic, count in sorted(subscribers.items())})
    return texts


def message(stamp: Time, node_name: str, hardware: str, health: Health) -> DiagnosticArray:
    """The message for /diagnostics."""
    status = DiagnosticStatus(
        level=health.level,
        name=f"{node_name}: localization",
        message=health.summary,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array
