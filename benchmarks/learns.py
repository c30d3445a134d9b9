"""Does each network learn? It must fit a few frames of the rendered room in a stated number of steps.

    python -m benchmarks.learns NAMES... [--world DIR] [--out docs/benchmarks/learns.json]

Each name is a network of the registry, of any task. It is trained as its file of `config/benchmark` says, at an eighth
of the paper's channels and 96 x 128 pixels, on the same 16 frames again and again, without augmentation but for the new
views of methods that rest on them. Then it answers for these frames as on the robot. The error stands beside the one
without learning: the mean pose, no motion, the commonest class. `--out` replaces the rows of these names and keeps the
others. Exit status 1 where one of them fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vlocnetpp.benchmark.machine import describe_machine
from vlocnetpp.benchmark.methods import methods
from vlocnetpp.data import Dataset, open_dataset
from vlocnetpp.data.world import render_world
from vlocnetpp.export.files import read_run
from vlocnetpp.metrics import confusion, localization_metrics, odometry_metrics, segmentation_metrics
from vlocnetpp.reporting.files import write_text
from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.clips import FrameStore, open_store
from vlocnetpp.training.config import TrainConfig, build_config
from vlocnetpp.training.validate import validate

SCENE, SCALE, SPLIT = "suite/room", 16 / 120, "val"
"""The split of 16 frames. It is used because it is short; nothing is validated on it."""
NETWORK = {"height": 96, "width_px": 128, "resize": "whole"}
UNCHANGED = {"brightness": 0.0, "contrast": 0.0, "colour": 0.0, "noise": 0.0}
WIDTH, BATCH, STEPS = 0.125, 8, 400


class Goal(NamedTuple):
    """What a task's error must be below, or above where more is better."""

    section: str
    """Of the metrics."""
    metric: str
    limit: float
    """Share of the error without learning that may be left, or the least value where more is better."""
    more: bool = False


GOALS = (
    Goal("localization", "median_translation_m", 0.25),
    Goal("localization", "median_rotation_deg", 0.25),
    Goal("odometry", "rpe_translation_m", 0.25),
    Goal("odometry", "rpe_rotation_deg", 0.25),
    Goal("segmentation", "mean_iou", 0.5, more=True),
)


def configuration(name: str, world: Path, steps: int) -> TrainConfig:
    """The training of a network's benchmark row, on the few frames; its stages share the steps as they share a budget.

    Raises ConfigError for a name that is no row of the benchmark.
    """
    if name not in methods():
        raise SystemExit(f"'{name}' has no file in config/benchmark; there are {', '.join(methods())}")
    settings = dict(methods()[name].train)
    settings.pop("budget", None)
    settings |= {"width": WIDTH, "batch": BATCH, "validations": 1, "device": "cpu"}
    settings["network"] = {**settings.get("network", {}), **NETWORK}
    settings["data"] = {
        **settings.get("data", {}), "root": str(world), "split": SPLIT, "validation_share": 0.0, "max_skip": 1,
        "cache": "none",
    }  # fmt: skip
    views = settings.get("augment", {}).get("views", {})
    settings["augment"] = {**UNCHANGED, "views": views}
    settings["epochs"] = steps / 2  # 16 frames are two batches
    return build_config(settings, {}, name)


def without_learning(dataset: Dataset, store: FrameStore, tasks: tuple[str, ...]) -> dict[str, Any]:
    """The metrics of the mean pose, of no motion and of the commonest class."""
    pose_N7 = store.pose_N7.double().numpy()
    found: dict[str, Any] = {}
    if "localization" in tasks:
        mean_7 = pose_N7.mean(axis=0)
        mean_7[3:] /= np.linalg.norm(mean_7[3:])
        found["localization"] = localization_metrics(np.tile(mean_7, (len(pose_N7), 1)), pose_N7)
    if "odometry" in tasks:
        still_N7 = np.tile([0.0, 0, 0, 1, 0, 0, 0], (len(pose_N7), 1))
        found["odometry"] = odometry_metrics(still_N7, pose_N7, np.arange(len(pose_N7)) > 0)
    if "segmentation" in tasks:
        count = len(dataset.classes)
        common = np.uint8(store.class_pixels(count).argmax())
        assert store.mask_NHW is not None
        matrix = np.zeros((count, count), np.int64)
        for mask_HW in store.mask_NHW:
            matrix += confusion(np.full_like(mask_HW, common), mask_HW, count)
        found["segmentation"] = segmentation_metrics(matrix, tuple(each.name for each in dataset.classes))
    return found


def learn(name: str, world: Path, steps: int, out: Path) -> dict[str, Any]:
    """Train one network in the folder `out` and judge it on the frames that it was trained on."""
    config = configuration(name, world, steps)
    if config.leak_probe:
        raise SystemExit(f"{name}: is fed with true poses and is never exported, so that it cannot be judged here")
    began = time.process_time()
    if stopped := train(config, out):
        raise SystemExit(128 + stopped)
    seconds = time.process_time() - began
    network, _, _ = read_run(out, "last")
    dataset = open_dataset(world)
    store = open_store(dataset.sequences(SPLIT), network.config, "frames", None)
    class_names = tuple(each.name for each in dataset.classes)
    metrics, _ = validate(network, [store], class_names, torch.device("cpu"))
    base = without_learning(dataset, store, network.config.tasks)
    row: dict[str, Any] = {
        "tasks": " ".join(network.config.tasks),
        "steps": load_checkpoint(out / "last.pt")["progress"]["step"],
        "seconds": round(seconds, 1),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    passed = True
    for goal in GOALS:
        if goal.section in metrics:
            error, untrained = metrics[goal.section][goal.metric], base[goal.section][goal.metric]
            wanted = goal.limit if goal.more else goal.limit * untrained
            passed &= bool(error > wanted) if goal.more else bool(error < wanted)
            row[goal.metric] = [round(float(value), 4) for value in (error, untrained, wanted)]
    return {**row, "passed": passed}


def describe(name: str, row: dict[str, Any]) -> str:
    """One line of text."""
    values = [
        f"{goal.metric} {row[goal.metric][0]:.3f} (without learning {row[goal.metric][1]:.3f}, wanted "
        f"{'more' if goal.more else 'less'} than {row[goal.metric][2]:.3f})"
        for goal in GOALS
        if goal.metric in row
    ]
    verdict = "learns" if row["passed"] else "DOES NOT LEARN"
    return f"{name}: {verdict} in {row['steps']} steps, {row['seconds']:.0f} s: {', '.join(values)}"


def save(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Replace the rows of these names in the file; a row is a line."""
    known = json.loads(path.read_text())["networks"] if path.is_file() else {}
    lines = [f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in sorted({**known, **rows}.items())]
    frames = f"16 of {SCENE}, {NETWORK['height']} x {NETWORK['width_px']}, width {WIDTH}"
    about = {
        "machine": describe_machine(),
        "frames": frames,
        "values": "error after training, error without learning, limit",
    }
    heads = [f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items()]
    write_text(path, "{\n" + "".join(heads) + '  "networks": {\n' + ",\n".join(lines) + "\n  }\n}\n")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="networks, by the names of their files in config/benchmark")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the optimizer (default: {STEPS})")
    parser.add_argument("--world", type=Path, help="folder of the rendered frames, made where it is not there")
    parser.add_argument("--out", type=Path, help="JSON file whose rows of these names are replaced")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        world = args.world or Path(folder) / "room"
        if not world.exists():
            render_world(world, SCENE, width=160, height=120, frames_scale=SCALE, jobs=1)
        for name in args.names:
            rows[name] = learn(name, world, args.steps, Path(folder) / name)
            print(describe(name, rows[name]), flush=True)
            if args.out:
                save({name: rows[name]}, args.out)
    return 0 if all(row["passed"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
