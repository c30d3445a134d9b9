"""7-Scenes in its original layout (Microsoft Research, RGB-D Dataset 7-Scenes).

    ROOT/TrainSplit.txt, TestSplit.txt      `sequence1` or `seq-01`, one a line
    ROOT/seq-01/frame-000000.color.png      or .jpg
    ROOT/seq-01/frame-000000.depth.png      16-bit millimetres, 0 and 65535 = unknown; optional
    ROOT/seq-01/frame-000000.pose.txt       4 x 4 camera-to-world, metres
    ROOT/camera-intrinsics.txt              3 x 3, optional

The recordings carry no stamps: a frame's is its number at 30 Hz, and sequences follow each other with ten seconds
between, so that stamps are unique in the dataset. Without an intrinsics file K is the published 585 / 320 / 240 of the
640 x 480 images; the Kinect's depth is then not registered to its colour image, which the dataset leaves so.
A pose that tracking lost (not finite) is read as unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, Sequence
from vlocnetpp.data.layouts.text_files import INTRINSICS, SPLIT_FILES, intrinsics_of, matrix, names
from vlocnetpp.data.poses import known_matrix, note_of_lost

PUBLISHED_K_33 = ((585.0, 0.0, 320.0), (0.0, 585.0, 240.0), (0.0, 0.0, 1.0))
PUBLISHED_SIZE = (480, 640)
GAP_NS = 10_000_000_000
_COLOR = re.compile(r"(frame-(\d+))\.color\.(?:png|jpg)")
_FOLDER = re.compile(r"seq-\d+(\.zip)?")
_SEQUENCE = re.compile(r"\D*(\d+)")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    listed = any((root / name).exists() for name in SPLIT_FILES.values())
    return listed and any(_FOLDER.fullmatch(path.name) for path in visible(root))


def read(root: Path) -> Dataset:
    """Read splits, poses and K; pixels load on demand. Raises DataError naming the file and what is wrong in it."""
    split_of: dict[int, str] = {}
    for split, file_name in SPLIT_FILES.items():
        for number in _listed(root / file_name):
            if number in split_of:
                raise DataError(f"{root / file_name}: sequence {number} is listed twice or in both splits")
            split_of[number] = split
    K_33 = None
    lost: list[str] = []
    splits: dict[str, list[Sequence]] = {split: [] for split in SPLIT_FILES if split in split_of.values()}
    start_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for number, split in sorted(split_of.items()):
        folder = root / f"seq-{number:02d}"
        colors = _color_images(folder)
        if K_33 is None:
            image = next(iter(colors.values()))
            K_33 = intrinsics_of(image, root / INTRINSICS, PUBLISHED_K_33, PUBLISHED_SIZE)
        sequence = _sequence(folder, colors, start_ns, K_33, lost)
        splits[split].append(sequence)
        start_ns = sequence.frames[-1].stamp_ns + GAP_NS
    given = sum(len(sequence.frames) for sequences in splits.values() for sequence in sequences)
    notes = note_of_lost(lost, given)
    return Dataset(root, "seven_scenes", {split: tuple(each) for split, each in splits.items()}, notes=notes)


def _listed(path: Path) -> list[int]:
    """Sequence numbers in a split file; none where the file is absent, as in a recording without a test split."""
    numbers = []
    for name in names(path):
        match = _SEQUENCE.fullmatch(name)
        if match is None:
            raise DataError(f"{path}: '{name[:40]}' is not a sequence such as 'sequence1' or 'seq-01'")
        numbers.append(int(match[1]))
    return numbers


def _color_images(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        archive = folder.with_name(folder.name + ".zip")
        hint = f"unpack {archive.name} first" if archive.exists() else "a split file lists it"
        raise DataError(f"{folder}: is missing, {hint}")
    colors: dict[int, Path] = {}
    for path in visible(folder):
        if match := _COLOR.fullmatch(path.name):
            if int(match[2]) in colors:
                raise DataError(f"{path}: frame {int(match[2])} has two colour images")
            colors[int(match[2])] = path
    if not colors:
        raise DataError(f"{folder}: has no frame-NNNNNN.color.png or .jpg")
    return dict(sorted(colors.items()))


def _sequence(
    folder: Path, colors: dict[int, Path], start_ns: int, K_33: NDArray[np.float64], lost: list[str]
) -> Sequence:
    names = {path.name for path in folder.iterdir()}
    has_depth = any(name.endswith(".depth.png") for name in names)
    first = next(iter(colors))
    frames = []
    for number, color in colors.items():
        stem = color.name.split(".")[0]
        for wanted in (f"{stem}.pose.txt", f"{stem}.depth.png") if has_depth else (f"{stem}.pose.txt",):
            if wanted not in names:
                raise DataError(f"{folder / wanted}: is missing, {color.name} is there")
        frames.append(
            Frame(
                name=f"{folder.name}/{stem}",
                stamp_ns=start_ns + (number - first) * 1_000_000_000 // 30,
                image_path=color,
                K_33=K_33,
                pose_7=known_matrix(matrix(pose := folder / f"{stem}.pose.txt", 4), pose, lost),
                depth_path=folder / f"{stem}.depth.png" if has_depth else None,
            )
        )
    return Sequence(folder.name, tuple(frames))
