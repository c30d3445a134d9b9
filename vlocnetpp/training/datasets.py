"""One or several datasets for one network: training frames, held-out frames, and settings that follow from the data."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlocnetpp.data import Dataset, Frame, LabelClass, Sequence, dataset_digest, open_dataset
from vlocnetpp.data.cache import cache_folder
from vlocnetpp.data.registration import REGISTERED
from vlocnetpp.errors import ConfigError, nearest
from vlocnetpp.geometry import relative
from vlocnetpp.network import NetworkConfig, configure
from vlocnetpp.network.blocks.scene_coordinates import coordinate_labels
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.training.clips import FrameStore, open_store
from vlocnetpp.training.config import TrainConfig

UNSEEN_M = 2.0
"""Without depth, the scene is assumed to extend this far beyond the cameras."""
SCENE_FRAMES = 50
"""About so many frames give the extent of the scene."""
FARTHEST_M = 1e4
"""Beyond this a float32 cannot resolve millimetres."""


class TrainingError(ValueError):
    """A run cannot start, continue or converge; the message says where and what to do in one line."""


@dataclass(frozen=True)
class Part:
    """One dataset of a run."""

    dataset: Dataset
    train: tuple[Sequence, ...]
    held_out: tuple[Sequence, ...]


@dataclass(frozen=True)
class TrainingData:
    """All datasets of a run. One of them is the map; the others train tasks that need no pose in the map."""

    parts: tuple[Part, ...]
    classes: tuple[LabelClass, ...]
    map: Part
    """The first dataset that has poses, or the first of all."""

    def stores(self, network: NetworkConfig, config: TrainConfig) -> tuple[list[FrameStore], list[FrameStore]]:
        """The frames to train on and to validate with, one store for each dataset that has any."""
        cache = cache_folder(config.data.cache)
        traits = network.traits
        with_depth = config.augment.views.probability > 0 or traits.uses_depth
        several = len(self.parts) > 1
        train, held_out = [], []
        for part in self.parts:
            of = f" of {part.dataset.root.name}" if several else ""
            text, camera = f"loading training frames{of}", config.data.depth_camera
            train.append(open_store(part.train, network, text, cache, with_depth, camera))
            if part.held_out:
                held_out.append(open_store(part.held_out, network, f"loading validation frames{of}", cache))
        return train, held_out


def open_data(config: TrainConfig) -> TrainingData:
    """Open the datasets of a run and hold frames out.

    Raises DataError for a dataset that cannot be read, TrainingError where the datasets contradict each other.
    """
    if not config.data.root:
        raise TrainingError("data.root: no dataset is named; give --data.root ROOT")
    given, wanted = len(config.data.weights), 1 + len(config.data.also)
    if given not in (0, wanted):
        raise TrainingError(f"data.weights: gives {given} for {wanted} datasets; give one for root and each of also")
    datasets = [open_dataset(Path(config.data.root), config.data.layout or None)]
    datasets += [open_dataset(Path(root), None) for root in config.data.also]
    classes: tuple[LabelClass, ...] = ()
    for dataset in datasets:
        if classes and dataset.classes and [c.name for c in dataset.classes] != [c.name for c in classes]:
            raise TrainingError(
                f"{dataset.root}: its classes ({', '.join(c.name for c in dataset.classes)}) are not those of the "
                f"dataset before it ({', '.join(c.name for c in classes)}); one network has one list of classes"
            )
        classes = classes or dataset.classes
    whole, share = config.data.validation_sequences, config.data.validation_share
    known = [sequence.name for d in datasets for sequence in d.sequences(config.data.split)]
    for name in whole:
        if name not in known:
            raise TrainingError(
                f"{config.data.root}: data.validation_sequences: '{name}' is not a sequence of '{config.data.split}'"
                f"{nearest(name, known)}; there is {', '.join(known)}"
            )
    parts = [Part(d, *hold_out(d, config.data.split, share, whole)) for d in datasets]
    if not any(part.train for part in parts):
        raise TrainingError(f"{config.data.root}: data.validation_sequences holds out all of '{config.data.split}'")
    posed = [part for part in parts if has_poses(part.train)]
    map_part = posed[0] if posed else parts[0]
    for part in posed[1:]:
        print(f"{part.dataset.root}: its poses are not used, the map is {map_part.dataset.root}", file=sys.stderr)
        parts[parts.index(part)] = replace(
            part, train=_without_poses(part.train), held_out=_without_poses(part.held_out)
        )
    return TrainingData(tuple(parts), classes, map_part)


def has_poses(sequences: Several[Sequence]) -> bool:
    """Whether any frame has a pose."""
    return any(frame.pose_7 is not None for sequence in sequences for frame in sequence.frames)


def _without_poses(sequences: Several[Sequence]) -> tuple[Sequence, ...]:
    return tuple(replace(s, frames=tuple(replace(f, pose_7=None) for f in s.frames)) for s in sequences)


def hold_out(
    dataset: Dataset, split: str, share: float, whole: Several[str] = ()
) -> tuple[tuple[Sequence, ...], tuple[Sequence, ...]]:
    """Training and held-out sequences: those named in `whole`, else the split `val`, else the end of each sequence."""
    sequences = dataset.sequences(split)
    if whole:
        held = tuple(sequence for sequence in sequences if sequence.name in whole)
        return tuple(sequence for sequence in sequences if sequence.name not in whole), held
    if "val" in dataset.splits and split != "val":
        return sequences, dataset.splits["val"]
    train, ends = [], []
    for sequence in sequences:
        count = round(len(sequence.frames) * share)
        cut = len(sequence.frames) - count
        train.append(replace(sequence, frames=sequence.frames[:cut]))
        if count:
            ends.append(replace(sequence, frames=sequence.frames[cut:]))
    return tuple(train), tuple(ends)


def configure_network(config: TrainConfig, data: TrainingData) -> NetworkConfig:
    """The preset with the values from the data: number of classes, centre and spread of the map, size of a motion."""
    settings = dict(config.network)
    settings.setdefault("focal_correction", 1.0 / config.data.depth_camera.focal)
    settings.setdefault("recorded_camera", config.data.depth_camera.offset_m)
    for name in ("preset", "width"):
        if name in settings:
            also = "; the columns of the input are network.width_px" if name == "width" else ""
            raise ConfigError(f"network: '{name}' is no setting of the network's; it is --{name}{also}")
    root = data.map.dataset.root
    poses = [np.array([f.pose_7 for f in s.frames if f.pose_7 is not None]) for s in data.map.train]
    poses = [p for p in poses if len(p) > 1]
    if poses:
        positions = np.concatenate(poses)[:, :3]
        if (farthest := np.abs(positions).max()) > FARTHEST_M:
            raise TrainingError(
                f"{root}: positions lie up to {farthest:.0f} m from the origin, where 32 bits lose "
                "millimetres; give the poses in a local map frame"
            )
        motions = np.concatenate([relative(*map(torch.from_numpy, (p[:-1], p[1:]))).numpy() for p in poses])
        settings.setdefault("position_centre", tuple(float(value) for value in positions.mean(axis=0)))
        settings.setdefault("position_spread", max(float(positions.std(axis=0).max()), 1e-3))
        settings.setdefault("motion_spread", max(float(np.sqrt((motions[:, :3] ** 2).sum(axis=1).mean())), 1e-4))
    if data.classes:
        settings.setdefault("classes", len(data.classes))
    network = configure(config.preset, config.width, **settings)
    if network.traits.reads_depth and config.data.depth_camera != REGISTERED:
        raise ConfigError(
            "data.depth_camera: a network that reads depth needs registered depth, on the robot as in training"
        )
    if "segmentation" in network.tasks and not data.classes:
        masks = any(f.mask_path for s in (*data.map.train, *data.map.held_out) for f in s.frames)
        remedy = "name those of its masks in dataset.yaml (docs/recordings.md)" if masks else "try robot.yaml"
        raise TrainingError(f"{config.data.root}: has no classes, preset '{config.preset}' needs them; {remedy}")
    if {"localization", "odometry"} & set(network.tasks) and not poses:
        raise TrainingError(
            f"{config.data.root}: no sequence of 'train' has two poses, preset '{config.preset}' trains on motion"
        )
    if (network.traits.answers_coordinates or network.traits.trains_cells) and "scene_centre" not in settings:
        posed = [f for s in data.map.train for f in s.frames if f.pose_7 is not None]
        if "depth" not in network.traits.labels and all(frame.depth_path is None for frame in posed):
            centre, spread = network.scene.position_centre, network.scene.position_spread + UNSEEN_M
        else:
            centre, spread = scene_extent(root, posed)
        network = replace(network, scene=replace(network.scene, scene_centre=centre, scene_spread=spread))
    return network


def scene_extent(root: Path, frames: Several[Frame]) -> tuple[tuple[float, float, float], float]:
    """Mean of the points that posed frames see, and their largest standard deviation along an axis, metres.

    Of a few frames spread over all. Raises TrainingError where none has a depth.
    """
    seen = [frame for frame in frames if frame.depth_path is not None]
    points = []
    for frame in seen[:: max(1, len(seen) // SCENE_FRAMES)]:
        depth_HW = frame.depth()
        assert depth_HW is not None
        depth = torch.from_numpy(depth_HW)[None, None].double()
        target, known = coordinate_labels(
            depth, torch.from_numpy(frame.K_33)[None], torch.from_numpy(frame.pose_7)[None]
        )
        points.append(target[0][:, known[0]].numpy())
    if not points:
        raise TrainingError(
            f"{root}: scene coordinates are learned from depth images, and no posed frame has one; "
            "config/train/pose.yaml does without"
        )
    all_3N = np.concatenate(points, axis=1)
    x, y, z = all_3N.mean(axis=1).tolist()
    return (x, y, z), max(float(all_3N.std(axis=1).max()), 1e-3)


def describe_data(data: TrainingData, network: NetworkConfig) -> dict[str, Any]:
    """The exported file's metadata on the training data, as plain values for the checkpoint."""
    mapped = [frame for sequence in data.map.train for frame in sequence.frames]
    height, width = mapped[0].image().shape[:2]
    positions = np.array([frame.pose_7[:3] for frame in mapped if frame.pose_7 is not None])
    bounds = (positions.min(axis=0).tolist(), positions.max(axis=0).tolist()) if len(positions) else ([], [])
    digests = [dataset_digest(part.dataset) for part in data.parts]
    return {
        "K_33": [list(row) for row in network_intrinsics(network.view, mapped[0].K_33, height, width)],
        "classes": [[each.name, list(each.color)] for each in data.classes],
        "map_frame": data.map.dataset.map_frame,
        "position_min_3": bounds[0],
        "position_max_3": bounds[1],
        "dataset": {
            "name": " + ".join(part.dataset.root.resolve().name for part in data.parts),
            "layout": " + ".join(part.dataset.layout for part in data.parts),
            "digest": digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
            "image_size": [height, width],
            "training_frames": sum(len(s.frames) for part in data.parts for s in part.train),
        },
    }
