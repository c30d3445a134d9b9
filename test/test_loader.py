"""The loader: frames decoded once into a cache, clips cut from them, batches that nothing but the seed decides."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from wall_dataset import write_wall

from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.data import cache as caches
from vlocnetpp.data.cache import cache_folder
from vlocnetpp.data.new_views import ViewConfig
from vlocnetpp.data.transforms import GeometricConfig
from vlocnetpp.errors import ConfigError
from vlocnetpp.geometry import relative
from vlocnetpp.network import NetworkConfig, configure
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.training.clips import FrameStore, gather_clips, open_store
from vlocnetpp.training.config import AugmentConfig, DataConfig
from vlocnetpp.training.loader import ClipLoader


def network(**settings) -> NetworkConfig:
    """A small `mtl` that sees the whole image, with other settings where given."""
    return configure("mtl", 0.125, **{"height": 64, "width_px": 96, "resize": "whole", "classes": 3, **settings})


WHOLE = network()
CROP = network(height=32, width_px=32, resize="crop")


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


def opened(root: Path, cache: Path | None = None, config=WHOLE, **options) -> FrameStore:
    return open_store(open_dataset(root).sequences("train"), config, "loading", cache, **options)


def equal_stores(a: FrameStore, b: FrameStore) -> bool:
    fields = ("image_N3HW", "depth_NHW", "mask_NHW", "K_N33", "pose_N7", "sequence_N")
    return a.names == b.names and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


# --- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [WHOLE, CROP], ids=["whole", "crop"])
def test_stored_frames_are_what_the_robot_sees(config, wall, tmp_path):
    frames = open_dataset(wall).frames("train")
    sight = Preprocess(config.view.height, config.view.width_px, config.view.resize == "whole")
    clips = gather_clips(opened(wall, tmp_path, config), np.arange(24)[:, None], config, None, np.random.default_rng(0))
    for i, frame in enumerate(frames):
        image, K, depth = sight(
            torch.from_numpy(frame.image())[None],
            torch.tensor([0, 1, 2]),
            torch.from_numpy(frame.K_33)[None].float(),
            torch.from_numpy(frame.depth())[None, None],
        )
        assert torch.equal(clips.image_BL3HW[i].float(), image)
        assert torch.equal(clips.depth_BL1HW[i], depth)
        assert torch.allclose(clips.K_BL33[i], K, atol=1e-5)
        assert np.allclose(clips.pose_BL7[i, 0], frame.pose_7)


def test_real_depth_and_poses_are_stored_without_rounding(tmp_path):
    sequence = open_dataset(real_data("redkitchen")).sequences("train")[0]
    frames = sequence.frames[:6]
    config = network(height=224, width_px=320)
    store = open_store([replace(sequence, frames=frames)], config, "loading", tmp_path)
    sight = Preprocess(224, 320, True)
    clips = gather_clips(store, np.arange(6)[:, None], config, None, np.random.default_rng(0))
    for i, frame in enumerate(frames):
        inputs = torch.from_numpy(frame.image())[None], torch.tensor([0, 1, 2]), torch.eye(3)[None]
        image, _, depth = sight(*inputs, torch.from_numpy(frame.depth())[None, None])
        assert torch.equal(clips.depth_BL1HW[i], depth) and torch.equal(clips.image_BL3HW[i].float(), image)


def test_layers_that_no_network_wants_take_no_space(wall, tmp_path):
    pose = configure("stl_pose", 0.125, height=64, width_px=96, resize="whole")
    store = opened(wall, tmp_path, pose)
    assert store.depth_NHW is None and store.mask_NHW is None and not store.has_depth
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["image.npy", "index.json", "size.npy"]
    assert opened(wall, tmp_path, pose, with_depth=True).has_depth
    clips = gather_clips(store, np.array([[0, 1]]), pose, None, np.random.default_rng(0))
    assert clips.depth_BL1HW.shape == (1, 2, 1, 64, 96) and clips.depth_BL1HW.untyped_storage().nbytes() == 4
    assert (clips.mask_BLHW == 255).all()


def test_a_frame_of_other_proportions_and_an_unknown_class_are_named(wall, tmp_path):
    root = tmp_path / "wall"
    shutil.copytree(wall, root)
    frame = open_dataset(root).frames("train")[3]
    with pytest.raises(DataError, match=r"mask.*class id 2, there are 2 classes"):
        opened(root, tmp_path / "cache", network(classes=2))
    cv2.imwrite(str(frame.image_path), np.zeros((48, 100, 3), np.uint8))
    with pytest.raises(DataError, match=r"100 x 48 has other proportions.*--network.resize whole"):
        opened(root, tmp_path / "cache", CROP)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()], "nothing half-built stays"


# --- the cache ------------------------------------------------------------------------------------------------------


def test_a_cache_is_built_once_and_again_when_a_file_changes(wall, tmp_path, capfd):
    root = tmp_path / "wall"
    shutil.copytree(wall, root)
    first = opened(root, tmp_path / "cache")
    assert "loading: done, 24" in capfd.readouterr().err
    path = open_dataset(root).frames("train")[1].image_path
    state = path.stat()
    path.write_bytes(b"x" * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert equal_stores(opened(root, tmp_path / "cache"), first), "no image is decoded a second time"
    assert capfd.readouterr().err == ""
    os.utime(path)
    with pytest.raises(DataError, match=path.name):
        opened(root, tmp_path / "cache")
    sequences = open_dataset(root).sequences("train")
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read: No such file"):
        open_store(sequences, WHOLE, "loading", tmp_path / "cache")


def test_a_damaged_cache_is_named_and_built_again(wall, store, tmp_path, capfd):
    opened(wall, tmp_path)
    (cache,) = tmp_path.glob("[0-9a-f]*")
    size = (cache / "image.npy").stat().st_size

    def flip(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)[0]
            file.seek(size // 2)
            file.write(bytes([byte ^ 1]))

    for harm in (
        lambda: flip(cache / "image.npy"),
        lambda: os.truncate(cache / "image.npy", size - 1),
        lambda: os.truncate(cache / "mask.npy", 20),
        lambda: os.truncate(cache / "depth.npy", 0),
        lambda: (cache / "size.npy").unlink(),
        lambda: (cache / "index.json").unlink(),
        lambda: (cache / "index.json").write_text("[1]"),
        lambda: (cache / "index.json").write_text("{"),
    ):
        capfd.readouterr()
        harm()
        assert equal_stores(opened(wall, tmp_path), store)
        assert f"the cache {cache} is damaged" in capfd.readouterr().err
    assert equal_stores(opened(wall, tmp_path), store) and capfd.readouterr().err == ""


def test_a_cache_may_go_while_it_is_read_and_writing_to_it_harms_nobody(wall, store, tmp_path):
    mine = opened(wall, tmp_path)
    mine.image_N3HW[:12] = 0
    assert equal_stores(opened(wall, tmp_path), store)
    shutil.rmtree(tmp_path)
    assert np.array_equal(mine.image_N3HW[12:], store.image_N3HW[12:])


def test_one_builds_while_the_others_wait(wall, store, tmp_path, capfd):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(wall, tmp_path), range(4)))
    assert all(equal_stores(each, store) for each in found)
    assert capfd.readouterr().err.count("loading: started") == 1
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_the_oldest_cache_goes_first_and_what_others_own_stays(wall, tmp_path, monkeypatch):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "thesis").mkdir()
    abandoned = tmp_path / f".{'0' * 32}.abc"
    abandoned.mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    opened(wall, tmp_path)
    (oldest,) = tmp_path.glob("[0-9a-f]*")
    os.utime(oldest, (1000, 1000))
    opened(wall, tmp_path, CROP)
    (newer,) = set(tmp_path.glob("[0-9a-f]*")) - {oldest}
    monkeypatch.setattr(caches, "LARGEST_BYTES", 3 * sum(file.stat().st_size for file in newer.iterdir()))
    opened(wall, tmp_path, network(height=32, width_px=32, resize="crop", classes=4))
    assert not oldest.exists() and newer.is_dir()
    assert (tmp_path / ".ssh").is_dir() and (tmp_path / "thesis").is_dir() and not abandoned.exists()


def test_a_cache_that_cannot_be_written_says_what_to_do(wall, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file: cannot hold the cache of 0\.00 GB: .*--data\.cache none"):
        opened(wall, tmp_path / "file")
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match="no space left"):
        opened(wall, tmp_path / "full")
    assert not [path for path in (tmp_path / "full").iterdir() if path.is_dir()]


def test_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("") == tmp_path / "vlocnetpp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("") == Path.home() / ".cache" / "vlocnetpp"
    assert cache_folder("none") is None and cache_folder("/mnt/fast") == Path("/mnt/fast")


# --- clips ----------------------------------------------------------------------------------------------------------


def numbered(lengths: list[int]) -> FrameStore:
    """A store of sequences of so many frames, without pixels."""
    count = sum(lengths)
    poses = torch.zeros(count, 7)
    return FrameStore(
        names=tuple(map(str, range(count))),
        image_N3HW=np.zeros((count, 3, 32, 32), np.uint8),
        depth_NHW=None,
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
from test_loader import loader_of, opened
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
