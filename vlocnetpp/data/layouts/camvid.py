"""CamVid street images with masks of eleven classes, in the arrangement of the SegNet tutorial.

    ROOT/train/0001TP_006690.png        or .jpg; the number is the frame's in its 30 Hz video
    ROOT/trainannot/0001TP_006690.png   8-bit ids, 0-10 and from 11 on unlabelled
    ROOT/val/, valannot/, test/, testannot/     likewise, each pair optional

There are no poses. Nor is there a K: `K_33` is nominal (focal length = image width, centre in the middle), enough to
warp by for a picture, never to measure with.

A sequence is a run of frames at most half a second apart in one video: the 15 Hz part is one sequence, while of the
images labelled once a second each stands alone, because features of a second ago say little about a moving car's
view. Stamps are the video's own time; videos of a split follow each other with ten seconds between.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, LabelClass, Sequence, read_image

CLASSES = (
    LabelClass("Sky", (128, 128, 128)),
    LabelClass("Building", (128, 0, 0)),
    LabelClass("Pole", (192, 192, 128)),
    LabelClass("Road", (128, 64, 128)),
    LabelClass("Pavement", (60, 40, 222)),
    LabelClass("Tree", (128, 128, 0)),
    LabelClass("SignSymbol", (192, 128, 128)),
    LabelClass("Fence", (64, 64, 128)),
    LabelClass("Car", (64, 0, 128)),
    LabelClass("Pedestrian", (64, 64, 0)),
    LabelClass("Bicyclist", (0, 128, 192)),
)
SPLITS = ("train", "val", "test")
GAP_NS = 10_000_000_000
LARGEST_STEP = 15
"""Frames of the 30 Hz video between two images of one sequence."""
_IMAGE = re.compile(r"(.+)_f?(\d+)\.(?:png|jpg)")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return any((root / split).is_dir() and (root / f"{split}annot").is_dir() for split in SPLITS)


def read(root: Path) -> Dataset:
    """Read the names; pixels load on demand. Raises DataError naming the file and what is wrong with it."""
    splits = {}
    next_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for split in SPLITS:
        if (root / split).is_dir():
            splits[split], next_ns = _split(root, split, next_ns)
    note = f"{root}: CamVid comes without intrinsics; K is nominal, a focal length of one image width"
    return Dataset(root, "camvid", splits, CLASSES, notes=(note,))


def _split(root: Path, split: str, start_ns: int) -> tuple[tuple[Sequence, ...], int]:
    """The sequences of a split whose first stamp is `start_ns`, and the earliest stamp for what comes after."""
    folder = root / split
    images = []
    for path in visible(folder):
        match = _IMAGE.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path}: is not named VIDEO_NUMBER.png or .jpg")
        images.append((match[1], int(match[2]), path))
    if not images:
        raise DataError(f"{folder}: has no image")
    images.sort(key=lambda image: image[:2])
    K_33 = _nominal_intrinsics(images[0][2])
    runs: list[list[Frame]] = []
    last_video, last_number, stamp_ns = "", 0, start_ns
    for video, number, path in images:
        step = number - last_number if video == last_video else None
        if step == 0:
            raise DataError(f"{path}: frame {number} of {video} is there twice")
        if runs:
            stamp_ns += GAP_NS if step is None else step * 1_000_000_000 // 30
        if step is None or step > LARGEST_STEP:
            runs.append([])
        runs[-1].append(_frame(path, root / f"{split}annot" / f"{path.stem}.png", stamp_ns, K_33))
        last_video, last_number = video, number
    sequences = tuple(Sequence(frames[0].name.split("/")[1], tuple(frames)) for frames in runs)
    return sequences, stamp_ns + GAP_NS


def _frame(image: Path, mask: Path, stamp_ns: int, K_33: NDArray[np.float64]) -> Frame:
    if not mask.is_file():
        raise DataError(f"{mask}: is missing, {image} is there")
    name = f"{image.parent.name}/{image.stem}"
    return Frame(name, stamp_ns, image, K_33, mask_path=mask, void_from=len(CLASSES))


def _nominal_intrinsics(image: Path) -> NDArray[np.float64]:
    height, width = read_image(image, cv2.IMREAD_GRAYSCALE).shape[:2]
    return np.array([[width, 0.0, (width - 1) / 2], [0.0, width, (height - 1) / 2], [0.0, 0.0, 1.0]])
