"""What a run will take and whether it can be judged, said before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from vlocnetpp.data.cache import room
from vlocnetpp.data.registration import REGISTERED
from vlocnetpp.errors import DataError
from vlocnetpp.network import Network
from vlocnetpp.network.contract import CellNetwork
from vlocnetpp.progress import duration
from vlocnetpp.training.cell_stage import buffer_folder
from vlocnetpp.training.cells import largest_size
from vlocnetpp.training.clips import FrameStore
from vlocnetpp.training.config import TrainConfig
from vlocnetpp.training.schedule import Progress, Schedule
from vlocnetpp.training.streaming import predict_frames

TIMED = 4
"""Frames that are streamed to tell how long a validation takes; the first warms up."""
FEW = 50
"""Held-out frames below which the best of several checkpoints is chosen by chance more than by skill."""


def validation_seconds(network: Network, stores: Sequence[FrameStore], device: torch.device) -> float:
    """Seconds that a validation takes, from a few frames streamed as in one. Leaves the network as it was."""
    frames = sum(len(store.names) for store in stores)
    if not frames:
        return 0.0
    training = network.training
    network.eval()
    times = [time.monotonic()]
    with torch.inference_mode():
        times += [time.monotonic() for _ in islice(predict_frames(network, stores, device), TIMED)]
    network.train(training)
    if len(times) == 2:  # a single frame
        return times[1] - times[0]
    return frames * (times[-1] - times[1]) / (len(times) - 2)


def said_ahead(
    config: TrainConfig, schedule: Schedule, progress: Progress, held_out: Sequence[FrameStore], validation_s: float
) -> Iterator[str]:
    """Lines on a depth camera that is not registered, on the time that is left of the run, and on held-out frames too
    few to choose by."""
    camera = config.data.depth_camera
    if camera != REGISTERED:
        x, y, z = camera.offset_m
        yield (
            f"data.depth_camera: depth images and poses are of a camera of {camera.focal:g} times the focal length, at "
            f"({x:g}, {y:g}, {z:g}) m in the frame of the colour camera"
        )
    frames = sum(len(store.names) for store in held_out)
    count = schedule.validations_left(progress)
    validations = f"at most {count} validations of {frames} frames, about {duration(validation_s)} each"
    budget_s = schedule.left_s(progress)
    if budget_s is not None:
        rest = f"{duration(budget_s)} that are left of " if progress.total_s else ""
        total = duration(budget_s + count * validation_s)
        yield f"this takes about {total}: {rest}the budget of {config.budget}, and {validations}"
    else:
        yield f"beside its {config.epochs:g} epochs this makes {validations}"
    if not frames:
        yield (
            "nothing is held out: no checkpoint is chosen, and no bounds are calibrated; hold a drive out with "
            "--data.validation_sequences NAME"
        )
    elif frames < FEW:
        yield (
            f"only {frames} frames are held out: too few to choose the best checkpoint by and to calibrate bounds; "
            "hold a whole drive out with --data.validation_sequences NAME, or see vlocnetpp train --suggest"
        )


def said_of_room(config: TrainConfig, out: Path, network: CellNetwork, progress: Progress, posed: int) -> Iterator[str]:
    """A line where the disk has no room for the features of all versions of the images.

    Args:
        posed: number of images with a pose.

    Raises:
        DataError: it has no room for one version.
    """
    number, stage = next((i, stage) for i, stage in enumerate(config.stages) if stage.cells)
    if not posed or progress.stage > number or progress.versions:
        return  # the stage has begun, and its buffer has its room
    view = network.config.view
    folder = buffer_folder(config, out)
    layout = (network.cell_channels(), network.cell_stride(), (view.height, view.width_px))
    free = room(folder)
    least, most = (largest_size(count * posed, *layout) for count in (1, 1 + stage.augmentations))
    remedy = "free some, or choose another folder with --data.cache FOLDER"
    if least > free:
        raise DataError(
            f"{folder}: has room for {free / 1e9:.1f} GB, and the features of all images need {least / 1e9:.1f} GB; "
            f"{remedy}"
        )
    if most > free:
        yield (
            f"{folder} has room for {free / 1e9:.1f} GB: the features of all images in {1 + stage.augmentations} "
            f"versions need {most / 1e9:.1f} GB, so that they get fewer, and the poses are less accurate; {remedy}"
        )
