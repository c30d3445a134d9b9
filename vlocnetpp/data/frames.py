"""What every dataset layout is read into: sequences of frames whose pixels load on demand.

Poses are camera-to-world `T_wc` as seven numbers (x, y, z, qw, qx, qy, qz); the camera frame is optical (x right, y
down, z forward); metres. A depth of 0 is unknown, a mask id of 255 is unlabelled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.registration import REGISTERED, DepthCameraConfig, register_depth
from vlocnetpp.encodings import VOID as VOID
from vlocnetpp.errors import DataError as DataError

LATEST_NS = 2**63
"""Stamps must be earlier, to fit 64 bits: the year 2262."""


class StampError(DataError):
    """Stamps of a sequence do not increase."""


@dataclass(frozen=True)
class LabelClass:
    """One semantic class; its id is its position in `Dataset.classes`."""

    name: str
    color: tuple[int, int, int]
    """RGB, 0-255."""


@dataclass(frozen=True)
class Frame:
    """One image and its labels."""

    name: str
    """Unique in its dataset, e.g. `seq-01/frame-000000`."""
    stamp_ns: int
    image_path: Path
    K_33: NDArray[np.float64]
    """Pinhole intrinsics in pixels of the stored image."""
    pose_7: NDArray[np.float64] | None = None
    depth_path: Path | None = None
    """16-bit PNG, 0 = unknown."""
    mask_path: Path | None = None
    """8-bit PNG of class ids, 255 = unlabelled."""
    depth_units_per_m: float = 1000.0
    """Units of the depth image per metre: 1000 in most layouts, 5000 in TUM's."""
    void_from: int = VOID
    """Stored mask ids from this one on are unlabelled, for datasets with a numbered void class."""
    depth_camera: DepthCameraConfig = REGISTERED
    """Where the camera of the depth image is, in the camera of the image and of K."""

    def image(self) -> NDArray[np.uint8]:
        """Read the image: (H, W, 3) uint8 RGB. Raises DataError if it does not decode."""
        bgr = read_image(self.image_path, cv2.IMREAD_COLOR)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def depth(self) -> NDArray[np.float32] | None:
        """Read the depth at the pixels of the image: (H, W) float32 metres, 0 = unknown; None where there is none."""
        if self.depth_path is None:
            return None
        units = read_image(self.depth_path, cv2.IMREAD_UNCHANGED)
        if units.dtype != np.uint16 or units.ndim != 2:
            raise DataError(f"{self.depth_path}: a depth image must be 16-bit with one channel")
        metres = np.where(units == 65535, 0, units).astype(np.float32) / np.float32(self.depth_units_per_m)
        return metres if self.depth_camera == REGISTERED else register_depth(metres, self.K_33, self.depth_camera)

    def mask(self) -> NDArray[np.uint8] | None:
        """Read the mask: (H, W) uint8 class ids, 255 = unlabelled; None where the frame has none."""
        if self.mask_path is None:
            return None
        ids = read_image(self.mask_path, cv2.IMREAD_UNCHANGED)
        if ids.dtype != np.uint8 or ids.ndim != 2:
            raise DataError(f"{self.mask_path}: a mask must be 8-bit with one channel of class ids")
        return np.where(ids >= self.void_from, VOID, ids).astype(np.uint8) if self.void_from < VOID else ids


@dataclass(frozen=True)
class Sequence:
    """Frames in the order of their stamps, from one uninterrupted recording."""

    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Dataset:
    """A dataset read from disk; clips never cross the border of a sequence."""

    root: Path
    layout: str
    """Name of the reader, e.g. `seven_scenes`."""
    splits: dict[str, tuple[Sequence, ...]]
    """`train`, `test`, possibly `val`, and `benchmark` for what its makers published without poses."""
    classes: tuple[LabelClass, ...] = ()
    map_frame: str = "map"
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each: invalid poses, a nominal K."""

    def frames(self, split: str) -> list[Frame]:
        """All frames of a split in order. Raises DataError if the dataset has no such split."""
        return [frame for sequence in self.sequences(split) for frame in sequence.frames]

    def sequences(self, split: str) -> tuple[Sequence, ...]:
        """The sequences of a split. Raises DataError if the dataset has no such split."""
        if split not in self.splits:
            raise DataError(f"{self.root}: no split '{split}', there is {', '.join(sorted(self.splits)) or 'none'}")
        return self.splits[split]


def decode_image(data: bytes, where: object, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray:
    """Decode JPEG or PNG bytes as OpenCV does (BGR). Raises DataError, naming `where`, if they are cut or no image."""
    end = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PN": b"IEND"}.get(data[:3])
    # Decoders differ: some fill the missing rows with grey, some print warnings.
    if end is not None and end not in data[-4096:]:
        raise DataError(f"{where}: is truncated, the end of the image is missing")
    # Without the Exif rotation: K and poses are those of the sensor, however a viewer would turn the image.
    flags |= cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise DataError(f"{where}: is not a decodable image (damaged or of another type)")
    return pixels


def read_image(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray:
    """Decode an image file (BGR). Raises DataError if it is missing, truncated or not an image."""
    return decode_image(read_bytes(path), path, flags)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of a PNG or JPEG by its header, of all else by decoding it. Raises DataError for no image."""
    data = read_bytes(path)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    at = 2
    while data.startswith(b"\xff\xd8\xff") and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header; these three are tables
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        at += 2 + length
    height, width = decode_image(data, path, cv2.IMREAD_GRAYSCALE).shape
    return height, width


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
