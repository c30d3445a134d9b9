"""Progress of long work: a rich bar on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
PLAIN_INTERVAL_S = 10.0


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how far the work is.

    On a terminal this is rich's bar with rate and remaining time; otherwise one line at the start, every ten seconds
    and at the end, so that a log file stays readable.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description=description, total=total, console=Console(stderr=True))
        return
    done, said = 0, time.monotonic()
    print(f"{description}: started" + (f", {total} to do" if total else ""), file=sys.stderr, flush=True)
    for item in items:
        yield item
        done += 1
        if time.monotonic() - said > PLAIN_INTERVAL_S:
            said = time.monotonic()
            print(f"{description}: {done}" + (f" of {total}" if total else ""), file=sys.stderr, flush=True)
    print(f"{description}: done, {done}", file=sys.stderr, flush=True)


class Status:
    """A bar over seconds of a budget with a changing text; plain lines now and then where there is no terminal."""

    def __init__(self, description: str, total: float) -> None:
        self._description, self._total = description, total
        self._said = 0.0
        self._bar: Any = None

    def __enter__(self) -> Status:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._description, total=self._total)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, text: str) -> None:
        """Show how far the work is; plain lines come every ten seconds."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
        elif time.monotonic() - self._said > PLAIN_INTERVAL_S:
            self._said = time.monotonic()
            print(f"{self._description}: {done:.0f} of {self._total:.0f} s, {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            print(f"{self._description}: {text}", file=sys.stderr, flush=True)
