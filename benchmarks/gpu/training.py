"""Training on the kitchen: the full multitask network in bf16, or the flagship to its error on the test split.

Prints frames a second, the share of the rate of a matrix product of this card in the same run, the most memory that was
taken, whether the losses fall, and the error. The kitchen has no masks: segmentation learns from a few drawn images.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.part import Order, arguments, order_of, say
from benchmarks.gpu.roofline import measure_rates
from vlocnetpp.data import FolderWriter, LabelClass, open_dataset
from vlocnetpp.evaluation.score import true_poses
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.export import export_run
from vlocnetpp.metrics import localization_metrics
from vlocnetpp.network import configure
from vlocnetpp.network.summary import gmac
from vlocnetpp.runtime import load_model
from vlocnetpp.training import train
from vlocnetpp.training.config import TrainConfig, build_config

OPENING_S = 25.0
"""Of the part's time for opening the data, the last validation and the evaluation."""
DEPTH_CAMERA = {"focal": 1.1143, "offset_m": [-0.0255, 0, 0]}
"""Of 7-Scenes, as config/train/robot.yaml says."""
FULL: dict[str, Any] = {
    "preset": "mtl", "width": 1.0, "network": {"height": 224, "width_px": 224}, "batch": 16, "channels_last": True,
    "validations": 2,
    "stages": [
        {"name": "depth", "tasks": ["depth"], "share": 0.15},
        {"name": "joint", "tasks": ["localization", "odometry", "segmentation"], "share": 0.85, "learning_rate": 3e-4},
    ],
}  # fmt: skip
FLAGSHIP: dict[str, Any] = {
    "preset": "robot", "width": 0.125, "network": {"height": 256, "width_px": 320, "resize": "whole",
                                                   "tasks": ["localization", "odometry"]},
    "augment": {"brightness": 0.3, "contrast": 0.3, "colour": 0.1, "noise": 2.0,
                "geometric": {"probability": 1.0, "rotation_deg": 20, "scale": 0.4}},
    "batch": 8, "validations": 2,
    "stages": [
        {"name": "coordinates", "cells": 4096, "share": 4, "learning_rate": 3e-3},
        {"name": "streams", "tasks": ["localization", "odometry"], "share": 1, "learning_rate": 1e-3},
    ],
}  # fmt: skip
SMALL = {"height": 64, "width_px": 96, "resize": "whole"}
REHEARSED_S, REHEARSED_FRAMES, DRAWN = 6.0, 16, 32


def few_frames(kitchen: Path, folder: Path) -> Path:
    """A recording of the first frames of the kitchen's first training and test sequence."""
    dataset = open_dataset(kitchen)
    for split, file in (("train", "TrainSplit.txt"), ("test", "TestSplit.txt")):
        sequence = dataset.sequences(split)[0]
        target = folder / sequence.name
        target.mkdir(parents=True)
        for frame in sequence.frames[:REHEARSED_FRAMES]:
            for path in frame.image_path.parent.glob(f"{frame.image_path.name.split('.')[0]}.*"):
                (target / path.name).symlink_to(path.resolve())
        (folder / file).write_text(f"{sequence.name}\n")
    (folder / "camera-intrinsics.txt").symlink_to((kitchen / "camera-intrinsics.txt").resolve())
    return folder


def draw_masks(folder: Path) -> Path:
    """A dataset of images of rectangles in the colours of their classes, without poses."""
    random = np.random.default_rng(0)
    classes = [LabelClass(f"class {i}", (25 * i, 250 - 25 * i, 128)) for i in range(10)]
    colours = np.array([each.color for each in classes], np.uint8)
    K_33 = np.array([[280.0, 0, 160], [0, 280, 120], [0, 0, 1]])
    with FolderWriter(folder, classes=classes) as writer:
        for i in range(DRAWN):
            mask = np.full((240, 320), random.integers(10), np.uint8)
            for _ in range(12):
                row, column, height, width = random.integers((0, 0, 20, 20), (200, 280, 120, 160))
                mask[row : row + height, column : column + width] = random.integers(10)
            writer.add("drawn", "train", (i + 1) * 10**9, colours[mask], K_33, mask_HW=mask)
    return folder


def config_of(flagship: bool, order: Order, root: Path, also: Path) -> TrainConfig:
    """The run's configuration; in the rehearsal tiny."""
    settings = dict(FLAGSHIP if flagship else FULL)
    seconds = REHEARSED_S if order.rehearse else max(5.0, order.left_s - OPENING_S)
    if order.rehearse:
        settings |= {"batch": 2, "width": 0.0625, "network": {**settings["network"], **SMALL}, "validations": 2}
        if flagship:
            settings["network"] = {**settings["network"], "hidden": 32}
            settings["stages"] = [{**settings["stages"][0], "cells": 256, "augmentations": 1}, settings["stages"][1]]
    workers = min(8, (os.cpu_count() or 1) - 1) if order.cuda else 0
    settings |= {
        "data": {
            "root": str(root),
            "also": [] if flagship else [str(also)],
            "depth_camera": DEPTH_CAMERA,
            "workers": workers,
            "cache": "none",
        },
        "device": str(order.device),
        "precision": "fp32" if flagship else "bf16" if order.cuda else "fp32",
        "budget": f"{seconds:.0f}s",
    }
    return build_config(settings, {}, "the GPU run")


def losses_of(rows: list[dict[str, str]], stage: str) -> list[float]:
    """Of a stage, row by row, the mean of all losses that have a number."""
    found = []
    for row in rows:
        values = [float(v) for name, v in row.items() if name.startswith("loss_") and v]
        if row["stage"] == stage and values:
            found.append(sum(values) / len(values))
    return found


def report(order: Order, config: TrainConfig, label: str, run: Path) -> None:
    """What the run's log says."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    last = config.stages[-1].name
    frames_s = max(float(row["frames_per_s"]) for row in rows if row["stage"] == last)
    settings = config.network | {"width": config.width}
    network = configure(config.preset, settings.pop("width"), **settings)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    rates = measure_rates(order, dtype)
    # Forward, and twice as much backward.
    share = 3 * 2e9 * gmac(network) * frames_s / rates.flop_s
    say(f"{label}, stage {last}", f"{frames_s:.1f}", f"frames/s; {share:.1%} of a matrix product's {config.precision}")
    losses = losses_of(rows, last)
    say(f"{label}, loss", f"{losses[0]:.4g} to {losses[-1]:.4g}", f"in {len(losses)} rows, {rows[-1]['step']} steps")
    if order.cuda:
        say(f"{label}, memory", f"{torch.cuda.max_memory_allocated(order.device) / 2**30:.2f}", "GiB at most")


def error_of(order: Order, run: Path, root: Path, label: str) -> None:
    """Export the run and stream the test split, as on the robot."""
    file = run / "model.ts"
    export_run(run, file, "fp32")
    dataset = open_dataset(root)
    answers = stream(load_model(file, str(order.device)), dataset, "test", None)
    posed, truth_N7 = true_poses(dataset.frames("test"))
    metrics = localization_metrics(answers.pose_N7[posed], truth_N7[posed])
    median = f"{metrics['median_translation_m']:.3f} m, {metrics['median_rotation_deg']:.2f} deg"
    say(
        f"{label}, test split",
        median,
        f"{metrics['recall_5cm_5deg']:.0%} within 5 cm 5 deg, {metrics['frames']} frames",
    )


def main() -> None:
    """The part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("full", "flagship"), required=True, help="which to train")
    args = arguments(parser).parse_args()
    order, flagship = order_of(args), args.network == "flagship"
    if order.kitchen is None or not order.kitchen.is_dir():
        say(f"training, {args.network}", "not run", f"no kitchen at {order.kitchen}; name it with --kitchen")
        return
    with tempfile.TemporaryDirectory(prefix="vlocnetpp_gpu_") as folder:
        root = few_frames(order.kitchen, Path(folder) / "few") if order.rehearse else order.kitchen
        config = config_of(flagship, order, root, draw_masks(Path(folder) / "drawn"))
        label = f"training {config.preset} {config.width:g}, batch {config.batch}, {config.budget}"
        run = Path(folder) / "run"
        if stopped_by := train(config, run):
            raise SystemExit(f"stopped by signal {stopped_by}")
        report(order, config, label, run)
        if flagship:
            error_of(order, run, root, label)


if __name__ == "__main__":
    main()
