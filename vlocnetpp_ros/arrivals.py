"""Share of a camera's published images that arrive, from the sequence numbers of the transport.

Best-effort messages that do not fit the transport vanish without a trace on either side. The publisher numbers its
messages, and gaps in the numbers are lost messages. Header stamps cannot show that: a camera that skips images, or a
bag with every other image, has gaps in them as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WINDOW = 60
"""Number of images over which the share is measured."""
FEWEST = 20


@dataclass(frozen=True)
class Share:
    """Received and published images."""

    received_hz: float
    published_hz: float

    @property
    def share(self) -> float:
        """Received of published, 0 to 1."""
        return min(1.0, self.received_hz / self.published_hz)


def sequence_number(info: Mapping[str, Any]) -> int | None:
    """The publisher's sequence number of a message, from rclpy's message info; None where the middleware gives none."""
    number = info.get("publication_sequence_number")
    return int(number) if number is not None else None


class Arrivals:
    """Sequence numbers and times of the latest received images, whether answered or dropped."""

    def __init__(self) -> None:
        self._latest: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def note(self, at_s: float, number: int | None, longest_gap_s: float) -> None:
        """One image came in at a time on a steady clock.

        A pause longer than `longest_gap_s`, or a number that does not increase, as from another publisher, begins a new
        window.
        """
        if number is None:
            self._latest.clear()
            return
        if self._latest:
            before_s, before = self._latest[-1]
            if number <= before or at_s - before_s > longest_gap_s:
                self._latest.clear()
        self._latest.append((at_s, number))

    def forget(self) -> None:
        """Begin a new window."""
        self._latest.clear()

    def share(self) -> Share | None:
        """Rates over the window, or None while it is too short to tell."""
        latest = list(self._latest)
        if len(latest) < FEWEST:
            return None
        (first_s, first), (last_s, last) = latest[0], latest[-1]
        seconds = max(last_s - first_s, 1e-9)
        return Share((len(latest) - 1) / seconds, (last - first) / seconds)
