"""Batch-norm statistics for the robot's stream instead of the trainer's clips.

While training, a short clip begins cold, so up to half of what the running averages see has no past; the robot starts
cold once. Before a network is judged or exported its averages are taken anew, exactly and over longer clips of the
training frames as the camera saw them (Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from vlocnetpp.network import VLocNetPlusPlus
from vlocnetpp.training.clips import FrameStore, cut_clips, gather_clips

CLIP_LENGTH, BATCH, BATCHES = 6, 16, 4


@torch.no_grad()
def settle_norms(network: VLocNetPlusPlus, store: FrameStore, device: torch.device) -> None:
    """Replace the running averages of every norm that the step reaches, but the depth network's, which stays frozen.

    The same frames are drawn every time, so that a resumed run settles like an uninterrupted one.
    """
    norms = [
        m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) and not name.startswith("depth.")
    ]
    momenta = [norm.momentum for norm in norms]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for norm in norms:
        norm.train()
    generator = np.random.default_rng(0)
    steps = 0
    for number, index in enumerate(cut_clips(store, CLIP_LENGTH, 1, BATCH, generator)):
        if number == BATCHES:
            break
        clips = gather_clips(store, index, network.config, None, generator).to(device)
        state = network.cold_state(len(index))
        for t in range(CLIP_LENGTH):
            steps += 1
            for norm in norms:
                norm.momentum = 1.0 / steps
            _, state = network(clips.image_BL3HW[:, t], clips.K_BL33[:, t], clips.depth_BL1HW[:, t], state)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
