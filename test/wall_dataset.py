"""A small dataset whose labels are consistent: a camera that moves before a coloured wall."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from random_models import CLASSES, IMAGE_SHAPE, K_33

from vlocnetpp.data import FolderWriter, LabelClass

WALL_M = 3.0


def write_wall(root: Path, splits: dict[str, int], sequences: int = 2, depth: bool = True, masks: bool = True) -> Path:
    """Write `sequences` sequences of so many frames for each split: a random wall seen from a camera that slides."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 256, (12, 24, 3), dtype=np.uint8), (480, 240), interpolation=cv2.INTER_NEAREST)
    height, width = IMAGE_SHAPE
    classes = [LabelClass(name, color) for name, color in CLASSES]
    with FolderWriter(root, classes=classes, map_frame="lab") as writer:
        for split, frames in splits.items():
            for number in range(sequences):
                y0, speed = 20 + 15 * number, 3 + number
                for i in range(frames):
                    x0 = 10 + speed * i
                    image = wall[y0 : y0 + height, x0 : x0 + width]
                    mask = (image.sum(axis=2) // 256).clip(0, len(classes) - 1).astype(np.uint8)
                    position = [x0 * WALL_M / K_33[0, 0], y0 * WALL_M / K_33[1, 1], 0.0]
                    writer.add(
                        f"{split}-{number:02d}",
                        split,
                        (1 + number * 100) * 10**9 + i * 33_000_000,
                        image,
                        K_33,
                        pose_7=np.array([*position, 1.0, 0, 0, 0]),
                        depth_HW=np.full(IMAGE_SHAPE, WALL_M, np.float32) if depth else None,
                        mask_HW=mask if masks else None,
                    )
    return root
