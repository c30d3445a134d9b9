"""DeepLoc, a university campus in several loops (http://deeploc.cs.uni-freiburg.de).

    ROOT/train/poses.txt                    header, then `img_name x y z qw qx qy qz`, metres
    ROOT/train/LeftImages/Image_1234.png    or .jpg, 1280 x 720
    ROOT/train/labels/Image_1234.png        8-bit ids of the ten classes, from 10 on unlabelled; optional, also singly
    ROOT/test/                              likewise
    ROOT/camera-intrinsics.txt              3 x 3, optional

Images stand in loops: a new sequence begins where the number jumps by more than twenty usual steps or the camera by
more than five metres. The recordings carry no stamps: a frame's is its number at the camera's 20 Hz, and sequences
follow each other with ten seconds between. Without an intrinsics file K is nominal, the ZED's 700 px at 1280 x 720
with the centre in the middle. Poses are taken as camera-to-world in the optical frame. Right images, colour-coded
labels and the depth of the stereo download (PFM) are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, LabelClass, Sequence, read_image
from vlocnetpp.data.layouts.text_files import INTRINSICS, matrix, numbers, rows
from vlocnetpp.data.poses import checked_intrinsics, known_pose, note_of_lost

CLASSES = (
    LabelClass("Background", (0, 0, 0)),
    LabelClass("Sky", (128, 128, 128)),
    LabelClass("Road", (128, 64, 128)),
    LabelClass("Sidewalk", (60, 40, 222)),
    LabelClass("Grass", (128, 128, 0)),
    LabelClass("Vegetation", (0, 128, 0)),
    LabelClass("Building", (128, 0, 0)),
    LabelClass("Poles & Fences", (192, 192, 128)),
    LabelClass("Dynamic", (64, 0, 128)),
    LabelClass("Other", (192, 128, 128)),
)
"""Names as in the paper; the colours are ours."""
SPLITS = ("train", "test")
POSES, IMAGES, LABELS = "poses.txt", "LeftImages", "labels"
COLUMNS = ("img_name", "x", "y", "z", "qw", "qx", "qy", "qz")
NOMINAL_FOCAL = 700 / 1280
"""Focal length in image widths."""
PERIOD_NS = 1_000_000_000 // 20
GAP_NS = 10_000_000_000
LARGEST_STEP = 20
"""Usual steps of the numbering between two images of one sequence."""
LARGEST_JUMP_M = 5.0
_NUMBER = re.compile(r"\D*(\d+)")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return any((root / split / POSES).exists() or (root / split / IMAGES).is_dir() for split in SPLITS)


def read(root: Path) -> Dataset:
    """Read the poses and names; pixels load on demand. Raises DataError naming the file and what is wrong with it."""
    splits = {}
    notes: tuple[str, ...] = ()
    next_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for split in SPLITS:
        if (root / split).is_dir():
            splits[split], next_ns, lost = _split(root, split, next_ns)
            notes += lost
    if not (root / INTRINSICS).exists():
        notes += (f"{root / INTRINSICS}: is missing; K is nominal, a focal length of {NOMINAL_FOCAL:.3f} image widths",)
    return Dataset(root, "deeploc", splits, CLASSES, notes=notes)


def _split(root: Path, split: str, start_ns: int) -> tuple[tuple[Sequence, ...], int, tuple[str, ...]]:
    """The sequences of a split whose first stamp is `start_ns`, the earliest stamp for what comes after, and notes."""
    folder = root / split
    images = _images(folder / IMAGES)
    labelled = _images(folder / LABELS) if (folder / LABELS).exists() else {}
    labels = {_number(stem, path): path for stem, path in labelled.items()}
    posed: dict[int, tuple[Path, NDArray[np.float64]]] = {}
    lost: list[str] = []
    for where, cells in _pose_rows(folder / POSES):
        stem = Path(cells[0]).stem
        number = _number(stem, where)
        if stem not in images:
            raise DataError(f"{where}: image '{cells[0][:40]}' is not in {folder / IMAGES}")
        if number in posed:
            raise DataError(f"{where}: image {number} is there twice")
        posed[number] = images[stem], _or_nan(known_pose(numbers(cells[1:], where), where, lost))
    notes = note_of_lost(lost, len(posed))
    for stem, path in images.items():
        if _number(stem, path) not in posed:
            posed[_number(stem, path)] = path, np.full(7, np.nan)
    if not posed:
        raise DataError(f"{folder / IMAGES}: has no image")
    numbers_N = sorted(posed)
    K_33 = _intrinsics(root, posed[numbers_N[0]][0])
    usual = float(np.median(np.diff(numbers_N))) if len(numbers_N) > 1 else 1.0
    runs: list[list[Frame]] = []
    last_number, last_pose, stamp_ns = numbers_N[0], posed[numbers_N[0]][1], start_ns
    for number in numbers_N:
        image, pose = posed[number]
        jump_m = float(np.linalg.norm(pose[:3] - last_pose[:3]))  # NaN, which is no jump, where a pose is unknown
        border = number - last_number > LARGEST_STEP * usual or jump_m > LARGEST_JUMP_M
        if runs:
            stamp_ns += GAP_NS if border else (number - last_number) * PERIOD_NS
        if border or not runs:
            runs.append([])
        known = None if np.isnan(pose).any() else pose
        runs[-1].append(
            Frame(f"{split}/{image.stem}", stamp_ns, image, K_33, known, None, labels.get(number), void_from=10)
        )
        last_number, last_pose = number, pose
    sequences = tuple(Sequence(f"{split}-{index:02d}", tuple(frames)) for index, frames in enumerate(runs, 1))
    return sequences, stamp_ns + GAP_NS, notes


def _or_nan(pose_7: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return np.full(7, np.nan) if pose_7 is None else pose_7


def _pose_rows(path: Path) -> list[tuple[str, list[str]]]:
    """The rows below the header, which is a line of column names, in the public files below another line."""
    table = rows(path)
    header = next((index for index, (_, cells) in enumerate(table[:2]) if cells[0] == COLUMNS[0]), None)
    if header is None:
        raise DataError(f"{path}: has no header line '{' '.join(COLUMNS)}'")
    where, cells = table[header]
    if tuple(cells) != COLUMNS:
        raise DataError(f"{where}: the columns must be '{' '.join(COLUMNS)}', not '{' '.join(cells)[:80]}'")
    below = table[header + 1 :]
    for where, cells in below:
        if len(cells) != len(COLUMNS):
            raise DataError(f"{where}: has {len(cells)} columns instead of {len(COLUMNS)}")
    return below


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix."""
    if not folder.is_dir():
        raise DataError(f"{folder}: {'is not a folder' if folder.exists() else 'is missing'}")
    paths: dict[str, Path] = {}
    for path in [path for path in visible(folder) if path.suffix in (".png", ".jpg")]:
        if path.stem in paths:
            raise DataError(f"{path}: is there as .png and as .jpg")
        paths[path.stem] = path
    return paths


def _number(stem: str, where: object) -> int:
    match = _NUMBER.match(stem)
    if match is None:
        raise DataError(f"{where}: image name '{stem[:40]}' has no number")
    return int(match[1])


def _intrinsics(root: Path, image: Path) -> NDArray[np.float64]:
    path = root / INTRINSICS
    if path.exists():
        return checked_intrinsics(matrix(path, 3), path)
    height, width = read_image(image, cv2.IMREAD_GRAYSCALE).shape[:2]
    focal = NOMINAL_FOCAL * width
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
