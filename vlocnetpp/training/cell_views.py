"""The images of a buffer of cells: every posed frame unchanged, and in a number of augmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.data.triangulation import MAX_IMAGES, triangulate
from vlocnetpp.geometry import back_project, conjugate_quaternion, multiply_quaternions, pixel_grid, project, rotate
from vlocnetpp.network import NetworkConfig
from vlocnetpp.network.blocks.hypercolumns import STRIDE
from vlocnetpp.training.cells import View
from vlocnetpp.training.clips import FrameStore, gather_clip
from vlocnetpp.training.config import AugmentConfig

FEW_POINTS = 20
"""Fewer triangulated points of an image, in the mean, say that the poses do not fit the images, or that these have no
texture; they are not used then. The kitchen has 149."""


def training_views(
    store: FrameStore,
    config: NetworkConfig,
    augment: AugmentConfig,
    seed: int,
    points: Callable[[], Sequence[NDArray[np.float32]]] | None = None,
) -> tuple[int, Callable[[int], View]]:
    """The number of posed frames, and a function that makes the i-th image of a buffer, the same each time. The first
    images are all posed frames unchanged, then come all in a first augmentation, all in a second, and so on.

    Args:
        config: gives the input's size; its network must want depth, or none is handed on.
        points: of the map that each posed frame shows, (M, 3) metres, of which the cells of frames without depth have
            theirs; asked for such a frame.
    """
    posed = np.flatnonzero(store.posed_N.numpy())

    def view(number: int) -> View:
        again, which = divmod(number, len(posed))
        frame = posed[which : which + 1]
        generator = np.random.default_rng((seed, number))
        clip = gather_clip(store, frame, config, augment if again else None, generator)
        depth_HW = clip.depth_BL1HW[0, 0]
        K_33, pose_7 = clip.K_BL33[0], clip.pose_BL7[0]
        measured = bool((depth_HW > 0).any())
        if measured:
            seen_HW = depth_HW > 0
        else:
            seen_HW = seen_by(store, int(frame[0]), K_33, pose_7, tuple(depth_HW.shape))
            if points is not None:
                depth_HW = depth_of_points(torch.from_numpy(points()[which]), K_33, pose_7, tuple(depth_HW.shape))
        return View(clip.image_BL3HW[0], K_33, pose_7, depth_HW, seen_HW, measured)

    return len(posed), view


def triangulated(store: FrameStore, note: Callable[[str], None]) -> list[NDArray[np.float32]]:
    """Points of the map that each posed frame shows, (M, 3) metres, from colour images and poses alone. None where they
    are so few that most of them must be wrong.

    `note` is told how many there are.
    """
    posed = np.flatnonzero(store.posed_N.numpy())
    points = triangulate(lambda i: store.image_N3HW[posed[i]], store.K_N33[posed], store.pose_N7[posed])
    mean = sum(map(len, points)) / min(len(points), MAX_IMAGES)
    lacking = int((~store.deep_N[posed]).sum())
    said = f"{lacking} of {len(posed)} images have no depth: {mean:.0f} points an image were triangulated"
    if mean >= FEW_POINTS:
        note(said)
        return points
    note(f"{said}: too few to be used; the poses may not fit the images, see vlocnetpp data doctor")
    return [np.zeros((0, 3), np.float32)] * len(points)


def depth_of_points(point_M3: Tensor, K_33: Tensor, pose_7: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(H, W) depth in metres at the middle of each cell in which a camera sees a point; 0 elsewhere. Of several points
    in a cell, the nearest to its middle counts."""
    depth_HW = torch.zeros(shape)
    camera_M3 = rotate(conjugate_quaternion(pose_7[3:]).expand(len(point_M3), 4), point_M3 - pose_7[:3])
    pixel_11M2, before_11M = project(camera_M3[None, None], K_33[None])
    pixel_M2 = pixel_11M2[0, 0]
    middle_M2 = (pixel_M2.round() // STRIDE) * STRIDE + STRIDE // 2
    x_M, y_M = middle_M2.long().unbind(dim=1)
    seen_M = before_11M[0, 0] & (x_M >= 0) & (x_M < shape[1]) & (y_M >= 0) & (y_M < shape[0])
    order = torch.argsort((pixel_M2 - middle_M2).square().sum(dim=1), descending=True, stable=True)
    order = order[seen_M[order]]
    # Of several values for a pixel NumPy keeps the last, PyTorch any.
    depth_HW.numpy()[y_M[order].numpy(), x_M[order].numpy()] = camera_M3[order, 2].numpy()
    return depth_HW


def seen_by(store: FrameStore, frame: int, K_33: Tensor, pose_7: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Mask (H, W) of the pixels that the stored image shows, for a camera that only turned or zoomed."""
    height, width = shape
    rays_HW3 = back_project(
        pixel_grid(height, width, K_33)[None], torch.ones((1, 1, height, width), dtype=K_33.dtype), K_33[None]
    )[0]
    turn_4 = multiply_quaternions(conjugate_quaternion(store.pose_N7[frame, 3:]), pose_7[3:])
    stored_HW3 = rotate(turn_4, rays_HW3)
    K = store.K_N33[frame]
    z_HW = stored_HW3[..., 2].clamp_min(1e-6)
    x_HW = stored_HW3[..., 0] / z_HW * K[0, 0] + K[0, 2]
    y_HW = stored_HW3[..., 1] / z_HW * K[1, 1] + K[1, 2]
    rows, columns = store.image_N3HW.shape[-2:]
    inside_HW = (x_HW >= -0.5) & (x_HW <= columns - 0.5) & (y_HW >= -0.5) & (y_HW <= rows - 0.5)
    return inside_HW & (stored_HW3[..., 2] > 0)
