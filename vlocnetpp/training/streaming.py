"""Frames of stores through a network that is still in training, one at a time, as on the robot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from vlocnetpp.network import Network, cold_state_of
from vlocnetpp.step import Prediction
from vlocnetpp.training.clips import Clips, FrameStore, gather_clips
from vlocnetpp.training.leak_probe import remember_truth


class Predicted(NamedTuple):
    """One frame and what the network predicted for it."""

    number: int
    """Counted through all stores."""
    first: bool
    """Whether it is the first of its sequence, so that the network started cold."""
    clip: Clips
    """The frame and its labels, a clip of one frame."""
    prediction: Prediction


def predict_frames(
    network: Network, stores: Sequence[FrameStore], device: torch.device, leak_probe: bool = False
) -> Iterator[Predicted]:
    """Every sequence from its own cold start. The caller sets `eval()` and wants no gradients.

    Args:
        leak_probe: whether each frame sees the true pose of the frame before; see `TrainConfig.leak_probe`.
    """
    generator, state, index = np.random.default_rng(0), cold_state_of(network), 0
    for store in stores:
        for k in range(len(store.names)):
            first = k == store.first_N[k]
            if first:
                state = cold_state_of(network)
            clip = gather_clips(store, np.array([[k]]), network.config, None, generator).to(device)
            prediction, state = network(clip.image_BL3HW[:, 0], clip.K_BL33[:, 0], clip.depth_BL1HW[:, 0], state)
            if leak_probe:
                state = remember_truth(network, state, clip.pose_BL7[:, 0], clip.posed_BL[:, 0])
            yield Predicted(index, bool(first), clip, prediction)
            index += 1
