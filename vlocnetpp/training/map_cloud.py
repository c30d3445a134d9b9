"""A thinned, coloured point cloud of the map, as the trained scene coordinates see it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vlocnetpp.geometry import conjugate_quaternion, rotate
from vlocnetpp.network.blocks.cell_coordinates import cell_rays
from vlocnetpp.network.contract import CellNetwork
from vlocnetpp.reporting.files import replacing
from vlocnetpp.runtime.map_cloud import CLOUD_FILE_NAME, POINT
from vlocnetpp.training.cell_stage import colour_store
from vlocnetpp.training.clips import FrameStore, gather_clips

IMAGES = 400
"""So many training images, spread over all, are looked at."""
BATCH = 8
MOST_POINTS = 40_000
"""0.6 MB of a model file."""
LARGEST_DEVIATION = 0.05
"""Of a point, as a share of its distance from the camera."""
LARGEST_ANGLE = 0.02
"""Radians between a point and the ray along which it is seen."""
FINEST_M, COARSER = 0.01, 1.2
"""Edge of the cubes of which each keeps one point, at first, and its factor until few enough are left."""


@torch.no_grad()
def map_cloud(network: CellNetwork, store: FrameStore, device: torch.device) -> NDArray[np.void]:
    """(N,) of `POINT`, at most MOST_POINTS: where cells of the training images lie, and their mean colour.

    Left out is what the network is not sure of, or sees off the ray of its cell.
    """
    store = colour_store(store, network.config.scene.recorded_camera)
    posed = np.flatnonzero(store.posed_N.numpy())
    index = posed[np.linspace(0, len(posed) - 1, min(IMAGES, len(posed))).astype(int)]
    head, stride = network.cell_head(), network.cell_stride()
    network.eval()
    positions, colors = [], []
    for begin in range(0, len(index), BATCH):
        clips = gather_clips(store, index[begin : begin + BATCH, None], network.config, None, np.random.default_rng(0))
        image_B3HW = clips.image_BL3HW[:, 0].to(device).float()
        found_B4HW = head(network.cell_features(image_B3HW)).float()
        rays_BN3 = cell_rays(clips.K_BL33[:, 0].to(device), found_B4HW.shape[2], found_B4HW.shape[3], stride)
        pose_B17 = clips.pose_BL7.to(device)
        points_BN3 = found_B4HW[:, :3].flatten(2).transpose(1, 2)
        camera_BN3 = rotate(conjugate_quaternion(pose_B17[..., 3:]).expand(-1, points_BN3.shape[1], -1),
                            points_BN3 - pose_B17[..., :3])  # fmt: skip
        distance_BN = torch.linalg.vector_norm(camera_BN3, dim=2)
        cosine_BN = (camera_BN3 * rays_BN3).sum(dim=2) / distance_BN.clamp_min(1e-6)
        sure_BN = found_B4HW[:, 3].flatten(1).exp() < LARGEST_DEVIATION * distance_BN
        kept_BN = sure_BN & (cosine_BN > np.cos(LARGEST_ANGLE))
        color_BN3 = F.avg_pool2d(image_B3HW, stride).flatten(2).transpose(1, 2)
        positions.append(points_BN3[kept_BN].cpu().numpy())
        colors.append(color_BN3[kept_BN].cpu().numpy())
    return thin(np.concatenate(positions), np.concatenate(colors))


def thin(xyz_N3: NDArray[np.floating], color_N3: NDArray[np.floating], most: int = MOST_POINTS) -> NDArray[np.void]:
    """One point for each cube that points lie in: their mean, with cubes so large that `most` suffice."""
    if len(xyz_N3) == 0:
        return np.zeros(0, POINT)
    edge = FINEST_M
    while True:
        corner_N3 = np.floor((xyz_N3 - xyz_N3.min(axis=0)) / edge).astype(np.int64)
        flat_N = np.ravel_multi_index(corner_N3.T, corner_N3.max(axis=0) + 1)
        _, cube_N, count_M = np.unique(flat_N, return_inverse=True, return_counts=True)
        if len(count_M) <= most:
            break
        edge *= COARSER
    points = np.zeros(len(count_M), POINT)
    for name, values in (("xyz", xyz_N3), ("rgb", color_N3)):
        sums = [np.bincount(cube_N, values[:, axis], len(count_M)) for axis in range(3)]
        points[name] = np.stack(sums, axis=1) / count_M[:, None]
    return points


def write_map_cloud(out: Path, network: CellNetwork, store: FrameStore, device: torch.device) -> None:
    """Write the cloud of a trained network into the folder of its run."""
    data = io.BytesIO()
    np.save(data, map_cloud(network, store, device), allow_pickle=False)
    with replacing(out / CLOUD_FILE_NAME) as path:
        path.write_bytes(data.getvalue())
