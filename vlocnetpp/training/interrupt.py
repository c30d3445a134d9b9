"""Ctrl-C and SIGTERM as requests, so that a run can save and end instead of dying."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list of the signals received; a second Ctrl-C ends at once. The earlier handlers are restored afterwards."""
    seen: list[int] = []

    def request_stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("stopping after this step, then saving; Ctrl-C once more ends at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
