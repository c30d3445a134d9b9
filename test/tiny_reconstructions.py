"""Tiny folders as tools for reconstruction write them: COLMAP, Blender, NeRF."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from dataset_parts import (
    HEIGHT,
    WIDTH,
    K,
    Want,
    gapped,
    inverted,
    matrix_of,
    random_image,
    random_pose,
    row,
    save,
    write,
)


def write_colmap(root: Path, suffix: str = ".txt") -> list[Want]:
    """Two folders of images with a camera each; the images of the second are half as large as its camera says."""
    rng = np.random.default_rng(8)
    cameras = {
        3: ("OPENCV", WIDTH, HEIGHT, (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, 0.0, 0.0, 0.0, 0.0)),
        7: ("SIMPLE_RADIAL", 2 * WIDTH, 2 * HEIGHT, (20.0, WIDTH + 1.0, HEIGHT + 2.0, 0.0)),
    }
    halved = np.array([[10.0, 0.0, WIDTH / 2], [0.0, 10.0, HEIGHT / 2 + 0.5], [0.0, 0.0, 1.0]])
    wants, images = [], []
    for camera, folder, number in ((3, "left", 2), (3, "left", 10), (7, "walk", 1)):
        image, pose = random_image(rng), random_pose(rng)
        save(root / f"images/{folder}/im {number}.png", image)
        images.append((len(images) + 1, inverted(pose), camera, f"{folder}/im {number}.png"))
        K_33 = K if camera == 3 else halved
        wants.append(Want("train", folder, f"{folder}/im {number}", 0, image, K_33, pose))
    if suffix == ".txt":
        write(root / "sparse/0/cameras.txt", "# Camera list", *(
            f"{key} {model} {width} {height} {row(np.array(values))}"
            for key, (model, width, height, values) in cameras.items()
        ))  # fmt: skip
        lines = ["# Image list with two lines of data per image:"]
        for points, (key, pose, camera, name) in enumerate(reversed(images)):
            lines += [f"{key} {row(pose[3:])} {row(pose[:3])} {camera} {name}", "1.5 2.5 -1 " * points]
        write(root / "sparse/0/images.txt", *lines)
    else:
        numbers = {"SIMPLE_RADIAL": 2, "OPENCV": 4}
        data = struct.pack("<Q", len(cameras))
        for key, (model, width, height, values) in cameras.items():
            data += struct.pack(f"<iiQQ{len(values)}d", key, numbers[model], width, height, *values)
        (root / "sparse/0").mkdir(parents=True)
        (root / "sparse/0/cameras.bin").write_bytes(data)
        data = struct.pack("<Q", len(images))
        for points, (key, pose, camera, name) in enumerate(reversed(images)):
            data += struct.pack("<i7di", key, *pose[3:], *pose[:3], camera) + name.encode() + b"\0"
            data += struct.pack("<Q", points) + struct.pack("<ddq", 1.5, 2.5, -1) * points
        (root / "sparse/0/images.bin").write_bytes(data)
    return gapped(wants, [2, 1])


def write_colmap_binary(root: Path) -> list[Want]:
    """The same in binary files."""
    return write_colmap(root, ".bin")


def write_nerf_transforms(root: Path) -> list[Want]:
    """One file with a split in it, one frame with intrinsics of its own, one with depth in fifths of millimetres."""
    rng = np.random.default_rng(9)
    own = np.array([[12.0, 0.0, 8.0], [0.0, 12.0, 6.0], [0.0, 0.0, 1.0]])
    wants, frames = [], []
    for split, number in (("train", 2), ("train", 10), ("test", 3)):
        image, pose = random_image(rng), random_pose(rng)
        save(root / f"images/frame_{number}.png", image)
        T_44 = matrix_of(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])
        T_44[:3, 3] *= 0.5  # applied_scale
        frame: dict[str, Any] = {"file_path": f"./images/frame_{number}.png", "transform_matrix": T_44.tolist()}
        want = Want(split, f"{split}-images", f"{split}-images/frame_{number}", 0, image, K, pose)
        if number == 10:
            frame |= {"fl_x": 12.0, "fl_y": 12.0, "cx": 8.5, "cy": 6.5}
            want.K_33 = own
        if number == 2:
            depth = rng.integers(0, 65535, (HEIGHT, WIDTH)).astype(np.uint16)
            save(root / f"depth/{number}.png", depth)
            frame["depth_file_path"] = f"depth/{number}.png"
            want.depth_HW = depth.astype(np.float32) / np.float32(5000)
        frames.append(frame)
        wants.append(want)
    content = {
        "camera_model": "OPENCV", "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5,
        "w": WIDTH, "h": HEIGHT, "k1": 0.0, "applied_scale": 0.5, "depth_unit_scale_factor": 0.0002,
        "train_filenames": ["images/frame_10.png", "./images/frame_2.png"], "test_filenames": ["images/frame_3.png"],
        "frames": frames,
    }  # fmt: skip
    write(root / "transforms.json", json.dumps(content))
    return gapped(wants, [2, 1])


def write_blender(root: Path) -> list[Want]:
    """A file for each split, the angle of view instead of a focal length, names without their ending."""
    rng = np.random.default_rng(10)
    wants = []
    focal = 0.5 * WIDTH / np.tan(0.5 * 0.69)
    K_33 = np.array([[focal, 0.0, (WIDTH - 1) / 2], [0.0, focal, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    for split in ("train", "test", "val"):
        frames = []
        for number in range(2):
            image, pose = random_image(rng), random_pose(rng)
            save(root / f"{split}/r_{number}.png", image)
            T_44 = matrix_of(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": f"./{split}/r_{number}", "rotation": 0.01, "transform_matrix": T_44.tolist()})
            sequence = f"{split}-{split}"
            wants.append(Want(split, sequence, f"{sequence}/r_{number}", 0, image, K_33, pose))
        write(root / f"transforms_{split}.json", json.dumps({"camera_angle_x": 0.69, "frames": frames}))
    return gapped(wants, [2, 2, 2])
