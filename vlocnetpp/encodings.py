"""Image encodings that are understood, by the node and in recordings: the one table of both."""

from __future__ import annotations

import cv2

COLOR_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""`encoding` of a sensor_msgs/Image -> bytes a pixel, and OpenCV's conversion to RGB (None: it is RGB)."""
