"""Frames of a wall with a board before it, whose every pixel and depth is known: what matching needs, parallax too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlocnetpp.data.frames import Frame

HEIGHT, WIDTH = 180, 240
K_33 = np.array([[200.0, 0, (WIDTH - 1) / 2], [0, 200.0, (HEIGHT - 1) / 2], [0, 0, 1]])
BOARDS = ((4.0, -4.0, 8.0), (2.5, -0.6, 1.2))
"""Distance, left and top edge, and side of square boards that face the origin, in metres; the far one first."""


def pose_at(x: float, y: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> NDArray[np.float64]:
    """A camera-to-world pose; degrees."""
    quaternion = Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_quat()
    return np.array([x, y, z, *quaternion[[3, 0, 1, 2]]])


def write_frame(folder: Path, name: str, pose_7: NDArray[np.float64]) -> Frame:
    """Render what a camera at this pose sees, write image and depth, and return their frame."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    depth = np.zeros((HEIGHT, WIDTH))
    R_33 = Rotation.from_quat(pose_7[[4, 5, 6, 3]]).as_matrix()
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays_HW3 = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K_33).T
    toward_HW3 = rays_HW3 @ R_33.T
    for number, (distance, edge, side) in enumerate(BOARDS):
        texture = paint(number, int(side * 100))
        z = (distance - pose_7[2]) / toward_HW3[..., 2]
        at_HW2 = (toward_HW3[..., :2] * z[..., None] + pose_7[:2] - edge) * (len(texture) / side)
        seen = cv2.remap(texture, *at_HW2.astype(np.float32).transpose(2, 0, 1), interpolation=cv2.INTER_LINEAR)
        on = ((at_HW2 >= 0) & (at_HW2 <= len(texture) - 1)).all(axis=-1)
        image[on], depth[on] = seen[on], z[on]
    files = folder / f"{name}.png", folder / f"{name}.depth.png"
    assert cv2.imwrite(str(files[0]), image)
    assert cv2.imwrite(str(files[1]), np.rint(depth * 1000).astype(np.uint16))
    return Frame(name=name, stamp_ns=0, image_path=files[0], K_33=K_33, pose_7=pose_7, depth_path=files[1])


def write_frames(folder: Path) -> tuple[list[Frame], list[Frame]]:
    """A row of nine training frames across the boards, 0.25 m apart, and three test frames between them."""
    train = [write_frame(folder, f"train{i}", pose_at(0.25 * i - 1, 0, 0)) for i in range(9)]
    poses = [pose_at(-0.9, 0.05, 0.1, 2, 1), pose_at(-0.2, -0.05, -0.1, -2, 0), pose_at(0.55, 0, 0.1, 3, -1)]
    return train, [write_frame(folder, f"test{i}", pose) for i, pose in enumerate(poses)]


def paint(seed: int, size: int) -> NDArray[np.uint8]:
    """A texture that looks different everywhere: patches as large as a hand and as large as a door."""
    rng = np.random.default_rng(seed)
    texture = np.zeros((size, size), np.float32)
    for pixels in (15, 60):
        blocks = rng.uniform(0, 127, (size // pixels + 1,) * 2).astype(np.float32)
        texture += cv2.resize(blocks, None, fx=pixels, fy=pixels, interpolation=cv2.INTER_CUBIC)[:size, :size]
    return texture.clip(0, 255).astype(np.uint8)
