"""What tiny datasets are made of: random images and poses, files, and what a frame must be read back as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlocnetpp.data import LabelClass
from vlocnetpp.data.poses import checked_pose

HEIGHT, WIDTH = 12, 16
K = np.array([[9.0, 0.0, 7.5], [0.0, 8.5, 5.5], [0.0, 0.0, 1.0]])
CLASSES = (LabelClass("wall", (10, 20, 30)), LabelClass("Tür", (0, 255, 0)))
SECOND_NS = 1_000_000_000


@dataclass
class Want:
    """What one frame must be read back as."""

    split: str
    sequence: str
    name: str
    stamp_ns: int
    image_HW3: NDArray[np.uint8]
    K_33: NDArray[np.float64]
    pose_7: NDArray[np.float64] | None = None
    depth_HW: NDArray[np.float32] | None = None
    mask_HW: NDArray[np.uint8] | None = None


def random_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    x, y, z, w = Rotation.random(random_state=rng).as_quat()
    return checked_pose((*rng.normal(size=3), w, x, y, z), "test")


def matrix_of(pose_7: NDArray[np.float64]) -> NDArray[np.float64]:
    T_44 = np.eye(4)
    T_44[:3, :3], T_44[:3, 3] = Rotation.from_quat(pose_7[[4, 5, 6, 3]]).as_matrix(), pose_7[:3]
    return T_44


def random_image(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def save(path: Path, pixels: NDArray) -> None:
    """Write an image that OpenCV decodes to these pixels; colour is RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def row(values: NDArray[np.float64]) -> str:
    """Numbers as Python writes them, which is read back bit for bit."""
    return " ".join(repr(float(value)) for value in np.asarray(values).ravel())


def gapped(wants: list[Want], sizes: list[int]) -> list[Want]:
    """Stamps at 30 Hz with ten seconds between sequences of these sizes."""
    start, rest = 10 * SECOND_NS, iter(wants)
    for size in sizes:
        for index in range(size):
            next(rest).stamp_ns = start + index * SECOND_NS // 30
        start += (size - 1) * SECOND_NS // 30 + 10 * SECOND_NS
    return wants


def inverted(pose_7: NDArray[np.float64]) -> NDArray[np.float64]:
    """The world as seen from a camera."""
    x, y, z, w = Rotation.from_quat(pose_7[[4, 5, 6, 3]]).inv().as_quat()
    back = -Rotation.from_quat([x, y, z, w]).apply(pose_7[:3])
    return checked_pose((*back, w, x, y, z), "test")
