"""How many of the images that a camera publishes arrive, told from their stamps alone.

Best-effort messages that do not fit the transport vanish without a trace on either side. A camera stamps at an even
rate, so the holes in the stamps are what was lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

WINDOW = 60
"""Images over which the share is taken."""
FEWEST = 20
PERIOD_QUANTILE = 0.2
"""Where most images are lost, the short steps between stamps are still the camera's own."""


@dataclass(frozen=True)
class Share:
    """What arrives of what is published."""

    received_hz: float
    published_hz: float

    @property
    def share(self) -> float:
        """Received of published, 0 to 1."""
        return min(1.0, self.received_hz / self.published_hz)


class Arrivals:
    """Stamps of the latest images that came in, whatever became of them."""

    def __init__(self) -> None:
        self._stamps_ns: deque[int] = deque(maxlen=WINDOW)

    def note(self, stamp_ns: int, longest_gap_s: float) -> None:
        """One image came in. A stamp that goes back, or a pause longer than `longest_gap_s`, begins a new window."""
        if self._stamps_ns:
            step_s = (stamp_ns - self._stamps_ns[-1]) * 1e-9
            if step_s < 0 or step_s > longest_gap_s:
                self._stamps_ns.clear()
        if not self._stamps_ns or stamp_ns > self._stamps_ns[-1]:
            self._stamps_ns.append(stamp_ns)

    def forget(self) -> None:
        """Begin a new window."""
        self._stamps_ns.clear()

    def share(self) -> Share | None:
        """Rates over the window, or None while it is too short to tell."""
        stamps = list(self._stamps_ns)
        if len(stamps) < FEWEST:
            return None
        steps_s = np.diff(np.array(stamps, np.int64)) * 1e-9
        return Share(float(1.0 / steps_s.mean()), float(1.0 / np.quantile(steps_s, PERIOD_QUANTILE)))
