"""Progress of long work: a rich bar on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, TypeVar

Item = TypeVar("Item")
PLAIN_INTERVAL_S = 10.0
ALMOST = 0.9999
"""The largest share that a bar shows while its work goes on: the clock of a task that is complete stands still."""
WIDE = 100
"""Columns of a terminal from which on a bar is drawn beside the share; a narrower one needs them for the text."""


def shows_bars() -> bool:
    """Whether standard error is a terminal and rich is installed, which the robot lacks."""
    return sys.stderr.isatty() and find_spec("rich") is not None


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how far the work is.

    On a terminal this is rich's bar with rate and remaining time; otherwise one line at the start, every ten seconds
    and at the end, so that a log file stays readable.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if shows_bars():
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
    """A progress bar with a changing text; plain lines where there is no terminal."""

    def __init__(self, description: str, quiet: bool = False) -> None:
        """`quiet` shows nothing, for processes beside the first."""
        self._description, self._quiet = description, quiet
        self._said = 0.0
        self._began: tuple[float, float] | None = None
        self._bar: Any = None

    def __enter__(self) -> Status:
        if shows_bars() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.table import Column

            # What is narrow keeps its place; the text is cut where the terminal ends.
            console = Console(stderr=True)
            columns = (
                *([BarColumn(bar_width=40)] if console.width >= WIDE else []),
                TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
                TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            )
            self._bar = Progress(*columns, console=console, expand=True)
            self._bar.start()
            self._task = self._bar.add_task(self._description, total=1.0)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, share: float, text: str, left_s: float | None = None) -> None:
        """Show the share that is done, 0 to 1, and the time left; plain lines come every ten seconds.

        Args:
            left_s: seconds, where they are known; None estimates them from the speed so far.
        """
        now = time.monotonic()
        if self._began is None:
            self._began = now, share
        began, first = self._began
        if left_s is None and share > first:
            left_s = (now - began) * (1 - share) / (share - first)
        left = "" if left_s is None or left_s < 1 else f"{duration(left_s)} left, "
        if self._bar is not None:
            self._bar.update(self._task, completed=min(share, ALMOST), description=left + text)
        elif not self._quiet and now - self._said > PLAIN_INTERVAL_S:
            self._said = now
            print(f"{self._description}: {share:.1%}, {left}{text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """2 h 05 min, 12 min or 30 s."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"
