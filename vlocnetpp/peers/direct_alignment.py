"""Visual odometry by direct alignment with the depth of a depth camera: the flagship's solver, given measured depth.

It shows what the flagship's own depth costs it. `benchmarks/odometry_bound.py` compares two halves of the same images.
Its time includes reading and registering the depth image.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vlocnetpp.data.frames import Frame
from vlocnetpp.geometry import scale_intrinsics
from vlocnetpp.network.blocks.alignment import DirectAlignment, grey_image
from vlocnetpp.peers.odometry import IDENTITY_7, OdometryPeer, Step
from vlocnetpp.peers.peer import Depth, Image
from vlocnetpp.poses import Floats

WIDTH_PX = 320
"""Images are resized to this width, about that of the flagship's input."""
LEAST_ROWS = 96
"""The solver needs 48 at half the size."""
CELL_PX = 8
"""Depth is averaged over cells of this side, those for which the flagship predicts it."""
KNOWN = 0.3
"""Share of a cell's pixels that must have a depth."""
LOG_DEVIATION = -4.0
"""Of a measured depth: about 0.02 m."""


def start(alignment: DirectAlignment | None = None) -> Step:
    """Aligns each frame with the one before; no answer where it has no depth or the alignment fails."""
    align = alignment or DirectAlignment()
    last_B1hw: Tensor | None = None

    @torch.inference_mode()
    def step(frame: Frame, image_HW3: Image, depth_HW: Depth | None) -> Floats | None:
        nonlocal last_B1hw
        height, width = image_HW3.shape[:2]
        rows = max(CELL_PX * round(height * WIDTH_PX / width / CELL_PX), LEAST_ROWS)
        resized = cv2.resize(image_HW3, (WIDTH_PX, rows), interpolation=cv2.INTER_AREA)
        grey_B1hw = grey_image(torch.from_numpy(resized).permute(2, 0, 1)[None].float())
        before_B1hw, last_B1hw = last_B1hw, grey_B1hw
        if before_B1hw is None or before_B1hw.shape != grey_B1hw.shape or depth_HW is None:
            return None
        K_B33 = scale_intrinsics(torch.from_numpy(frame.K_33)[None].float(), WIDTH_PX / width, rows / height)
        depth_B1yx = cell_depth(cv2.resize(depth_HW, (WIDTH_PX, rows), interpolation=cv2.INTER_NEAREST))
        start_B7 = torch.from_numpy(IDENTITY_7)[None].float()
        log_deviation_B1yx = torch.full_like(depth_B1yx, LOG_DEVIATION)
        found = align(grey_B1hw, before_B1hw, depth_B1yx, log_deviation_B1yx, K_B33, start_B7)
        return found.relative_B7[0].double().numpy() if bool(found.found_B) else None

    return step


def cell_depth(depth_HW: np.ndarray) -> Tensor:
    """(1, 1, H/8, W/8) mean depth of the pixels of each cell that have one, metres; 0 where too few have."""
    depth_11HW = torch.from_numpy(depth_HW)[None, None].float()
    share = F.avg_pool2d((depth_11HW > 0).float(), CELL_PX)
    mean = F.avg_pool2d(depth_11HW, CELL_PX) / share.clamp_min(1e-6)
    return torch.where(share > KNOWN, mean, torch.zeros_like(mean))


DIRECT_ALIGNMENT = OdometryPeer(
    "direct alignment, depth camera",
    start,
    "grey values of two images, aligned with measured depth: needs a depth camera on the robot",
    needs=("depth",),
)
