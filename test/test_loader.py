"""The loader: clips cut from frames, batches that nothing but the seed decides, workers that leave nothing."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from frame_stores import CROP, WHOLE, network, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from wall_dataset import write_wall

from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.data.new_views import ViewConfig
from vlocnetpp.data.transforms import GeometricConfig
from vlocnetpp.errors import ConfigError
from vlocnetpp.geometry import relative
from vlocnetpp.network import configure
from vlocnetpp.training.clips import FrameStore, gather_clips, open_store
from vlocnetpp.training.config import AugmentConfig, DataConfig
from vlocnetpp.training.loader import ClipLoader


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12})


@pytest.fixture(scope="session")
def store(wall) -> FrameStore:
    return opened(wall)


@pytest.fixture(scope="session")
def streets(tmp_path_factory) -> FrameStore:
    """Frames with masks, without poses and depth, each a sequence of its own, in the layout of CamVid."""
    root = tmp_path_factory.mktemp("data") / "streets"
    rng = np.random.default_rng(1)
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    for i in range(8):
        cv2.imwrite(str(root / f"train/v_{100 * i}.png"), rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
        cv2.imwrite(str(root / f"trainannot/v_{100 * i}.png"), rng.integers(0, 3, (60, 90), dtype=np.uint8))
    return opened(root)


# --- clips ----------------------------------------------------------------------------------------------------------


def numbered(lengths: list[int]) -> FrameStore:
    """A store of sequences of so many frames, without pixels."""
    count = sum(lengths)
    poses = torch.zeros(count, 7)
    return FrameStore(
        names=tuple(map(str, range(count))),
        image_N3HW=np.zeros((count, 3, 32, 32), np.uint8),
        depth_NHW=None,
        deep_N=np.zeros(count, bool),
        depth_units_per_m_N=np.ones(count, np.float32),
        mask_NHW=None,
        K_N33=torch.eye(3).repeat(count, 1, 1),
        pose_N7=poses,
        posed_N=poses[:, 0],
        sequence_N=np.repeat(np.arange(len(lengths)), lengths),
    )


LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_clips_never_cross_a_sequence_and_end_once_at_each_frame(lengths, length, max_skip, batch):
    store = numbered(lengths)
    sequence, count = store.sequence_N, len(store.names)
    loader = ClipLoader([store], CROP, DataConfig(clip_length=length, max_skip=max_skip), None, batch, seed=0)
    clips = np.concatenate([index_BL for index_BL, _ in loader.epoch((0,))])
    assert clips.shape[1] == length
    assert (sequence[clips] == sequence[clips[:, -1:]]).all()
    steps = np.diff(clips, axis=1)
    assert ((steps >= 0) & (steps <= max_skip)).all()
    assert len(np.unique(clips[:, -1])) == len(clips)
    assert len(clips) == (count - count % batch if count >= batch else count)


def test_light_changes_with_the_clip(store):
    index = np.array([[0, 1], [12, 13]])
    plain = gather_clips(store, index, WHOLE, None, np.random.default_rng(0)).image_BL3HW
    light = AugmentConfig(noise=0.0)
    changed = gather_clips(store, index, WHOLE, light, np.random.default_rng(0)).image_BL3HW
    again = gather_clips(store, index, WHOLE, light, np.random.default_rng(0)).image_BL3HW
    assert torch.equal(changed, again) and not torch.equal(changed, plain) and changed.dtype == torch.uint8
    bright = AugmentConfig(brightness=0.2, contrast=0.0, colour=0.0, noise=0.0)
    image = gather_clips(store, index, WHOLE, bright, np.random.default_rng(2)).image_BL3HW.float()
    dark = (plain > 40) & (plain < 200)
    for changed, before, use in zip(image, plain.float(), dark, strict=True):
        gains = changed[use] / before[use]
        assert gains.max() - gains.min() < 0.03, "one gain for all frames of a clip"


def test_new_views_move_a_clip_and_keep_its_motion(store):
    still = AugmentConfig(brightness=0, contrast=0, colour=0, noise=0)
    moved = replace(still, views=ViewConfig(probability=1.0, translation_m=0.2, rotation_deg=3.0))
    index = np.array([[4, 5]])
    plain = gather_clips(store, index, WHOLE, still, np.random.default_rng(0))
    other = gather_clips(store, index, WHOLE, moved, np.random.default_rng(0))
    assert not torch.equal(plain.image_BL3HW, other.image_BL3HW)
    assert (plain.pose_BL7[0] - other.pose_BL7[0]).abs().max() > 0.01
    motions = [relative(clips.pose_BL7[0, 0], clips.pose_BL7[0, 1]) for clips in (plain, other)]
    assert abs(motions[0][:3].norm() - motions[1][:3].norm()) < 1e-3
    pose = configure("stl_pose", 0.125, height=64, width_px=96, resize="whole")
    for_pose = gather_clips(store, index, pose, moved, np.random.default_rng(0))
    assert torch.equal(for_pose.pose_BL7, other.pose_BL7) and (for_pose.depth_BL1HW == 0).all()


def test_no_geometric_change_breaks_a_pose_that_is_trained(store, streets):
    mirrored = AugmentConfig(0, 0, 0, 0, geometric=GeometricConfig(probability=1.0, flip=1.0, rotation_deg=10.0))
    still = AugmentConfig(0, 0, 0, 0)
    segmentation = configure("stl_segmentation", 0.125, height=64, width_px=96, resize="whole", classes=3)

    def made(store, config, augment):
        return gather_clips(store, np.array([[0, 1]]), config, augment, np.random.default_rng(0))

    turned = made(store, WHOLE, mirrored)
    assert (turned.posed_BL == 1).all() and (turned.pose_BL7[..., 3:] != 0).sum(dim=-1).min() == 2, "a roll about z"
    assert (made(store, segmentation, mirrored).posed_BL == 0).all()
    flip = replace(mirrored, geometric=GeometricConfig(probability=1.0, flip=1.0))
    assert torch.equal(made(store, WHOLE, flip).image_BL3HW, made(store, WHOLE, still).image_BL3HW)
    plain, flipped = made(streets, WHOLE, still), made(streets, WHOLE, flip)
    assert torch.equal(flipped.mask_BLHW, plain.mask_BLHW.flip(-1))


# --- batches --------------------------------------------------------------------------------------------------------

AUGMENT = AugmentConfig(
    blur=1.0,
    geometric=GeometricConfig(probability=0.5, scale=0.2, flip=0.5),
    views=ViewConfig(probability=0.5, translation_m=0.1),
)


def loader_of(*stores, batch=5, config=WHOLE, **options) -> ClipLoader:
    return ClipLoader(stores, config, DataConfig(clip_length=2, max_skip=2), AUGMENT, batch, seed=7, **options)


def batches(*stores, key=(0, 1), start=0, **options):
    with loader_of(*stores, **options) as loader:
        return list(loader.epoch(key, start))


def same(a, b) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(i, j) and all(torch.equal(x, y) for x, y in zip(vars(c).values(), vars(d).values(), strict=True))
        for (i, c), (j, d) in zip(a, b, strict=True)
    )


def test_a_batch_depends_on_its_place_alone(store, streets):
    whole = batches(store, streets)
    assert len(whole) == 6 and same(whole, batches(store, streets))
    assert same(whole[2:], batches(store, streets, start=2))
    assert same(whole, batches(store, streets, workers=2))
    halves = [batches(store, streets, rank=rank, world_size=2) for rank in (0, 1)]
    for (index, clips), (a, first), (b, second) in zip(whole, *halves, strict=True):
        assert np.array_equal(index, np.concatenate((a, b)))
        for one, x, y in zip(vars(clips).values(), vars(first).values(), vars(second).values(), strict=True):
            assert torch.equal(one, torch.cat((x, y)))
    assert not same(whole, batches(store, streets, key=(0, 2)))


def test_the_number_of_threads_changes_no_pixel(store):
    threads, found = torch.get_num_threads(), []
    large = network(height=224, width_px=320)  # large enough for torch to share the work among threads
    big = opened_large(store)
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(batches(big, batch=2, config=large))
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert same(*found)


def opened_large(store: FrameStore) -> FrameStore:
    rng = np.random.default_rng(0)
    first = {name: getattr(store, name)[:4] for name in ("K_N33", "pose_N7", "posed_N", "sequence_N", "names")}
    images = rng.integers(0, 256, (4, 3, 224, 320), dtype=np.uint8)
    return replace(store, image_N3HW=images, depth_NHW=None, mask_NHW=None, **first)


def test_workers_stay_from_epoch_to_epoch_even_where_one_is_left_early(store):
    with loader_of(store, workers=1) as loader:
        whole = list(loader.epoch((0, 1)))
        workers = {child.pid for child in multiprocessing.active_children()}
        next(loader.epoch((0, 2)))
        assert same(list(loader.epoch((0, 1))), whole)
        assert {child.pid for child in multiprocessing.active_children()} == workers and len(workers) == 1
    assert not workers & {child.pid for child in multiprocessing.active_children()}
    with pytest.raises(ValueError, match="closed"):
        next(loader.epoch((0, 1)))


@given(LENGTHS, LENGTHS, st.integers(1, 8), st.integers(1, 3), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_every_batch_mixes_all_datasets_and_no_clip_crosses_a_border(lengths, others, batch, length, weight):
    stores, counts = (numbered(lengths), numbered(others)), (sum(lengths), sum(others))
    config = configure("stl_pose", 0.125, height=32, width_px=32, resize="whole")
    dark = AugmentConfig(0, 0, 0, 0)
    loader = ClipLoader(stores, config, DataConfig(clip_length=length), dark, batch, 3, weights=(1.0, weight))
    clips = [max(1, round(count * each)) for count, each in zip(counts, (1.0, weight), strict=True)]
    batch = min(batch, sum(clips))
    sequence = np.concatenate((stores[0].sequence_N, 100 + stores[1].sequence_N))
    found = [index for index, _ in loader.epoch((0,))]
    assert len(found) == len(loader) == sum(clips) // batch and len(loader.names) == sum(counts)
    for index in found:
        assert index.shape == (batch, length) and (sequence[index] == sequence[index[:, -1:]]).all()
        assert abs((index[:, -1] < counts[0]).sum() - batch * clips[0] / sum(clips)) < 2
    lasts, times = np.unique(np.concatenate(found)[:, -1], return_counts=True)
    assert times[lasts < counts[0]].max(initial=0) <= 1 and times.max() <= max(1, weight)


def test_poses_without_masks_and_masks_without_poses_share_batches_of_one_size(wall, streets):
    poses = open_store(open_dataset(wall).sequences("train"), CROP, "loading", None)
    poses = replace(poses, mask_NHW=None)
    root = [replace(streets, image_N3HW=streets.image_N3HW[..., :48, :], mask_NHW=streets.mask_NHW[..., :48, :])]
    seen = set()
    for index, clips in batches(poses, *root, config=CROP):
        assert clips.image_BL3HW.shape == (5, 2, 3, 32, 32) and clips.depth_BL1HW.shape == (5, 2, 1, 32, 32)
        for last, posed, mask, depth in zip(index[:, -1], clips.posed_BL, clips.mask_BLHW, clips.depth_BL1HW):
            street = last >= 24
            seen.add(bool(street))
            assert bool(posed.any()) != street and bool((mask != 255).any()) == street
            assert bool((depth > 0).any()) != street
    assert seen == {True, False}


def test_the_first_frame_is_repeated_as_of_a_camera_at_rest(store):
    starts = next(index for index, _ in batches(store, batch=24))
    assert starts[starts[:, -1] == 0].tolist() == [[0, 0]] and starts[starts[:, -1] == 12].tolist() == [[12, 12]]


def test_a_batch_too_small_for_the_processes_is_refused(store):
    with pytest.raises(ConfigError, match="1 clips cannot be shared among 2 processes"):
        loader_of(store, batch=1, world_size=2)
    with pytest.raises(ConfigError, match="not all positive"):
        loader_of(store, weights=(0.0,))


# --- workers --------------------------------------------------------------------------------------------------------


def test_short_shared_memory_is_said_and_changes_no_batch(store, monkeypatch, capfd):
    whole = batches(store, workers=1)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=16, f_frsize=4096))
    assert same(batches(store, workers=1), whole)
    said = capfd.readouterr().err
    assert re.search(r"/dev/shm has 0 MB free, 1 workers fill \d+ MB; batches go through pipes", said)
    assert said.count("\n") == 1


def test_a_signal_to_the_group_leaves_the_workers_to_the_trainer(store):
    with loader_of(store, workers=1) as loader:
        epoch = loader.epoch((0, 1))
        found = [next(epoch)]
        (child,) = multiprocessing.active_children()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.pid, number)
        found += list(epoch)
        assert child.is_alive() and same(found, batches(store))
    assert not child.is_alive()


def test_a_worker_that_dies_is_one_line(store):
    with loader_of(store, workers=1) as loader:
        epoch = loader.epoch((0, 1))
        next(epoch)
        (child,) = multiprocessing.active_children()
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"a worker process died.*--data\.workers"):
            list(loader.epoch((0, 2))) + list(loader.epoch((0, 3)))


TRAINER = """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from frame_stores import opened
from test_loader import loader_of
epoch = loader_of(opened(Path(sys.argv[2])), workers=2).epoch((0, 1))
next(epoch)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


def test_no_worker_outlives_a_killed_trainer(wall):
    command = [sys.executable, "-c", TRAINER, str(Path(__file__).parent), str(wall)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as trainer:
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        trainer.kill()
    assert len(workers) == 2

    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    deadline = time.monotonic() + 10
    while any(map(lives, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, workers))
