"""Depth messages of a sensor to metres (REP-118: 32FC1 metres, NaN = unknown; 16UC1 millimetres, 0 = unknown)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from vlocnetpp_ros.images import BadImage

ENCODINGS = {"32FC1": "f4", "16UC1": "u2", "mono16": "u2"}


def metres(message: Image) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 or NaN where unknown.

    Raises BadImage for an encoding not in ENCODINGS or fewer bytes than height, width and step promise.
    """
    if message.encoding not in ENCODINGS:
        raise BadImage("depth of unknown encoding", f"'{message.encoding}' is none of {', '.join(ENCODINGS)}")
    kind = np.dtype((">" if message.is_bigendian else "<") + ENCODINGS[message.encoding])
    height, width, step = message.height, message.width, message.step
    needed = step * (height - 1) + width * kind.itemsize
    if not height or not width or step < width * kind.itemsize or len(message.data) < needed:
        raise BadImage(
            "depth of wrong size",
            f"{len(message.data)} bytes with rows of {step} do not make {width} x {height} {message.encoding}",
        )
    pixels: NDArray[Any] = np.ndarray((height, width), kind, buffer=message.data, strides=(step, kind.itemsize))
    return pixels.astype(np.float32) * np.float32(1e-3 if kind.kind == "u" else 1.0)
