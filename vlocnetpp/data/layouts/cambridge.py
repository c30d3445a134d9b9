"""Cambridge Landmarks (Kendall, Grimes, Cipolla, 2015): one scene, as it is unpacked.

    ROOT/dataset_train.txt      three lines of header, then `seq1/frame00001.png X Y Z W P Q R`, metres
    ROOT/dataset_test.txt       likewise
    ROOT/seq1/frame00001.png    or .jpg
    ROOT/reconstruction.nvm     VisualSFM: `seq1/frame00001.jpg focal QW QX QY QZ X Y Z radial 0`; optional

X, Y, Z is where the camera is; the quaternion turns from the world to the camera (x right, y down, z forward), so it is
inverted here. The focal length is that of reconstruction.nvm for each image, of images 1920 pixels wide or high, scaled
to those that are there; the centre is the middle, the radial distortion is left as it is. Without that file
camera-intrinsics.txt counts, else a nominal focal length of 1670 px in 1920.

Images carry no stamps: each folder is a sequence at 30 Hz. The videos were thinned to 2 Hz, so neighbours are far apart
and odometry is hard.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Dataset, image_size
from vlocnetpp.data.layouts.text_files import INTRINSICS, inside, matrix, numbers, rows
from vlocnetpp.data.layouts.unstamped import UnstampedFrame, by_folder, splits_of
from vlocnetpp.data.poses import checked_intrinsics, known_pose, note_of_lost

TABLES = {"train": "dataset_train.txt", "test": "dataset_test.txt"}
RECONSTRUCTION = "reconstruction.nvm"
PUBLISHED_SIDE = 1920
NOMINAL_FOCAL = 1670.0
"""At `PUBLISHED_SIDE`, about the median of what the reconstructions have."""


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return any((root / name).is_file() for name in TABLES.values())


def read(root: Path) -> Dataset:
    """Read the poses; pixels load on demand. Raises DataError naming the file and what is wrong with it."""
    focals = _focals(root / RECONSTRUCTION)
    given = checked_intrinsics(matrix(root / INTRINSICS, 3), root / INTRINSICS) if _has_own(root, focals) else None
    groups: dict[str, dict[str, list[UnstampedFrame]]] = {}
    notes: tuple[str, ...] = ()
    nominal = 0
    for split, table in TABLES.items():
        if not (root / table).exists():
            continue
        poses, lost = _poses(root / table)
        notes += lost
        groups[split] = {}
        for folder, names in by_folder(list(poses)).items():
            shots = groups[split].setdefault(folder.replace("/", "-") or "images", [])
            for name in names:
                image = _image(root, name, root / table)
                K_33 = _intrinsics(image, focals.get(_stem(name))) if given is None else given
                nominal += given is None and _stem(name) not in focals
                shots.append(UnstampedFrame(Path(name).stem, image, K_33, poses[name]))
    if given is None and not focals:
        text = f"{root / RECONSTRUCTION}: is missing and so is {INTRINSICS}; the focal length is the nominal "
        notes += (f"{text}{NOMINAL_FOCAL:g} px of images {PUBLISHED_SIDE} px wide",)
    elif nominal:
        text = f"{root / RECONSTRUCTION}: has no focal length of {nominal} images; theirs is the nominal "
        notes += (f"{text}{NOMINAL_FOCAL:g} px of images {PUBLISHED_SIDE} px wide",)
    return Dataset(root, "cambridge", splits_of(groups), notes=notes)


def _has_own(root: Path, focals: dict[str, float]) -> bool:
    return not focals and (root / INTRINSICS).exists()


def _poses(table: Path) -> tuple[dict[str, NDArray[np.float64] | None], tuple[str, ...]]:
    """Image name -> pose, and notes on invalid ones."""
    poses: dict[str, NDArray[np.float64] | None] = {}
    lost: list[str] = []
    for where, cells in rows(table):
        if len(cells) != 8 or "." not in cells[0]:
            if poses:
                raise DataError(f"{where}: has {len(cells)} columns instead of 'image X Y Z W P Q R'")
            continue  # the header
        if cells[0] in poses:
            raise DataError(f"{where}: image '{cells[0][:60]}' is there twice")
        x, y, z, w, p, q, r = numbers(cells[1:], where)
        poses[cells[0]] = known_pose((x, y, z, w, -p, -q, -r), where, lost)
    if not poses:
        raise DataError(f"{table}: has no line 'image X Y Z W P Q R'")
    return poses, note_of_lost(lost, len(poses))


def _image(root: Path, name: str, table: Path) -> Path:
    path = inside(root, name, table)
    for other in (path, path.with_suffix(".jpg"), path.with_suffix(".png")):
        if other.is_file():
            return other
    raise DataError(f"{path}: is missing, {table} lists it")


def _focals(path: Path) -> dict[str, float]:
    """Image name without suffix -> focal length in pixels; none without the file."""
    if not path.exists():
        return {}
    table = rows(path)
    try:
        count = int(table[1][1][0])
        cameras = table[2 : 2 + count]
        return {_stem(cells[0]): float(cells[1]) for _, cells in cameras}
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: is not what VisualSFM writes, 'NVM_V3', a count and that many cameras") from error


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _intrinsics(image: Path, focal: float | None) -> NDArray[np.float64]:
    height, width = image_size(image)
    f = (NOMINAL_FOCAL if focal is None else focal) * max(height, width) / PUBLISHED_SIDE
    return checked_intrinsics([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]], image)
