"""Batch-norm statistics for the robot's stream instead of the trainer's clips.

While training, a short clip begins cold, so up to half of the frames in the running averages are cold starts; the robot
starts cold once. Before a network is validated or exported its averages are computed anew, exactly and over longer
clips of the training frames as the camera saw them (Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch

from vlocnetpp.network import Network, cold_state_of
from vlocnetpp.network.contract import split_norms
from vlocnetpp.training.clips import FrameStore
from vlocnetpp.training.config import DataConfig
from vlocnetpp.training.leak_probe import remember_truth
from vlocnetpp.training.loader import ClipLoader

CLIP_LENGTH, BATCH, BATCHES = 6, 16, 4


@torch.no_grad()
def settle_norms(
    network: Network,
    stores: Sequence[FrameStore],
    device: torch.device,
    leak_probe: bool = False,
    mapped: bool = False,
) -> None:
    """Replace the running averages of every norm that the step reaches, but those of `frozen_parts`.

    The same frames are drawn every time, and no count of batches moves, so that a resumed run settles like an
    uninterrupted one.
    """
    norms = split_norms(network, mapped)
    momenta = [norm.momentum for norm in norms]
    counted = [norm.state_dict()["num_batches_tracked"].clone() for norm in norms]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for norm in norms:
        norm.train()
    steps = 0
    loader = ClipLoader(stores, network.config, DataConfig(clip_length=CLIP_LENGTH, max_skip=1), None, BATCH, seed=0)
    for index, clips in islice(loader.epoch((0,)), BATCHES):
        seen = clips.to(device)
        state = cold_state_of(network, len(index))
        for t in range(CLIP_LENGTH):
            steps += 1
            for norm in norms:
                norm.momentum = 1.0 / steps
            _, state = network(seen.image_BL3HW[:, t], seen.K_BL33[:, t], seen.depth_BL1HW[:, t], state)
            if leak_probe:
                state = remember_truth(network, state, seen.pose_BL7[:, t], seen.posed_BL[:, t])
    for norm, momentum, count in zip(norms, momenta, counted, strict=True):
        norm.momentum = momentum
        norm.num_batches_tracked = count
    for module, mode in modes.items():
        module.training = mode
