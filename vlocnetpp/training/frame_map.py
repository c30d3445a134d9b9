"""The training frames that a network keeps in its file and answers from (`Traits.keeps_frames`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vlocnetpp.network.contract import FrameMapNetwork
from vlocnetpp.training.clips import FrameStore, gather_clips, map_store

BATCH = 16


def fill_frame_map(network: FrameMapNetwork, stores: Sequence[FrameStore], device: torch.device) -> None:
    """Give the network as many posed training frames as it keeps, spread evenly, as the robot would see them."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    network.fill_map(_frames(network, map_store(stores), device))
    for module, mode in modes.items():
        module.training = mode


def _frames(network: FrameMapNetwork, store: FrameStore, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    posed = np.flatnonzero(store.posed_N.numpy() > 0)
    count = min(network.map_frames(), len(posed))
    chosen = posed[np.linspace(0, len(posed) - 1, count).round().astype(int)]
    generator = np.random.default_rng(0)  # of changes that are not made
    for start in range(0, count, BATCH):
        clips = gather_clips(store, chosen[start : start + BATCH, None], network.config, None, generator).to(device)
        yield clips.image_BL3HW[:, 0], clips.pose_BL7[:, 0]
