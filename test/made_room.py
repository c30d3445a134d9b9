"""A room that is known exactly, drawn by intersecting rays with planes, and drives through it as a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from vlocnetpp.data import FolderWriter, LabelClass

PAIRS = 14
K_33 = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
SIZE = (120, 160)
CLASSES = [LabelClass(name, (40 * i, 0, 0)) for i, name in enumerate(("Sky", "Building", "Sidewalk", "Road"))]


@dataclass(frozen=True)
class Room:
    """A corner of two textured walls and a floor, drawn exactly by intersecting rays with planes."""

    planes: tuple[tuple[np.ndarray, float], ...] = (
        (np.array([0.0, 0.0, 1.0]), 4.0),
        (np.array([0.8, 0.0, 0.6]), 4.0),
        (np.array([0.0, 1.0, 0.0]), 1.2),
    )
    pattern: int = 3
    """Seed of what is painted on the walls."""

    def draw(self, T_wc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) and depth (H, W) from a camera-to-world pose."""
        v, u = np.mgrid[: SIZE[0], : SIZE[1]]
        rays = np.stack([(u - K_33[0, 2]) / K_33[0, 0], (v - K_33[1, 2]) / K_33[1, 1], np.ones(SIZE)], axis=-1)
        world = rays @ T_wc[:3, :3].T
        depths = []
        for normal, distance in self.planes:
            towards = world @ normal
            reach = (distance - T_wc[:3, 3] @ normal) / np.where(towards > 1e-6, towards, np.nan)
            depths.append(np.where(reach > 0, reach, np.inf))
        nearest = np.nan_to_num(np.stack(depths), nan=np.inf)
        which, depth = nearest.argmin(axis=0), nearest.min(axis=0)
        points = T_wc[:3, 3] + world * depth[..., None]
        texture = cv2.GaussianBlur(
            np.random.default_rng(self.pattern).random((3, 512, 512)).transpose(1, 2, 0), (0, 0), 1.5
        )
        texture = (texture - texture.min()) / np.ptp(texture)
        across = np.where(which == 0, points[..., 0], points[..., 2])
        along = np.where(which == 2, points[..., 0], points[..., 1])
        sample = [np.mod(axis * 60 + 150 * which, 510).astype(np.float32) for axis in (across, along)]
        return (cv2.remap(texture, *sample, cv2.INTER_LINEAR) * 255).astype(np.uint8), depth.astype(np.float32)


def drive(frames: int, side: float, hurry: float = 1.0) -> list[np.ndarray]:
    """Camera-to-world poses of a hand-held drive that turns about all axes, swinging `hurry` times as often."""
    poses = []
    for i in range(frames):
        s = i / 20
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler(
            "yxz", [20 * np.sin(hurry * s), 6 * np.sin(1.7 * hurry * s) + 4, 9 * s - 6], degrees=True
        ).as_matrix()
        T[:3, 3] = [0.5 * s + side, 0.15 * np.sin(2 * s), 0.35 * s]
        poses.append(T)
    return poses


def pose_7(T_44: np.ndarray) -> np.ndarray:
    x, y, z, w = Rotation.from_matrix(T_44[:3, :3]).as_quat()
    return np.array([*T_44[:3, 3], w, x, y, z])


def write_room(root: Path, drawn, change=pose_7, K=K_33, depth=True, mask=None) -> Path:
    """The drives as the project's folder; `change` turns a pose into what is stored."""
    with FolderWriter(root, classes=CLASSES if mask is not None else ()) as writer:
        for n, (split, frames) in enumerate(drawn.items()):
            for i, (T, image, metres) in enumerate(frames):
                stamp = (1 + n * 100 + i / 30) * 1e9
                layers = {"depth_HW": metres if depth else None, "mask_HW": mask}
                png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
                writer.add(split, split, int(stamp), None, K, pose_7=change(T), encoded=png, **layers)
    return root
