"""An image and the depth taken with it, brought together by stamp.

`FilteredPairing` leaves the search to message_filters; `Pairing` stands in for it and finds the same pairs. Both add
what message_filters does not do: every image is accounted for, and a bag that starts over leaves no old halves behind.
Not for several threads: both topics are served by one executor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from std_msgs.msg import Header

from vlocnetpp_ros.stamps import stamp_message, stamp_ns

Image = TypeVar("Image")
Depth = TypeVar("Depth")
LONGEST = 8
"""Messages that wait on each side; at 30 Hz a quarter of a second."""


class Pairing(Generic[Image, Depth]):
    """Calls `on_pair` with an image and the depth of its stamp, `on_unpaired` with an image that will not get one.

    Args:
        tolerance_ns: largest difference of two stamps that belong together.
    """

    def __init__(
        self, tolerance_ns: int, on_pair: Callable[[Image, Depth], None], on_unpaired: Callable[[Image], None]
    ) -> None:
        self._tolerance_ns = tolerance_ns
        self._on_pair = on_pair
        self._on_unpaired = on_unpaired
        self._images: dict[int, Image] = {}
        self._depths: dict[int, Depth] = {}

    def image(self, stamp_ns: int, image: Image) -> None:
        """Take an image. One that is older than the waiting ones means that time went back: those are discarded."""
        if self._images and stamp_ns <= next(reversed(self._images)):
            self.clear()
        self._images[stamp_ns] = image
        depth_ns = self._closest(stamp_ns, self._depths)
        if depth_ns is not None:
            self._pair(stamp_ns, depth_ns)
        while len(self._images) > LONGEST:
            self._on_unpaired(self._images.pop(next(iter(self._images))))

    def depth(self, stamp_ns: int, depth: Depth) -> None:
        """A depth image has come."""
        if self._depths and stamp_ns <= next(reversed(self._depths)):
            self._depths.clear()
        self._depths[stamp_ns] = depth
        image_ns = self._closest(stamp_ns, self._images)
        if image_ns is not None:
            self._pair(image_ns, stamp_ns)
        while len(self._depths) > LONGEST:
            del self._depths[next(iter(self._depths))]

    def clear(self) -> None:
        """Discard everything that waits; its images count as unpaired."""
        waiting = list(self._images.values())
        self._images.clear()
        self._depths.clear()
        for image in waiting:
            self._on_unpaired(image)

    def _closest(self, stamp_ns: int, halves: dict[int, Any]) -> int | None:
        """What has just come can only pair with one of the other side that is already here."""
        closest = min(halves, key=lambda ns: abs(ns - stamp_ns), default=None)
        return None if closest is None or abs(closest - stamp_ns) > self._tolerance_ns else closest

    def _pair(self, image_ns: int, depth_ns: int) -> None:
        """Hand on a pair; what is older than it is over."""
        image, depth = self._images.pop(image_ns), self._depths.pop(depth_ns)
        for ns in [ns for ns in self._depths if ns < depth_ns]:
            del self._depths[ns]
        for unpaired in [self._images.pop(ns) for ns in [ns for ns in self._images if ns < image_ns]]:
            self._on_unpaired(unpaired)
        self._on_pair(image, depth)


@dataclass(frozen=True)
class _Half:
    """What message_filters takes: anything with a header."""

    header: Header
    content: Any


class FilteredPairing(Generic[Image, Depth]):
    """`Pairing` by message_filters' ApproximateTimeSynchronizer.

    Args:
        message_filters: the package.
        tolerance_ns, on_pair, on_unpaired: as for `Pairing`.
    """

    def __init__(
        self,
        message_filters: Any,
        tolerance_ns: int,
        on_pair: Callable[[Image, Depth], None],
        on_unpaired: Callable[[Image], None],
    ) -> None:
        self._on_pair = on_pair
        self._on_unpaired = on_unpaired
        self._images: dict[int, Image] = {}
        """That wait, as in the synchronizer's own queue."""
        self._found: tuple[Image, Depth] | None = None
        self._image_input, self._depth_input = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        # Its differences must be smaller than the slop, which it turns into whole nanoseconds; ours may be as large.
        self._synchronizer = message_filters.ApproximateTimeSynchronizer(
            [self._image_input, self._depth_input], LONGEST, (tolerance_ns + 1.5) * 1e-9
        )
        self._synchronizer.registerCallback(self._paired)

    def image(self, stamp_ns: int, image: Image) -> None:
        """An image has come. One that is older than those that wait begins a new time: they go."""
        if self._images and stamp_ns <= next(reversed(self._images)):
            self.clear()
        self._images[stamp_ns] = image
        self._signal(self._image_input, stamp_ns, image)

    def depth(self, stamp_ns: int, depth: Depth) -> None:
        """A depth image has come."""
        depths = self._synchronizer.queues[1]
        if depths and stamp_ns <= max(depths):
            depths.clear()
        self._signal(self._depth_input, stamp_ns, depth)

    def clear(self) -> None:
        """Let go of everything that waits; its images count as unpaired."""
        for queue in self._synchronizer.queues:
            queue.clear()
        self._let_go(list(self._images))

    def _signal(self, side: Any, stamp_ns: int, content: Any) -> None:
        side.signalMessage(_Half(Header(stamp=stamp_message(stamp_ns)), content))
        self._let_go([ns for ns in self._images if ns not in self._synchronizer.queues[0]])
        found, self._found = self._found, None
        if found is not None:
            self._on_pair(*found)

    def _paired(self, image: _Half, depth: _Half) -> None:
        """Called under the synchronizer's lock, which an error would leave locked: the pair is handed on afterwards."""
        image_ns, depth_ns = stamp_ns(image.header.stamp), stamp_ns(depth.header.stamp)
        images, depths = self._synchronizer.queues
        for queue, newest in ((images, image_ns), (depths, depth_ns)):
            for ns in [ns for ns in queue if ns < newest]:
                del queue[ns]
        del self._images[image_ns]
        self._found = (image.content, depth.content)

    def _let_go(self, stamps_ns: list[int]) -> None:
        for ns in stamps_ns:
            self._on_unpaired(self._images.pop(ns))
