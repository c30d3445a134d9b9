"""A plain folder of images from one camera, with K and without labels. For looking at what a model answers.

    ROOT/*.jpg, *.png               in the order of their names, 2 before 10; one recording, the split `test`
    ROOT/camera-intrinsics.txt      3 x 3, pixels of these images

There are no stamps: frames are taken to follow each other at 30 Hz.
"""

from __future__ import annotations

from pathlib import Path

from vlocnetpp.data.files import natural, visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, Sequence
from vlocnetpp.data.layouts.text_files import INTRINSICS, matrix
from vlocnetpp.data.poses import checked_intrinsics

RATE_HZ = 30
SUFFIXES = (".jpg", ".jpeg", ".png")


def lacks_intrinsics(root: Path) -> bool:
    """Whether only K is missing for the folder to have this layout."""
    return not (root / INTRINSICS).exists() and bool(_images(root))


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return (root / INTRINSICS).is_file() and bool(_images(root))


def read(root: Path) -> Dataset:
    """Read the names; pixels load on demand. Raises DataError without K or without an image."""
    K_33 = checked_intrinsics(matrix(root / INTRINSICS, 3), root / INTRINSICS)
    images = _images(root)
    if not images:
        raise DataError(f"{root}: has no image ({', '.join(SUFFIXES)})")
    # Not from 0: a stamp of 0 means "not set" in a ROS header.
    frames = tuple(Frame(path.name, (i + 1) * 1_000_000_000 // RATE_HZ, path, K_33) for i, path in enumerate(images))
    return Dataset(root, "images", {"test": (Sequence(root.resolve().name, frames),)})


def _images(root: Path) -> list[Path]:
    found = [path for path in visible(root) if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: natural(path.name))
