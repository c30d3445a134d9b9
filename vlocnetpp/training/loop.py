"""The offline trainer: stages under one time budget, validation, checkpoints, resume."""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vlocnetpp.data import Dataset, Sequence, dataset_digest, open_dataset
from vlocnetpp.evaluation.files import json_ready
from vlocnetpp.geometry import relative
from vlocnetpp.losses import MultitaskLoss
from vlocnetpp.network import ConfigError, NetworkConfig, VLocNetPlusPlus, network_config
from vlocnetpp.network.multitask import task_network
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.network.presets import config_to_json
from vlocnetpp.network.pretrained import load_pretrained
from vlocnetpp.progress import Status
from vlocnetpp.runtime.model_file import choose_device
from vlocnetpp.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from vlocnetpp.training.clips import FrameStore, cut_clips, gather_clips, load_frames
from vlocnetpp.training.config import StageConfig, TrainConfig, save_config, seconds, to_plain
from vlocnetpp.training.norms import settle_norms
from vlocnetpp.training.unroll import depth_term, unroll
from vlocnetpp.training.validate import validate

CONFIG_NAME, LAST_NAME, LOG_NAME = "config.yaml", "last.pt", "metrics.csv"
WARM_UP_SHARE, FINAL_RATE = 0.02, 0.01
GRADIENT_NORM = 20.0
SAVE_EVERY_S = 300.0
"""Between validations, so that a crash costs minutes."""
FARTHEST_M = 1e4
"""Beyond this a float32 no longer holds the millimetres of a position."""


class TrainingError(ValueError):
    """A run cannot start, continue or converge; the message says where and what to do in one line."""


def hold_out(dataset: Dataset, split: str, share: float) -> tuple[tuple[Sequence, ...], tuple[Sequence, ...]]:
    """Training and validation sequences: the split `val` where there is one, else the end of each sequence."""
    sequences = dataset.sequences(split)
    if "val" in dataset.splits and split != "val":
        return sequences, dataset.splits["val"]
    train, held = [], []
    for sequence in sequences:
        count = round(len(sequence.frames) * share)
        cut = len(sequence.frames) - count
        train.append(replace(sequence, frames=sequence.frames[:cut]))
        if count:
            held.append(replace(sequence, frames=sequence.frames[cut:]))
    return tuple(train), tuple(held)


def configure_network(config: TrainConfig, dataset: Dataset, sequences: tuple[Sequence, ...]) -> NetworkConfig:
    """The preset with what the data decides: number of classes, centre and spread of the map, size of a motion."""
    settings = dict(config.network)
    for name in ("preset", "width"):
        if name in settings:
            raise ConfigError(f"network: '{name}' does not exist here; it stands at the top of the configuration")
    poses = [np.array([f.pose_7 for f in s.frames if f.pose_7 is not None]) for s in sequences]
    poses = [p for p in poses if len(p) > 1]
    if poses:
        positions = np.concatenate(poses)[:, :3]
        if (farthest := np.abs(positions).max()) > FARTHEST_M:
            raise TrainingError(
                f"{dataset.root}: positions lie up to {farthest:.0f} m from the origin, where 32 bits lose "
                "millimetres; give the poses in a local map frame"
            )
        motions = np.concatenate([relative(*map(torch.from_numpy, (p[:-1], p[1:]))).numpy() for p in poses])
        settings.setdefault("position_centre", tuple(float(value) for value in positions.mean(axis=0)))
        settings.setdefault("position_spread", max(float(positions.std(axis=0).max()), 1e-3))
        settings.setdefault("motion_spread", max(float(np.sqrt((motions[:, :3] ** 2).sum(axis=1).mean())), 1e-4))
    if dataset.classes:
        settings.setdefault("classes", len(dataset.classes))
    network = network_config(config.preset, config.width, **settings)
    if "segmentation" in network.tasks and not dataset.classes:
        raise TrainingError(f"{dataset.root}: has no classes, preset '{config.preset}' needs them; try stl_pose")
    if {"localization", "odometry"} & set(network.tasks) and not poses:
        raise TrainingError(f"{dataset.root}: has no poses, preset '{config.preset}' trains on them")
    return network


def describe_data(dataset: Dataset, train: tuple[Sequence, ...], network: NetworkConfig) -> dict[str, Any]:
    """What the exported file says of the training data, as plain values for the checkpoint."""
    frames = [frame for sequence in train for frame in sequence.frames]
    height, width = frames[0].image().shape[:2]
    positions = np.array([frame.pose_7[:3] for frame in frames if frame.pose_7 is not None])
    bounds = (positions.min(axis=0).tolist(), positions.max(axis=0).tolist()) if len(positions) else ([], [])
    return {
        "K_33": [list(row) for row in network_intrinsics(network, frames[0].K_33, height, width)],
        "classes": [[each.name, list(each.color)] for each in dataset.classes],
        "map_frame": dataset.map_frame,
        "position_min_3": bounds[0],
        "position_max_3": bounds[1],
        "dataset": {
            "name": dataset.root.resolve().name,
            "layout": dataset.layout,
            "digest": dataset_digest(dataset),
            "training_frames": len(frames),
        },
    }


def learning_rate(stage: StageConfig, share: float) -> float:
    """Linear warm-up, then a cosine to a hundredth, over the share of the stage's budget that has passed."""
    if share < WARM_UP_SHARE:
        return stage.learning_rate * max(share / WARM_UP_SHARE, 0.01)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return stage.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def parameter_groups(network: VLocNetPlusPlus, loss: MultitaskLoss, depth: bool, decay: float) -> list[dict[str, Any]]:
    """Weights with decay; norms, biases and the learnable loss weights without. The depth stage trains depth alone."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        trains = name.startswith("depth.") == depth
        parameter.requires_grad_(trains)
        if trains:
            (decayed if parameter.ndim > 1 and not name.endswith("fusion.weight") else free).append(parameter)
    if not depth:
        free += [parameter for parameter in loss.parameters() if parameter.requires_grad]
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that a SIGTERM or Ctrl-C fills, so that the run can save and end instead of dying; restored afterwards."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda n, _: seen.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(config: TrainConfig, out: Path, resume: bool = False) -> bool:
    """Train a network under the configuration's budget into the folder of a run.

    The folder gets the resolved configuration, `last.pt` after every validation and at the end, and `metrics.csv`.

    Returns:
        True when the budget was used up, False when a signal ended the run early; it can be resumed.

    Raises:
        TrainingError, ConfigError, DataError, CheckpointError: with one line each.

    With `resume` the configuration must be the run's own, but for budget, device and the place of the data.
    """
    if (out / LAST_NAME).exists() and not resume:
        raise TrainingError(f"{out}: exists already; continue it with --resume or name another folder")
    saved = load_checkpoint(out / LAST_NAME) if resume else None
    if saved is not None and saved["progress"]["done"]:
        raise TrainingError(f"{out}: has used its budget up; export it, or train anew into another folder")
    dataset = open_dataset(Path(config.data.root), config.data.layout or None)
    train_sequences, val_sequences = hold_out(dataset, config.data.split, config.data.validation_share)
    network_settings = configure_network(config, dataset, train_sequences)
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    network = VLocNetPlusPlus(network_settings)
    if config.pretrained and not resume:
        print(load_pretrained(network, Path(config.pretrained)))
    network.to(device)
    loss = MultitaskLoss(config.loss).to(device)
    progress: dict[str, Any] = {"stage": 0, "elapsed_s": 0.0, "step": 0, "total_s": 0.0, "done": False}
    saved_optimizer = None
    about = describe_data(dataset, train_sequences, network_settings)
    metrics: dict[str, Any] = {}
    calibration = (1.0, 1.0)
    if saved is not None:
        if saved["about"]["dataset"]["digest"] != about["dataset"]["digest"]:
            raise CheckpointError(f"{out}: was trained on other data than {config.data.root} holds now")
        network.load_state_dict(saved["network_state"])
        loss.load_state_dict(saved["loss_state"])
        progress, saved_optimizer = saved["progress"], saved["optimizer_state"]
        metrics, calibration = saved["metrics"], tuple(saved["calibration"])
    store = load_frames(train_sequences, network_settings, "loading training frames")
    val_store = load_frames(val_sequences, network_settings, "loading validation frames") if val_sequences else None
    check_stages(config, network_settings, store)
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG_NAME)

    total_share = sum(stage.share for stage in config.stages)
    budget_s = seconds(config.budget)
    class_names = tuple(each.name for each in dataset.classes)
    saved_at = 0.0

    def save(optimizer: torch.optim.Optimizer | None) -> None:
        save_checkpoint(
            out / LAST_NAME,
            {
                "network_config": config_to_json(network_settings),
                "network_state": network.state_dict(),
                "loss_state": loss.state_dict(),
                "optimizer_state": optimizer.state_dict() if optimizer else None,
                "progress": dict(progress),
                "train_config": to_plain(config),
                "about": about,
                "calibration": list(calibration),
                "metrics": json_ready(metrics),
            },
        )

    with stop_requests() as stopped, Status("training", budget_s) as status:
        for number, stage in enumerate(config.stages):
            if number < progress["stage"] or stopped:
                continue
            depth_stage = stage.tasks == ("depth",)
            part = network if depth_stage else task_network(network, stage.tasks)
            groups = parameter_groups(network, loss, depth_stage, config.weight_decay)
            optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.999), eps=1e-10)
            if saved_optimizer is not None:
                optimizer.load_state_dict(saved_optimizer)
                saved_optimizer = None
            stage_s = budget_s * stage.share / total_share
            next_validation = validation_times(progress["elapsed_s"], stage_s, config, stage, total_share)
            while progress["elapsed_s"] < stage_s and not stopped:
                # Seeded by the step at which the epoch begins; a resumed run begins a new epoch.
                labelled = False
                generator = np.random.default_rng((config.seed, number, progress["step"]))
                for index in cut_clips(store, config.data.clip_length, config.data.max_skip, config.batch, generator):
                    began = time.monotonic()
                    share = progress["elapsed_s"] / stage_s
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate(stage, share)
                    network.train()
                    if network.depth is not None and not depth_stage:
                        network.depth.eval()
                    clips = gather_clips(store, index, network_settings, config.augment, generator).to(device)
                    if depth_stage:
                        terms = depth_term(network, clips)
                    else:
                        terms, _ = unroll(part, clips, stage.tasks, config.loss, stage.consistency)
                    if not terms:
                        # Nothing in this batch has a label for the stage: sparse masks, or frames without a pose.
                        progress["elapsed_s"] += time.monotonic() - began
                        continue
                    labelled = True
                    total = loss(terms)
                    optimizer.zero_grad(set_to_none=True)
                    total.backward()
                    norm = nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], GRADIENT_NORM)
                    if not bool(torch.isfinite(norm)):
                        names = [store.names[i] for i in index[:, -1]]
                        raise TrainingError(
                            f"{out}: the loss or its gradient is not finite at step {progress['step']}, stage "
                            f"'{stage.name}', frames {', '.join(names[:4])}, ...; lower the learning rate"
                        )
                    optimizer.step()
                    progress["step"] += 1
                    spent = time.monotonic() - began
                    progress["elapsed_s"] += spent
                    progress["total_s"] += spent
                    values = {name: float(value.detach()) for name, value in terms.items()}
                    rate = index.size / spent
                    status.update(progress["total_s"], f"{stage.name} {rate:.0f} frames/s " + _short(values))
                    if next_validation and progress["elapsed_s"] >= next_validation[0]:
                        next_validation.pop(0)
                        if not depth_stage:
                            settle_norms(part, store, device)
                        found: dict[str, Any] = {}
                        if val_store is not None and not depth_stage:
                            found, found_calibration = validate(part, val_store, class_names, device)
                            metrics = {**metrics, **found}
                            calibration = found_calibration or calibration
                            status.note(f"validation at {progress['total_s']:.0f} s: {summary(found)}")
                        log_row(out / LOG_NAME, stage.name, progress, rate, values, loss, found)
                        saved_at = progress["total_s"]
                        save(optimizer)
                    elif progress["total_s"] - saved_at > SAVE_EVERY_S:
                        saved_at = progress["total_s"]
                        save(optimizer)
                    if progress["elapsed_s"] >= stage_s or stopped:
                        break
                else:
                    if not labelled:
                        raise TrainingError(
                            f"{config.data.root}: no frame has a label for stage '{stage.name}' "
                            f"({', '.join(stage.tasks)}); odometry needs clips of at least two posed frames"
                        )
            if stopped:
                if not depth_stage:
                    settle_norms(part, store, device)
                save(optimizer)
            else:
                progress.update(stage=number + 1, elapsed_s=0.0)
        if not stopped:
            progress["done"] = True
            save(None)
    return not stopped


def check_stages(config: TrainConfig, network: NetworkConfig, store: FrameStore) -> None:
    """Refuse before a night is lost: a depth network that no stage trains, or that has nothing to learn from."""
    for stage in config.stages:
        if "depth" not in stage.tasks and not set(stage.tasks) & set(network.tasks):
            raise ConfigError(f"stage '{stage.name}': preset '{config.preset}' has no task {', '.join(stage.tasks)}")
        if "depth" in stage.tasks and stage.tasks != ("depth",):
            raise ConfigError(f"stage '{stage.name}': depth is trained alone, in a stage of its own")
        if stage.tasks == ("depth",) and network.depth != "network":
            raise ConfigError(f"stage '{stage.name}': preset '{config.preset}' has no depth network")
    trains_depth = any(stage.tasks == ("depth",) for stage in config.stages)
    if network.depth == "network" and not trains_depth:
        raise ConfigError(f"preset '{config.preset}' warps with a depth network: give it a stage with tasks [depth]")
    if network.depth != "none" and not store.has_depth:
        raise ConfigError(f"{config.data.root}: has no depth, preset '{config.preset}' needs it; try mtl_no_warp")


def validation_times(
    elapsed_s: float, stage_s: float, config: TrainConfig, stage: StageConfig, total_share: float
) -> list[float]:
    """When, in seconds of the stage, the run is validated; the last time is the end of the stage."""
    count = max(1, round(config.validations * stage.share / total_share))
    return [at for at in (stage_s * (i + 1) / count for i in range(count)) if at > elapsed_s]


def log_row(
    path: Path,
    stage: str,
    progress: dict[str, Any],
    rate: float,
    values: dict[str, float],
    loss: MultitaskLoss,
    metrics: dict[str, Any],
) -> None:
    """Append one line to the CSV of the run."""
    names = ("x", "q", "x_rel", "q_rel", "x_vo", "q_vo", "seg", "depth", "scale")
    localization, odometry = metrics.get("localization", {}), metrics.get("odometry", {})
    row: dict[str, Any] = {"total_s": round(progress["total_s"], 1), "stage": stage, "step": progress["step"]}
    row["frames_per_s"] = round(rate, 1)
    row.update({f"loss_{name}": values.get(name, "") for name in names})
    row.update({name: float(value) for name, value in loss.state_dict().items()})
    row["val_median_translation_m"] = localization.get("median_translation_m", "")
    row["val_median_rotation_deg"] = localization.get("median_rotation_deg", "")
    row["val_rpe_translation_m"] = odometry.get("rpe_translation_m", "")
    row["val_mean_iou"] = metrics.get("segmentation", {}).get("mean_iou", "")
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def summary(metrics: dict[str, Any]) -> str:
    """One line of the figures that people ask for first."""
    parts = []
    if "localization" in metrics:
        found = metrics["localization"]
        parts.append(f"pose {found['median_translation_m']:.3f} m {found['median_rotation_deg']:.2f} deg")
    if "odometry" in metrics:
        found = metrics["odometry"]
        parts.append(f"odometry {found['rpe_translation_m']:.4f} m {found['rpe_rotation_deg']:.3f} deg a frame")
    if "segmentation" in metrics:
        parts.append(f"mean IoU {metrics['segmentation']['mean_iou']:.3f}")
    return ", ".join(parts) or "no labels"


def _short(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in values.items())
