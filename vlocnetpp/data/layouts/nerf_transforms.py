"""transforms.json of instant-ngp, nerfstudio and Blender's synthetic scenes
(https://docs.nerf.studio/quickstart/data_conventions.html).

    ROOT/transforms.json        fl_x fl_y cx cy w h, or camera_angle_x; frames: file_path, transform_matrix, and
                                depth_file_path (16-bit, millimetres unless depth_unit_scale_factor says otherwise)
    ROOT/transforms_train.json, transforms_test.json, transforms_val.json       or one file for each split

A transform_matrix is camera-to-world of a camera that looks along -z with y up (OpenGL): y and z are turned here.
Intrinsics may stand at the top or in each frame. Pixels are counted from the corner of the first one, this library
counts from its middle, so the centre moves by half a pixel. `applied_scale`, by which a tool shrank the scene, is
divided out again. In one file `train_filenames`, `test_filenames` and `val_filenames` may say which frame is in which
split; else all are in train. Every folder of images is a sequence, in the order of the names at 30 Hz. Lens distortion
is not corrected, and reported; a fisheye is refused. Masks there mark pixels to ignore, not classes, and are not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Dataset, image_size
from vlocnetpp.data.layouts.text_files import inside, read_text
from vlocnetpp.data.layouts.unstamped import UnstampedFrame, by_folder, splits_of
from vlocnetpp.data.poses import checked_intrinsics, known_matrix, note_of_lost

ONE = "transforms.json"
SPLITS = ("train", "test", "val")
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Axes of an optical frame in OpenGL's camera."""
BENT = ("k1", "k2", "k3", "k4", "p1", "p2")


def recognizes(root: Path) -> bool:
    """Whether the folder has this layout."""
    return bool(_files(root))


def read(root: Path) -> Dataset:
    """Read frames and intrinsics; pixels load on demand. Raises DataError naming the file and what is wrong with it."""
    groups: dict[str, dict[str, list[UnstampedFrame]]] = {}
    notes: tuple[str, ...] = ()
    for split, path in _files(root).items():
        content = _content(path)
        frames = {_name(frame, path): frame for frame in content["frames"]}
        if len(frames) < len(content["frames"]):
            raise DataError(f"{path}: lists an image twice")
        lost: list[str] = []
        for part, names in _parts(content, split, list(frames), path).items():
            for folder, sorted_names in by_folder(names).items():
                sequence = f"{part}-{folder.replace('/', '-')}" if folder else part
                shots = [_shot(root, name, {**content, **frames[name]}, path, lost) for name in sorted_names]
                groups.setdefault(part, {}).setdefault(sequence, []).extend(shots)
        notes += note_of_lost(lost, len(frames))
        if any(float(each.get(key) or 0) for each in (content, *frames.values()) for key in BENT):
            notes += (f"{path}: has lens distortion, which is not corrected",)
    return Dataset(root, "nerf_transforms", splits_of(groups), notes=notes)


def _files(root: Path) -> dict[str, Path]:
    """Split -> file; one file alone is in train."""
    if (root / ONE).is_file():
        return {"train": root / ONE}
    return {split: path for split in SPLITS if (path := root / f"transforms_{split}.json").is_file()}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DataError(f"{path}: has no list of 'frames'")
    return content


def _name(frame: dict[str, Any], path: Path) -> str:
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: a frame has no file_path")
    return name.removeprefix("./")


def _parts(content: dict[str, Any], split: str, names: list[str], path: Path) -> dict[str, list[str]]:
    """Split -> names, as the file says it."""
    parts = {each: content[f"{each}_filenames"] for each in SPLITS if content.get(f"{each}_filenames")}
    if not parts:
        return {split: names}
    for listed in parts.values():
        absent = [name for name in listed if str(name).removeprefix("./") not in names]
        if absent:
            raise DataError(f"{path}: a list of file names has '{str(absent[0])[:60]}', which is no frame")
    return {each: [str(name).removeprefix("./") for name in listed] for each, listed in parts.items()}


def _shot(root: Path, name: str, about: dict[str, Any], path: Path, lost: list[str]) -> UnstampedFrame:
    where = f"{path}: {name[:60]}"
    base = inside(root, name, path)
    image = next(
        (
            each
            for each in (base, base.with_name(base.name + ".png"), base.with_name(base.name + ".jpg"))
            if each.is_file()
        ),
        None,
    )
    if image is None:
        raise DataError(f"{base}: is missing, {path} lists it")
    try:
        T_44 = np.array(about["transform_matrix"], np.float64)
        T_44 = T_44.reshape(-1, 4)[:4]
        T_44 = np.vstack([T_44[:3], [0.0, 0.0, 0.0, 1.0]])
        T_44[:3, 3] /= float(about.get("applied_scale", 1.0))
        depth_units_per_m = 1.0 / float(about.get("depth_unit_scale_factor", 0.001))
        K_33 = _intrinsics(image, about, where)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: needs numbers, transform_matrix 4 x 4 among them ({error})") from error
    depth = about.get("depth_file_path")
    return UnstampedFrame(
        Path(name).stem,
        image,
        K_33,
        known_matrix(T_44 @ OPENGL, where, lost),
        inside(root, str(depth), path) if depth and str(depth).endswith(".png") else None,
        depth_units_per_m,
    )


def _intrinsics(image: Path, about: dict[str, Any], where: str) -> NDArray[np.float64]:
    model = "fisheye" if about.get("is_fisheye") is True else str(about.get("camera_model", ""))
    if "FISHEYE" in model.upper():
        raise DataError(f"{where}: camera model {model} is no pinhole; undistort the images")
    height, width = image_size(image)
    told = float(about.get("w", width)), float(about.get("h", height))
    across, down = width / told[0], height / told[1]
    if abs(across / down - 1.0) > 0.01:
        raise DataError(f"{image}: is {width} x {height}, {where} says {told[0]:g} x {told[1]:g}")
    if "fl_x" in about:
        fx = float(about["fl_x"])
        fy = float(about.get("fl_y", fx))
    else:
        fx = fy = 0.5 * told[0] / float(np.tan(0.5 * float(about["camera_angle_x"])))
    cx, cy = float(about.get("cx", told[0] / 2)), float(about.get("cy", told[1] / 2))
    return checked_intrinsics(
        [[fx * across, 0.0, cx * across - 0.5], [0.0, fy * down, cy * down - 0.5], [0.0, 0.0, 1.0]], where
    )
