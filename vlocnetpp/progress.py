"""Progress of long work: a rich bar on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
