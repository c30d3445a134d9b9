"""What a run will take and whether it can be judged, said before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from vlocnetpp.network import Network
from vlocnetpp.progress import duration
from vlocnetpp.training.clips import FrameStore
from vlocnetpp.training.config import TrainConfig, seconds
from vlocnetpp.training.streaming import predict_frames

TIMED = 4
"""Frames that are streamed to tell how long a validation takes; the first warms up."""
FEW = 50
"""Held-out frames below which the best of several checkpoints is chosen by chance more than by skill."""


def frame_seconds(network: Network, stores: Sequence[FrameStore], device: torch.device) -> float:
    """Seconds that one held-out frame takes, as it is streamed in a validation. Leaves the network as it was."""
    training = network.training
    network.eval()
    times = [time.monotonic()]
    with torch.inference_mode():
        times += [time.monotonic() for _ in islice(predict_frames(network, stores, device), TIMED)]
    network.train(training)
    return (times[-1] - times[1]) / max(len(times) - 2, 1)


def said_ahead(
    config: TrainConfig, network: Network, held_out: Sequence[FrameStore], device: torch.device
) -> Iterator[str]:
    """Lines on the time that the run takes, and on held-out frames too few to choose by."""
    frames = sum(len(store.names) for store in held_out)
    each_s = frame_seconds(network, held_out, device) * frames if frames else 0.0
    validations = f"{config.validations} validations of {frames} frames, about {duration(each_s)} each"
    if config.budget:
        total = duration(seconds(config.budget) + config.validations * each_s)
        yield f"this takes about {total}: the budget of {config.budget}, and {validations}"
    else:
        yield f"beside its {config.epochs:g} epochs this makes {validations}"
    if 0 < frames < FEW:
        yield (
            f"only {frames} frames are held out: too few to choose the best checkpoint by and to calibrate bounds; "
            "hold a whole drive out with --data.validation_sequences NAME, or see vlocnetpp train --suggest"
        )
