"""Ctrl-C and SIGTERM as requests, so that a run can save and end instead of dying."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


class Interrupted(BaseException):
    """A signal came where work can be left at any point, within `StopRequests.at_once`."""


@dataclass
class StopRequests:
    """The signals that came, and whether they end the work between two steps or at once."""

    signals: list[int] = field(default_factory=list)
    _at_once: bool = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A signal within this block raises `Interrupted` from it: reading, decoding, building of caches.

        One that came before it, too.
        """
        self._at_once = True
        try:
            if self.signals:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals; a second Ctrl-C ends the process."""
        if number == signal.SIGINT and number in self.signals:
            raise KeyboardInterrupt
        self.signals.append(number)
        if self._at_once:
            print("stopping", file=sys.stderr, flush=True)
            raise Interrupted
        print("stopping after this step, then saving; Ctrl-C once more ends at once", file=sys.stderr, flush=True)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Receive SIGINT and SIGTERM as requests; the earlier handlers are restored afterwards."""
    stop = StopRequests()
    before = {number: signal.signal(number, stop.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
