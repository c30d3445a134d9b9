"""Compressed images to pixels: JPEG and PNG, whose headers are read before anything is decoded.

A few bytes can declare an image of gigabytes, for which OpenCV would allocate memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from vlocnetpp_ros.images import BadImage

MOST_PIXELS = 64_000_000
"""Largest image that is decoded."""
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of segments that hold the size (start of frame)."""
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG markers without a length."""


@dataclass(frozen=True)
class Header:
    """The header of a compressed image."""

    width: int
    height: int
    bits: int
    """Of each channel."""


def decode(message: CompressedImage, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of a CompressedImage: (H, W, 3) uint8 in bgr8 order, as OpenCV decodes it.

    Args:
        size: width and height that the camera_info promises, if it promises any.

    Raises BadImage if the bytes are not a whole JPEG or PNG image of 8 bits, are of another size than promised, or
    larger than MOST_PIXELS. A JPEG without its end is refused, although libjpeg would fill the missing part with grey,
    which would change the features.
    """
    data = bytes(message.data)
    header = read_header(data, message.format)
    if size is not None and size != (header.width, header.height):
        said = f"it says {size[0]} x {size[1]}, the image has {header.width} x {header.height}"
        raise BadImage("camera_info of another size", said)
    if header.width * header.height > MOST_PIXELS:
        raise BadImage(
            "wrong size", f"{header.width} x {header.height} pixels are more than {MOST_PIXELS // 10**6} million"
        )
    if header.bits != 8:
        raise BadImage("unknown encoding", f"the image has {header.bits} bits a channel, it must have 8")
    # An orientation tag would turn the pixels away from what camera_info describes.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise BadImage("undecodable", f"{len(data)} bytes of format '{message.format}' are not an image")
    return pixels.astype(np.uint8, copy=False)


def read_header(data: bytes, name: str = "") -> Header:
    """Size and depth of a JPEG or PNG image. Raises BadImage for anything else, or where it is cut short."""
    if data.startswith(PNG_START):
        if len(data) < 26 or data[12:16] != b"IHDR":
            raise BadImage("undecodable", f"the PNG image of {len(data)} bytes has no header")
        width, height, bits = struct.unpack_from(">IIB", data, 16)
        return Header(width, height, max(8, bits))  # fewer bits are a palette or grey, which OpenCV converts to 8 bits
    if data.startswith(JPEG_START):
        if JPEG_END not in data[-64:]:
            raise BadImage("undecodable", f"the JPEG image of {len(data)} bytes has no end, it is truncated")
        return _jpeg_header(data)
    raise BadImage("undecodable", f"{len(data)} bytes of format '{name}' are neither JPEG nor PNG")


def _jpeg_header(data: bytes) -> Header:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in ALONE:  # filling, or a segment without content
            at += 1 if marker == 0xFF else 2
            continue
        if marker in SIZES:
            bits, height, width = struct.unpack_from(">BHH", data, at + 4)
            return Header(width, height, bits)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise BadImage("undecodable", f"the JPEG image of {len(data)} bytes does not say its size")
