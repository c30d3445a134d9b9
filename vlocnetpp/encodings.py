"""Colour encodings of images and the unlabelled class id, shared by all packages."""

from __future__ import annotations

import cv2

VOID = 255
"""Class id of a pixel without a label: in ground-truth masks, and outside a network's field of view."""
COLOR_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""`encoding` of a sensor_msgs/Image -> bytes a pixel, and OpenCV's conversion to RGB (None: it is RGB)."""
RGB_CHANNELS: dict[str, tuple[int, int, int]] = {
    "rgb8": (0, 1, 2),
    "rgba8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "bgra8": (2, 1, 0),
    "mono8": (0, 0, 0),
}
"""Encoding -> indices of its red, green and blue channels."""
