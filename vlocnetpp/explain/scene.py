"""The scene: points from the depth of the training frames, and trajectories among them (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vlocnetpp.data import Frame
from vlocnetpp.explain.spread import spread
from vlocnetpp.geometry import back_project, pixel_grid, scale_intrinsics
from vlocnetpp.poses import Floats, rotate
from vlocnetpp.progress import track
from vlocnetpp.reporting.files import replacing

Colors = NDArray[np.uint8]
CLOUD_FRAMES = 100
"""At most so many training frames are fused, spread over the split."""
PIXELS = 12_000
"""About so many pixels of each."""
VOXELS = 300
"""The default voxel size, as a share of the core's diagonal."""
CORE_MARGIN = 0.25
"""How far the core reaches beyond the 5th and 95th percentile of all pixels, as a share of their distance."""


class Cloud(NamedTuple):
    """Points in the map, metres, and their RGB colours."""

    points_N3: Floats
    colors_N3: Colors
    core_23: Floats = np.zeros((2, 3))
    """Lower and upper corner of what most pixels see; farther things, seen through a gate, would make it tiny."""


def fuse(frames: Sequence[Frame], voxel_m: float | None = None) -> Cloud:
    """The points of frames with depth and pose in the map, one for each voxel; empty where there is no such frame.

    Raises DataError for an image that cannot be read.
    """
    known = [frame for frame in frames if frame.depth_path is not None and frame.pose_7 is not None]
    chosen = [known[i] for i in spread(len(known), CLOUD_FRAMES)]
    parts = [frame_points(frame) for frame in track(chosen, "fusing depth")] if chosen else []
    if not sum(len(part.points_N3) for part in parts):
        return Cloud(np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    points = np.concatenate([part.points_N3 for part in parts])
    colors = np.concatenate([part.colors_N3 for part in parts])
    low, high = np.percentile(points, (5, 95), axis=0)
    margin = CORE_MARGIN * (high - low)
    if voxel_m is None:
        voxel_m = max(float(np.linalg.norm(high - low)) / VOXELS, 1e-3)
    kept, mixed = thin(points, colors, voxel_m)
    return Cloud(kept, mixed, np.stack((low - margin, high + margin)))


def frame_points(frame: Frame) -> Cloud:
    """The points that a frame with depth and pose sees, every few pixels, with the colours of its image."""
    depth, image = frame.depth(), frame.image()
    assert depth is not None and frame.pose_7 is not None
    height, width = depth.shape
    K = scale_intrinsics(torch.from_numpy(frame.K_33.copy()), width / image.shape[1], height / image.shape[0])
    grid = pixel_grid(height, width, K)[None]
    points_HW3 = back_project(grid, torch.from_numpy(depth.astype(np.float64))[None, None], K[None])[0].numpy()
    stride = max(1, round((height * width / PIXELS) ** 0.5))
    sampled = (slice(stride // 2, None, stride),) * 2
    colors_HW3 = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    seen = depth[sampled] > 0
    points = points_HW3[sampled][seen]
    turned = rotate(np.broadcast_to(frame.pose_7[3:], (len(points), 4)), points)
    return Cloud(turned + frame.pose_7[:3], colors_HW3[sampled][seen])


def thin(points_N3: Floats, colors_N3: Colors, voxel_m: float) -> tuple[Floats, Colors]:
    """The mean point and colour of each cube of this edge, metres, that has any."""
    cells = np.floor(points_N3 / voxel_m).astype(np.int64)
    cells -= cells.min(axis=0)
    _, rows, columns = (cells.max(axis=0) + 1).tolist()
    flat = (cells[:, 0] * rows + cells[:, 1]) * columns + cells[:, 2]
    _, voxel_N, count = np.unique(flat, return_inverse=True, return_counts=True)
    means = [np.bincount(voxel_N, weights=values) / count for values in (*points_N3.T, *colors_N3.T)]
    return np.stack(means[:3], axis=1), np.stack(means[3:], axis=1).round().astype(np.uint8)


def polyline(positions: Sequence[Floats], color: tuple[int, int, int], step_m: float) -> Cloud:
    """Lines (N, 3) through positions as points every `step_m`, since few viewers draw the edges of a PLY file."""
    dots: list[Floats] = [np.zeros((0, 3))]
    for line in positions:
        for start, end in pairwise(line):
            pieces = max(1, int(np.ceil(np.linalg.norm(end - start) / step_m)))
            dots.append(start + (end - start) * (np.arange(pieces) / pieces)[:, None])
        dots.append(line[-1:])
    points = np.concatenate(dots)
    return Cloud(points, np.tile(np.array(color, np.uint8), (len(points), 1)))


def write_ply(path: Path, parts: Mapping[str, Cloud], map_frame: str) -> None:
    """All points as one binary PLY (little endian, float x y z, uchar red green blue), described in its comments.

    Raises DataError if the file cannot be written.
    """
    dtype = np.dtype([(axis, "<f4") for axis in "xyz"] + [(color, "u1") for color in ("red", "green", "blue")])
    vertices = np.zeros(sum(len(part.points_N3) for part in parts.values()), dtype)
    points = np.concatenate([part.points_N3 for part in parts.values()])
    colors = np.concatenate([part.colors_N3 for part in parts.values()])
    for name, column in zip(dtype.names or (), (*points.T, *colors.T), strict=True):
        vertices[name] = column
    kinds = {"f": "float", "u": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment metres in the frame '{map_frame}'",
        *(f"comment {len(part.points_N3)} points: {name}" for name, part in parts.items()),
        f"element vertex {len(vertices)}",
        *(f"property {kinds[dtype[name].kind]} {name}" for name in dtype.names or ()),
        "end_header\n",
    ]
    with replacing(path) as partial:
        partial.write_bytes("\n".join(header).encode("ascii", "backslashreplace") + vertices.tobytes())
