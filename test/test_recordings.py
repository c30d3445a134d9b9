"""Recordings of every kind and what can happen to them: storages, compression, clocks that go back, kills; and what
every reader's data become in a bag."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bag_recorder import DEPTH, IMAGE, MS, START, K, Recorder, rgb
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionMode
from tiny_datasets import WRITERS

from vlocnetpp.cli import main
from vlocnetpp.data import VOID, DataError, Dataset, Frame, Sequence, iter_bag, open_dataset, read_bag, write_bag
from vlocnetpp.data.poses import checked_pose


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recorder]:
    """Opens recordings at `tmp_path / "bag"` (rosbag1: `bag.bag`)."""
    return lambda kind="mcap": Recorder(tmp_path / ("bag.bag" if kind == "rosbag1" else "bag"), kind)


def piece(path: Path, kind: str, first: int, count: int, compression: CompressionMode | None = None) -> None:
    """A recording of `count` images and poses at 30 Hz; image `first + i` has x = first + i."""
    recorder = Recorder(path, kind, compression)
    for index in range(first, first + count):
        recorder.info(START + index * 33 * MS)
        recorder.pose(START + index * 33 * MS, float(index))
        recorder.image(START + index * 33 * MS, rgb(index), "rgb8")
    recorder.writer.close()


def xs(folder: Path) -> list[list[float]]:
    """x of every frame, sequence by sequence."""
    sequences = open_dataset(folder).sequences("train")
    return [[float(frame.pose_7[0]) for frame in each.frames] for each in sequences]  # type: ignore[index]


# --- storages


@pytest.mark.parametrize("mode", ["FILE", "MESSAGE", "STORAGE"])
@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_compressed_bags_are_read(tmp_path: Path, kind: str, mode: str) -> None:
    if (kind, mode) == ("sqlite3", "STORAGE"):
        pytest.skip("sqlite3 has no compression of its own")
    piece(tmp_path / "bag", kind, 0, 4, CompressionMode[mode])
    stored = b"".join(path.read_bytes() for path in (tmp_path / "bag").iterdir() if path.suffix != ".yaml")
    assert b"\x28\xb5\x2f\xfd" in stored  # what zstd begins with
    read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "rosbag1"])
def test_the_parts_of_a_split_recording_are_one(tmp_path: Path, kind: str) -> None:
    suffix = {"mcap": ".mcap", "sqlite3": ".db3", "rosbag1": ".bag"}[kind]
    folder = tmp_path / "run"
    folder.mkdir()
    for part in range(3):
        path = tmp_path / f"part{part}{suffix}"
        piece(path if kind == "rosbag1" else tmp_path / f"part{part}", kind, 4 * part, 4)
        if kind != "rosbag1":
            path = next((tmp_path / f"part{part}").glob(f"*{suffix}"))
        stamp = f"_2026-01-02-03-04-0{part}" if kind == "rosbag1" else ""
        path.rename(folder / f"run{stamp}_{part}{suffix}")
    summary = read_bag(folder, tmp_path / "out")
    assert xs(tmp_path / "out") == [list(range(12))] and summary.topics[IMAGE].startswith("sensor_msgs/msg/Image  12")
    if kind == "rosbag1":
        return
    # the same with the metadata that `ros2 bag record --max-bag-size` leaves
    metadata = yaml.safe_load((tmp_path / "part0/metadata.yaml").read_text())
    about = metadata["rosbag2_bagfile_information"]
    about["relative_file_paths"] = [f"run_{part}{suffix}" for part in range(3)]
    about["files"] = [{**about["files"][0], "path": name} for name in about["relative_file_paths"]]
    about["message_count"] *= 3
    for topic in about["topics_with_message_count"]:
        topic["message_count"] *= 3
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    read_bag(folder, tmp_path / "again")
    assert xs(tmp_path / "again") == [list(range(12))]
    (folder / f"run_1{suffix}").unlink()
    with pytest.raises(DataError, match=f"run_1{suffix}: is missing, .*metadata.yaml lists it"):
        read_bag(folder, tmp_path / "part")


def test_several_recordings_in_a_folder_are_not_one(tmp_path: Path) -> None:
    for name in ("morning", "evening"):
        piece(tmp_path / name, "mcap", 0, 1)
    (tmp_path / "both").mkdir()
    for name in ("morning", "evening"):
        (tmp_path / name / f"{name}.mcap").rename(tmp_path / "both" / f"{name}.mcap")
    with pytest.raises(DataError, match=r"both: has several recordings, evening\.mcap, morning\.mcap; name one"):
        read_bag(tmp_path / "both", tmp_path / "out")


# --- clocks


def test_a_clock_that_goes_back_never_mixes_two_runs(record: Callable[..., Recorder], tmp_path: Path) -> None:
    """A simulation started anew: the second run's stamps lie between the first's, in another place."""
    recorder = record()
    log = START
    for run, (offset, count) in enumerate(((0, 60), (11, 50))):
        for index in range(count):
            stamp, log = START + (index * 33 + offset) * MS, log + 33 * MS
            recorder.info(stamp)
            if index % 3 == 0:
                recorder.pose(stamp, 1000.0 * run + index)
            recorder.image(stamp, rgb(), "rgb8", late=log - stamp)
            recorder.image(stamp, np.full((8, 12), 1 + run, np.float32), "32FC1", DEPTH, late=log - stamp)
    recorder.writer.close()
    # log times are what a recorder writes, so info and pose must follow them, too
    summary = read_bag(_in_written_order(tmp_path / "bag", tmp_path / "looped"), tmp_path / "out")
    first, second = xs(tmp_path / "out")
    np.testing.assert_allclose(first, np.arange(58), atol=1e-6)
    np.testing.assert_allclose(second, 1000.0 + np.arange(49), atol=1e-6)
    depths = [{float(f.depth()[0, 0]) for f in s.frames} for s in open_dataset(tmp_path / "out").sequences("train")]  # type: ignore[index]
    assert depths == [{1.0}, {2.0}]
    assert any("the clock goes back once" in note for note in summary.notes)


def _in_written_order(bag: Path, copy: Path) -> Path:
    """The same messages with log times in the order in which they were written: images logged last lead."""
    recorder = Recorder(copy)
    got = sorted(iter_bag(bag), key=lambda each: each.log_time_ns)
    images = [each for each in got if each.topic in (IMAGE, DEPTH)]
    others = [each for each in got if each.topic not in (IMAGE, DEPTH)]
    by_stamp: dict[int, list[Any]] = {}
    for each in others:
        by_stamp.setdefault(each.header_stamp_ns(), []).append(each)
    at = START
    for image in images:
        for each in [*by_stamp.pop(image.header_stamp_ns(), []), image]:
            at += MS
            recorder.write(each.topic, at, each.message())
    recorder.writer.close()
    return copy


def test_a_looped_bag_gives_a_sequence_for_each_time(tmp_path: Path) -> None:
    piece(tmp_path / "bag", "mcap", 0, 60)
    once = sorted(iter_bag(tmp_path / "bag"), key=lambda each: each.log_time_ns)
    recorder = Recorder(tmp_path / "loop")
    for at, each in enumerate([*once, *once]):
        recorder.write(each.topic, START + at * MS, each.message())
    recorder.writer.close()
    read_bag(tmp_path / "loop", tmp_path / "out")
    assert xs(tmp_path / "out") == [list(range(60))] * 2


# --- pixels


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("16UC1", np.arange(96, dtype=np.uint16).reshape(8, 12) * 600),
        ("mono16", np.arange(96, dtype=np.uint16).reshape(8, 12) * 600),
        ("32FC1", np.arange(96, dtype=np.float32).reshape(8, 12) * np.float32(0.6)),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_raw_depth_in_either_byte_order(
    record: Callable[..., Recorder], tmp_path: Path, encoding: str, pixels: NDArray, big: bool
) -> None:
    recorder = record()
    recorder.info(START)
    recorder.image(START, rgb(), "rgb8")
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    recorder.image(START, ordered, encoding, DEPTH, pad=6, big=big)
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out")
    depth = open_dataset(tmp_path / "out").frames("train")[0].depth()
    np.testing.assert_array_equal(depth, (np.arange(96).reshape(8, 12) * 600 / 1000).astype(np.float32))


def compressed_depth(values_HW: NDArray[np.uint16], a: float = 0.0, b: float = 0.0) -> bytes:
    """What image_transport puts into `compressedDepth`."""
    return struct.pack("<iff", 0, a, b) + cv2.imencode(".png", values_HW)[1].tobytes()


def test_compressed_depth(record: Callable[..., Recorder], tmp_path: Path) -> None:
    millimetres = np.arange(96, dtype=np.uint16).reshape(8, 12) * 100
    metres = np.linspace(0.4, 9.0, 96, dtype=np.float32).reshape(8, 12)
    metres[0, 0] = np.nan
    a = 100.0 * 101.0  # image_transport's default: quantization 100, depth_max 10 m
    b = 1.0 - a / 10.0
    inverse = np.where(np.isfinite(metres), a / metres + b, 0.0).astype(np.uint16)
    recorder = record()
    recorder.info(START)
    recorder.image(START, rgb(), "rgb8")
    recorder.jpeg(START, compressed_depth(millimetres), "/mm/compressedDepth", "16UC1; compressedDepth png")
    recorder.jpeg(START, compressed_depth(inverse, a, b), "/m/compressedDepth", "32FC1; compressedDepth")
    recorder.jpeg(START, compressed_depth(inverse)[:40], "/cut/compressedDepth", "16UC1; compressedDepth png")
    recorder.jpeg(START, compressed_depth(millimetres)[12:], "/mm/compressed", "16UC1; png compressed ")
    recorder.jpeg(START, b"\0" * 60, "/rvl/compressedDepth", "16UC1; compressedDepth rvl")
    recorder.writer.close()

    def depth(topic: str) -> Any:
        out = tmp_path / f"out{topic.replace('/', '-')}"
        read_bag(tmp_path / "bag", out, depth_topic=topic)
        return open_dataset(out).frames("train")[0].depth()

    np.testing.assert_array_equal(depth("/mm/compressedDepth"), millimetres.astype(np.float32) / np.float32(1000))
    np.testing.assert_array_equal(depth("/mm/compressed"), millimetres.astype(np.float32) / np.float32(1000))
    got = depth("/m/compressedDepth")
    assert got[0, 0] == 0.0
    step = metres**2 / a  # one count of the inverse
    assert (np.abs(got - metres)[np.isfinite(metres)] <= step[np.isfinite(metres)] + 0.0006).all()
    with pytest.raises(
        DataError, match=r"format '16UC1; compressedDepth rvl' is not understood; .* must be a PNG of 16UC1"
    ):
        depth("/rvl/compressedDepth")
    with pytest.raises(DataError, match=r"/cut/compressedDepth at .*: is truncated"):
        depth("/cut/compressedDepth")
    with pytest.raises(DataError, match="depth_topic could be /cut/compressedDepth or /m/"):
        read_bag(tmp_path / "bag", tmp_path / "x")


@pytest.mark.parametrize(
    "said", ["bgra8; jpeg compressed bgr8", "jpeg", "rgb8; png compressed bgr8", "mono8; png compressed"]
)
def test_compressed_images_are_stored_as_they_came(record: Callable[..., Recorder], tmp_path: Path, said: str) -> None:
    pixels = rgb()[:, :, 0] if said.startswith("mono8") else rgb()[:, :, ::-1]
    data = cv2.imencode(".png" if "png" in said else ".jpg", pixels)[1].tobytes()
    recorder = record()
    recorder.info(START)
    recorder.jpeg(START, data, said=said)
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out")
    frame = open_dataset(tmp_path / "out").frames("train")[0]
    assert frame.image_path.read_bytes() == data
    want = np.dstack([rgb()[:, :, 0]] * 3) if said.startswith("mono8") else rgb()
    assert np.abs(frame.image().astype(int) - want).max() <= (0 if "png" in said else 6)


def test_an_orientation_tag_does_not_turn_the_image(record: Callable[..., Recorder], tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", rgb()[:, :, ::-1])[1].tobytes()
    tag = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(tag)) + b"Exif\0\0" + tag + plain[2:]
    recorder = record()
    recorder.info(START)
    recorder.jpeg(START, turned)
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out")
    assert open_dataset(tmp_path / "out").frames("train")[0].image().shape == (8, 12, 3)


def test_raw_images_lose_what_jpeg_loses_and_no_more(record: Callable[..., Recorder], tmp_path: Path) -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8), (7, 7), 2)
    recorder = record()
    recorder.info(START, (64, 96))
    recorder.image(START, image, "rgb8")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out", jpeg_quality=92)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    own = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    got = open_dataset(tmp_path / "out").frames("train")[0].image()
    np.testing.assert_array_equal(got, own)
    assert 0 < np.abs(got.astype(int) - image).mean() < 4


def test_depth_of_another_frame_is_told(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.info(START)
    recorder.image(START, rgb(), "rgb8")
    recorder.frame = "depth_optical"
    recorder.image(START, np.ones((8, 12), np.float32), "32FC1", DEPTH)
    recorder.writer.close()
    notes = read_bag(tmp_path / "bag", tmp_path / "out").notes
    assert any(
        "/cam/depth is of frame 'depth_optical', the image of 'cam_optical'; it must be" in note for note in notes
    )


# --- what every reader's data become in a bag, and back


def frames_on_disk(root: Path, count: int, suffix: str = ".png", gray: bool = False) -> list[Frame]:
    """Images, depth of 16 bits and masks as a reader hands them over."""
    rng = np.random.default_rng(5)
    root.mkdir(exist_ok=True)
    frames = []
    for index in range(count):
        image = rng.integers(0, 255, (8, 12) if gray else (8, 12, 3), dtype=np.uint8)
        depth = rng.integers(0, 60000, (8, 12)).astype(np.uint16)
        mask = rng.choice([0, 1, 11], (8, 12)).astype(np.uint8)
        for kind, pixels in (("image" + suffix, image), ("depth.png", depth), ("mask.png", mask)):
            cv2.imwrite(str(root / f"{index}.{kind}"), pixels)
        x, y, z, w = np.roll(np.array([1.0, 2.0, 3.0, 4.0]) / np.sqrt(30.0), index)
        frames.append(
            Frame(
                f"s/{index}",
                START + index * 33 * MS,
                root / f"{index}.image{suffix}",
                K,
                checked_pose((index, 2.0, 3.0, w, x, y, z), "test"),
                root / f"{index}.depth.png",
                root / f"{index}.mask.png",
            )
        )
    return frames


def there_and_back(tmp_path: Path, frames: list[Frame], **options: Any) -> list[Frame]:
    dataset = Dataset(tmp_path / "set", "hand-made", {"test": (Sequence("s", tuple(frames)),)})
    write_bag(dataset, "test", tmp_path / "bag", **options)
    read_bag(tmp_path / "bag", tmp_path / "out")
    return open_dataset(tmp_path / "out").frames("train")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("units_per_m", [1000.0, 5000.0, 256.0])
def test_depth_of_any_unit_comes_back_to_the_millimetre(tmp_path: Path, units_per_m: float, storage: str) -> None:
    frames = [replace(frame, depth_units_per_m=units_per_m) for frame in frames_on_disk(tmp_path / "set", 3)]
    back = there_and_back(tmp_path, frames, storage=storage)
    for before, after in zip(frames, back, strict=True):
        want, got = before.depth(), after.depth()
        assert want is not None and got is not None
        storable = want <= 65.534  # the folder counts millimetres in 16 bits
        assert np.abs(got - want)[storable].max() <= 0.0005001
        assert (got[~storable] == 0).all() and storable.all() == (units_per_m != 256.0)
    depth = next(each for each in iter_bag(tmp_path / "bag") if each.topic.endswith("depth_registered")).message()
    assert depth.encoding == ("16UC1" if units_per_m == 1000.0 else "32FC1")
    if depth.encoding == "32FC1":  # the bag itself rounds nothing
        metres = np.nan_to_num(depth.data.view("<f4").reshape(8, 12))
        np.testing.assert_array_equal(metres, frames[0].depth())


def test_gray_images_numbered_void_and_frames_without_poses(tmp_path: Path) -> None:
    frames = [replace(frame, void_from=11, depth_path=None) for frame in frames_on_disk(tmp_path / "set", 4, gray=True)]
    frames = [replace(frame, pose_7=None) for frame in frames]
    back = there_and_back(tmp_path, frames)
    for before, after in zip(frames, back, strict=True):
        assert after.image_path.read_bytes() == before.image_path.read_bytes()
        np.testing.assert_array_equal(after.image(), before.image())
        np.testing.assert_array_equal(after.mask(), before.mask())
        assert VOID in after.mask() and after.pose_7 is None and after.depth_path is None  # type: ignore[operator]
        np.testing.assert_array_equal(after.K_33, before.K_33)


def test_sequences_at_the_same_time_become_a_bag_each(tmp_path: Path) -> None:
    frames = frames_on_disk(tmp_path / "set", 2)
    both = (Sequence("00", (frames[0],)), Sequence("01", (frames[0], frames[1])))
    dataset = Dataset(tmp_path / "set", "kitti", {"train": both})
    with pytest.raises(DataError, match=r"'00' and '01' overlap in time; write each .*--sequence 00"):
        write_bag(dataset, "train", tmp_path / "bag")
    assert write_bag(dataset, "train", tmp_path / "bag", sequence="01").frames == 2
    with pytest.raises(DataError, match="split 'train' has no sequence '7'; there is 00, 01"):
        write_bag(dataset, "train", tmp_path / "x", sequence="7")


def test_an_image_that_ros_cannot_carry_is_named(tmp_path: Path) -> None:
    frames = frames_on_disk(tmp_path / "set", 1, ".bmp")
    with pytest.raises(DataError, match=r"0\.image\.bmp: is neither JPEG nor PNG; --jpeg-quality 95"):
        there_and_back(tmp_path, frames)
    assert len(there_and_back(tmp_path, frames, jpeg_quality=95)) == 1


numbers = st.floats(-1e4, 1e4, allow_subnormal=False)


@given(
    places=st.lists(st.tuples(numbers, numbers, numbers, *[st.floats(-1, 1)] * 4), min_size=1, max_size=12),
    start=st.integers(1, 2**31 * 10**9 - 10**11),
    steps=st.lists(st.integers(1, 10**9), min_size=12, max_size=12),
    focal=st.tuples(*[st.floats(1e-3, 1e5)] * 4),
    storage=st.sampled_from(["mcap", "sqlite3"]),
)
@settings(max_examples=8, deadline=None)
def test_poses_stamps_and_intrinsics_survive(
    tmp_path_factory: pytest.TempPathFactory,
    places: list,
    start: int,
    steps: list[int],
    focal: tuple[float, ...],
    storage: str,
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    fx, fy, cx, cy = focal
    (frame,) = frames_on_disk(tmp_path / "set", 1)
    K_33 = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    frames = []
    for index, place in enumerate(places):
        q = np.array(place[3:])
        q = q / np.linalg.norm(q) if np.linalg.norm(q) > 0.1 else np.array([1.0, 0, 0, 0])
        stamp = start + sum(steps[: index + 1])
        pose_7 = checked_pose((*place[:3], *q), "test")
        frames.append(replace(frame, stamp_ns=stamp, pose_7=pose_7, K_33=K_33))
    back = there_and_back(tmp_path, frames, storage=storage)
    assert [each.stamp_ns for each in back] == [each.stamp_ns for each in frames]
    for before, after in zip(frames, back, strict=True):
        np.testing.assert_allclose(after.pose_7, before.pose_7, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(after.K_33, before.K_33)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_passes_through_a_bag(tmp_path: Path, layout: str) -> None:
    WRITERS[layout][1](tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    for split in dataset.splits:
        write_bag(dataset, split, tmp_path / f"{split}-bag")
        # what a reader lists as a sequence of its own stays apart: ten seconds lie between
        read_bag(tmp_path / f"{split}-bag", tmp_path / split, split=split, max_pose_distance_s=0.0)
        before = [frame for frame in dataset.frames(split) if frame.pose_7 is not None] or dataset.frames(split)
        after = open_dataset(tmp_path / split).frames(split)
        assert [each.stamp_ns for each in after] == [each.stamp_ns for each in before]
        for old, new in zip(before, after, strict=True):
            assert new.image_path.read_bytes() == old.image_path.read_bytes()
            np.testing.assert_array_equal(new.K_33, old.K_33)
            assert (new.pose_7 is None) == (old.pose_7 is None)
            if old.pose_7 is not None:
                np.testing.assert_allclose(new.pose_7, old.pose_7, rtol=0, atol=1e-9)
            old_depth, new_depth = old.depth(), new.depth()
            assert (old_depth is None) == (new_depth is None)
            if old_depth is not None:
                assert np.abs(new_depth - old_depth)[old_depth <= 65.534].max() <= 0.0005001
            np.testing.assert_array_equal(new.mask(), old.mask())
        assert open_dataset(tmp_path / split).classes == dataset.classes


@pytest.mark.parametrize(("name", "split"), [("redkitchen", "test"), ("camvid", "val")])
def test_real_data_of_every_layout_pass_through_a_bag(tmp_path: Path, name: str, split: str) -> None:
    dataset = open_dataset(real_data(name))
    before = dataset.frames(split)
    write_bag(dataset, split, tmp_path / "bag", storage="sqlite3")
    read_bag(tmp_path / "bag", tmp_path / "out", split=split)
    after = open_dataset(tmp_path / "out").frames(split)
    assert [each.stamp_ns for each in after] == [each.stamp_ns for each in before]
    for old, new in zip(before, after, strict=True):
        assert new.image_path.read_bytes() == old.image_path.read_bytes()
        np.testing.assert_array_equal(new.K_33, old.K_33)
        if old.pose_7 is not None:
            np.testing.assert_allclose(new.pose_7, old.pose_7, rtol=0, atol=1e-9)
    for index in (0, len(before) // 2, len(before) - 1):
        for kind in ("depth", "mask"):
            old_pixels, new_pixels = getattr(before[index], kind)(), getattr(after[index], kind)()
            assert (old_pixels is None) == (new_pixels is None)
            if old_pixels is not None:
                np.testing.assert_array_equal(new_pixels, old_pixels)


# --- kills


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose conversion takes a second."""
    root = tmp_path_factory.mktemp("long")
    frame = replace(frames_on_disk(root, 1, ".jpg")[0], depth_path=None, mask_path=None)
    cv2.imwrite(str(frame.image_path), np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8))
    frames = [replace(frame, stamp_ns=START + index * 33 * MS) for index in range(150)]
    write_bag(Dataset(root, "x", {"train": (Sequence("s", tuple(frames)),)}), "train", root / "bag")
    return root / "bag"


@pytest.mark.parametrize(
    ("action", "kill"),
    [("from-bag", signal.SIGKILL), ("to-bag", signal.SIGKILL), ("from-bag", signal.SIGTERM), ("to-bag", signal.SIGINT)],
)
def test_a_killed_conversion_leaves_nothing_that_passes_for_whole(
    long_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture, action: str, kill: signal.Signals
) -> None:
    """The child is killed as soon as it has begun to write; its work would go on for a second."""
    arguments = ["data", "from-bag", str(long_bag), str(tmp_path / "out")]
    if action == "to-bag":
        read_bag(long_bag, tmp_path / "folder")
        arguments = ["data", "to-bag", str(tmp_path / "folder"), str(tmp_path / "out"), "--split", "train"]
    command = [sys.executable, "-m", "vlocnetpp.cli", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.partial"
    while child.poll() is None and not (partial.exists() and any(path.is_file() for path in partial.rglob("*"))):
        os.sched_yield()
    child.send_signal(kill)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == (-kill if kill == signal.SIGKILL else 130), said
    assert not (tmp_path / "out").exists()
    if kill != signal.SIGKILL:
        assert not partial.exists() and said.endswith("vlocnetpp: interrupted\n") and "Traceback" not in said
        return
    if action == "to-bag":
        assert main(arguments) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"vlocnetpp: {partial}: another run is writing here or was killed; remove it if none is running"
        shutil.rmtree(partial)
    assert main(arguments) == 0 and not partial.exists()  # from-bag goes on where it was, here from the beginning
    assert (tmp_path / "out").is_dir()


# --- the command


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["from-bag", "nowhere", "out"], "nowhere: does not exist"),
        (["from-bag", "bag", "bag"], "bag: exists already"),
        (["from-bag", "bag", "out", "--pose-topic", "/odom"], "has no message on topic '/odom'; there is"),
        (["from-bag", "bag", "out", "--extrinsics", "a,b"], "--extrinsics a,b: must be seven numbers"),
        (["from-bag", "bag", "out", "--split", "test", "--test", "bag"], "--split test and --test both give the split"),
        (["from-bag", "bag", "out", "--split", "a b"], "name 'a b-00' must be letters"),
        (["from-bag", "bag", "no/such/folder/out", "--image-topic", "/x"], "has no message on topic '/x'"),
        (["to-bag", "bag", "out"], "bag: is of no known layout"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: list[str], reason: str
) -> None:
    piece(tmp_path / "bag", "mcap", 0, 2)
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("surveying", "reading"))]
    assert len(said) == 1 and reason in said[0] and said[0].startswith("vlocnetpp: ")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--gap", "-1"],
        ["--gap", "nan"],
        ["--jpeg-quality", "0"],
        ["--max-pose-distance", "x"],
        ["--pose-offset", "inf"],
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "from-bag", "bag", str(tmp_path / "out"), *wrong])
    assert caught.value.code == 2 and f"argument {wrong[0]}: " in capsys.readouterr().err.splitlines()[-1]


def test_two_bags_are_told_apart_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    piece(tmp_path / "a", "mcap", 0, 3)
    piece(tmp_path / "b", "sqlite3", 5, 2)
    paths = [str(tmp_path / name) for name in ("a", "out", "b")]
    assert main(["data", "from-bag", *paths[:2], "--test", paths[2], "--min-translation", "1.5"]) == 0
    printed = capsys.readouterr().out
    assert "train: images: 2 of 3 kept; 1: too little motion" in printed and "test: images: 1 of 2 kept" in printed
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    assert [(each["bag"], each["split"]) for each in report["recordings"]] == [("a", "train"), ("b", "test")]
    assert report["recordings"][0]["images"]["left_out"] == {"too little motion": 1}
    assert report["options"]["min_translation_m"] == 1.5
