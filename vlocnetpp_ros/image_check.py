"""Drops images without contrast, of mere noise or of a frozen camera before the network: their features would degrade
the next answers, and their poses would be guesses. Whether an image shows the mapped place is judged by the model and
the gate. Independent of ROS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp_ros.images import CHANNELS, to_rgb

THUMBNAIL = (80, 64)
"""Size at which contrast and roughness are measured: pixel noise averages out, the scene does not."""
SAMPLES = 128
"""About so many rows and columns of pixels are compared to detect a frozen image."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits for an image; 0 switches one off."""

    contrast: float
    """Least standard deviation of grey levels in the thumbnail, of 255."""
    roughness: float
    """Largest mean square difference of neighbours in the thumbnail over twice its variance: 1 for white noise."""
    frozen_after: int
    """Number of identical images in a row."""


class Fault(NamedTuple):
    """Why an image is unusable."""

    kind: str
    """One of a few fixed texts, for counting."""
    details: str
    """Details with figures."""


class ImageCheck:
    """Judges one stream of images."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._same = 0

    def forget(self) -> None:
        """Forget the earlier images."""
        self._last, self._same = None, 0

    def fault(self, image: NDArray[np.uint8], encoding: str, limits: ImageLimits) -> Fault | None:
        """Why an image is unusable; None if it is usable.

        Args:
            image: (H, W, C) uint8, (H, W) for mono8, in one of `images.CHANNELS`.
        """
        contrast, roughness = statistics(image, encoding)
        if limits.contrast > 0 and contrast < limits.contrast:
            return Fault(
                "no contrast",
                f"its grey levels vary by {contrast:.1f} of 255, at least {limits.contrast:g} is asked for; is the "
                "lens covered, the light off or the exposure wrong?",
            )
        if limits.roughness > 0 and roughness > limits.roughness:
            return Fault(
                "noise",
                f"neighbours differ as in noise: roughness {roughness:.2f} is over {limits.roughness:g}; is the "
                "encoding wrong or the sensor too dark?",
            )
        same = self._count_same(image)
        if limits.frozen_after > 0 and same >= limits.frozen_after:
            return Fault(
                "frozen image",
                f"it is the same to the pixel as {same} before it; has the driver stopped? For a simulated camera "
                "without noise set image_frozen_after to 0",
            )
        return None

    def _count_same(self, image: NDArray[np.uint8]) -> int:
        rows, columns = (max(1, size // SAMPLES) for size in image.shape[:2])
        sample = image[::rows, ::columns]
        same = self._last is not None and np.array_equal(self._last, sample)
        self._same = self._same + 1 if same else 0
        if not same:
            self._last = sample.copy()
        return self._same


def statistics(image: NDArray[np.uint8], encoding: str) -> tuple[float, float]:
    """Contrast in grey levels and roughness of an image, see `ImageLimits`."""
    # For a large image a part of the pixels is sufficient, and much faster.
    rows, columns = (max(1, size // (3 * small)) for size, small in zip(image.shape[:2], reversed(THUMBNAIL)))
    part = np.ascontiguousarray(image[::rows, ::columns])
    small = cv2.resize(part, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if CHANNELS[encoding] > 1:
        small = cv2.cvtColor(to_rgb(small, encoding), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    grey = small.astype(np.float32)
    variance = float(grey.var())
    if variance == 0.0:
        return 0.0, 0.0
    # Stripes are rough in one direction only: the smoother one counts.
    difference = min(float(np.square(np.diff(grey, axis=axis)).mean()) for axis in (0, 1))
    return variance**0.5, difference / (2.0 * variance)
