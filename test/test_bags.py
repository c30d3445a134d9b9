"""Bags of our own: what a dataset becomes on the way there and back, and what is refused."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_recorder import MS, START, K
from conftest import real_data
from scipy.spatial.transform import Rotation

from vlocnetpp.data import VOID, DataError, FolderWriter, LabelClass, iter_bag, open_dataset, read_bag, write_bag
from vlocnetpp.data.poses import checked_pose

CLASSES = (LabelClass("wall", (10, 20, 30)), LabelClass("Tür", (0, 255, 0)))
STORAGES = ["mcap", "sqlite3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of four frames, five seconds apart, with depth, masks and classes."""
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("data") / "set"
    with FolderWriter(root, CLASSES, map_frame="lab") as writer:
        for sequence in range(2):
            for index in range(4):
                x, y, z, w = Rotation.random(random_state=rng).as_quat()
                writer.add(
                    f"loop{sequence}",
                    "train",
                    START + sequence * 5000 * MS + index * 33_333_333,
                    rng.integers(0, 255, (8, 12, 3), dtype=np.uint8),
                    K,
                    checked_pose((*rng.normal(size=3), w, x, y, z), "test"),
                    rng.integers(0, 60000, (8, 12)).astype(np.float32) / 1000,
                    rng.choice([0, 1, VOID], (8, 12)).astype(np.uint8),
                )
    return root


# --- there and back


@pytest.mark.parametrize("storage", STORAGES)
def test_folder_bag_folder(folder: Path, tmp_path: Path, storage: Any) -> None:
    dataset = open_dataset(folder)
    summary = write_bag(dataset, "train", tmp_path / "bag", storage=storage)
    assert (summary.frames, summary.sequences, summary.notes) == (8, 2, ())
    assert summary.seconds == pytest.approx(0.2) and summary.size_bytes > 0
    assert "8 frames in 2 sequences, 0.2 s" in str(summary) and "/ground_truth/pose" in str(summary)
    back = read_bag(tmp_path / "bag", tmp_path / "again", split="val")
    assert (back.frames, back.sequences, back.notes) == (8, 2, ())
    again = open_dataset(tmp_path / "again")
    assert again.classes == CLASSES and again.map_frame == "lab" and list(again.splits) == ["val"]
    assert [s.name for s in again.sequences("val")] == ["val-00", "val-01"]
    for before, after in zip(dataset.frames("train"), again.frames("val"), strict=True):
        assert after.stamp_ns == before.stamp_ns
        assert after.image_path.read_bytes() == before.image_path.read_bytes()
        np.testing.assert_allclose(after.pose_7, before.pose_7, atol=1e-15)
        np.testing.assert_array_equal(after.K_33, before.K_33)
        np.testing.assert_array_equal(after.depth(), before.depth())
        np.testing.assert_array_equal(after.mask(), before.mask())
    assert {path.name for path in tmp_path.iterdir()} == {"bag", "again"}


def test_masks_without_class_names_are_told_of(folder: Path, tmp_path: Path) -> None:
    write_bag(replace(open_dataset(folder), classes=()), "train", tmp_path / "bag")
    (note,) = read_bag(tmp_path / "bag", tmp_path / "again").notes
    assert "/ground_truth/mask/compressed has no class names" in note and "dataset.yaml" in note
    assert open_dataset(tmp_path / "again").frames("train")[0].mask() is not None


def test_what_the_bag_says(folder: Path, tmp_path: Path) -> None:
    dataset = open_dataset(folder)
    write_bag(dataset, "train", tmp_path / "bag", camera="/robot/zed/")
    got = list(iter_bag(tmp_path / "bag"))
    assert [m.log_time_ns for m in got] == sorted(m.log_time_ns for m in got)
    assert got[0].topic == "/ground_truth/classes" and "Tür" in got[0].message().data
    frame = dataset.frames("train")[0]
    messages = {m.topic: m for m in reversed(got) if m.topic != "/ground_truth/classes"}
    for message in messages.values():
        assert message.log_time_ns == message.header_stamp_ns() == frame.stamp_ns
        assert message.cdr() == message.raw
    pose = messages["/ground_truth/pose"].message()
    q = pose.pose.orientation
    assert pose.header.frame_id == "lab" and [q.w, q.x, q.y, q.z] == frame.pose_7[3:].tolist()  # type: ignore[index]
    info = messages["/robot/zed/rgb/color/rect/camera_info"].message()
    assert (info.width, info.height, info.distortion_model, info.d.tolist()) == (12, 8, "plumb_bob", [0.0] * 5)
    assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist() == K.tolist()
    image = messages["/robot/zed/rgb/color/rect/image/compressed"].message()
    assert image.format == "jpeg" and image.header.frame_id == "zed_left_camera_frame_optical"
    assert image.data.tobytes() == frame.image_path.read_bytes()
    depth = messages["/robot/zed/depth/depth_registered"].message()
    assert (depth.encoding, depth.step, depth.is_bigendian) == ("16UC1", 24, 0)
    only = {m.topic for m in iter_bag(tmp_path / "bag", {"/ground_truth/pose"})}
    assert only == {"/ground_truth/pose"}


def test_latched_classes_and_plain_files(folder: Path, tmp_path: Path) -> None:
    write_bag(open_dataset(folder), "train", tmp_path / "bag", depth=False, jpeg_quality=50)
    assert sorted(path.name for path in (tmp_path / "bag").iterdir()) == ["bag.mcap", "metadata.yaml"]
    metadata = (tmp_path / "bag/metadata.yaml").read_text()
    assert "version: 8" in metadata and metadata.count("durability: 1") == 1 and "depth_registered" not in metadata
    jpegs = [m.message().data.tobytes() for m in iter_bag(tmp_path / "bag") if m.topic.endswith("image/compressed")]
    assert len(jpegs[0]) < open_dataset(folder).frames("train")[0].image_path.stat().st_size
    read_bag(tmp_path / "bag/bag.mcap", tmp_path / "single")  # the storage file alone is a bag too
    (tmp_path / "bag/metadata.yaml").unlink()  # as after a recorder was killed
    read_bag(tmp_path / "bag", tmp_path / "orphan")
    assert open_dataset(tmp_path / "orphan").frames("train")[0].image_path.read_bytes() == jpegs[0]


def test_two_bags_become_two_splits(folder: Path, tmp_path: Path) -> None:
    write_bag(open_dataset(folder), "train", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    read_bag({"train": tmp_path / "a", "test": tmp_path / "b"}, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert {split: len(dataset.frames(split)) for split in dataset.splits} == {"train": 8, "test": 8}


def test_writing_a_bag_is_all_or_nothing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(folder, copy)
    dataset = open_dataset(copy)
    last = dataset.frames("train")[-1].image_path
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{last.name}: is truncated"):
        write_bag(dataset, "train", tmp_path / "bag")
    with pytest.raises(DataError, match="no split 'test', there is train"):
        write_bag(dataset, "test", tmp_path / "bag")
    with pytest.raises(DataError, match="no storage 'zip'"):
        write_bag(dataset, "train", tmp_path / "bag", storage="zip")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [copy]
    (tmp_path / "bag").mkdir()
    with pytest.raises(DataError, match="bag: exists already"):
        write_bag(dataset, "train", tmp_path / "bag")


def test_sequences_that_overlap_in_time_are_refused(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "set") as writer:
        for sequence in "ab":
            for stamp in (0, 10):
                writer.add(sequence, "train", stamp, np.zeros((8, 12, 3), np.uint8), K)
    with pytest.raises(DataError, match="'a' and 'b' overlap in time"):
        write_bag(open_dataset(tmp_path / "set"), "train", tmp_path / "bag")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond this size fails in the kernel, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path, storage: Any) -> None:
    dataset = open_dataset(folder)
    with pytest.raises(DataError, match="bag: cannot be written: ") as caught, files_of_at_most(4096):
        write_bag(dataset, "train", tmp_path / "bag", storage=storage)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    write_bag(dataset, "train", tmp_path / "bag", storage=storage)
    with pytest.raises(DataError, match="cannot be written: File too large"), files_of_at_most(400):
        read_bag(tmp_path / "bag", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: does not exist"):
        list(iter_bag(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"is no bag, it has no \.bag, \.mcap or \.db3 file"):
        list(iter_bag(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt: is no bag; a rosbag2 folder"):
        list(iter_bag(tmp_path / "notes.txt"))
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 99}")
    with pytest.raises(DataError, match=r"is no bag, it has no \.bag, \.mcap or \.db3 file"):
        list(iter_bag(tmp_path))


def test_an_existing_folder_is_refused_before_the_bag_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        read_bag(tmp_path / "nowhere", tmp_path)


# --- the real recording


def test_redkitchen_there_and_back(tmp_path: Path) -> None:
    dataset = open_dataset(real_data("redkitchen"))
    summary = write_bag(dataset, "test", tmp_path / "bag")
    assert (summary.frames, summary.sequences) == (120, 3)
    assert read_bag(tmp_path / "bag", tmp_path / "out", split="test").frames == 120
    again = open_dataset(tmp_path / "out")
    assert [len(sequence.frames) for sequence in again.sequences("test")] == [40, 40, 40]
    for before, after in zip(dataset.frames("test"), again.frames("test"), strict=True):
        assert after.stamp_ns == before.stamp_ns
        np.testing.assert_allclose(after.pose_7, before.pose_7, atol=1e-12)
        assert after.image_path.read_bytes() == before.image_path.read_bytes()
    np.testing.assert_array_equal(again.frames("test")[7].depth(), dataset.frames("test")[7].depth())
