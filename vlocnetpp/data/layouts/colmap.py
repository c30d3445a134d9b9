"""A reconstruction by COLMAP (Schoenberger, Frahm, 2016), https://colmap.github.io/format.html.

    ROOT/images/NAME                in folders or not; .jpg or .png
    ROOT/sparse/0/cameras.bin, images.bin       or .txt; in ROOT/sparse or ROOT itself as well

Poses in images.* turn and move from the world to the camera (x right, y down, z forward) and are inverted here. COLMAP
counts pixels from the corner of the first one, this library from its middle, so the centre moves by half a pixel. Where
the images are smaller or larger than their camera says, K is scaled with them. Lens distortion is not corrected, and
reported; a fisheye is refused, `colmap image_undistorter` makes pinhole images.

Every folder below images/ is a sequence, in the order of the names at 30 Hz. TrainSplit.txt and TestSplit.txt may list
the folders, one a line; without these files all are in train. The unit of length of a reconstruction is its own, unless
it was aligned with known positions (`colmap model_aligner`): a note says so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Dataset, image_size, read_bytes
from vlocnetpp.data.layouts.text_files import inside, listed_splits, numbers, read_text
from vlocnetpp.data.layouts.unstamped import UnstampedFrame, by_folder, distinct, splits_of
from vlocnetpp.data.poses import checked_intrinsics, known_pose, note_of_lost
from vlocnetpp.poses import inverse

MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8), 6: ("FULL_OPENCV", 12), 7: ("FOV", 5), 8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12), 11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}  # fmt: skip
"""Number in the binary file -> name and how many parameters."""
ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
PINHOLE = (*ONE_FOCAL, "PINHOLE", "OPENCV", "FULL_OPENCV")
PLACES = ("sparse/0", "sparse", ".")
IMAGES = "images"


@dataclass(frozen=True)
class Camera:
    """One camera of a model."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class Registered:
    """One image of a model."""

    name: str
    camera: int
    pose_7: tuple[float, ...]
    """World to camera: x, y, z, qw, qx, qy, qz, as it is stored."""


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return _model(root) is not None


def read(root: Path) -> Dataset:
    """Read the model; pixels load on demand. Raises DataError naming the file and what is wrong with it."""
    files = _model(root)
    if files is None:
        raise DataError(f"{root}: has no cameras and images, .bin or .txt, in {', '.join(PLACES)}")
    cameras_file, images_file = files
    cameras = _cameras_bin(cameras_file) if cameras_file.suffix == ".bin" else _cameras_txt(cameras_file)
    images = _images_bin(images_file) if images_file.suffix == ".bin" else _images_txt(images_file)
    listed: dict[str, Registered] = {each.name: each for each in images}
    if not listed:
        raise DataError(f"{images_file}: has no image")
    base = root / IMAGES if (root / IMAGES).is_dir() else root
    lost: list[str] = []
    K_of: dict[int, NDArray[np.float64]] = {}
    groups: dict[str, list[UnstampedFrame]] = {}
    for folder, names in by_folder(list(listed)).items():
        shots = groups.setdefault(folder or IMAGES, [])
        for name in names:
            image, path = listed[name], inside(base, name, images_file)
            if not path.is_file():
                raise DataError(f"{path}: is missing, {images_file} lists it")
            if image.camera not in cameras:
                raise DataError(f"{images_file}: image '{name[:60]}' has camera {image.camera}, which is not there")
            if image.camera not in K_of:
                K_of[image.camera] = _intrinsics(cameras[image.camera], path, cameras_file)
            pose = known_pose(image.pose_7, f"{images_file}: {name}", lost)
            shots.append(
                UnstampedFrame(Path(name).stem, path, K_of[image.camera], None if pose is None else _inverted(pose))
            )
    sequences = distinct(list(groups), lambda folder: folder.replace("/", "-"))
    # Listed by their folders, or as the sequences are called.
    folder_of = {name: folder for folder, name in sequences.items()} | {folder: folder for folder in groups}
    splits = listed_splits(root, list(folder_of), f"a folder of images in {base}")
    chosen = {
        split: {sequences[folder_of[name]]: groups[folder_of[name]] for name in listed}
        for split, listed in splits.items()
    }
    return Dataset(
        root, "colmap", splits_of(chosen), notes=(*note_of_lost(lost, len(listed)), *_notes(cameras, cameras_file))
    )


def _model(root: Path) -> tuple[Path, Path] | None:
    """The files of cameras and of images."""
    for place in PLACES:
        for suffix in (".bin", ".txt"):
            files = root / place / f"cameras{suffix}", root / place / f"images{suffix}"
            if all(path.is_file() for path in files):
                return files
    return None


def _inverted(pose_7: NDArray[np.float64]) -> NDArray[np.float64]:
    return inverse(pose_7[None])[0]


def _notes(cameras: dict[int, Camera], path: Path) -> tuple[str, ...]:
    """Notes on a model's unit of length and its lenses."""
    bent = {each.model for each in cameras.values() if any(_distortion(each))}
    notes: tuple[str, ...] = (
        f"{path.parent}: the unit of length of a COLMAP model is its own unless it was aligned to metres",
    )
    if bent:
        notes += (f"{path}: has lens distortion ({', '.join(sorted(bent))}), which is not corrected",)
    return notes


def _distortion(camera: Camera) -> tuple[float, ...]:
    return camera.parameters[3 if camera.model in ONE_FOCAL else 4 :]


def _intrinsics(camera: Camera, image: Path, where: Path) -> NDArray[np.float64]:
    if camera.model not in PINHOLE:
        raise DataError(f"{where}: camera model {camera.model} is no pinhole; `colmap image_undistorter` makes some")
    height, width = image_size(image)
    across, down = width / camera.width, height / camera.height
    if abs(across / down - 1.0) > 0.01:
        raise DataError(f"{image}: is {width} x {height}, its camera in {where} {camera.width} x {camera.height}")
    fx, *rest = camera.parameters
    fy, cx, cy = (fx, *rest[:2]) if camera.model in ONE_FOCAL else rest[:3]
    return checked_intrinsics(
        [[fx * across, 0.0, cx * across - 0.5], [0.0, fy * down, cy * down - 0.5], [0.0, 0.0, 1.0]], where
    )


def _camera(model: str, size: tuple[int, int], parameters: tuple[float, ...], where: object) -> Camera:
    count = dict(MODELS.values()).get(model)
    if count is None:
        raise DataError(
            f"{where}: camera model '{model[:40]}' is not known; there is {', '.join(dict(MODELS.values()))}"
        )
    if len(parameters) != count or min(size) <= 0:
        raise DataError(f"{where}: a {model} has a size and {count} parameters, not {len(parameters)}")
    return Camera(model, *size, parameters)


def _cameras_txt(path: Path) -> dict[int, Camera]:
    cameras = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells, where = line.split(), f"{path}:{number}"
        if not cells or cells[0].startswith("#"):
            continue
        try:
            key, model, width, height = int(cells[0]), cells[1], int(cells[2]), int(cells[3])
        except (IndexError, ValueError) as error:
            raise DataError(f"{where}: is not 'ID MODEL WIDTH HEIGHT parameters'") from error
        cameras[key] = _camera(model, (width, height), tuple(numbers(cells[4:], where)), where)
    return cameras


def _images_txt(path: Path) -> list[Registered]:
    """Two lines an image; the second, of its points, may be empty."""
    lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if not line.startswith("#")]
    images = []
    for number, line in lines[::2]:
        cells, where = line.split(maxsplit=9), f"{path}:{number}"
        if not cells:
            continue  # at the end
        if len(cells) != 10 or not cells[8].isdecimal():
            raise DataError(f"{where}: is not 'ID QW QX QY QZ TX TY TZ CAMERA NAME' (every second line is of points)")
        qw, qx, qy, qz, x, y, z = numbers(cells[1:8], where)
        images.append(Registered(cells[9].strip(), int(cells[8]), (x, y, z, qw, qx, qy, qz)))
    return images


def _cameras_bin(path: Path) -> dict[int, Camera]:
    data, cameras = read_bytes(path), {}
    try:
        (count,), at = struct.unpack_from("<Q", data), 8
        for _ in range(count):
            key, model, width, height = struct.unpack_from("<iiQQ", data, at)
            name, size = MODELS.get(model, (f"number {model}", 0))
            parameters = struct.unpack_from(f"<{size}d", data, at + 24)
            cameras[key] = _camera(name, (width, height), parameters, path)
            at += 24 + 8 * size
    except struct.error as error:
        raise DataError(f"{path}: is cut short") from error
    return cameras


def _images_bin(path: Path) -> list[Registered]:
    data, images = read_bytes(path), []
    try:
        (count,), at = struct.unpack_from("<Q", data), 8
        for _ in range(count):
            _, qw, qx, qy, qz, x, y, z, camera = struct.unpack_from("<i7di", data, at)
            end = data.index(b"\0", at + 64)
            name = data[at + 64 : end].decode()
            (points,) = struct.unpack_from("<Q", data, end + 1)
            images.append(Registered(name, camera, (x, y, z, qw, qx, qy, qz)))
            at = end + 9 + 24 * points
        if at > len(data):
            raise ValueError("the points of the last image are missing")
    except (struct.error, ValueError) as error:
        raise DataError(f"{path}: is cut short") from error
    return images
