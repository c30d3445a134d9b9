"""Pairs an image with its depth by stamp. `message_filters` does this in general; here the newest image wins, a bag
that starts over must not leave old messages behind, and every image is counted. Not for several threads: both topics
are served by one executor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

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
        self._match()
        while len(self._images) > LONGEST:
            self._on_unpaired(self._images.pop(next(iter(self._images))))

    def depth(self, stamp_ns: int, depth: Depth) -> None:
        """A depth image has come."""
        if self._depths and stamp_ns <= next(reversed(self._depths)):
            self._depths.clear()
        self._depths[stamp_ns] = depth
        self._match()
        while len(self._depths) > LONGEST:
            del self._depths[next(iter(self._depths))]

    def clear(self) -> None:
        """Discard everything that waits; its images count as unpaired."""
        waiting = list(self._images.values())
        self._images.clear()
        self._depths.clear()
        for image in waiting:
            self._on_unpaired(image)

    def _match(self) -> None:
        """Pass on the newest image that has a depth; older messages are discarded."""
        for image_ns in reversed(self._images):
            depth_ns = min(self._depths, key=lambda ns: abs(ns - image_ns), default=None)
            if depth_ns is None or abs(depth_ns - image_ns) > self._tolerance_ns:
                continue
            image, depth = self._images.pop(image_ns), self._depths.pop(depth_ns)
            older = [ns for ns in self._images if ns < image_ns]
            for ns in [ns for ns in self._depths if ns < depth_ns]:
                del self._depths[ns]
            for unpaired in [self._images.pop(ns) for ns in older]:
                self._on_unpaired(unpaired)
            self._on_pair(image, depth)
            return
