"""The loader: frames decoded once into a cache, clips cut from them, batches that nothing but the seed decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wall_dataset import write_wall

from vlocnetpp.data import open_dataset
from vlocnetpp.network import network_config
from vlocnetpp.training.clips import FrameStore, cut_clips, gather_clips, open_store
from vlocnetpp.training.config import AugmentConfig, DataConfig
from vlocnetpp.training.loader import ClipLoader

NETWORK = network_config("mtl", 0.125, height=64, width_px=96, resize="whole", classes=3)


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12})


@pytest.fixture(scope="session")
def store(wall) -> FrameStore:
    return open_store(open_dataset(wall).sequences("train"), NETWORK, "loading", None)


def numbered(lengths: list[int]) -> FrameStore:
    """A store of sequences of so many frames, without pixels."""
    count = sum(lengths)
    nothing = np.zeros((count, 1, 1), np.uint8)
    poses = torch.zeros(count, 7)
    return FrameStore(
        names=tuple(map(str, range(count))),
        image_N3HW=nothing[:, None],
        depth_NHW=None,
        depth_units_per_m_N=np.ones(count, np.float32),
        mask_NHW=None,
        K_N33=torch.eye(3).repeat(count, 1, 1),
        pose_N7=poses,
        posed_N=poses[:, 0],
        sequence_N=np.repeat(np.arange(len(lengths)), lengths),
    )


# --- clips ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_clips_never_cross_a_sequence_and_end_once_at_each_frame(lengths, length, max_skip, batch):
    store = numbered(lengths)
    sequence, count = store.sequence_N, len(store.names)
    clips = np.concatenate(list(cut_clips(store, length, max_skip, batch, np.random.default_rng(0))))
    assert clips.shape[1] == length
    assert (sequence[clips] == sequence[clips[:, -1:]]).all()
    steps = np.diff(clips, axis=1)
    assert ((steps >= 0) & (steps <= max_skip)).all()
    assert len(np.unique(clips[:, -1])) == len(clips)
    assert len(clips) == (count - count % batch if count >= batch else count)


def test_pixels_are_those_of_the_robot_and_light_changes_with_the_clip(store):
    index = np.array([[0, 1], [12, 13]])
    plain = gather_clips(store, index, NETWORK, None, np.random.default_rng(0))
    assert plain.image_BL3HW.shape == (2, 2, 3, 64, 96) and plain.depth_BL1HW.max() == 3.0
    assert set(plain.mask_BLHW.unique().tolist()) <= {0, 1, 2}
    light = AugmentConfig(noise=0.0)
    changed = gather_clips(store, index, NETWORK, light, np.random.default_rng(0)).image_BL3HW
    again = gather_clips(store, index, NETWORK, light, np.random.default_rng(0)).image_BL3HW
    assert torch.equal(changed, again) and not torch.equal(changed, plain.image_BL3HW)


# --- batches --------------------------------------------------------------------------------------------------------


def batches(stores, batch=5, key=(0, 1), start=0, **changes):
    options = {"workers": 0, **changes}
    loader = ClipLoader(stores, NETWORK, DataConfig(), AugmentConfig(), batch, 7, **options)
    return list(loader.epoch(key, start))


def same(a, b) -> bool:
    return all(
        np.array_equal(i, j) and all(torch.equal(x, y) for x, y in zip(vars(c).values(), vars(d).values(), strict=True))
        for (i, c), (j, d) in zip(a, b, strict=True)
    )


def test_a_batch_depends_on_its_place_alone(store):
    whole = batches([store])
    assert len(whole) == 4 and same(whole, batches([store]))
    assert same(whole[2:], batches([store], start=2))
    assert same(whole, batches([store], workers=2))
    halves = [batches([store], rank=rank, world_size=2) for rank in (0, 1)]
    for (index, clips), (a, first), (b, second) in zip(whole, *halves, strict=True):
        assert np.array_equal(index, np.concatenate((a, b)))
        assert torch.equal(clips.image_BL3HW, torch.cat((first.image_BL3HW, second.image_BL3HW)))
    assert not same(whole, batches([store], key=(0, 2)))
    assert replace(whole[0][1]).image_BL3HW.dtype == torch.uint8
