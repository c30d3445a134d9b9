"""Bags of other tools: what a recording becomes, and which are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_recorder import DEPTH, IMAGE, MS, POSE, START, K, Recorder, refused, rgb
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from vlocnetpp.data import DataError, iter_bag, open_dataset, read_bag

# --- foreign recordings


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recorder]:
    """Opens recordings at `tmp_path / "bag"` (rosbag1: `bag.bag`)."""
    return lambda kind="mcap": Recorder(tmp_path / ("bag.bag" if kind == "rosbag1" else "bag"), kind)


def as_encoding(image: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    alpha = np.full((*image.shape[:2], 1), 77, np.uint8)
    return {
        "rgb8": image,
        "bgr8": image[:, :, ::-1],
        "rgba8": np.dstack([image, alpha]),
        "bgra8": np.dstack([image[:, :, ::-1], alpha]),
        "mono8": image[:, :, 0],
    }[encoding]


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "rosbag1"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_raw_images_of_every_encoding_and_format(
    record: Callable[..., Recorder], tmp_path: Path, kind: str, encoding: str
) -> None:
    recorder = record(kind)
    for index in range(3):
        stamp = START + index * 33 * MS
        recorder.info(stamp)
        recorder.pose(stamp, float(index))
        recorder.image(stamp, as_encoding(rgb(index), encoding), encoding, pad=5)
    recorder.writer.close()
    path = next(tmp_path.iterdir())
    summary = read_bag(path, tmp_path / "out")
    assert summary.frames == 3 and summary.topics[IMAGE] == "sensor_msgs/msg/Image  3  30.3 Hz"
    for index, frame in enumerate(open_dataset(tmp_path / "out").frames("train")):
        want = np.repeat(rgb(index)[:, :, :1], 3, axis=2) if encoding == "mono8" else rgb(index)
        assert np.abs(frame.image().astype(int) - want).max() <= 6
        assert frame.pose_7 is not None and frame.pose_7[0] == index
        np.testing.assert_array_equal(frame.K_33, K)
    if kind == "rosbag1":  # a ROS 2 publisher can send what a rosbag1 holds
        store = get_typestore(Stores.ROS2_JAZZY)
        for each in iter_bag(path):
            assert store.deserialize_cdr(each.cdr(), each.msgtype).header.stamp.sec == START // 10**9  # type: ignore[attr-defined]
            assert START <= each.header_stamp_ns() <= START + 66 * MS


@pytest.mark.parametrize("kind", ["PoseStamped", "PoseWithCovarianceStamped", "Odometry"])
def test_poses_of_every_type_are_interpolated(record: Callable[..., Recorder], tmp_path: Path, kind: str) -> None:
    recorder = record()
    recorder.info(START)
    for index in range(4):  # 10 Hz SLAM from 1.0 m on, 30 Hz camera
        recorder.pose(START + index * 100 * MS, 1.0 + index, 0.3 * index, kind, child="cam_optical")
    for index in range(12):
        recorder.image(START + index * 33 * MS, rgb(), "rgb8")
    recorder.writer.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out", max_pose_distance_s=0.05)
    assert summary.frames == 10  # the images at 330 and 363 ms have no pose after them
    left_out = [note for note in summary.notes if "2 of 12 images left out" in note]
    assert len(left_out) == 1 and len(summary.notes) == (1 if kind == "Odometry" else 2)
    assert summary.facts == (
        f"poses: map3d -> {'cam_optical' if kind == 'Odometry' else 'camera'}",
        "images: 10 of 12 kept; 2: no pose",
    )
    assert kind == "Odometry" or "does not say of which frame its poses are" in summary.notes[0]
    dataset = open_dataset(tmp_path / "out")
    assert dataset.map_frame == "map3d"
    for index, frame in enumerate(dataset.frames("train")):
        assert frame.pose_7 is not None
        assert frame.pose_7[0] == pytest.approx(1.0 + 0.33 * index, abs=1e-9)
        assert 2 * np.arctan2(frame.pose_7[6], frame.pose_7[3]) == pytest.approx(0.099 * index, abs=1e-9)
    near = read_bag(tmp_path / "bag", tmp_path / "near", max_pose_distance_s=0.002)
    assert [f.stamp_ns - START for f in open_dataset(tmp_path / "near").frames("train")] == [
        0,
        99 * MS,
        198 * MS,
    ], near.notes


def test_gaps_begin_sequences_and_motion_thins_them(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.info(START)
    stamps = [0, 100, 200, 300, 400, 2000, 2100, 2200]
    xs = [0.0, 0.04, 0.08, 0.12, 0.12, 0.12, 0.13, 0.14]
    yaws = [0.0, 0.0, 0.0, 0.0, 0.3, 0.3, 0.3, 0.3]
    for stamp, x, yaw in zip(stamps, xs, yaws, strict=True):
        recorder.pose(START + stamp * MS, x, yaw)
        recorder.image(START + stamp * MS, rgb(), "rgb8")
    recorder.writer.close()

    def kept(**options: float) -> list[list[int]]:
        out = tmp_path / "out"
        read_bag(tmp_path / "bag", out, **options)  # type: ignore[arg-type]
        sequences = open_dataset(out).sequences("train")
        shutil.rmtree(out)
        return [[(frame.stamp_ns - START) // MS for frame in sequence.frames] for sequence in sequences]

    assert kept() == [[0, 100, 200, 300, 400], [2000, 2100, 2200]]
    assert kept(gap_s=3.0) == [stamps]
    assert kept(min_translation_m=0.1) == [[0, 300], [2000]]
    assert kept(min_translation_m=0.1, min_rotation_deg=10.0) == [[0, 300, 400], [2000]]
    assert kept(min_rotation_deg=10.0) == [[0, 400], [2000]]


def test_depth_is_matched_by_stamp_even_when_it_arrives_late(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.info(START)
    late = []
    for index in range(5):
        stamp = START + index * 33 * MS
        recorder.pose(stamp, float(index))
        recorder.image(stamp, rgb(), "rgb8")
        if index != 2:
            metres = np.full((8, 12), 1.0 + index, np.float32)
            metres[0, :2] = np.nan, np.inf
            late.append((stamp + 4 * MS, metres))
    for stamp, metres in late:  # logged 120 ms after its stamp, three images later
        recorder.image(stamp, metres, "32FC1", DEPTH, late=120 * MS)
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out", max_association_s=0.01)
    depths = [frame.depth() for frame in open_dataset(tmp_path / "out").frames("train")]
    assert [None if depth is None else float(depth[5, 5]) for depth in depths] == [1.0, 2.0, None, 4.0, 5.0]
    assert depths[0] is not None and depths[0][0, :3].tolist() == [0.0, 0.0, 1.0]
    summary = read_bag(tmp_path / "bag", tmp_path / "without", depth_topic="")
    assert DEPTH not in summary.topics and open_dataset(tmp_path / "without").frames("train")[0].depth_path is None


def test_images_without_poses_and_stamps_that_go_back(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    for index, stamp in enumerate((0, 33, 66, 66, 40, 100)):
        recorder.info(START + stamp * MS)
        recorder.image(START + stamp * MS, rgb(), "rgb8", late=index * 200 * MS)
    recorder.writer.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    frames = open_dataset(tmp_path / "out").frames("train")
    assert summary.frames == len(frames) == 4 and all(frame.pose_7 is None for frame in frames)
    assert len(summary.notes) == 2
    assert "no pose" in summary.notes[0] and "2 images left out" in summary.notes[1]


def test_rectified_topic_takes_its_intrinsics_from_p(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    for topic in (IMAGE, "/cam/image_raw"):
        recorder.image(START, rgb(), "rgb8", topic)
    recorder.info(START, d=[0.1, 0, 0, 0, 0])
    recorder.writer.close()
    rectified = read_bag(tmp_path / "bag", tmp_path / "a", image_topic=IMAGE)
    raw = read_bag(tmp_path / "bag", tmp_path / "b", image_topic="/cam/image_raw")
    assert open_dataset(tmp_path / "a").frames("train")[0].K_33[0, 0] == 2 * K[0, 0]
    assert open_dataset(tmp_path / "b").frames("train")[0].K_33[0, 0] == K[0, 0]
    assert len(rectified.notes) == 1 and "lens distortion" in raw.notes[0]


def test_masks_by_name_and_png_images_unchanged(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    png = cv2.imencode(".png", rgb())[1].tobytes()
    recorder.info(START)
    recorder.jpeg(START, png)
    recorder.image(START, rgb()[:, :, 0] % 3, "mono8", "/labels")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out", image_topic=f"{IMAGE}/compressed", mask_topic="/labels")
    frame = open_dataset(tmp_path / "out").frames("train")[0]
    assert frame.image_path.suffix == ".png" and frame.image_path.read_bytes() == png
    np.testing.assert_array_equal(frame.mask(), rgb()[:, :, 0] % 3)
    with pytest.raises(DataError, match=r"/labels at .*: encoding 'mono8' is not one of 16UC1"):
        read_bag(tmp_path / "bag", tmp_path / "x", image_topic=f"{IMAGE}/compressed", depth_topic="/labels")


# --- refused


def good(recorder: Recorder) -> None:
    recorder.info(START)
    recorder.pose(START, 0.0)
    recorder.image(START, rgb(), "rgb8")


def second_image(recorder: Recorder) -> None:
    good(recorder)
    recorder.jpeg(START, cv2.imencode(".jpg", rgb())[1].tobytes())


def two_infos_elsewhere(recorder: Recorder) -> None:
    recorder.image(START, rgb(), "rgb8")
    for topic in ("/left/camera_info", "/right/camera_info"):
        recorder.info(START, topic=topic)


def cut_jpeg(recorder: Recorder) -> None:
    recorder.info(START)
    recorder.jpeg(START, cv2.imencode(".jpg", rgb())[1].tobytes()[:-30])


def small_depth(recorder: Recorder) -> None:
    good(recorder)
    recorder.image(START, np.ones((4, 6), np.float32), "32FC1", DEPTH)


def short_image(recorder: Recorder) -> None:
    good(recorder)
    message = recorder.make(
        "sensor_msgs/msg/Image",
        header=recorder.header(START + 1, "cam_optical"),
        height=8,
        width=12,
        encoding="rgb8",
        is_bigendian=0,
        step=36,
        data=np.zeros(100, np.uint8),
    )
    recorder.pose(START + 2, 0.0)
    recorder.write(IMAGE, START + 1, message)


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (good, {"image_topic": "/camera"}, "bag: has no message on topic '/camera'; there is /cam/camera_info"),
        (
            good,
            {"image_topic": POSE},
            "topic '/slam/pose' is geometry_msgs/msg/PoseStamped, for image_topic it must be",
        ),
        (good, {"pose_topic": IMAGE}, "for pose_topic it must be geometry_msgs/msg/PoseStamped or"),
        (good, {"camera_info_topic": POSE}, "for camera_info_topic it must be sensor_msgs/msg/CameraInfo"),
        (second_image, {}, "image_topic could be /cam/image_rect or /cam/image_rect/compressed; name one"),
        (lambda r: (good(r), r.pose(START, 0.0, topic="/amcl")), {}, "pose_topic could be /amcl or /slam/pose"),
        (two_infos_elsewhere, {}, "camera_info_topic could be /left/camera_info or /right/camera_info"),
        (lambda r: r.image(START, rgb(), "rgb8"), {}, "has no sensor_msgs/msg/CameraInfo, so K"),
        (lambda r: r.info(START), {}, r"has no image topic, only /cam/camera_info \(sensor_msgs/msg/CameraInfo\)"),
        (
            lambda r: (r.info(START), r.image(START, rgb(), "yuv999")),
            {},
            "image_rect at 1700000000.123.* 'yuv999' is not",
        ),
        (cut_jpeg, {}, "image_rect/compressed at 1700000000.1.*: is truncated"),
        (short_image, {}, "100 bytes with rows of 36 do not make 12 x 8 rgb8"),
        (small_depth, {}, "the depth is 6 x 4, the image 12 x 8; depth_topic"),
        (lambda r: (r.info(START, (480, 640)), r.image(START, rgb(), "rgb8")), {}, "camera_info is for 640 x 480"),
        (lambda r: (r.info(START, K_33=0 * K), r.image(START, rgb(), "rgb8")), {}, "not calibrated, K is zero"),
        (lambda r: (r.info(0), r.image(0, rgb(), "rgb8")), {}, "image_rect carries no stamps"),
        (
            lambda r: (r.info(START), r.image(START, rgb(), "rgb8"), r.pose(START, float("nan"))),
            {},
            "/slam/pose at 1700000000.* NaN",
        ),
        (lambda r: (r.info(START), r.image(START, rgb(), "rgb8"), r.pose(START + 340 * MS, 0.0)), {}, "0.340 s away"),
    ],
)
def test_recordings_that_cannot_be_used_are_refused_in_one_line(
    record: Callable[..., Recorder], tmp_path: Path, content: Callable[[Recorder], object], options: dict, reason: str
) -> None:
    assert str(tmp_path / "bag") in refused(record, content, tmp_path, reason, **options)


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "rosbag1"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_cut_bag_is_refused_in_one_line(
    record: Callable[..., Recorder], tmp_path: Path, kind: str, share: float
) -> None:
    recorder = record(kind)
    rng = np.random.default_rng(0)
    for index in range(20):
        stamp = START + index * 33 * MS
        recorder.info(stamp)
        recorder.image(stamp, rng.integers(0, 255, (8, 12, 3), dtype=np.uint8), "rgb8")
    recorder.writer.close()
    path = next(tmp_path.iterdir())
    file = path if path.is_file() else next(each for each in path.iterdir() if each.suffix in (".mcap", ".db3"))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=f"{path}") as caught:
        read_bag(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
