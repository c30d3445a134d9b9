"""EuRoC MAV and all that is recorded in the ASL format (Burri et al., 2016).

    ROOT/mav0/cam0/data.csv             `#timestamp [ns],filename`
    ROOT/mav0/cam0/data/NAME.png
    ROOT/mav0/cam0/sensor.yaml          intrinsics fu fv cu cv; T_BS: pose of the camera in the body; distortion
    ROOT/mav0/state_groundtruth_estimate0/data.csv      `#timestamp, p x y z [m], q w x y z, ...` in nanoseconds; or
    ROOT/mav0/mocap0/data.csv                           the same of motion capture, with a sensor.yaml of its own

or a folder of such sequences, with TrainSplit.txt and TestSplit.txt that list their names, one a line; without these
files all are in train.

The left camera is read. Poses of the ground truth are those of its sensor, brought to the body by the sensor's T_BS
(the identity without its file) and from the body to the camera by the camera's. They are interpolated, at most 20 ms
from a recorded one; frames without are kept with their pose unknown. Lens distortion is not corrected, and reported; a
fisheye (TUM-VI) is refused.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vlocnetpp.data.files import visible
from vlocnetpp.data.frames import LATEST_NS, DataError, Dataset, Frame, Sequence, StampError
from vlocnetpp.data.layouts.text_files import inside, listed_splits, numbers, read_text
from vlocnetpp.data.poses import checked_intrinsics, interpolate_poses, known_pose, note_of_lost, pose_from_matrix
from vlocnetpp.poses import compose, inverse

CAMERA = Path("mav0/cam0")
TRUTHS = (Path("mav0/state_groundtruth_estimate0"), Path("mav0/mocap0"))
"""The preferred first."""
TABLE, SENSOR = "data.csv", "sensor.yaml"
TOLERANCE_NS = 20_000_000
NONE_7 = np.full(7, np.nan)


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return _is_sequence(root) or any(_is_sequence(path) for path in visible(root) if path.is_dir())


def read(root: Path) -> Dataset:
    """Read the lists of a sequence or of several; pixels load on demand. Raises DataError naming file and reason."""
    if _is_sequence(root):
        sequence, notes = _sequence(root, "mav0")
        return Dataset(root, "euroc", {"train": (sequence,)}, notes=notes)
    there = [path.name for path in visible(root) if _is_sequence(path)]
    splits: dict[str, tuple[Sequence, ...]] = {}
    notes = ()
    for split, folders in listed_splits(root, there, f"a folder with {CAMERA}").items():
        sequences = [_sequence(root / name, name) for name in folders]
        splits[split] = tuple(sequence for sequence, _ in sequences)
        notes += tuple(note for _, several in sequences for note in several)
    return Dataset(root, "euroc", splits, notes=notes)


def _is_sequence(folder: Path) -> bool:
    return (folder / CAMERA).is_dir()


def _sequence(folder: Path, name: str) -> tuple[Sequence, tuple[str, ...]]:
    images = _images(folder / CAMERA)
    sensor = _sensor(folder / CAMERA / SENSOR)
    K_33, body_camera_7, notes = _camera(sensor, folder / CAMERA / SENSOR)
    stamps_M = np.array([stamp for stamp, _ in images], np.int64)
    truth = next((folder / each for each in TRUTHS if (folder / each / TABLE).is_file()), None)
    poses: list[NDArray[np.float64] | None] = [None] * len(images)
    if truth is not None:
        poses, lost = _poses(truth, stamps_M, body_camera_7)
        notes += lost
    frames = (
        Frame(f"{name}/{image.stem}", stamp, image, K_33, pose)
        for (stamp, image), pose in zip(images, poses, strict=True)
    )
    return Sequence(name, tuple(frames)), notes


def _rows(path: Path) -> list[tuple[str, list[str]]]:
    """The lines that are no comment, as `FILE:LINE` and the cells between commas."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [
        (f"{path}:{number}", [cell.strip() for cell in line.split(",")])
        for number, line in lines
        if line.strip() and line.strip()[0] != "#"
    ]


def _stamp(text: str, where: str) -> int:
    if not text.isdecimal() or int(text) >= LATEST_NS:
        raise DataError(f"{where}: '{text[:40]}' is not a stamp in nanoseconds")
    return int(text)


def _images(camera: Path) -> list[tuple[int, Path]]:
    images: list[tuple[int, Path]] = []
    for where, cells in _rows(camera / TABLE):
        if len(cells) != 2:
            raise DataError(f"{where}: has {len(cells)} columns instead of a stamp and a file name")
        image = inside(camera / "data", cells[1], where)
        if not image.is_file():
            raise DataError(f"{image}: is missing, {where} lists it")
        images.append((_stamp(cells[0], where), image))
    if not images:
        raise DataError(f"{camera / TABLE}: lists no image")
    for before, after in pairwise(images):
        if after[0] <= before[0]:
            raise StampError(f"{camera / TABLE}: stamps do not increase at {after[1].name}")
    return images


def _sensor(path: Path) -> dict[str, Any]:
    text = read_text(path)
    if text.startswith("%YAML:"):  # OpenCV writes a colon that YAML does not know
        text = text.partition("\n")[2]
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: describes no sensor")
    return content


def _extrinsics(sensor: dict[str, Any], path: Path) -> NDArray[np.float64]:
    """T_BS: pose of the sensor in the body."""
    try:
        T_44 = np.array(sensor["T_BS"]["data"], np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: T_BS has no data of 4 x 4 numbers") from error
    return pose_from_matrix(T_44, f"{path}: T_BS")


def _camera(sensor: dict[str, Any], path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """K, the pose of the camera in the body, and notes."""
    try:
        fu, fv, cu, cv = (float(value) for value in sensor["intrinsics"])
        distortion = [float(value) for value in sensor.get("distortion_coefficients") or ()]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: intrinsics must be four numbers, fu fv cu cv") from error
    K_33 = checked_intrinsics([[fu, 0.0, cu], [0.0, fv, cv], [0.0, 0.0, 1.0]], path)
    model = str(sensor.get("distortion_model", "none"))
    if model in ("equidistant", "fisheye"):
        raise DataError(f"{path}: the lens is a fisheye ({model}), K alone does not describe it; undistort the images")
    notes = (f"{path}: has lens distortion ({model}), which is not corrected",) if any(distortion) else ()
    return K_33, _extrinsics(sensor, path), notes


def _poses(
    truth: Path, stamps_M: NDArray[np.int64], body_camera_7: NDArray[np.float64]
) -> tuple[list[NDArray[np.float64] | None], tuple[str, ...]]:
    """The camera's pose at each stamp, and notes."""
    stamps, poses = [], []
    lost: list[str] = []
    for where, cells in _rows(truth / TABLE):
        if len(cells) < 8:
            raise DataError(f"{where}: has {len(cells)} columns instead of 'stamp x y z qw qx qy qz'")
        pose = known_pose(numbers(cells[1:8], where), where, lost)
        stamps.append(_stamp(cells[0], where))
        poses.append(NONE_7 if pose is None else pose)
    if not poses:
        raise DataError(f"{truth / TABLE}: has no pose")
    notes = note_of_lost(lost, len(poses))
    sensor = truth / SENSOR
    if sensor.is_file():
        body = inverse(_extrinsics(_sensor(sensor), sensor)[None])
        sensor_camera_7 = compose(body, body_camera_7[None])[0]
    else:
        sensor_camera_7 = body_camera_7
    found = interpolate_poses(np.array(stamps, np.int64), np.array(poses), stamps_M, TOLERANCE_NS)
    if all(pose is None for pose in found):
        raise DataError(f"{truth / TABLE}: never overlaps with the images in time")
    return [None if pose is None else compose(pose[None], sensor_camera_7[None])[0] for pose in found], notes
