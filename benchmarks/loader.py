"""How fast clips are loaded, against how fast a network trains on them on the same cores in the same run.

    python benchmarks/loader.py ROOT [--config config/train/pose.yaml] [--steps 10] [--batches 1000]

Prints the building and opening of the cache, what each change of the pixels costs, frames per second of the loader and
of tiny networks in training, training with the loader in the loop, and memory over many batches.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from vlocnetpp.data import DataError, Sequence, open_dataset
from vlocnetpp.data.new_views import ViewConfig
from vlocnetpp.data.transforms import GeometricConfig
from vlocnetpp.errors import ConfigError
from vlocnetpp.losses import MultitaskLoss, count_labels, make_terms
from vlocnetpp.network import NetworkConfig, build_network, configure
from vlocnetpp.training.clips import Clips, FrameStore, open_store
from vlocnetpp.training.config import AugmentConfig, TrainConfig, load_config
from vlocnetpp.training.loader import ClipLoader
from vlocnetpp.training.optimization import make_optimizer, parameter_groups
from vlocnetpp.training.unroll import unroll

NOTHING = AugmentConfig(brightness=0, contrast=0, colour=0, noise=0)
CHANGES = {
    "pixels and crop alone": NOTHING,
    "brightness": replace(NOTHING, brightness=0.3),
    "contrast": replace(NOTHING, contrast=0.3),
    "colour": replace(NOTHING, colour=0.1),
    "noise": replace(NOTHING, noise=4.0),
    "exposure": replace(NOTHING, exposure=1.0),
    "temperature": replace(NOTHING, temperature=50.0),
    "blur": replace(NOTHING, blur=2.0),
    "motion blur": replace(NOTHING, motion_blur=6.0),
    "cutout, 2 boxes": replace(NOTHING, cutout=2),
    "geometric": replace(NOTHING, geometric=GeometricConfig(probability=1.0, rotation_deg=10.0, scale=0.2)),
    "new views": replace(NOTHING, views=ViewConfig(probability=1.0, translation_m=0.1, rotation_deg=5.0)),
}
CLASSES = 11
"""Of the masks that the multitask network is timed with; their content costs nothing."""


def loader_of(store: FrameStore, network: NetworkConfig, config: TrainConfig, **changes: object) -> ClipLoader:
    """The loader of a configuration, with other options where named."""
    options = {"augment": config.augment, "batch": config.batch, "workers": 0, **changes}
    return ClipLoader([store], network, config.data, seed=config.seed, **options)  # type: ignore[arg-type]


def endless(loader: ClipLoader) -> Iterator[tuple[np.ndarray, Clips]]:
    """Batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from loader.epoch((epoch,))
        epoch += 1


def time_cache(sequences: tuple[Sequence, ...], network: NetworkConfig, folder: Path, with_depth: bool) -> FrameStore:
    """Build a cache, open it again, print both."""
    start = time.perf_counter()
    store = open_store(sequences, network, "building", folder, with_depth)
    built_s = time.perf_counter() - start
    start = time.perf_counter()
    store = open_store(sequences, network, "opening", folder, with_depth)
    opened_s = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.glob("*/*"))
    count = len(store.names)
    print(
        f"cache of {count} frames, {size / 1e6:.0f} MB: built in {built_s:.2f} s ({count / built_s:.0f} frames/s), "
        f"opened in {opened_s:.2f} s"
    )
    return store


def time_changes(store: FrameStore, network: NetworkConfig, config: TrainConfig) -> None:
    """What each change costs beside reading the pixels, on one core."""
    if not store.has_depth:
        print("the dataset has no depth: new views only turn")
    costs = {}
    for name, augment in {**CHANGES, "as configured": config.augment}.items():
        batches = endless(loader_of(store, network, config, augment=augment, batch=8))
        next(batches)
        seconds = []
        for _ in range(8):
            start = time.process_time()
            index, _ = next(batches)
            seconds.append((time.process_time() - start) / index.size)
        costs[name] = 1e3 * min(seconds)
    print("cost of a change, ms a frame on one core")
    for name, cost in costs.items():
        alone = name in ("pixels and crop alone", "as configured")
        print(f"  {name:<22} {cost if alone else cost - costs['pixels and crop alone']:7.2f}")


def time_loader(store: FrameStore, network: NetworkConfig, config: TrainConfig, steps: int) -> float:
    """Frames per second for each number of workers; returns the milliseconds of one core that a frame costs."""
    core_ms = 0.0
    for workers in (0, 1, 2):
        with loader_of(store, network, config, workers=workers) as loader:
            batches = endless(loader)
            for _ in range(4):
                next(batches)
            start, core_start, frames = time.perf_counter(), time.process_time(), 0
            for _ in range(steps):
                frames += next(batches)[0].size
            rate = frames / (time.perf_counter() - start)
            core_ms = core_ms or 1e3 * (time.process_time() - core_start) / frames
        print(
            f"loader, {workers} workers: {rate:.0f} frames/s"
            + ("" if workers else f", {core_ms:.2f} ms of a core each")
        )
    return core_ms


class Trained:
    """A network with its optimizer, and the step that is timed."""

    def __init__(self, network: NetworkConfig, config: TrainConfig) -> None:
        torch.manual_seed(0)
        whole, self._loss = build_network(network), MultitaskLoss(make_terms(config.loss, network.tasks))
        self._network = whole.part_for(network.tasks).train()
        if (depth := whole.depth_network()) is not None:
            depth.eval()
        groups = parameter_groups(whole, self._loss, False, config.weight_decay)
        self._optimizer = make_optimizer(groups, config)

    def step(self, clips: Clips) -> None:
        """Forward, backward and update."""
        clips = clips.to(torch.device("cpu"))
        terms = self._loss.terms
        means, _ = unroll(self._network, clips, terms, count_labels(terms, clips.frames()))
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(means).backward()
        self._optimizer.step()


def time_training(store: FrameStore, network: NetworkConfig, config: TrainConfig, steps: int, load_ms: float) -> None:
    """Frames per second of training on one batch that is already there, and the loader's multiple of it.

    The multiple compares the time of a core, so that what else the machine does matters little.
    """
    _, clips = next(loader_of(store, network, config).epoch((0,)))
    if "segmentation" in network.tasks:
        clips = replace(clips, mask_BLHW=torch.randint(CLASSES, clips.mask_BLHW.shape).to(torch.uint8))
    trained, frames = Trained(network, config), clips.posed_BL.numel()
    start = time.perf_counter()
    for _ in range(steps):
        trained.step(clips)
    rate = frames * steps / (time.perf_counter() - start)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other count as busy
    start = time.process_time()
    for _ in range(2):
        trained.step(clips)
    train_ms = 1e3 * (time.process_time() - start) / (2 * frames)
    torch.set_num_threads(threads)
    print(
        f"training {network.name} at width {network.width:g}: {rate:.1f} frames/s, {train_ms:.2f} ms of a core each; "
        f"the loader is {train_ms / load_ms:.1f} times as fast"
    )


def time_both(store: FrameStore, network: NetworkConfig, config: TrainConfig, steps: int) -> None:
    """Training with the loader in the loop: what waiting for clips costs with each number of workers."""
    trained = Trained(network, config)
    for workers in (0, 1, 2):
        with loader_of(store, network, config, workers=workers) as loader:
            batches = endless(loader)
            for _ in range(2):
                trained.step(next(batches)[1])
            waited, whole = [], []
            for _ in range(steps):
                start = time.perf_counter()
                index, clips = next(batches)
                waited.append(time.perf_counter() - start)
                trained.step(clips)
                whole.append(time.perf_counter() - start)
        print(
            f"training {network.name}, {workers} workers: {index.size / median(whole):.1f} frames/s, "
            f"waiting for clips {sum(waited) / sum(whole):.1%} of a step"
        )


def anonymous_mb(pid: int) -> float:
    """Memory of a process that no file backs: the mapped frames do not count."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1024


def watch_memory(store: FrameStore, network: NetworkConfig, config: TrainConfig, count: int) -> None:
    """Memory of this process and of a worker over many batches."""
    print(f"memory over {count} batches, MB in this process and in the worker")
    with loader_of(store, network, config, workers=1) as loader:
        batches = endless(loader)
        for number in range(count + 1):
            next(batches)
            if number % max(1, count // 5) == 0:
                (worker,) = multiprocessing.active_children()
                print(
                    f"  {number:6d} {anonymous_mb(os.getpid()):8.1f} {anonymous_mb(worker.pid or 0):8.1f}", flush=True
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of a dataset with poses, e.g. ../shared/data/redkitchen")
    poses = Path(__file__).parents[1] / "config/train/pose.yaml"
    parser.add_argument("--config", type=Path, default=poses, help="training configuration (default: pose.yaml)")
    parser.add_argument("--steps", type=int, default=10, help="training steps and batches that are timed (default: 10)")
    parser.add_argument("--batches", type=int, default=1000, help="batches over which memory is watched; 0: none")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config, {"data.root": str(arguments.root)})
        sequences = open_dataset(arguments.root, config.data.layout or None).sequences(config.data.split)
        pose = configure("stl_pose", config.width, **config.network)
        mtl = configure("mtl", config.width, **{**config.network, "classes": CLASSES})
        print(f"{torch.get_num_threads()} threads, load of the machine {os.getloadavg()[0]:.1f}")
        with tempfile.TemporaryDirectory() as folder:
            time_cache(sequences, pose, Path(folder) / "pose", False)
            store = time_cache(sequences, mtl, Path(folder) / "mtl", True)
            time_changes(store, mtl, config)
            load_ms = time_loader(store, pose, config, 2 * arguments.steps)
            for network in (pose, mtl):
                time_training(store, network, config, arguments.steps, load_ms)
            time_both(store, pose, config, arguments.steps)
            if arguments.batches:
                watch_memory(store, pose, config, arguments.batches)
    except (DataError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
