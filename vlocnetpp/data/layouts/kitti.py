"""KITTI odometry (Geiger, Lenz, Urtasun, 2012).

    ROOT/sequences/00/image_2/000000.png    left colour camera; where absent image_0, the left grey one; .png or .jpg
    ROOT/sequences/00/calib.txt             `P0:` to `P3:`, each 3 x 4: K and the camera's place in camera 0
    ROOT/sequences/00/times.txt             seconds since the first image, optional
    ROOT/poses/00.txt                       a 3 x 4 matrix a line, camera 0 in its first frame; absent from 11 on

Calibration comes for all sequences, images do not: a sequence without an image folder is passed over. One sequence
folder by itself is read as well, with its poses in poses.txt. Poses become those of the camera whose images are read:
P = K [I | t] puts camera 2 at -t in camera 0. Line and stamp of an image are found by its number.

The usual split: 00-08 train, 09 and 10 test; what has no poses goes to `benchmark`. Where train would be empty, test,
else benchmark, becomes train. Every sequence has a map of its own, so a pose network can only be trained on one.
Stamps are times.txt's, else made up at 10 Hz, counted on from sequence to sequence with ten seconds between.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import LATEST_NS, DataError, Dataset, Frame, Sequence, StampError
from vlocnetpp.data.layouts.text_files import numbers, rows
from vlocnetpp.data.poses import checked_intrinsics, known_matrix, note_of_lost

CAMERAS = {"image_2": "P2", "image_0": "P0"}
"""Folder of images -> row of calib.txt, the preferred first."""
TEST = ("09", "10")
PERIOD_NS = 100_000_000
GAP_NS = 10_000_000_000


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return any(_has_images(folder) for folder in [root, *_sequence_folders(root)])


def read(root: Path) -> Dataset:
    """Read calibration, times and poses; pixels load on demand. Raises DataError naming the file and the reason."""
    poses = {folder: root / "poses" / f"{folder.name}.txt" for folder in _sequence_folders(root)}
    if not poses:
        # one folder by itself, perhaps still where the download put it
        at_home = root.resolve().parent.parent / "poses" / f"{root.resolve().name}.txt"
        poses = {root: root / "poses.txt" if (root / "poses.txt").exists() else at_home}
    splits: dict[str, list[Sequence]] = {"train": [], "test": [], "benchmark": []}
    notes: tuple[str, ...] = ()
    start_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for folder, path in poses.items():
        sequence, lost = _sequence(folder, "kitti" if folder == root else folder.name, path, start_ns)
        notes += lost
        usual = "test" if folder != root and folder.name in TEST else "train"
        splits[usual if path.exists() else "benchmark"].append(sequence)
        start_ns = sequence.frames[-1].stamp_ns + GAP_NS
    if not splits["train"]:
        splits["train"], splits["test"] = splits["test"], []
    if not splits["train"]:
        splits["train"], splits["benchmark"] = splits["benchmark"], []
    return Dataset(root, "kitti", {name: tuple(each) for name, each in splits.items() if each}, notes=notes)


def _sequence_folders(root: Path) -> list[Path]:
    folder = root / "sequences"
    return [path for path in visible(folder) if _has_images(path)] if folder.is_dir() else []


def _has_images(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in CAMERAS)


def _sequence(folder: Path, name: str, poses: Path, start_ns: int) -> tuple[Sequence, tuple[str, ...]]:
    camera = next((each for each in CAMERAS if (folder / each).is_dir()), None)
    if camera is None:
        raise DataError(f"{folder}: has neither {' nor '.join(CAMERAS)}, nor sequences that have")
    images = _images(folder / camera)
    K_33, offset_3 = _calibration(folder / "calib.txt", CAMERAS[camera])
    times, matrices = _times(folder / "times.txt"), _matrices(poses)
    frames = []
    lost: list[str] = []
    for number, image in images.items():
        for kind, values, path in (("time", times, folder / "times.txt"), ("pose", matrices, poses)):
            if values is not None and number >= len(values):
                raise DataError(f"{path}: has {len(values)} lines, so there is no {kind} for {image}")
        pose_7 = None
        if matrices is not None:
            T_44 = np.eye(4)
            T_44[:3] = matrices[number][1]
            T_44[:3, 3] += T_44[:3, :3] @ offset_3
            pose_7 = known_matrix(T_44, matrices[number][0], lost)
        stamp_ns = start_ns + (number * PERIOD_NS if times is None else times[number])
        frames.append(Frame(f"{name}/{image.stem}", stamp_ns, image, K_33, pose_7))
    return Sequence(name, tuple(frames)), note_of_lost(lost, len(frames))


def _images(folder: Path) -> dict[int, Path]:
    images: dict[int, Path] = {}
    for path in [path for path in visible(folder) if path.suffix in (".png", ".jpg")]:
        if not path.stem.isdecimal():
            raise DataError(f"{path}: is not named NNNNNN.png or .jpg")
        if int(path.stem) in images:
            raise DataError(f"{path}: image {int(path.stem)} is there twice")
        images[int(path.stem)] = path
    if not images:
        raise DataError(f"{folder}: has no image NNNNNN.png or .jpg")
    return dict(sorted(images.items()))


def _calibration(path: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K, and the camera's position in camera 0, metres."""
    # some tools write no blank behind the colon
    lines = {text.partition(":")[0]: (where, text) for where, cells in rows(path) for text in [" ".join(cells)]}
    if name not in lines:
        raise DataError(f"{path}: has no line '{name}:'")
    where, text = lines[name]
    P_34 = _matrix_34(text.partition(":")[2].split(), where)
    K_33 = checked_intrinsics(P_34[:, :3], where)
    offset_3 = np.asarray(-np.linalg.solve(K_33, P_34[:, 3]), np.float64)
    if not np.isfinite(offset_3).all():
        raise DataError(f"{where}: the last column has a NaN or infinite entry")
    return K_33, offset_3


def _times(path: Path) -> list[int] | None:
    """Nanoseconds since the first image, None without a file."""
    if not path.exists():
        return None
    times = []
    for where, cells in rows(path):
        values = numbers(cells, where)
        if len(values) != 1 or not 0 <= values[0] * 1e9 < LATEST_NS:  # no NaN either
            raise DataError(f"{where}: is not one time in seconds")
        times.append(round(values[0] * 1e9))
    for (before, after), (where, _) in zip(pairwise(times), rows(path)[1:], strict=True):
        if after <= before:
            raise StampError(f"{where}: times do not increase")
    return times


def _matrices(path: Path) -> list[tuple[str, NDArray[np.float64]]] | None:
    """Where each pose of camera 0 stands, and its 3 x 4 matrix; None without a file."""
    if not path.exists():
        return None
    return [(where, _matrix_34(cells, where)) for where, cells in rows(path)]


def _matrix_34(cells: list[str], where: str) -> NDArray[np.float64]:
    if len(cells) != 12:
        raise DataError(f"{where}: has {len(cells)} numbers instead of 3 x 4")
    return np.array(numbers(cells, where)).reshape(3, 4)
