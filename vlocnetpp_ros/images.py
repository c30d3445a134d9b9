"""Image messages to pixels and pixels to image messages.

Pixels are viewed in place with `np.frombuffer`'s rules (rows may be padded to `step`) where the encoding has bytes of
grey or colour; 16-bit grey, 8-bit Bayer patterns and YUV 4:2:2 are converted by OpenCV, and what else cv_bridge knows
by cv_bridge, where it loads. Whatever a message can have wrong ends in BadImage with a reason to count by.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vlocnetpp.encodings import COLOR_ENCODINGS, VOID
from vlocnetpp_ros import environment

CHANNELS = {encoding: channels for encoding, (channels, _) in COLOR_ENCODINGS.items()}
"""Encodings that are viewed as they are, with their bytes per pixel."""
CONVERTED = {
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),  # OpenCV names a pattern by its second row
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Bytes per pixel and conversion to RGB; YUV has its names before and after sensor_msgs of 2022."""
ENCODINGS = (*CHANNELS, "mono16", *CONVERTED)
"""All that are understood without cv_bridge."""
Classes = tuple[tuple[str, tuple[int, int, int]], ...]
"""Name and RGB colour of each class id, as they are in a model file."""


class BadImage(ValueError):
    """An image message cannot be used. `reason` is one of a few fixed texts, for counting; the message has the
    details.
    """

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(details)
        self.reason = reason


def pixels(message: Image) -> tuple[NDArray[np.uint8], str]:
    """The pixels of an Image and the encoding that they have now: (H, W, C) uint8, (H, W) for mono8.

    A view without a copy for the encodings of CHANNELS. Others are converted: mono16 to mono8, Bayer and YUV to rgb8,
    those that only cv_bridge knows to rgb8.

    Raises BadImage for an encoding that nothing here knows, an empty image, or fewer bytes than size and step promise.
    """
    encoding = message.encoding
    if encoding not in ENCODINGS:
        return through_cv_bridge(message), "rgb8"
    if encoding in CHANNELS:
        return _bytes(message, CHANNELS[encoding]), encoding
    if encoding == "mono16":
        # The high byte, as the full range of 16 bits maps to that of 8.
        return np.ascontiguousarray(_bytes(message, 2)[:, :, 0 if message.is_bigendian else 1]), "mono8"
    channels, conversion = CONVERTED[encoding]
    pixels = _bytes(message, channels)
    if channels == 2 and message.width % 2:
        raise BadImage("wrong size", f"{encoding} needs an even width, not {message.width}")
    return cv2.cvtColor(pixels, conversion).astype(np.uint8, copy=False), "rgb8"


def through_cv_bridge(message: Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an Image by the ROS package cv_bridge. Raises BadImage without it or where it cannot."""
    bridge = environment.load("cv_bridge")
    unknown = f"'{message.encoding}' is none of {', '.join(ENCODINGS)}"
    if bridge is None:
        why_not = environment.why_not("cv_bridge")
        raise BadImage("unknown encoding", f"{unknown}; cv_bridge, which knows more, {why_not}")
    converter = bridge.CvBridge()
    try:
        kind, channels = converter.encoding_to_dtype_with_channels(message.encoding)
        return np.ascontiguousarray(converter.imgmsg_to_cv2(_plain(message, np.dtype(kind), channels), "rgb8"))
    except bridge.CvBridgeError as error:
        raise BadImage("unknown encoding", f"{unknown}, and cv_bridge cannot convert it: {error}") from error


def _plain(message: Image, kind: np.dtype[Any], channels: int) -> Image:
    """The image without padding and in little-endian order.

    cv_bridge misreads rows that are no whole number of pixels, and fails at big-endian ones beside NumPy 2.
    """
    rows = np.ascontiguousarray(_bytes(message, kind.itemsize * channels))
    if message.is_bigendian:
        rows = rows.view(kind).byteswap().view(np.uint8)
    step = message.width * kind.itemsize * channels
    return Image(height=message.height, width=message.width, encoding=message.encoding, step=step, data=rows.tobytes())


def _bytes(message: Image, channels: int) -> NDArray[np.uint8]:
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise BadImage("wrong size", f"the image is {width} x {height} pixels")
    if step < width * channels:
        need = f"{width} pixels of {message.encoding} need {width * channels}"
        raise BadImage("wrong size", f"step is {step} bytes, but {need}")
    needed = step * (height - 1) + width * channels
    if len(message.data) < needed:
        need = f"{width} x {height} {message.encoding} needs {needed}"
        raise BadImage("wrong size", f"{len(message.data)} bytes, but {need}")
    shape, strides = ((height, width), (step, 1)) if channels == 1 else ((height, width, channels), (step, channels, 1))
    return np.ndarray(shape, np.uint8, buffer=message.data, strides=strides)


def to_rgb(image: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image in one of CHANNELS."""
    conversion = COLOR_ENCODINGS[encoding][1]
    return image if conversion is None else cv2.cvtColor(image, conversion).astype(np.uint8, copy=False)


def image_message(header: Header, pixels: NDArray[np.uint8], encoding: str) -> Image:
    """An Image of (H, W) or (H, W, C) uint8 pixels."""
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding, step=width * CHANNELS[encoding])
    message.data = pixels.tobytes()
    return message


def colored(mask_HW: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of class ids by a (256, 3) palette."""
    # Four times as fast as palette[mask_HW]: 2 ms at 720p.
    return cv2.LUT(cv2.merge([mask_HW] * 3), palette[:, None]).astype(np.uint8, copy=False)


def palette(classes: Classes) -> NDArray[np.uint8]:
    """(256, 3) RGB of every id: a model's classes in order, black for the rest and for 255, unlabelled."""
    colors = np.zeros((256, 3), np.uint8)
    for i, (_, color) in enumerate(classes):
        colors[i] = color
    return colors


def overlay(
    image_RGB: NDArray[np.uint8], color_RGB: NDArray[np.uint8], mask_HW: NDArray[np.uint8], opacity: float
) -> NDArray[np.uint8]:
    """The coloured mask over the image; unlabelled pixels stay as they are."""
    mixed = cv2.addWeighted(image_RGB, 1.0 - opacity, color_RGB, opacity, 0.0).astype(np.uint8, copy=False)
    cv2.copyTo(image_RGB, (mask_HW == VOID).view(np.uint8), mixed)
    return mixed
