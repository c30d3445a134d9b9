"""Batches of clips from one or several datasets, made in worker processes ahead of the training step.

Every draw is seeded by the run's seed, the epoch's key, the number of the batch and the clip's place in it. So neither
the number of workers, nor that of training processes, nor where a resumed run begins changes a single pixel.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vlocnetpp.errors import ConfigError, DataError
from vlocnetpp.network import NetworkConfig
from vlocnetpp.training.clips import Clips, FrameStore, clip_frames, gather_clip, stack_clips
from vlocnetpp.training.config import AugmentConfig, DataConfig

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that a process gets when its parent dies."""
Key = tuple[int, ...]
SHARED_MEMORY = "/dev/shm"
PREFETCH = 2
"""Batches that each worker makes ahead."""


class ClipLoader:
    """Epochs of batches. Each batch mixes the stores in the proportion of their clips; one not full is left out.

    Frames are numbered through all stores, in the order of `names`. Close it, or use it in a `with`, so that its
    workers end at once; a killed trainer's end by themselves within seconds.
    """

    def __init__(
        self,
        stores: Sequence[FrameStore],
        config: NetworkConfig,
        settings: DataConfig,
        augment: AugmentConfig | None,
        batch: int,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin: bool = False,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Start nothing yet; the workers start with the first epoch.

        Args:
            batch: clips of all training processes together, of which this one makes its contiguous share.
            seed: with the epoch's key, of every draw.
            workers: processes that make batches; 0 makes them here.
            rank: of this training process among `world_size`.
            pin: page-locked batches, for fast copies to a GPU.
            weights: for each store how often a frame ends a clip in an epoch, 1 by default.

        Raises ConfigError where a batch cannot be shared among the training processes, or a weight is not positive.
        """
        self.names = tuple(name for store in stores for name in store.names)
        self._batches = _Batches(stores, config, settings, augment, batch, seed, rank, world_size, weights)
        self._order = _Order()
        self._pipes = workers > 0 and self._batches.shared_memory_lacks(workers, world_size)
        self._batches.through_pipes = self._pipes
        self._loader: DataLoader[Any] | None = DataLoader(
            self._batches,
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=pin and not self._pipes,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if workers else None,  # the frames' memory maps are shared, not sent
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    @property
    def smallest_share(self) -> int:
        """Clips of a batch that every training process has at least."""
        return self._batches.smallest_share

    def epoch(self, key: Key, start: int = 0) -> Iterator[tuple[NDArray[np.int64], Clips]]:
        """The batches of an epoch from `start` on: this process's (B, L) frame numbers and their clips.

        Raises DataError if a worker process dies, e.g. for lack of memory.
        """
        if self._loader is None:
            raise ValueError("the loader is closed")
        self._order.tasks = [(key, number) for number in range(start, len(self))]
        try:
            with _start_of_workers():
                batches = iter(self._loader)
            for index, values in batches:
                yield index, Clips(*(torch.from_numpy(value) if self._pipes else value for value in values))
        except (RuntimeError, ConnectionError, EOFError) as error:  # by what the parent was doing when it died
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise DataError(
                "loading clips: a worker process died, probably for want of memory; use fewer with --data.workers"
            ) from error

    def close(self) -> None:
        """End the workers."""
        self._loader = None

    def __enter__(self) -> ClipLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Order(Sampler[tuple[Key, int]]):
    """Which batches are made; set before each epoch, so that workers can stay."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Key, int]] = []

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class _Batches(Dataset[Any]):
    """Dataset of a worker: makes the i-th batch of an epoch."""

    def __init__(
        self,
        stores: Sequence[FrameStore],
        config: NetworkConfig,
        settings: DataConfig,
        augment: AugmentConfig | None,
        batch: int,
        seed: int,
        rank: int,
        world_size: int,
        weights: Sequence[float] | None,
    ) -> None:
        self._stores, self._config, self._settings, self._augment = stores, config, settings, augment
        self._seed = seed
        self._frames = [len(store.names) for store in stores]
        self._first = np.concatenate(([0], np.cumsum(self._frames)))
        weights = [1.0] * len(stores) if weights is None else weights
        if not all(weight > 0 for weight in weights):
            raise ConfigError(f"weights of the datasets: {', '.join(map(str, weights))} are not all positive")
        self._clips = [max(1, round(n * weight)) for n, weight in zip(self._frames, weights, strict=True)]
        self._batch = min(batch, sum(self._clips))
        if self._batch < world_size:
            raise ConfigError(f"batch: {self._batch} clips cannot be shared among {world_size} processes")
        self.smallest_share = self._batch // world_size
        self._places = range(rank * self._batch // world_size, (rank + 1) * self._batch // world_size)
        self._order_of = lru_cache(maxsize=1)(self._order)
        self.through_pipes = False

    def __len__(self) -> int:
        return sum(self._clips) // self._batch

    def __getitem__(self, task: tuple[Key, int]) -> tuple[NDArray[np.int64], list[Any]]:
        key, number = task
        lasts = self._order_of(key)[number * self._batch :]
        with _one_thread():
            made = [self._clip(lasts[place], key, number, place) for place in self._places]
            values: list[Tensor] = list(vars(stack_clips([clip for _, clip in made])).values())
        index_BL = np.stack([index_L for index_L, _ in made])
        return index_BL, [value.numpy() for value in values] if self.through_pipes else values

    def _clip(self, last: int, key: Key, number: int, place: int) -> tuple[NDArray[np.int64], Clips]:
        """The frame numbers (L,) of one clip, and the clip."""
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, *key), spawn_key=(number, place)))
        which = int(np.searchsorted(self._first, last, side="right")) - 1
        store, first = self._stores[which], self._first[which]
        skip = generator.integers(1, self._settings.max_skip + 1, 1)
        index_L = clip_frames(store, np.array([last - first]), self._settings.clip_length, skip)[0]
        return index_L + first, gather_clip(store, index_L, self._config, self._augment, generator)

    def _order(self, key: Key) -> NDArray[np.int64]:
        """The last frames of all clips of an epoch: each store shuffled, and spread evenly over the epoch."""
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, *key)))
        frames, places = [], []
        for first, count, clips in zip(self._first, self._frames, self._clips):
            rounds = [generator.permutation(count) for _ in range(-(-clips // count))]
            frames.append(first + np.concatenate(rounds)[:clips])
            places.append((np.arange(clips) + generator.uniform()) / clips)
        return np.concatenate(frames)[np.argsort(np.concatenate(places), kind="stable")]

    def shared_memory_lacks(self, workers: int, world_size: int) -> bool:
        """Whether shared memory is too small, so that batches go through pipes; prints a note. Containers often have
        only 64 MB.
        """
        try:
            state = os.statvfs(SHARED_MEMORY)
        except OSError:  # a system with another kind of shared memory
            return False
        config, pixels = self._config, self._config.view.height * self._config.view.width_px
        layers = 3 + ("segmentation" in config.tasks) + 4 * any(store.has_depth for store in self._stores)
        batch = len(self._places) * self._settings.clip_length * pixels * layers
        needed, free = batch * (workers * PREFETCH + 2) * world_size, state.f_bavail * state.f_frsize
        if needed <= free:
            return False
        print(
            f"loading clips: {SHARED_MEMORY} has {free / 1e6:.0f} MB free, {workers} workers fill {needed / 1e6:.0f} "
            "MB; batches go through pipes, which is slower (docker run --shm-size 2g gives more)",
            file=sys.stderr,
            flush=True,
        )
        return True


@contextmanager
def _one_thread() -> Iterator[None]:
    """The last bits of a sum depend on the number of threads; pixels must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _start_of_workers() -> Iterator[None]:
    """Workers forked here have no OpenCV threads; in a copy of this process they would be waited for without end.

    torch's handler of SIGCHLD would raise wherever the trainer happens to be when a worker dies; without it, the dead
    worker is noticed where its batch is waited for.
    """
    threads, handler = cv2.getNumThreads(), signal.getsignal(signal.SIGCHLD)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)


def _start_worker(_: int) -> None:
    """Ctrl-C and SIGTERM reach the whole group: the trainer saves and ends its workers, which also die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _as_it_is(item: Any) -> Any:
    return item
