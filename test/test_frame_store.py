"""Frames decoded once into a cache, which is found again, shared and never stale."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import real_data
from frame_stores import CROP, WHOLE, network, opened
from wall_dataset import write_wall

from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.data import cache as caches
from vlocnetpp.data.cache import cache_folder
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.network import configure
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.training.clips import FrameStore, gather_clips, open_store


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12})


@pytest.fixture(scope="session")
def store(wall) -> FrameStore:
    return opened(wall)


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


def test_unregistered_depth_is_stored_anew_where_K_changes(wall, tmp_path):
    beside = DepthCameraConfig(1.0, (0.05, 0.0, 0.0))
    sequence = open_dataset(wall).sequences("train")[0]
    wider = replace(sequence, frames=tuple(replace(f, K_33=f.K_33 * [[1.5], [1.5], [1.0]]) for f in sequence.frames))
    before = open_store([sequence], WHOLE, "loading", tmp_path, True, beside)
    after = open_store([wider], WHOLE, "loading", tmp_path, True, beside)
    alone = open_store([wider], WHOLE, "loading", None, True, beside)
    assert not np.array_equal(before.depth_NHW, after.depth_NHW)
    assert np.array_equal(after.depth_NHW, alone.depth_NHW)


def test_unregistered_depth_of_another_size_is_refused(wall, tmp_path):
    sequence = open_dataset(wall).sequences("train")[0]
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.full((24, 32), 2000, np.uint16))
    odd = replace(sequence, frames=tuple(replace(frame, depth_path=small) for frame in sequence.frames))
    assert open_store([odd], WHOLE, "loading", None, with_depth=True).depth_NHW.any(), "registered depth may be smaller"
    with pytest.raises(DataError, match=r"small.png: 32 x 24, the image .*: with data.depth_camera, both must have"):
        open_store([odd], WHOLE, "loading", None, True, DepthCameraConfig(1.1))


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


def test_on_a_full_disk_the_oldest_cache_makes_room(wall, tmp_path, monkeypatch):
    opened(wall, tmp_path)
    (oldest,) = tmp_path.glob("[0-9a-f]*")
    os.utime(oldest, (1000, 1000))
    opened(wall, tmp_path, CROP)
    (newer,) = set(tmp_path.glob("[0-9a-f]*")) - {oldest}
    size = sum(file.stat().st_size for file in oldest.iterdir())

    def disk(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=0 if oldest.exists() else size)

    monkeypatch.setattr(caches.shutil, "disk_usage", disk)
    caches.make_room(tmp_path, size)
    assert not oldest.exists() and newer.is_dir()
    with pytest.raises(OSError, match="No space left"):
        caches.make_room(tmp_path, 1000 * size)
    assert newer.is_dir(), "what would not help is not removed"


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
