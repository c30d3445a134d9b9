"""The messages of a camera bag as arrays: images, depth, masks, poses, intrinsics, classes.

Every function names `where` in the DataError that it raises for a message that cannot be used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, LabelClass, decode_image
from vlocnetpp.data.poses import checked_intrinsics, checked_pose
from vlocnetpp.encodings import COLOR_ENCODINGS

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "nav_msgs/msg/Odometry",
)
DEPTH_ENCODINGS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


@dataclass(frozen=True)
class Camera:
    """Intrinsics that a CameraInfo gives."""

    K_33: NDArray[np.float64]
    size: tuple[int, int]
    """(height, width), zeros where the driver leaves them out."""
    distorted: bool


def camera(message: Any, image_topic: str, where: str) -> Camera:
    """CameraInfo -> camera. K of a rectified image is in P, of any other in K; ROS 1 writes the fields in capitals.

    A driver that rectifies may leave K unchanged or empty. Raises DataError if the camera is not calibrated.
    """
    k, d, p = (np.array(getattr(message, name if hasattr(message, name) else name.upper())) for name in "kdp")
    distorted = bool(np.any(d))
    rectified = "rect" in image_topic
    if rectified and p[0] > 0 and (distorted or not k[0] > 0):
        k, distorted = p.reshape(3, 4)[:, :3].ravel(), False
    if not k.any():
        raise DataError(f"{where}: the camera is not calibrated, K is zero")
    return Camera(checked_intrinsics(k.reshape(3, 3), where), (message.height, message.width), distorted)


def pose(message: Any, where: str) -> NDArray[np.float64]:
    """A message of one of `POSE_TYPES` -> (7,) x, y, z, qw, qx, qy, qz. Raises PoseError if it is invalid."""
    inner = message.pose.pose if hasattr(message.pose, "pose") else message.pose
    t, q = inner.position, inner.orientation
    return checked_pose((t.x, t.y, t.z, q.w, q.x, q.y, q.z), where)


def transforms(message: Any) -> Iterator[tuple[str, str, int, NDArray[np.float64]]]:
    """A TFMessage -> parent, child, stamp in nanoseconds and unchecked pose of the child in the parent, one by one."""
    for each in message.transforms:
        t, q = each.transform.translation, each.transform.rotation
        parent, child, stamp = each.header.frame_id, each.child_frame_id, each.header.stamp
        pose_7 = np.array([t.x, t.y, t.z, q.w, q.x, q.y, q.z], np.float64)
        yield parent, child, stamp.sec * 1_000_000_000 + stamp.nanosec, pose_7


def classes(message: Any, where: str) -> tuple[LabelClass, ...]:
    """String with the YAML list that `write_bag` records -> classes."""
    try:
        entries = yaml.safe_load(message.data)
        return tuple(LabelClass(str(each["name"]), _rgb(each["color"])) for each in entries)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: is no YAML list of names and colors") from error


def _rgb(values: Any) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def color(message: Any, where: str) -> tuple[NDArray[np.uint8], bytes | None]:
    """(H, W, 3) uint8 RGB, and the bytes themselves where they are JPEG or PNG and can be stored unchanged."""
    if message.__msgtype__ == COMPRESSED:
        data = bytes(message.data)
        if (before := encoding_before(message)).startswith("bayer_"):
            raise DataError(f"{where}: a compressed '{before}' is a mosaic without colours; record image_proc's output")
        # An orientation tag would turn the pixels away from what camera_info describes; the node ignores it, too.
        bgr = decode_image(data, where, cv2.IMREAD_COLOR)
        keep = data.startswith((b"\xff\xd8\xff", b"\x89PNG")) and b"Exif\0\0" not in data[:65536]
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), data if keep else None
    if message.encoding not in COLOR_ENCODINGS:
        raise DataError(f"{where}: encoding '{message.encoding}' is not one of {', '.join(COLOR_ENCODINGS)}")
    channels, conversion = COLOR_ENCODINGS[message.encoding]
    pixels = _rows(message, np.dtype(np.uint8), channels, where)
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion), np.uint8), None


def encoding_before(message: Any) -> str:
    """The encoding of a CompressedImage's pixels before compression, from image_transport's `format`; "" where it has
    none.

    `format` is `bgra8; jpeg compressed bgr8`, `16UC1; compressedDepth png` or just `jpeg`.
    """
    said, semicolon, _ = message.format.partition(";")
    return said.strip() if semicolon else ""


def depth(message: Any, where: str) -> NDArray[np.float32]:
    """(H, W) float32 metres; REP-118: 16-bit is millimetres."""
    if message.__msgtype__ == COMPRESSED:
        return _compressed_depth(message, where)
    if message.encoding not in DEPTH_ENCODINGS:
        raise DataError(f"{where}: encoding '{message.encoding}' is not one of {', '.join(DEPTH_ENCODINGS)}")
    dtype = np.dtype((">" if message.is_bigendian else "<") + DEPTH_ENCODINGS[message.encoding])
    pixels = _rows(message, dtype, 1, where)[:, :, 0].astype(np.float32)
    return pixels if dtype.kind == "f" else pixels / np.float32(1000.0)


def _compressed_depth(message: Any, where: str) -> NDArray[np.float32]:
    """A depth image compressed by image_transport -> (H, W) float32 metres, 0 = unknown.

    `compressedDepth` is a header of 12 bytes (an int32 and the floats a and b) and a 16-bit PNG of millimetres, or, for
    32FC1, of v = a / depth + b with 0 for unknown. `compressed` is the PNG of millimetres alone.
    """
    encoding, data = encoding_before(message), bytes(message.data)
    plain = data.startswith(b"\x89PNG") and encoding != "32FC1"
    if encoding not in DEPTH_ENCODINGS or not (plain or data[12:16] == b"\x89PNG"):
        raise DataError(
            f"{where}: format '{message.format}' is not understood; compressed depth must be a PNG of "
            f"{' or '.join(DEPTH_ENCODINGS)}"
        )
    values = decode_image(data if plain else data[12:], where)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise DataError(f"{where}: compressed depth must be 16-bit with one channel")
    if DEPTH_ENCODINGS[encoding] == "u2":
        return values.astype(np.float32) / np.float32(1000.0)
    _, a, b = struct.unpack("<iff", data[:12])
    metres = np.zeros(values.shape, np.float32)
    np.divide(a, values - np.float32(b), out=metres, where=(values > 0) & (values != b), dtype=np.float32)
    return metres


def mask(message: Any, where: str) -> NDArray[np.uint8]:
    """PNG or raw image of class ids -> (H, W) uint8, 255 = unlabelled."""
    if message.__msgtype__ == COMPRESSED:
        ids = decode_image(bytes(message.data), where)
    elif message.encoding in ("mono8", "8UC1"):
        ids = _rows(message, np.dtype(np.uint8), 1, where)[:, :, 0]
    else:
        raise DataError(f"{where}: encoding '{message.encoding}' is not one of mono8, 8UC1")
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise DataError(f"{where}: a mask must be 8-bit with one channel of class ids")
    return np.asarray(ids, np.uint8)


def _rows(message: Any, dtype: np.dtype[Any], channels: int, where: str) -> NDArray[Any]:
    """(H, W, channels) of a sensor_msgs/Image, whose rows may be padded to `step` bytes."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    used = width * channels * dtype.itemsize
    if not height or not width or step < used or len(message.data) < height * step:
        raise DataError(
            f"{where}: {len(message.data)} bytes with rows of {step} do not make {width} x {height} {message.encoding}"
        )
    rows = np.asarray(message.data[: height * step]).reshape(height, step)[:, :used]
    return np.ascontiguousarray(rows).view(dtype).reshape(height, width, channels)
