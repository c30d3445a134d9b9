"""Which layout a folder has."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from vlocnetpp.data.bags.storage import SUFFIXES
from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset
from vlocnetpp.data.layouts import (
    cambridge,
    camvid,
    colmap,
    deeploc,
    euroc,
    folder,
    images,
    kitti,
    nerf_transforms,
    scannet,
    seven_scenes,
    tum_rgbd,
    twelve_scenes,
)
from vlocnetpp.data.layouts.text_files import INTRINSICS

LAYOUTS = {
    "folder": folder,
    "seven_scenes": seven_scenes,
    "deeploc": deeploc,
    "kitti": kitti,
    "tum_rgbd": tum_rgbd,
    "euroc": euroc,
    "cambridge": cambridge,
    "twelve_scenes": twelve_scenes,
    "scannet": scannet,
    "colmap": colmap,
    "nerf_transforms": nerf_transforms,
    "camvid": camvid,
    "images": images,
}
"""Every reader by name: a module with `recognizes(root) -> bool` and `read(root) -> Dataset`."""
IS_BAG = "is a bag; convert it with: vlocnetpp data from-bag BAG OUT"


def open_dataset(root: Path, layout: str | None = None) -> Dataset:
    """Read a dataset's index; pixels load on demand.

    layout: a name in `LAYOUTS`, or None to recognize it from the folder.
    Raises DataError in one line if the folder is missing, of no known layout, or malformed.
    """
    root = Path(root)
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            raise DataError(f"{root}: {IS_BAG}" if _holds_bag([root]) else f"{root}: is not a folder, as a dataset is")
        return _read(root, layout)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: does not exist") from error
    except OSError as error:  # a folder that may not be listed; `read_bytes` reports files
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}") from error


def recognizing(root: Path) -> list[str]:
    """Names of the layouts that a folder may have."""
    return [name for name, reader in LAYOUTS.items() if reader.recognizes(root)]


def _read(root: Path, layout: str | None) -> Dataset:
    if layout is None:
        found = recognizing(root)
        if not found and _holds_bag(visible(root)):
            raise DataError(f"{root}: {IS_BAG}")
        if not found and images.lacks_intrinsics(root):
            raise DataError(f"{root}: is a folder of images alone; put {INTRINSICS} beside them, K as 3 x 3 numbers")
        if len(found) != 1:
            reason = f"could be {' or '.join(found)}" if found else "is of no known layout"
            raise DataError(f"{root}: {reason}; name one of {', '.join(LAYOUTS)}")
        layout = found[0]
    if layout not in LAYOUTS:
        raise DataError(f"{root}: no layout '{layout}', there is {', '.join(LAYOUTS)}")
    dataset = LAYOUTS[layout].read(root)
    if not any(sequence.frames for sequences in dataset.splits.values() for sequence in sequences):
        raise DataError(f"{root}: has no frame, read as layout '{layout}'")
    return dataset


def _holds_bag(paths: Sequence[Path]) -> bool:
    """Whether one of them is named as a recording's storage file, compressed as a whole or not."""
    return any(path.name.removesuffix(".zstd").endswith(SUFFIXES) for path in paths)
