"""The text files that datasets come with: read whole, and refused by file, line and reason."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.data.frames import DataError, read_image
from vlocnetpp.data.poses import checked_intrinsics

SPLIT_FILES = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}
INTRINSICS = "camera-intrinsics.txt"
"""3 x 3 numbers; where a dataset has such a file, it takes precedence over published values."""


def read_text(path: Path) -> str:
    """A file's text. Raises DataError if it cannot be read or is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not a text file (byte {error.start} is no UTF-8)") from error


def rows(path: Path) -> list[tuple[str, list[str]]]:
    """The lines that are neither empty nor a `#` comment: `FILE:LINE` for messages, and the cells between blanks."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(f"{path}:{number}", line.split()) for number, line in lines if line.strip() and line.strip()[0] != "#"]


def numbers(cells: list[str], where: object) -> list[float]:
    """Cells as numbers, NaN and infinity among them. Raises DataError, naming `where`, for any other."""
    try:
        # Windows printed a lost pose's entries as `-1.#IND` and the like.
        return [float("nan") if "#" in cell else float(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def matrix(path: Path, side: int) -> NDArray[np.float64]:
    """A file of side x side numbers. Raises DataError for any other content."""
    values = numbers(read_text(path).split(), path)
    if len(values) != side * side:
        raise DataError(f"{path}: has {len(values)} numbers instead of {side} x {side}")
    return np.array(values).reshape(side, side)


def names(path: Path) -> list[str]:
    """One name a line; none where the file is absent. Raises DataError if a name is there twice."""
    if not path.exists():
        return []
    listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for name in listed:
        if listed.count(name) > 1:
            raise DataError(f"{path}: '{name}' is listed twice")
    return listed


def inside(folder: Path, name: str, where: object) -> Path:
    """A file that a list names. Raises DataError, naming `where`, if the name leads out of the folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DataError(f"{where}: '{name[:80]}' leaves the folder {folder}")
    return folder / name


def listed_splits(root: Path, there: list[str], what: str) -> dict[str, list[str]]:
    """Which of the sequence folders `there` are in which split, by `SPLIT_FILES`; all in train without these files.

    what: what every listed name must be, for the message. Raises DataError for any other name, or one in both splits.
    """
    listed = {split: names(root / file) for split, file in SPLIT_FILES.items()}
    for split, folders in listed.items():
        for name in folders:
            if name not in there:
                raise DataError(f"{root / SPLIT_FILES[split]}: '{name[:40]}' is not {what}")
            if split == "test" and name in listed["train"]:
                raise DataError(f"{root / SPLIT_FILES[split]}: sequence '{name}' is in both splits")
    return {split: folders for split, folders in listed.items() if folders} or {"train": there}


def intrinsics_of(image: Path, given: Path, published_33: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """K of a dataset's images in pixels: that of the file `given`, or the published one where there is none.

    size: (height, width) that the published K is for. Raises DataError if the file is malformed, or if it is absent
    and `image` is not of that size.
    """
    if given.exists():
        return checked_intrinsics(matrix(given, 3), given)
    found = read_image(image, cv2.IMREAD_GRAYSCALE).shape[:2]
    if found != size:
        raise DataError(
            f"{given}: is missing, and {image} is {found[1]} x {found[0]}, not the published {size[1]} x {size[0]}"
        )
    return np.array(published_33, np.float64)
