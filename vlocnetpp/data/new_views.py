"""New views from RGB-D: a frame re-rendered as a camera a little aside would have seen it, its pose moved exactly.

Beyond the paper, which found pose augmentation without depth useless. The depth is splatted into the new view through a
z-buffer; each new pixel then looks its colour up in the old image, so that colours stay sharp and occlusions right.
`motion` is the pose of the new camera in the old one: T_new = T @ motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.data.frames import VOID
from vlocnetpp.data.transforms import check_limits
from vlocnetpp.geometry import compose, matrix_from_pose

MIN_KNOWN = 0.5
"""Share of pixels whose depth must be known before a camera is shifted; with less it only turns, which needs none."""
HALVINGS = 3
"""How often a motion that sees too little of the old image is halved before the clip is left unchanged."""
NEAREST_M = 0.05
"""Points closer than this to the new camera are not drawn."""


@dataclass(frozen=True)
class ViewConfig:
    """New views of the clips whose frames have a depth."""

    probability: float = 0.0
    """Share of the clips that are moved."""
    translation_m: float = 0.0
    """Metres: the camera moves by up to so much, in any direction."""
    rotation_deg: float = 0.0
    """Degrees: the camera turns by up to so much, about any axis."""
    min_valid: float = 0.6
    """Share of a new view that must be visible in the old image; a motion that shows less is halved."""
    even_holes: bool = True
    """Whether a view also loses what the opposite motion would not see. Otherwise an empty strip on the right shows
    that the camera moved to the right, and a network learns to read its pose from the strips."""

    def __post_init__(self) -> None:
        check_limits("new views", self, probability=1, translation_m=10, rotation_deg=90, min_valid=1)


class View(NamedTuple):
    """A frame as another camera sees it."""

    image_HW3: NDArray[np.float32]
    """RGB 0..255; where `seen_HW` is False, the nearest colour that is."""
    depth_HW: NDArray[np.float32]
    """Metres, 0 = unknown."""
    mask_HW: NDArray[np.uint8]
    """Class ids, 255 where not seen."""
    seen_HW: NDArray[np.bool_]
    """Whether the old image shows this pixel."""


def move_view(
    image_HW3: NDArray,
    depth_HW: NDArray,
    mask_HW: NDArray,
    K_33: NDArray,
    motion_7: NDArray,
    even_holes: bool = False,
) -> View:
    """Re-render a frame from a camera at `motion_7` in the old one.

    Pixels of unknown depth are drawn at the nearest known one, so that the picture has no holes there; their depth
    stays unknown. Pixels that the old image does not show, behind a foreground or beyond its border, take the nearest
    colour. With `even_holes`, so do pixels that the opposite motion would not show.

    Args:
        depth_HW: metres, 0 = unknown.
        K_33: of both views.
    """
    known_HW = depth_HW > 0
    solid_HW = _fill_from_nearest(depth_HW.astype(np.float32), known_HW)
    T_44 = matrix_from_pose(torch.from_numpy(np.asarray(motion_7, np.float64))).numpy()
    z_HW, map_2HW, seen_HW = _look_back(solid_HW, K_33, T_44)
    if even_holes:
        seen_HW = seen_HW & _look_back(solid_HW, K_33, np.linalg.inv(T_44))[2]
    return _sample(image_HW3, known_HW, mask_HW, z_HW, map_2HW, seen_HW)


def turn_view(
    image_HW3: NDArray, depth_HW: NDArray, mask_HW: NDArray, K_33: NDArray, quaternion_4: NDArray,
    even_holes: bool = False,
) -> View:  # fmt: skip
    """A frame as seen by a camera that only turned: a homography, exact without any depth.

    Args:
        depth_HW: metres, 0 = unknown; may be 0 everywhere.
        quaternion_4: w, x, y, z of the new camera in the old one.
    """
    motion_7 = torch.cat((torch.zeros(3, dtype=torch.float64), torch.from_numpy(np.asarray(quaternion_4, np.float64))))
    T_44 = matrix_from_pose(motion_7).numpy()
    ones_HW = np.ones(depth_HW.shape, np.float32)
    map_2HW, factor_HW, seen_HW = _project(ones_HW, K_33, T_44)
    if even_holes:
        seen_HW = seen_HW & _project(ones_HW, K_33, np.linalg.inv(T_44))[2]
    # A ray of length 1 along the new axis is `factor` long along the old one.
    old_HW = _look_up(depth_HW.astype(np.float32), map_2HW, cv2.INTER_NEAREST)
    return _sample(image_HW3, depth_HW > 0, mask_HW, old_HW / factor_HW, map_2HW, seen_HW)


def move_clip(
    image_L3HW: Tensor,
    depth_L1HW: Tensor,
    mask_LHW: Tensor,
    K_L33: Tensor,
    pose_L7: Tensor,
    posed_L: Tensor,
    config: ViewConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All frames of a clip from a camera moved alike, as if it had been mounted a little aside: T_new = T @ motion.

    Call it before a crop, whose margin then fills the border.

    Returns:
        image (L, 3, H, W) float 0..255, depth (L, 1, H, W), mask (L, H, W), K (L, 3, 3), pose (L, 7), posed (L).
    """
    clip = (image_L3HW, depth_L1HW, mask_LHW, K_L33, pose_L7, posed_L)
    if generator.uniform() >= config.probability:
        return clip
    direction, axis = (_direction(generator) for _ in range(2))
    # The cube root makes every place in the ball as likely as any other.
    distance_m = config.translation_m * generator.uniform() ** (1 / 3)
    angle = math.radians(config.rotation_deg) * generator.uniform()
    # Contiguous, because a layer that a dataset lacks may be one value seen from everywhere.
    whole = np.ascontiguousarray
    frames = [
        (whole(image.permute(1, 2, 0).float()), whole(depth[0].float()), whole(mask), whole(K))
        for image, depth, mask, K in zip(image_L3HW, depth_L1HW, mask_LHW, K_L33.double(), strict=True)
    ]
    shifted = distance_m > 0 and all((depth_HW > 0).mean() >= MIN_KNOWN for _, depth_HW, _, _ in frames)
    for halving in range(HALVINGS + 1):
        share = 0.5**halving
        quaternion_4 = np.array([math.cos(share * angle / 2), *(math.sin(share * angle / 2) * axis)])
        if shifted:
            motion_7 = np.concatenate((share * distance_m * direction, quaternion_4))
            views = [move_view(*frame, motion_7, config.even_holes) for frame in frames]
        else:
            motion_7 = np.concatenate((np.zeros(3), quaternion_4))
            views = [turn_view(*frame, quaternion_4, config.even_holes) for frame in frames]
        if min(view.seen_HW.mean() for view in views) >= config.min_valid:
            images, depths, masks, _ = (torch.from_numpy(np.stack(column)) for column in zip(*views, strict=True))
            moved_L7 = compose(pose_L7, torch.from_numpy(motion_7).to(pose_L7.dtype).expand_as(pose_L7))
            return (
                images.permute(0, 3, 1, 2).contiguous(),
                depths[:, None].to(depth_L1HW.dtype),
                masks,
                K_L33,
                torch.where(posed_L[:, None] > 0, moved_L7, pose_L7),
                posed_L,
            )
    return clip


def _direction(generator: np.random.Generator) -> NDArray[np.float64]:
    """A unit vector, every direction as likely as any other."""
    vector = generator.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _project(depth_HW: NDArray, K_33: NDArray, T_44: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Where the camera with pose T sees the pixels: (2, H, W) x and y, (H, W) depth, (H, W) inside its image."""
    height, width = depth_HW.shape
    A = (K_33 @ T_44[:3, :3] @ np.linalg.inv(K_33)).astype(np.float32)
    b = (K_33 @ T_44[:3, 3]).astype(np.float32)
    x_W, y_H1 = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    across, down, z_HW = ((A[i, 0] * x_W + (A[i, 1] * y_H1 + A[i, 2])) * depth_HW + b[i] for i in range(3))
    front_HW = z_HW > NEAREST_M
    z_HW = np.where(front_HW, z_HW, np.float32(NEAREST_M))
    map_2HW = np.stack((across, down)) / z_HW
    x_HW, y_HW = map_2HW
    inside_HW = front_HW & (x_HW >= -0.5) & (x_HW <= width - 0.5) & (y_HW >= -0.5) & (y_HW <= height - 0.5)
    return map_2HW, z_HW, inside_HW


def _look_back(depth_HW: NDArray, K_33: NDArray, T_44: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Depth (H, W) of the new view, where (2, H, W) the old image has its pixels, and whether (H, W) it saw them."""
    z_HW = _splat(depth_HW, K_33, np.linalg.inv(T_44))
    map_2HW, _, inside_HW = _project(z_HW, K_33, T_44)
    return z_HW, map_2HW, (z_HW > 0) & inside_HW


def _splat(depth_HW: NDArray, K_33: NDArray, T_44: NDArray) -> NDArray:
    """Draw the pixels as points into the camera with pose T: its depth (H, W), 0 where no point falls."""
    height, width = depth_HW.shape
    map_2HW, z_HW, inside_HW = _project(depth_HW, K_33, T_44)
    # A pixel that comes closer grows; half of its side reaches the pixels that it covers.
    half_HW = 0.5 * np.maximum(depth_HW / z_HW, 1) + 0.05
    (left_HW, right_HW), (top_HW, bottom_HW) = (
        (np.clip(np.ceil(at_HW - half_HW), 0, size - 1), np.clip(np.floor(at_HW + half_HW), 0, size - 1))
        for at_HW, size in ((map_2HW[0], width), (map_2HW[1], height))
    )
    drawn_HW = np.where(inside_HW, z_HW, np.inf)
    buffer = np.full(height * width, np.inf, np.float32)
    for y_HW in (top_HW, bottom_HW):
        for x_HW in (left_HW, right_HW):
            np.minimum.at(buffer, (y_HW * width + x_HW).astype(np.int64).ravel(), drawn_HW.ravel())
    new_HW = np.where(np.isfinite(buffer), buffer, 0).reshape(height, width)
    # Cracks between points of a slanted surface: a pixel that most of its neighbours surround takes their median.
    return np.where(new_HW > 0, new_HW, cv2.medianBlur(new_HW, 3))


def _sample(
    image_HW3: NDArray, known_HW: NDArray, mask_HW: NDArray, z_HW: NDArray, map_2HW: NDArray, seen_HW: NDArray
) -> View:
    """Look colours up between pixels, everything else at the nearest, and fill the holes."""
    image = _look_up(image_HW3.astype(np.float32), map_2HW, cv2.INTER_LINEAR)
    known = _look_up(known_HW.astype(np.uint8), map_2HW, cv2.INTER_NEAREST)
    mask = _look_up(mask_HW, map_2HW, cv2.INTER_NEAREST)
    return View(
        _fill_from_nearest(image, seen_HW),
        np.where(seen_HW & (known > 0), z_HW, 0).astype(np.float32),
        np.where(seen_HW, mask, VOID).astype(np.uint8),
        seen_HW,
    )


def _look_up(values: NDArray, map_2HW: NDArray, how: int) -> NDArray:
    """Values of the old image at x and y of the map."""
    return cv2.remap(values, map_2HW[0], map_2HW[1], how, borderMode=cv2.BORDER_REPLICATE)


def _fill_from_nearest(values_HWC: NDArray, good_HW: NDArray) -> NDArray:
    """Give each bad pixel the value of the nearest good one.

    Against what real neighbours show in the holes of RedKitchen (benchmarks/new_views.py) this is off by 20 of 255, the
    mean colour by 50; to prefer the background where a foreground is nearer was not better, at twice the time.
    """
    if good_HW.all() or not good_HW.any():
        return values_HWC
    bad_HW = (~good_HW).astype(np.uint8)
    labels_HW = cv2.distanceTransformWithLabels(bad_HW, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    place = np.zeros(good_HW.size + 1, np.int64)
    place[labels_HW[good_HW]] = np.flatnonzero(good_HW)
    filled = values_HWC.copy()
    filled[~good_HW] = values_HWC.reshape(good_HW.size, -1)[place[labels_HW[~good_HW]]].reshape(-1, *filled.shape[2:])
    return filled
