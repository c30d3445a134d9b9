"""A one-slot mailbox with two threads: when work is slower than the input, the newest item wins. With a queue a slow
network would fall behind; here a result is never older than twice its work and its publication. Every item is counted:
received = processed + dropped (by reason) + pending, and at rest nothing is pending.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
NEWER = "a newer image came"


class Dropped(Exception):
    """An item was not processed. `reason` is one of a few fixed texts, for counting; the message has the details."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(f"{reason}: {details}" if details else reason)
        self.reason = reason


@dataclass(frozen=True)
class Counts:
    """Fate of the items so far."""

    received: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Waiting in the slot or being worked on."""
        return self.received - self.processed - sum(self.dropped.values())


class Tally:
    """Counts of one input, shared by the threads that take part."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._processed = 0
        self._dropped: Counter[str] = Counter()

    def receive(self) -> None:
        """Count one item in."""
        with self._lock:
            self._received += 1

    def process(self) -> None:
        """Count one received item as processed."""
        with self._lock:
            self._processed += 1

    def drop(self, reason: str) -> None:
        """Count one received item as dropped."""
        with self._lock:
            self._dropped[reason] += 1

    def counts(self) -> Counts:
        """A consistent copy."""
        with self._lock:
            return Counts(self._received, self._processed, dict(self._dropped))


Finish = Callable[[], None]
"""The rest of the work on an item, done while the next one is worked on."""


class Latest(Generic[Item]):
    """Calls `work` with the newest item in one thread, and the function that it returns in another. So an item is
    published while the next is worked on; the next one then waits for that, so no queue builds up.

    `work` and what it returns may raise Dropped; every dropped item is counted and reported to `on_drop`, called in the
    thread in which it was dropped. Any other exception also drops the item, and `on_error` turns it into the reason.
    While `held` has a reason, items wait in the slot, and replaced ones are dropped for that reason.
    """

    def __init__(
        self,
        work: Callable[[Item], Finish],
        tally: Tally,
        on_drop: Callable[[Dropped], None],
        on_error: Callable[[Exception], Dropped],
        held: str | None = None,
    ) -> None:
        self._work = work
        self._tally = tally
        self._on_drop = on_drop
        self._on_error = on_error
        self._held = held
        self._slot: list[Item] = []
        self._closed = False
        self._taken_up: float | None = None
        self._changed = threading.Condition()
        self._finisher = ThreadPoolExecutor(1, "publisher")
        self._thread = threading.Thread(target=self._run, name="localizer", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Put an item into the slot, replacing one that still waits."""
        self._tally.receive()
        with self._changed:
            replaced = bool(self._slot)
            reason = self._held or NEWER
            self._slot[:] = [item]
            self._changed.notify()
        if replaced:
            self._drop(Dropped(reason))

    def refuse(self, reason: str) -> None:
        """Count an item as received and dropped."""
        self._tally.receive()
        self._drop(Dropped(reason))

    @property
    def held(self) -> str | None:
        """The reason why items wait, or None."""
        return self._held

    @property
    def busy_s(self) -> float:
        """For how long the item in work has been worked on, and the one before published; 0 while nothing is."""
        taken_up = self._taken_up
        return 0.0 if taken_up is None else time.monotonic() - taken_up

    def hold(self, reason: str) -> None:
        """Let the items wait in the slot."""
        with self._changed:
            self._held = reason

    def release(self) -> None:
        """Let the items be worked on."""
        with self._changed:
            self._held = None
            self._changed.notify()

    def close(self, reason: str) -> None:
        """Finish the item in work, drop the one that waits, end the threads."""
        with self._changed:
            self._closed = True
            waiting = bool(self._slot)
            self._slot.clear()
            self._changed.notify()
        if waiting:
            self._drop(Dropped(reason))
        self._thread.join()
        self._finisher.shutdown()

    def _run(self) -> None:
        last: Future[None] | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._slot and self._held is None))
                if self._closed:
                    return
                item = self._slot.pop()
            self._taken_up = time.monotonic()
            try:
                finish = self._work(item)
                if last is not None:
                    last.result()
                last = self._finisher.submit(self._finish, finish)
                del finish
            except Dropped as dropped:
                self._drop(dropped)
            except Exception as error:  # noqa: BLE001 - the thread must live on, whatever one image does
                self._drop(self._on_error(error))
            self._taken_up = None
            # Dropped now, not when the next item comes: an image is megabytes.
            del item

    def _finish(self, finish: Finish) -> None:
        try:
            finish()
        except Dropped as dropped:
            self._drop(dropped)
        except Exception as error:  # noqa: BLE001 - as above
            self._drop(self._on_error(error))
        else:
            self._tally.process()

    def _drop(self, dropped: Dropped) -> None:
        self._tally.drop(dropped.reason)
        self._on_drop(dropped)
