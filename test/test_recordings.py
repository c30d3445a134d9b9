"""Recordings of every kind and what can happen to them: storages, compression, clocks that go back."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bag_recorder import DEPTH, IMAGE, MS, START, Recorder, rgb
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionMode

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, iter_bag, open_dataset, read_bag
from vlocnetpp.data.bags import reader


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


def test_a_full_disk_is_no_damage_of_the_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece(tmp_path / "bag", "mcap", 0, 2)

    def full(file: Path) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reader, "open_storage", full)
    with pytest.raises(DataError, match=r"bag\.mcap: cannot be read: No space left on device"):
        read_bag(tmp_path / "bag", tmp_path / "out")


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


def test_two_publishers_of_another_transform_with_two_clocks_cut_nothing(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record()
    recorder.tf(START, "base", "cam_optical", (0, 0, 0, 1, 0, 0, 0), "/tf_static")
    for index in range(60):
        stamp = START + index * 33 * MS
        recorder.info(stamp)
        recorder.tf(stamp, "map", "base", (float(index), 0, 0, 1, 0, 0, 0))
        recorder.image(stamp, rgb(), "rgb8")
        recorder.tf(stamp, "base", "wheel", (1, 0, 0, 1, 0, 0, 0))
        recorder.tf(stamp - 5000 * MS, "base", "wheel", (1, 0, 0, 1, 0, 0, 0), late=5000 * MS)
    recorder.writer.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    (drive,) = xs(tmp_path / "out")
    np.testing.assert_allclose(drive, np.arange(60), atol=1e-6)
    assert not any("clock goes back" in note for note in summary.notes)


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


def test_K_of_another_frame_and_depth_of_another_clock_are_told(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = record()
    recorder.frame = "depth_optical"
    recorder.info(START)
    recorder.frame = "cam_optical"
    for index in range(4):
        recorder.image(START + index * 33 * MS, rgb(), "rgb8")
        recorder.image(START + 9000 * MS, np.ones((8, 12), np.float32), "32FC1", DEPTH)
    recorder.writer.close()
    said = "\n".join(read_bag(tmp_path / "bag", tmp_path / "out").notes)
    assert "/cam/camera_info is of frame 'depth_optical', the image of 'cam_optical'; K may be another camera's" in said
    assert "4 of 4 frames have no depth, /cam/depth has none within 0.02 s" in said


def test_an_infrared_image_is_no_depth_and_a_mosaic_no_picture(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.info(START)
    recorder.image(START, rgb(), "rgb8")
    recorder.image(START, np.full((8, 12), 900, np.uint16), "mono16", "/ir/image_raw")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out")
    assert open_dataset(tmp_path / "out").frames("train")[0].depth() is None
    read_bag(tmp_path / "bag", tmp_path / "asked", depth_topic="/ir/image_raw")
    assert open_dataset(tmp_path / "asked").frames("train")[0].depth() is not None
    mosaic = Recorder(tmp_path / "mosaic")
    mosaic.info(START)
    mosaic.jpeg(START, cv2.imencode(".jpg", rgb()[..., 0])[1].tobytes(), said="bayer_rggb8; jpeg compressed ")
    mosaic.writer.close()
    with pytest.raises(DataError, match="a compressed 'bayer_rggb8' is a mosaic without colours"):
        read_bag(tmp_path / "mosaic", tmp_path / "grey")


# --- the command


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["from-bag", "bag", "."], ".: exists already"),
        (["from-bag", "nowhere", "out"], "nowhere: does not exist"),
        (["from-bag", "bag", "bag"], "bag: exists already"),
        (["from-bag", "bag", "out", "--pose-topic", "/odom"], "has no message on topic '/odom'; there is"),
        (["from-bag", "bag", "out", "--extrinsics", "a,b"], "--extrinsics a,b: must be seven numbers"),
        (["from-bag", "bag", "out", "--split", "test", "--test", "bag"], "--split test and --test both give the split"),
        (["from-bag", "bag", "out", "--split", "a b"], "name 'a b-00' must be letters"),
        (["from-bag", "bag", "no/such/folder/out", "--image-topic", "/x"], "has no message on topic '/x'"),
        (["to-bag", "bag", "out"], "bag: is a bag; convert it with: vlocnetpp data from-bag"),
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
