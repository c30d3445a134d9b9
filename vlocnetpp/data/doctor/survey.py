"""Reads every file of every frame once and keeps what the checks need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Dataset, Frame
from vlocnetpp.progress import track

THUMBNAIL = (32, 24)
"""Width and height in pixels."""
MOST_FRAMES = 6000
"""Of more frames, runs of consecutive ones are read, spread over all, so that the work is bounded."""
RUN = 30
"""Frames of such a run."""


@dataclass
class ExaminedFrame:
    """One frame's measurements; its pixels are not kept."""

    frame: Frame
    split: str
    sequence: str
    read: bool = False
    """Whether its files were looked at."""
    set_aside: bool = False
    """Whether the stored pose is wild; the frame here then has none."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Kind of finding and reason, for each file that cannot be used."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the image."""
    digest: bytes = b""
    """Of the decoded pixels."""
    thumbnail: NDArray[np.float32] | None = None
    """(24, 32) grey, 0-255."""
    brightness: float = np.nan
    """Mean grey, 0-255."""
    brightest: float = np.nan
    """95th percentile of grey, 0-255."""
    white: float = np.nan
    """Share of pixels with grey from 250 on."""
    sharpness: float = np.nan
    """Energy of the Laplacian over the energy of the image."""
    depth_known: float = np.nan
    """Share of pixels with a depth."""
    depth_m: float = np.nan
    """Median of the known depths."""
    masked: bool = False
    mask_pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) pixels of each id."""
    mask_rows: NDArray[np.float64] = field(default_factory=lambda: np.zeros(256))
    """(256,) sum over the pixels of each id of their height in the image, 0 = top, 1 = bottom."""


def survey(dataset: Dataset) -> dict[str, list[list[ExaminedFrame]]]:
    """Examine all frames: for each split, for each sequence, its frames in order."""
    sequences_by_split = {
        split: [[ExaminedFrame(frame, split, sequence.name) for frame in sequence.frames] for sequence in sequences]
        for split, sequences in dataset.splits.items()
    }
    every = [examined for sequences in sequences_by_split.values() for sequence in sequences for examined in sequence]
    runs, kept = -(-len(every) // RUN), MOST_FRAMES // RUN
    wanted = [examined for i, examined in enumerate(every) if runs <= kept or i // RUN * kept % runs < kept]
    for examined in track(wanted, "looking at the frames"):
        examine_frame(examined)
    return sequences_by_split


def _layer(examined: ExaminedFrame, kind: str, read: Callable[[], NDArray | None]) -> NDArray | None:
    """Depth or mask of a frame; None, and a problem of that kind, where its file cannot be used."""
    try:
        return read()
    except DataError as error:
        examined.problems.append((kind, str(error)))
        return None


def examine_frame(examined: ExaminedFrame) -> None:
    """Read a frame's files and measure them."""
    examined.read = True
    try:
        image = examined.frame.image()
    except DataError as error:
        examined.problems.append(("image", str(error)))
        return
    examined.size = (image.shape[0], image.shape[1])
    examined.digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    small = cv2.resize(grey.astype(np.float32), THUMBNAIL, interpolation=cv2.INTER_AREA)
    examined.thumbnail = np.asarray(small, np.float32)
    examined.brightness, examined.white = float(grey.mean()), float((grey >= 250).mean())
    examined.brightest = float(np.percentile(grey, 95))
    energy = float(grey.astype(np.float64).var())
    examined.sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var()) / max(energy, 1.0)
    depth = _layer(examined, "depth", examined.frame.depth)
    mask = _layer(examined, "mask", examined.frame.mask)
    for name, layer in (("depth", depth), ("mask", mask)):
        if layer is not None and layer.shape != examined.size:
            size = f"{layer.shape[1]} x {layer.shape[0]}, the image {examined.size[1]} x {examined.size[0]}"
            examined.problems.append(("size", f"the {name} is {size}"))
    if depth is not None:
        known = depth[depth > 0]
        examined.depth_known = known.size / depth.size
        examined.depth_m = float(np.median(known)) if known.size else np.nan
    if mask is not None:
        rows = np.linspace(0.0, 1.0, len(mask))
        counts = np.stack([np.bincount(row, minlength=256) for row in mask])
        examined.masked = True
        examined.mask_pixels = counts.sum(axis=0)
        examined.mask_rows = rows @ counts
