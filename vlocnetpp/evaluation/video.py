"""A model's answers as a film, and as a sheet of some of its pictures: image, mask and the path so far."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Frame
from vlocnetpp.data.frames import read_image
from vlocnetpp.encodings import VOID
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track
from vlocnetpp.reporting.figures import view_from_above
from vlocnetpp.reporting.files import replacing, write_png
from vlocnetpp.reporting.mask_sheet import colored

HEIGHT, CAPTION = 360, 28
"""Rows of the picture and of the line of text below it."""
OPACITY = 0.5
PAPER, INK, PATH, HERE = (255, 255, 255), (51, 51, 51), (0, 114, 178), (213, 94, 0)
"""Colours of the map, RGB."""
SHEET, SHEET_COLUMNS = 12, 2
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_video(
    path: Path,
    frames: Sequence[Frame],
    answers: Streamed,
    masks: Sequence[Path | None],
    classes: Sequence[tuple[str, tuple[int, int, int]]],
    sheet: Path,
) -> bool:
    """Write an MP4 at the recorded rate, a picture for each frame, and as PNG a sheet of some spread over them.

    masks: files of class ids, or None for a frame without. A model without poses has rows of NaN: no map is drawn.
    Returns False, and writes the sheet alone, where OpenCV has no MPEG-4 encoder. Raises DataError if a file cannot be
    written.
    """
    first = _picture(frames[0], masks[0], classes)
    height, width = first.shape[:2]
    chart = _Chart(answers.pose_N7, height) if np.isfinite(answers.pose_N7).all(axis=1).any() else None
    size = (width + (height if chart else 0), height + CAPTION)
    shown = set(np.linspace(0, len(frames) - 1, min(SHEET, len(frames))).round().astype(int).tolist())
    kept: list[NDArray[np.uint8]] = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "film.mp4"
        writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*"mp4v"), _rate_hz(frames), size)
        opened = writer.isOpened()
        try:
            for i, (frame, mask) in enumerate(zip(track(frames, "filming"), masks, strict=True)):
                if not opened and i not in shown:
                    continue
                picture = cv2.resize(_picture(frame, mask, classes), (width, height))
                if chart is not None:
                    picture = np.hstack((picture, chart.until(i)))
                caption = np.full((CAPTION, size[0], 3), PAPER, np.uint8)
                cv2.putText(caption, _caption(i, frame, answers), (8, 19), FONT, 0.45, INK, 1, cv2.LINE_AA)
                bgr = cv2.cvtColor(np.vstack((picture, caption)), cv2.COLOR_RGB2BGR)
                writer.write(bgr)
                if i in shown:
                    kept.append(np.asarray(bgr, np.uint8))
        finally:
            writer.release()
        _write_sheet(sheet, kept)
        if opened:
            with replacing(path) as partial:
                shutil.copyfile(made, partial)
    return opened


def _write_sheet(path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    columns = min(SHEET_COLUMNS, len(pictures))
    white = [np.full_like(pictures[0], 255)] * (-len(pictures) % columns)
    filled = pictures + white
    rows = [np.hstack(filled[i : i + columns]) for i in range(0, len(filled), columns)]
    write_png(path, np.vstack(rows))


def _caption(i: int, frame: Frame, answers: Streamed) -> str:
    if not np.isfinite(answers.pose_N7[i]).all():
        return f"{frame.name}   no pose"
    metres, radians = answers.sigma_N2[i]
    return f"{frame.name}   68 % bound {metres:.2f} m, {np.degrees(radians):.1f} deg"


def _rate_hz(frames: Sequence[Frame]) -> float:
    """Pictures a second, by the usual step between stamps."""
    steps_ns = np.diff([frame.stamp_ns for frame in frames])
    steps_ns = steps_ns[steps_ns > 0]
    return float(np.clip(1e9 / np.median(steps_ns), 1.0, 60.0)) if len(steps_ns) else 10.0


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
    """The estimated path from above, square, extended frame by frame."""

    def __init__(self, pose_N7: Floats, side: int) -> None:
        known = pose_N7[np.isfinite(pose_N7).all(axis=1)]
        view = view_from_above(known)
        # Single outliers lie outside the map instead of shrinking the path.
        low, high = np.percentile(known[:, [view.right, view.up]], [1, 99], axis=0)
        extent_m = max(float((high - low).max()), 0.4)
        scale = 0.7 * side / extent_m
        centred = (pose_N7[:, [view.right, view.up]] - (low + high) / 2) * scale
        self._pixels = np.stack((side / 2 + centred[:, 0], side / 2 - centred[:, 1]), axis=1)
        self._picture = np.full((side, side, 3), PAPER, np.uint8)
        step = 10.0 ** np.floor(np.log10(extent_m / 2))
        length_m = max(step * k for k in (1, 2, 5) if step * k <= extent_m / 2)
        cv2.line(self._picture, (14, side - 14), (14 + round(length_m * scale), side - 14), INK, 2)
        cv2.putText(self._picture, f"{length_m:g} m", (14, side - 22), FONT, 0.5, INK, 1, cv2.LINE_AA)
        axes = f"right: {view.labels[0][0]}, up: {view.labels[1][0]}"
        cv2.putText(self._picture, axes, (14, 22), FONT, 0.5, INK, 1, cv2.LINE_AA)

    def until(self, i: int) -> NDArray[np.uint8]:
        """The path up to frame i, whose position is marked."""
        if not np.isfinite(self._pixels[i]).all():
            return self._picture
        here = tuple(np.clip(self._pixels[i], -1e4, 1e4).round().astype(int).tolist())
        cv2.circle(self._picture, here, 2, PATH, -1, cv2.LINE_AA)
        return np.asarray(cv2.circle(self._picture.copy(), here, 7, HERE, -1, cv2.LINE_AA), np.uint8)
