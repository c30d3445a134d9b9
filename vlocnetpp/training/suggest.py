"""Proposes a training for a dataset: configuration, input size, held-out drive and budget, as a command to run."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Sequence as Several
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn

from vlocnetpp.data import Dataset, Frame, Sequence, open_dataset, triangulation
from vlocnetpp.data.cache import cache_folder, room
from vlocnetpp.data.doctor.splits import nearest_poses
from vlocnetpp.network import build_network
from vlocnetpp.network.contract import CellNetwork
from vlocnetpp.progress import duration
from vlocnetpp.shipped import shipped
from vlocnetpp.training.ahead import FEW
from vlocnetpp.training.cell_stage import FEATURES_SHARE, TIMED, cell_features, seconds_per_image, version_counts
from vlocnetpp.training.cell_training import in_half
from vlocnetpp.training.cell_views import training_views
from vlocnetpp.training.cells import largest_size
from vlocnetpp.training.clips import open_store
from vlocnetpp.training.config import TrainConfig, load_config
from vlocnetpp.training.datasets import TrainingError, configure_network, open_data
from vlocnetpp.training.labels import follow_labels

CONFIG = "config/train/robot.yaml"
STEP_PX = 32
"""The input's sides are multiples of this: the network's smallest map has a 32nd of its size."""
SMALLEST_PX = 96
LEAST_S, MOST_S = 15 * 60.0, 8 * 3600.0
VERSIONS = 4
"""Of each image, for which at least a budget is proposed."""
HEADROOM = 1.1
"""The run measures the time of features again, and then they may take longer."""
FRAME_BYTES = 6
"""Of a pixel of a decoded frame: colour, mask and depth."""
CLOUD_BYTES = 3_000_000
"""About, of the map's point cloud in a model file."""


class Suggestion(NamedTuple):
    """A command, and lines that say why."""

    command: str
    reasons: tuple[str, ...]


def suggest(root: Path, layout: str | None = None, out: str = "runs/first") -> Suggestion:
    """Look at a dataset and propose how to train on it. Raises DataError or TrainingError where nothing can be learned.

    The times are measured on this machine: images are read and run through the network.
    """
    dataset = open_dataset(root, layout)
    if "train" not in dataset.splits or not dataset.frames("train"):
        raise TrainingError(f"{root}: has no split 'train'; there is {', '.join(dataset.splits)}")
    frames = dataset.frames("train")
    posed = [frame for frame in frames if frame.pose_7 is not None]
    if not posed and all(frame.mask_path is None for frame in frames):
        raise TrainingError(f"{root}: its training frames have neither poses nor masks, there is nothing to learn")
    began = time.monotonic()
    sample = [frames[i] for i in np.linspace(0, len(frames) - 1, min(TIMED, len(frames))).astype(int)]
    rows, columns = sample[0].image().shape[:2]
    for frame in sample[1:]:
        frame.image(), frame.depth(), frame.mask()
    read_s = (time.monotonic() - began) / len(sample)
    base = load_config(shipped(CONFIG), {"data.root": str(root)})
    height, width = input_size(rows, columns, int(base.network["height"]) * int(base.network["width_px"]))
    overrides = {"data.root": str(root), "network.height": str(height), "network.width_px": str(width)}
    deep, masked = (sum(getattr(f, name) is not None for f in frames) for name in ("depth_path", "mask_path"))
    labels = f"{len(posed)} with a pose, {deep} with depth, {masked} with a mask"
    reasons = [
        f"{len(frames)} training frames of {columns} x {rows} px: {labels}",
        f"{CONFIG}: learns what the data has labels for; the input of {width} x {height} px fits the camera",
    ]
    held, reason = held_out(dataset)
    reasons.append(reason)
    if held:
        overrides["data.validation_sequences"] = f"[{held}]"
    config = load_config(shipped(CONFIG), overrides)
    feature_s, megabytes, gigabytes = _measure(config, posed)
    lacking = triangulation.wanted([frame.depth_path is not None for frame in posed])
    labels_s = triangulation.seconds(len(posed)) if lacking else 0.0
    budget, text = _budget(config, len(posed), feature_s, labels_s)
    reasons += [text, f"beside that, reading all frames takes about {duration(read_s * len(frames))}, the first time"]
    if gigabytes:
        folder = cache_folder(config.data.cache)
        assert folder is not None  # the configuration names none, and then it is the user's own
        reasons.append(
            f"features and frames take up to {gigabytes:.1f} GB of disk in {folder}, which has room for "
            f"{room(folder) / 1e9:.1f} GB; --data.cache FOLDER is another place"
        )
    reasons.append(f"the model file will have about {megabytes:.0f} MB; errors to expect: docs/choosing.md")
    words = ["vlocnetpp", "train", CONFIG, "--out", out, "--budget", budget]
    words += [word for name, value in overrides.items() for word in (f"--{name}", value)]
    return Suggestion(shlex.join(words), tuple(reasons))


def input_size(rows: int, columns: int, area: int) -> tuple[int, int]:
    """Height and width in multiples of 32 with about the aspect of an image and this many pixels, not above the image's
    own.
    """
    scale = min(1.0, math.sqrt(area / (rows * columns)))
    height, width = (max(SMALLEST_PX, STEP_PX * round(scale * side / STEP_PX)) for side in (rows, columns))
    return height, width


def held_out(dataset: Dataset) -> tuple[str, str]:
    """The training sequence to hold out, '' for none, and why: the one that the others cover best."""
    if "val" in dataset.splits:
        return "", f"the split 'val' of {len(dataset.frames('val'))} frames chooses the best checkpoint"
    drives = [each for each in dataset.sequences("train") if sum(f.pose_7 is not None for f in each.frames) >= FEW]
    if len(drives) < 3:
        return "", (
            "too few drives to hold one out: the end of each is held out, which looks like the frames before it, so "
            "that the bounds come out too small; record one more drive"
        )
    distances = [_distance(drive, [each for each in drives if each is not drive]) for drive in drives]
    best = int(np.argmin(distances))
    return drives[best].name, (
        f"{drives[best].name} is held out to choose the best checkpoint and to calibrate the bounds: the others cover "
        f"it best, within {distances[best]:.2f} m (median)"
    )


def _distance(drive: Sequence, others: Several[Sequence]) -> float:
    """Median distance of a drive's poses from the nearest of the others."""
    poses = [np.array([f.pose_7 for f in each.frames if f.pose_7 is not None]) for each in (drive, *others)]
    return float(np.median(nearest_poses(np.concatenate(poses[1:]), poses[0])[0]))


def _measure(config: TrainConfig, posed: list[Frame]) -> tuple[float, float, float]:
    """Seconds that one version of an image and its features take on this machine, megabytes of the model file, and
    gigabytes of the cache; the first and the last are 0 without posed frames."""
    data = open_data(config)
    config, _ = follow_labels(config, data)
    network = build_network(configure_network(config, data))
    module = cast(nn.Module, network).eval()
    size = sum(value.numel() * value.element_size() for value in module.state_dict().values()) + CLOUD_BYTES
    if not posed:
        return 0.0, size / 1e6, 0.0
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    stage = next((stage for stage in config.stages if stage.cells), config.stages[0])
    half = in_half(stage.half, torch.device("cpu"))
    frames = [Sequence("measured", tuple(posed[:TIMED]))]
    store = open_store(frames, network.config, "reading frames", None, True, config.data.depth_camera)
    count, view = training_views(store, network.config, config.augment, 0)
    with torch.inference_mode():
        each_s = seconds_per_image(
            count, view, lambda image_B3HW: cell_features(cast(CellNetwork, network), image_B3HW, half)
        )
    cells, view_config = cast(CellNetwork, network), network.config.view
    shape = (view_config.height, view_config.width_px)
    images = (1 + stage.augmentations) * len(posed)
    buffer = largest_size(images, cells.cell_channels(), cells.cell_stride(), shape)
    return each_s, size / 1e6, (buffer + len(posed) * math.prod(shape) * FRAME_BYTES) / 1e9


def _budget(config: TrainConfig, posed: int, feature_s: float, labels_s: float) -> tuple[str, str]:
    """A time as `--budget` takes it, and why.

    Args:
        posed: number of images with a pose.
        feature_s: seconds that the features of one version of one image take.
        labels_s: seconds that labels take where there is no depth.
    """
    cells = next((stage for stage in config.stages if stage.cells), None)
    if cells is None or not posed:
        return "60m", "60 minutes, as in the configuration"
    share = cells.share / sum(stage.share for stage in config.stages)

    def budget_s(versions: int) -> float:
        return HEADROOM * FEATURES_SHARE * (posed * versions * feature_s + labels_s) / share

    least = budget_s(min(VERSIONS, 1 + cells.augmentations))
    minutes = 5 * math.ceil(float(np.clip(least, LEAST_S, MOST_S)) / 300)
    versions = next((count for count in version_counts(cells) if budget_s(count) <= minutes * 60), 1)
    features = f"{versions} versions" if versions > 1 else "one version"
    said = f"{minutes}m: the features of {posed} images in {features}"
    if labels_s:
        said += ", and triangulating keypoints, since depth is lacking,"
    said += f" take about {duration(posed * versions * feature_s + labels_s)} of it on this machine, the first time; "
    said += "more time makes it better"
    if versions <= cells.augmentations:
        said += f", with up to {1 + cells.augmentations} versions"
    return f"{minutes}m", said
