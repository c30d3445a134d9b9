"""TUM RGB-D (Sturm et al., 2012), as recorded there and by the many tools that write the same.

    ROOT/rgb.txt            `stamp rgb/NAME.png`, seconds
    ROOT/depth.txt          `stamp depth/NAME.png`, 16-bit, 5000 a metre, 0 = unknown; optional
    ROOT/groundtruth.txt    `stamp tx ty tz qx qy qz qw` of the colour camera's optical frame in the map; optional
    ROOT/camera-intrinsics.txt      3 x 3, optional where the folder's name has freiburg1, 2 or 3

or a folder of such sequences, with TrainSplit.txt and TestSplit.txt that list their names, one a line; without these
files all are in train. An intrinsics file may then stand beside the sequences and count for all.

The images' stamps count. Depth is the nearest within 20 ms. The pose is interpolated, at most 20 ms from a recorded
one; frames without are kept with their pose unknown, and so are those beside a line that is no pose. The published K is
that of the 640 x 480 colour images, whose lens distortion (freiburg1 and 2) is left as it is; without an intrinsics
file and such a name it is the nominal one, and a note says so. Depth that a tool wrote in other units than 1/5000 m is
not known by this layout: the doctor's `scale` finds it.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import LATEST_NS, DataError, Dataset, Frame, Sequence, StampError
from vlocnetpp.data.layouts.text_files import INTRINSICS, inside, intrinsics_of, listed_splits, matrix, numbers, rows
from vlocnetpp.data.poses import checked_intrinsics, interpolate_poses, known_pose, note_of_lost

IMAGES, DEPTHS, POSES = "rgb.txt", "depth.txt", "groundtruth.txt"
DEPTH_UNITS_PER_M = 5000.0
TOLERANCE_NS = 20_000_000
PUBLISHED_K_33 = {
    "freiburg1": ((517.3, 0.0, 318.6), (0.0, 516.5, 255.3), (0.0, 0.0, 1.0)),
    "freiburg2": ((520.9, 0.0, 325.1), (0.0, 521.0, 249.7), (0.0, 0.0, 1.0)),
    "freiburg3": ((535.4, 0.0, 320.1), (0.0, 539.2, 247.6), (0.0, 0.0, 1.0)),
}
NOMINAL_K_33 = ((525.0, 0.0, 319.5), (0.0, 525.0, 239.5), (0.0, 0.0, 1.0))
"""The default of ROS drivers for an uncalibrated Kinect, which the dataset's page recommends too."""
PUBLISHED_SIZE = (480, 640)


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return _is_sequence(root) or any(_is_sequence(path) for path in visible(root) if path.is_dir())


def read(root: Path) -> Dataset:
    """Read the lists of a sequence or of several; pixels load on demand. Raises DataError naming file and reason."""
    if _is_sequence(root):
        sequence, notes = _sequence(root, "tum", root)
        return Dataset(root, "tum_rgbd", {"train": (sequence,)}, notes=notes)
    there = [path.name for path in visible(root) if _is_sequence(path)]
    splits: dict[str, tuple[Sequence, ...]] = {}
    notes = ()
    for split, folders in listed_splits(root, there, f"a folder with {IMAGES}").items():
        read = [_sequence(root / name, name, root) for name in folders]
        splits[split] = tuple(sequence for sequence, _ in read)
        notes += tuple(note for _, several in read for note in several)
    return Dataset(root, "tum_rgbd", splits, notes=notes)


def _is_sequence(folder: Path) -> bool:
    return (folder / IMAGES).exists() or ((folder / POSES).exists() and (folder / "rgb").is_dir())


def _sequence(folder: Path, name: str, root: Path) -> tuple[Sequence, tuple[str, ...]]:
    images = _listed(folder, IMAGES)
    if not images:
        raise DataError(f"{folder / IMAGES}: lists no image")
    stamps_M = np.array([stamp for stamp, _ in images], np.int64)
    depths = _nearest(_listed(folder, DEPTHS), stamps_M) if (folder / DEPTHS).exists() else [None] * len(images)
    K_33, nominal = _intrinsics(folder, root, images[0][1])
    poses, lost = _poses(folder / POSES, stamps_M)
    frames = (
        Frame(f"{name}/{image.stem}", stamp_ns, image, K_33, pose_7, depth, None, DEPTH_UNITS_PER_M)
        for (stamp_ns, image), pose_7, depth in zip(images, poses, depths, strict=True)
    )
    return Sequence(name, tuple(frames)), (*nominal, *lost)


def _listed(folder: Path, file: str) -> list[tuple[int, Path]]:
    """Stamps and images of rgb.txt or depth.txt, in the order of their stamps."""
    images: list[tuple[int, Path]] = []
    table = rows(folder / file)
    for where, cells in table:
        if len(cells) != 2:
            raise DataError(f"{where}: has {len(cells)} columns instead of a stamp and a file name")
        image = inside(folder, cells[1], where)
        if not image.is_file():
            raise DataError(f"{image}: {'is not a file' if image.exists() else 'is missing'}, {where} lists it")
        images.append((stamp_of(cells[0], where), image))
    for (before, after), (where, _) in zip(pairwise(images), table[1:], strict=True):
        if after[0] <= before[0]:
            raise StampError(f"{where}: stamps do not increase, {after[1].name} comes at or before {before[1].name}")
    if len({path for _, path in images}) < len(images):
        raise DataError(f"{folder / file}: lists an image twice")
    return images


def _nearest(depths: list[tuple[int, Path]], stamps_M: NDArray[np.int64]) -> list[Path | None]:
    """The depth image nearest to each stamp, None where none is within the tolerance."""
    found: list[Path | None] = []
    stamps_N = np.array([stamp for stamp, _ in depths], np.int64)
    for stamp in stamps_M:
        distances_N = np.abs(stamps_N - stamp)
        near = len(depths) > 0 and distances_N.min() <= TOLERANCE_NS
        found.append(depths[int(distances_N.argmin())][1] if near else None)
    return found


def _poses(path: Path, stamps_M: NDArray[np.int64]) -> tuple[list[NDArray[np.float64] | None], tuple[str, ...]]:
    """The pose at each stamp. A file none of whose poses is near an image is of another recording, and refused."""
    if not path.exists():
        return [None] * len(stamps_M), ()
    stamps, poses = [], []
    lost: list[str] = []
    for where, cells in rows(path):
        if len(cells) != 8:
            raise DataError(f"{where}: has {len(cells)} columns instead of 'stamp tx ty tz qx qy qz qw'")
        tx, ty, tz, qx, qy, qz, qw = numbers(cells[1:], where)
        stamps.append(stamp_of(cells[0], where))
        pose = known_pose((tx, ty, tz, qw, qx, qy, qz), where, lost)
        poses.append(np.full(7, np.nan) if pose is None else pose)
    if not poses:
        raise DataError(f"{path}: has no pose")
    notes = note_of_lost(lost, len(poses))
    found = interpolate_poses(np.array(stamps, np.int64), np.array(poses), stamps_M, TOLERANCE_NS)
    if all(pose is None for pose in found):
        raise DataError(
            f"{path}: never overlaps with {IMAGES}: poses from {min(stamps) / 1e9:.2f} to {max(stamps) / 1e9:.2f} s, "
            f"images from {stamps_M[0] / 1e9:.2f} to {stamps_M[-1] / 1e9:.2f} s"
        )
    return found, notes


def stamp_of(text: str, where: str) -> int:
    """Seconds as they are written -> nanoseconds, exactly. Raises DataError, naming `where`, for any other text."""
    try:
        seconds = Decimal(text)
    except InvalidOperation as error:
        raise DataError(f"{where}: '{text[:40]}' is not a stamp in seconds") from error
    if not seconds.is_finite() or not 0 <= seconds * 1_000_000_000 < LATEST_NS:
        raise DataError(f"{where}: '{text[:40]}' is not a stamp in seconds")
    return int(seconds * 1_000_000_000)


def _intrinsics(folder: Path, root: Path, image: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    for given in (folder / INTRINSICS, root / INTRINSICS):
        if given.exists():
            return checked_intrinsics(matrix(given, 3), given), ()
    camera = next((name for name in PUBLISHED_K_33 if name in folder.resolve().name), "")
    K_33 = intrinsics_of(image, folder / INTRINSICS, PUBLISHED_K_33.get(camera, NOMINAL_K_33), PUBLISHED_SIZE)
    if camera:
        return K_33, ()
    said = f"{folder / INTRINSICS}: is missing, and the folder's name has none of {', '.join(PUBLISHED_K_33)}; "
    return K_33, (f"{said}K is the nominal one of a Kinect under ROS, 525 px",)
