"""Batches of clips from one or several datasets, made in worker processes ahead of the training step.

Every draw is seeded by the run's seed, the epoch's key, the number of the batch and the clip's place in it. So neither
the number of workers, nor that of training processes, nor where a resumed run begins changes a single pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from vlocnetpp.network import NetworkConfig
from vlocnetpp.training.clips import Clips, FrameStore, clip_frames, gather_clip, stack_clips
from vlocnetpp.training.config import AugmentConfig, DataConfig

Key = tuple[int, ...]


class ClipLoader:
    """Epochs of batches: every frame of every store is once the last of a clip.

    Each batch mixes the stores in the proportion of their numbers of frames; a batch that would not be full is left
    out. Frames are numbered through all stores, in the order of `names`.
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
    ) -> None:
        """`batch` is the number of clips of all processes together, of which this one makes its contiguous share."""
        self.names = tuple(name for store in stores for name in store.names)
        self._batches = _Batches(stores, config, settings, augment, batch, seed, rank, world_size)
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            self._batches,
            batch_size=None,
            sampler=self._order,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=pin,
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    def epoch(self, key: Key, start: int = 0) -> Iterator[tuple[NDArray[np.int64], Clips]]:
        """The batches of an epoch from `start` on: this process's (B, L) frame numbers and their clips."""
        self._order.tasks = [(key, number) for number in range(start, len(self))]
        for index, values in self._loader:
            yield index, Clips(*values)


class _Order(Sampler[tuple[Key, int]]):
    """Which batches are made; set before each epoch, so that workers can stay."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Key, int]] = []

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class _Batches(Dataset[Any]):
    """What a worker knows: how to make the batch of a number in the epoch of a key."""

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
    ) -> None:
        self._stores, self._config, self._settings, self._augment = stores, config, settings, augment
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._counts = np.array([len(store.names) for store in stores])
        self._offsets = np.concatenate(([0], np.cumsum(self._counts)))
        self._batch = min(batch, int(self._offsets[-1]))
        self._ordered = lru_cache(maxsize=1)(self._ordered_frames)

    def __len__(self) -> int:
        return int(self._offsets[-1]) // self._batch

    def __getitem__(self, task: tuple[Key, int]) -> tuple[NDArray[np.int64], tuple[torch.Tensor, ...]]:
        key, number = task
        places = range(self._rank * self._batch // self._world_size, (self._rank + 1) * self._batch // self._world_size)
        order = self._ordered(key)
        made = [self._clip(order[number * self._batch + place], key, number, place) for place in places]
        clips = stack_clips([clip for _, clip in made])
        return np.stack([index for index, _ in made]), tuple(vars(clips).values())

    def _clip(self, last: int, key: Key, number: int, place: int) -> tuple[NDArray[np.int64], Clips]:
        """The frame numbers (L,) of one clip, and the clip."""
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, *key), spawn_key=(number, place)))
        which = int(np.searchsorted(self._offsets, last, side="right")) - 1
        store, offset = self._stores[which], self._offsets[which]
        skip = generator.integers(1, self._settings.max_skip + 1, 1)
        index_L = clip_frames(store, np.array([last - offset]), self._settings.clip_length, skip)[0]
        return index_L + offset, gather_clip(store, index_L, self._config, self._augment, generator)

    def _ordered_frames(self, key: Key) -> NDArray[np.int64]:
        """The last frames of all clips of an epoch: each store shuffled, and spread evenly over the epoch."""
        generator = np.random.default_rng((self._seed, *key))
        shuffled = [generator.permutation(count) for count in self._counts]
        places = [(np.arange(count) + generator.uniform()) / count for count in self._counts]
        frames = np.concatenate([order + offset for order, offset in zip(shuffled, self._offsets)])
        return frames[np.argsort(np.concatenate(places), kind="stable")]


def _as_it_is(item: Any) -> Any:
    return item
