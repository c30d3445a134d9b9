"""A film of what a model answered: the image, its mask and the way so far."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import VOID, Frame
from vlocnetpp.data.frames import read_image
from vlocnetpp.evaluation.figures import view_from_above
from vlocnetpp.evaluation.files import replacing
from vlocnetpp.evaluation.mask_sheet import colored
from vlocnetpp.evaluation.poses import Floats
from vlocnetpp.progress import track

RATE_HZ = 15.0
HEIGHT = 360
"""Rows of the film."""
OPACITY = 0.5
PAPER, PATH, HERE = (255, 255, 255), (150, 150, 150), (0, 114, 178)
"""Colours of the map, RGB."""


def write_video(
    path: Path,
    frames: Sequence[Frame],
    pose_N7: Floats,
    masks: Sequence[Path | None],
    classes: Sequence[tuple[str, tuple[int, int, int]]],
) -> bool:
    """Write an MP4, a picture for each frame; False, and no file, where OpenCV here has no MPEG-4 encoder.

    masks: files of class ids, or None for a frame without. A model without poses has rows of NaN: no map is drawn.
    Raises DataError if the file cannot be written.
    """
    pictures = [_picture(frame, mask, classes) for frame, mask in zip(frames[:1], masks[:1], strict=True)]
    height, width = pictures[0].shape[:2]
    drawn = np.isfinite(pose_N7).any()
    size = (width + (height if drawn else 0), height)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "film.mp4"
        writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, size)
        if not writer.isOpened():
            return False
        try:
            chart = _Chart(pose_N7, height) if drawn else None
            for i, (frame, mask) in enumerate(zip(track(frames, "filming"), masks, strict=True)):
                picture = _picture(frame, mask, classes)
                if chart is not None:
                    picture = np.hstack((picture, chart.until(i)))
                writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        with replacing(path) as partial:
            shutil.copyfile(made, partial)
    return True


def _picture(frame: Frame, mask: Path | None, classes: Sequence[tuple[str, tuple[int, int, int]]]) -> NDArray[np.uint8]:
    """(HEIGHT, W, 3) RGB: the image, under its mask where there is one."""
    image = frame.image()
    if mask is not None:
        ids = read_image(mask)
        blend = cv2.addWeighted(image, 1 - OPACITY, colored(ids, classes), OPACITY, 0)
        image = np.where((ids == VOID)[:, :, None], image, blend).astype(np.uint8)
    # Encoders want even numbers.
    width = round(HEIGHT * image.shape[1] / image.shape[0] / 2) * 2
    return np.asarray(cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


class _Chart:
    """The estimated way from above, square, drawn on frame by frame."""

    def __init__(self, pose_N7: Floats, side: int) -> None:
        view = view_from_above(pose_N7[np.isfinite(pose_N7).all(axis=1)])
        points = pose_N7[:, [view.right, view.up]]
        low, high = np.nanpercentile(points, 1, axis=0), np.nanpercentile(points, 99, axis=0)
        scale = 0.8 * side / max(float((high - low).max()), 0.4)
        centred = (points - (low + high) / 2) * scale
        self._pixels = np.stack((side / 2 + centred[:, 0], side / 2 - centred[:, 1]), axis=1)
        self._picture = np.full((side, side, 3), PAPER, np.uint8)

    def until(self, i: int) -> NDArray[np.uint8]:
        """The way up to frame i, whose place is marked."""
        if np.isnan(self._pixels[i]).any():
            return self._picture
        here = tuple(np.clip(self._pixels[i], -1e4, 1e4).round().astype(int).tolist())
        cv2.circle(self._picture, here, 2, PATH, -1, cv2.LINE_AA)
        return np.asarray(cv2.circle(self._picture.copy(), here, 7, HERE, -1, cv2.LINE_AA), np.uint8)
