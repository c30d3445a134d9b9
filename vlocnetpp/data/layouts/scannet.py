"""ScanNet as its own reader of .sens files writes it (Dai et al., 2017), and recorders of RGB-D scans that do the same.

    ROOT/color/0.jpg                        or .png
    ROOT/pose/0.txt                         4 x 4 camera-to-world, metres; lost frames hold -inf
    ROOT/depth/0.png                        16-bit millimetres, optional
    ROOT/intrinsic/intrinsic_color.txt      4 x 4

or a folder of such scans, with TrainSplit.txt and TestSplit.txt that list their names, one a line; without these files
all are in train. A frame's stamp is its number at 30 Hz. Depth of another size than the colour images (640 x 480 beside
1296 x 968) is left out, and reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, Sequence, image_size
from vlocnetpp.data.layouts.text_files import listed_splits, matrix
from vlocnetpp.data.layouts.unstamped import GAP_NS, RATE_HZ, usable_depths
from vlocnetpp.data.poses import checked_intrinsics, known_matrix, note_of_lost

INTRINSICS = Path("intrinsic/intrinsic_color.txt")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return _is_scan(root) or any(_is_scan(path) for path in visible(root) if path.is_dir())


def read(root: Path) -> Dataset:
    """Read poses and K; pixels load on demand. Raises DataError naming the file and what is wrong in it."""
    alone = _is_scan(root)
    there = ["scan"] if alone else [path.name for path in visible(root) if _is_scan(path)]
    listed = {"train": there} if alone else listed_splits(root, there, "a folder with color and pose")
    splits: dict[str, tuple[Sequence, ...]] = {}
    notes: tuple[str, ...] = ()
    start_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for split, names in listed.items():
        sequences = []
        for name in names:
            sequence, told = _scan(root if alone else root / name, name, start_ns)
            sequences.append(sequence)
            notes += told
            start_ns = sequence.frames[-1].stamp_ns + GAP_NS
        splits[split] = tuple(sequences)
    return Dataset(root, "scannet", splits, notes=notes)


def _is_scan(folder: Path) -> bool:
    return (folder / "color").is_dir() and (folder / "pose").is_dir()


def _scan(folder: Path, name: str, start_ns: int) -> tuple[Sequence, tuple[str, ...]]:
    images: dict[int, Path] = {}
    for path in visible(folder / "color"):
        if path.suffix not in (".jpg", ".png"):
            continue
        if not path.stem.isdecimal() or int(path.stem) in images:
            raise DataError(f"{path}: is not named by a number of its own, N.jpg or .png")
        images[int(path.stem)] = path
    if not images:
        raise DataError(f"{folder / 'color'}: has no image N.jpg or .png")
    first = images[min(images)]
    K_44 = matrix(folder / INTRINSICS, 4)
    K_33 = checked_intrinsics(K_44[:3, :3], folder / INTRINSICS)
    depths, notes = _depths(folder / "depth", image_size(first))
    lost: list[str] = []
    frames = []
    for number, image in sorted(images.items()):
        path = folder / "pose" / f"{image.stem}.txt"
        if not path.is_file():
            raise DataError(f"{path}: is missing, {image.name} is there")
        stamp = start_ns + (number - min(images)) * 1_000_000_000 // RATE_HZ
        pose = known_matrix(np.asarray(matrix(path, 4)), path, lost)
        frames.append(Frame(f"{name}/{image.stem}", stamp, image, K_33, pose, depths.get(number)))
    return Sequence(name, tuple(frames)), (*notes, *note_of_lost(lost, len(frames)))


def _depths(folder: Path, size: tuple[int, int]) -> tuple[dict[int, Path], tuple[str, ...]]:
    """Depth images by their numbers; none where they are not of the size of the colour images."""
    if not folder.is_dir():
        return {}, ()
    found = {int(path.stem): path for path in visible(folder) if path.suffix == ".png" and path.stem.isdecimal()}
    return usable_depths(found, folder, size)
