"""The apparent accuracy of `vlocnet` when it is fed the true pose of the previous frame, as public reimplementations
do. A leak probe is never exported, so it is streamed from its run's checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vlocnetpp.data import Dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.network import build_network, config_from_json
from vlocnetpp.progress import track
from vlocnetpp.training import load_checkpoint
from vlocnetpp.training.clips import open_store
from vlocnetpp.training.streaming import predict_frames


def stream_checkpoint(
    checkpoint: Path, dataset: Dataset, split: str, feed_truth: bool, device: str = "cpu"
) -> Streamed:
    """Every sequence of a split from its own cold start through a network of preset vlocnet.

    Args:
        checkpoint: of a run, such as RUN/last.pt.
        feed_truth: whether each frame sees the true pose of the frame before; its first frame, and one whose
            predecessor has no pose, sees none and the network's own. Else all see the network's own, as on a robot.

    Returns:
        As `stream` of an exported model, without latencies and calibrated scales: NaN.

    Raises CheckpointError or DataError, and ConfigError for a network that sees no pose of the past.
    """
    saved = load_checkpoint(checkpoint)
    network = build_network(config_from_json(saved["network_config"])).to(device).eval()
    network.load_state_dict(saved["network_state"])
    if "pose_B7" not in network.config.traits.own_answers.values():
        raise ConfigError(f"{checkpoint}: preset '{network.config.name}' sees no pose of the past; vlocnet does")
    store = open_store(dataset.sequences(split), network.config, f"loading {split}", None)
    count = len(store.names)
    rows = np.full((count, 7), np.nan)
    answers = Streamed(rows, rows.copy(), np.zeros(count, bool), rows[:, :2].copy(), rows[:, 0].copy())
    with torch.inference_mode():
        frames = predict_frames(network, [store], torch.device(device), feed_truth)
        for i, first, _, prediction in track(frames, f"evaluating {split}", count):
            answers.pose_N7[i] = prediction["pose_B7"][0].cpu().numpy()
            if "relative_B7" in prediction and not first:
                answers.relative_N7[i], answers.valid_N[i] = prediction["relative_B7"][0].cpu().numpy(), True
    return answers
