"""12-Scenes (Valentin et al., 2016): one room, as it is unpacked.

    ROOT/data/frame-000000.color.jpg        or .png
    ROOT/data/frame-000000.pose.txt         4 x 4 camera-to-world, metres; lost frames hold -INF
    ROOT/data/frame-000000.depth.png        16-bit millimetres, optional
    ROOT/split.txt                          `sequence0 [frames=357] [start=0 ; end=356]`, one a line
    ROOT/info.txt                           `m_calibrationColorIntrinsic = ` and 4 x 4 numbers

The first sequence is the test split, all others are in train, the usual split in publications. A frame's stamp is
its number at 30 Hz. Depth of another size than the colour images (640 x 480 beside 1296 x 968) is left out, and
reported.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import DataError, Dataset, Frame, Sequence, image_size
from vlocnetpp.data.layouts.text_files import matrix, numbers, read_text
from vlocnetpp.data.layouts.unstamped import GAP_NS, RATE_HZ, usable_depths
from vlocnetpp.data.poses import checked_intrinsics, known_matrix, note_of_lost

DATA, SPLIT, INFO, KEY = "data", "split.txt", "info.txt", "m_calibrationColorIntrinsic"
_COLOR = re.compile(r"(frame-(\d+))\.color\.(?:jpg|png)")
_SEQUENCE = re.compile(r"(\w+)\D*frames=\s*(\d+)\D+start=\s*(\d+)\D+end=\s*(\d+)")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return (root / DATA).is_dir() and (root / SPLIT).is_file() and (root / INFO).is_file()


def read(root: Path) -> Dataset:
    """Read split, poses and K; pixels load on demand. Raises DataError naming the file and what is wrong in it."""
    colors: dict[int, Path] = {}
    for path in visible(root / DATA):
        if match := _COLOR.fullmatch(path.name):
            if int(match[2]) in colors:
                raise DataError(f"{path}: frame {int(match[2])} has two colour images")
            colors[int(match[2])] = path
    if not colors:
        raise DataError(f"{root / DATA}: has no frame-NNNNNN.color.jpg or .png")
    K_33 = _intrinsics(root / INFO)
    depths, notes = _depths(root / DATA, image_size(next(iter(colors.values()))))
    lost: list[str] = []
    splits: dict[str, list[Sequence]] = {"train": [], "test": []}
    start_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for place, (name, first, last) in enumerate(_sequences(root / SPLIT)):
        frames = []
        for number in range(first, last + 1):
            if number not in colors:
                continue  # frames that were lost are missing in the download
            stem = colors[number].name.split(".")[0]
            pose = root / DATA / f"{stem}.pose.txt"
            stamp = start_ns + (number - first) * 1_000_000_000 // RATE_HZ
            pose_7 = known_matrix(matrix(pose, 4), pose, lost)
            frames.append(Frame(f"{name}/{stem}", stamp, colors[number], K_33, pose_7, depths.get(stem)))
        if not frames:
            raise DataError(f"{root / SPLIT}: {name} has no frame from {first} to {last}")
        splits["train" if place else "test"].append(Sequence(name, tuple(frames)))
        start_ns = frames[-1].stamp_ns + GAP_NS
    given = sum(len(sequence.frames) for sequences in splits.values() for sequence in sequences)
    if given < len(colors):
        notes += (f"{root / SPLIT}: {len(colors) - given} of {len(colors)} images are in no sequence",)
    if not splits["train"]:
        splits["train"], splits["test"] = splits["test"], []
    kept = {split: tuple(sequences) for split, sequences in splits.items() if sequences}
    return Dataset(root, "twelve_scenes", kept, notes=(*notes, *note_of_lost(lost, given)))


def _sequences(path: Path) -> list[tuple[str, int, int]]:
    """Name, first and last frame of each."""
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _SEQUENCE.match(line.strip())
        if match is None:
            raise DataError(f"{path}:{number}: is not 'sequence0 [frames=N] [start=N ; end=N]'")
        found.append((match[1], int(match[3]), int(match[4])))
    return found


def _intrinsics(path: Path) -> NDArray[np.float64]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        key, _, value = line.partition("=")
        if key.strip() == KEY:
            values = numbers(value.split(), f"{path}:{number}")
            if len(values) != 16:
                raise DataError(f"{path}:{number}: has {len(values)} numbers instead of 4 x 4")
            return checked_intrinsics(np.array(values).reshape(4, 4)[:3, :3], f"{path}:{number}")
    raise DataError(f"{path}: has no line '{KEY} ='")


def _depths(folder: Path, size: tuple[int, int]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Depth images by the names of their frames; none where they are not of the size of the colour images."""
    found = {path.name.split(".")[0]: path for path in visible(folder) if path.name.endswith(".depth.png")}
    return usable_depths(found, folder, size)
