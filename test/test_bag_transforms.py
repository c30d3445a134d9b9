"""Transforms of recordings: the tree by itself, and what poses a recording's frames get from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_recorder import MS, OLD_TF, POSE, START, Recorder, refused, rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, open_dataset, read_bag
from vlocnetpp.data.bags.transforms import TransformTree

BASE_CAMERA = [(("base_link", "camera_link"), 3), (("camera_link", "cam_optical"), 4)]


def random_pose(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    x, y, z, w = Rotation.random(random_state=rng).as_quat()
    return np.array([*rng.normal(size=3), *(np.array([w, x, y, z]) * (-1 if w < 0 else 1))])


def matrix(pose_7: Any) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(np.asarray(pose_7)[[4, 5, 6, 3]]).as_matrix()
    T[:3, 3] = pose_7[:3]
    return T


def between(before_7: NDArray, after_7: NDArray, share: float) -> NDArray[np.float64]:
    T = np.eye(4)
    turns = Rotation.from_quat(np.array([before_7, after_7])[:, [4, 5, 6, 3]])
    T[:3, :3] = Slerp([0.0, 1.0], turns)(share).as_matrix()
    T[:3, 3] = (1 - share) * before_7[:3] + share * after_7[:3]
    return T


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Recorder]:
    """Opens recordings at `tmp_path / "bag"` (rosbag1: `bag.bag`)."""
    return lambda kind="mcap": Recorder(tmp_path / ("bag.bag" if kind == "rosbag1" else "bag"), kind)


# --- the tree


@given(
    st.integers(0, 2**32), st.lists(st.integers(0, 100), min_size=1, max_size=7), st.integers(0, 7), st.integers(0, 7)
)
@settings(max_examples=60, deadline=None)
def test_any_two_frames_of_a_tree_are_looked_up_as_matrices_multiply(
    seed: int, parents: list[int], one: int, other: int
) -> None:
    tree, to_root = TransformTree("bag"), {"f0": np.eye(4)}
    for index, choice in enumerate(parents, 1):
        parent, pose_7 = f"f{choice % index}", random_pose(seed + index)
        tree.add(parent, f"f{index}", 0, pose_7, static=True)
        to_root[f"f{index}"] = to_root[parent] @ matrix(pose_7)
    target, source = f"f{one % len(to_root)}", f"/f{other % len(to_root)}"  # ROS 1 writes a slash
    got = tree.chain(target, source).at(np.array([5, 6]), 0, 1)
    assert got.shape == (2, 7)
    np.testing.assert_allclose(matrix(got[1]), np.linalg.inv(to_root[target]) @ to_root[source[1:]], atol=1e-12)


def test_a_moving_transform_is_interpolated_and_never_extrapolated() -> None:
    tree, a, b = TransformTree("bag"), random_pose(1), random_pose(2)
    for stamp, pose_7 in ((100, a), (200, b)):
        tree.add("map", "base", stamp, pose_7, static=False)
    got = tree.chain("map", "base").at(np.array([99, 100, 130, 200, 201]), 0, 50)
    assert np.isnan(got).all(axis=1).tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(matrix(got[2]), between(a, b, 0.3), atol=1e-12)
    assert np.isnan(tree.chain("map", "base").at(np.array([150]), 0, 49)).all()  # farther than the limit from both
    assert np.isnan(tree.chain("map", "base").at(np.array([150]), 1, 50)).all()  # another run of the clock


@pytest.mark.parametrize(
    ("edges", "target", "source", "reason"),
    [
        ([("a", "b"), ("b", "c"), ("c", "a")], "a", "c", "form a loop, c -> a -> b -> c"),
        ([("map", "c"), ("base", "c")], "map", "c", r"'c' has two parents, 'base' \(static\) and 'map' \(static\)"),
        ([("map", "b"), ("odom", "c")], "map", "c", "no transforms connect 'map' with 'c'.*of 'map'.*of 'odom'"),
        ([("map", "b")], "map", "zed", "no transform has frame 'zed'; there is b, map"),
        ([("a", "a"), ("b", ""), ("", "c")], "a", "b", "no transform has frame 'a'; there is none"),
    ],
)
def test_trees_that_are_none_name_the_frames(edges: list, target: str, source: str, reason: str) -> None:
    tree = TransformTree("run.bag")

    def look_up() -> None:
        for parent, child in edges:
            tree.add(parent, child, 0, random_pose(0), static=True)
        tree.chain(target, source)

    with pytest.raises(DataError, match=f"run.bag: .*{reason}"):
        look_up()


def test_of_a_static_transform_the_latest_counts_and_a_change_is_told() -> None:
    tree = TransformTree("bag")
    tree.add("a", "b", 0, random_pose(0), static=True)
    tree.add("/a", "b", 9, random_pose(0), static=True)
    tree.add("b", "c", 9, random_pose(2), static=True)
    np.testing.assert_array_equal(tree.chain("a", "b").at(np.array([3]), 0, 1)[0], random_pose(0))
    tree.add("a", "b", 9, random_pose(1), static=True)
    assert len(tree.chain("b", "c").up) == 1  # what is not needed may be wrong
    chain = tree.chain("a", "c")
    np.testing.assert_allclose(tree.chain("a", "b").at(np.array([3]), 0, 1)[0], random_pose(1), atol=1e-15)
    assert tree.notes(chain) == (
        "bag: the static transform a -> b was published with different values; the latest counts",
    )
    assert tree.notes(tree.chain("b", "c")) == ()


def test_what_is_published_both_ways_moves() -> None:
    tree = TransformTree("bag")
    tree.add("a", "b", 0, random_pose(0), static=True)
    tree.add("a", "b", 5, random_pose(1), static=False)
    tree.add("a", "b", 9, random_pose(0), static=True)
    np.testing.assert_allclose(tree.chain("a", "b").at(np.array([5]), 0, 1)[0], random_pose(1), atol=1e-15)


# --- /tf as the source of poses


def bolt(recorder: Recorder) -> list[NDArray[np.float64]]:
    """The camera's mount in /tf_static."""
    for (parent, child), seed in BASE_CAMERA:
        recorder.tf(0, parent, child, random_pose(seed), "/tf_static", late=START)
    return [random_pose(seed) for _, seed in BASE_CAMERA]


def drive(recorder: Recorder, images: int = 8) -> tuple[list[NDArray], list[NDArray], list[NDArray]]:
    """map -> odom at 10 Hz, odom -> base_link at 50 Hz, the camera bolted to the base, images at 30 Hz."""
    odom = [random_pose(100 + each) for each in range(4)]
    base = [random_pose(200 + each) for each in range(16)]
    recorder.info(START)
    bolted = bolt(recorder)
    for index, pose_7 in enumerate(odom):
        recorder.tf(START + index * 100 * MS, "map", "odom", pose_7)
    for index, pose_7 in enumerate(base):
        recorder.tf(START + index * 20 * MS, "odom", "base_link", pose_7)
    for index in range(images):
        recorder.image(START + index * 33 * MS, rgb(index), "rgb8")
    recorder.writer.close()
    return odom, base, bolted


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "rosbag1", "rosbag1 before tf2"])
def test_tf_gives_the_pose_of_the_optical_frame(
    record: Callable[..., Recorder], tmp_path: Path, capsys: pytest.CaptureFixture, kind: str
) -> None:
    recorder = record(kind.split()[0])
    recorder.tf_type = OLD_TF if kind.endswith("tf2") else recorder.tf_type
    odom, base, bolted = drive(recorder)
    bag = next(tmp_path.iterdir())
    assert main(["data", "from-bag", str(bag), str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    chain = "map -> odom -> base_link -> (static) camera_link -> (static) cam_optical"
    assert f"poses: {chain}" in printed and "images: 8 of 8 kept" in printed and "conversion.json" in printed
    dataset = open_dataset(tmp_path / "out")
    assert dataset.map_frame == "map"
    for index, frame in enumerate(dataset.frames("train")):
        at_ms = 33 * index
        T = between(odom[at_ms // 100], odom[at_ms // 100 + 1], at_ms % 100 / 100)
        T = T @ between(base[at_ms // 20], base[at_ms // 20 + 1], at_ms % 20 / 20)
        assert frame.pose_7 is not None
        np.testing.assert_allclose(matrix(frame.pose_7), T @ matrix(bolted[0]) @ matrix(bolted[1]), atol=1e-9)
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    (recording,) = report["recordings"]
    assert recording["frames"] == chain and recording["topics"]["pose"] == "/tf"
    assert recording["images"] == {"recorded": 8, "kept": 8, "left_out": {}}
    assert recording["sequences"]["train-00"] == {
        "frames": 8,
        "first_stamp_ns": START,
        "last_stamp_ns": START + 231 * MS,
        "frames_per_s": 30.303,
    }
    assert report["options"]["max_pose_distance_s"] == 0.1


def test_frames_can_be_named_and_the_odometry_frame_is_warned_of(
    record: Callable[..., Recorder], tmp_path: Path
) -> None:
    _, base, bolted = drive(record())
    summary = read_bag(
        tmp_path / "bag", tmp_path / "out", pose_topic="/tf", map_frame="odom", camera_frame="camera_link"
    )
    frame = open_dataset(tmp_path / "out").frames("train")[0]
    np.testing.assert_allclose(matrix(frame.pose_7), matrix(base[0]) @ matrix(bolted[0]), atol=1e-9)
    assert any("'odom', which drifts" in note for note in summary.notes)
    assert any("'camera_link' is not named as an optical frame" in note for note in summary.notes)
    x, y, z, qw, qx, qy, qz = bolted[1]
    extrinsics = ",".join(repr(float(value)) for value in (x, y, z, qx, qy, qz, qw))
    read_bag(tmp_path / "bag", tmp_path / "given", camera_frame="camera_link", extrinsics=extrinsics)
    read_bag(tmp_path / "bag", tmp_path / "found")
    given_7, found_7 = (open_dataset(tmp_path / name).frames("train")[3].pose_7 for name in ("given", "found"))
    assert given_7 is not None and found_7 is not None
    np.testing.assert_allclose(matrix(given_7), matrix(found_7), atol=1e-9)


def test_images_outside_of_any_moving_transform_are_left_out(record: Callable[..., Recorder], tmp_path: Path) -> None:
    drive(record(), images=14)  # everything ends at 300 ms, so the images at 330 ms and later have no pose
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert summary.frames == 10 and "images: 10 of 14 kept; 4: no pose" in summary.facts
    late = Recorder(tmp_path / "late")
    late.info(START)
    late.tf(START, "map", "cam_optical", random_pose(0))
    late.image(START + 340 * MS, rgb(), "rgb8")
    late.writer.close()
    with pytest.raises(DataError, match=r"no image lies between two poses.*of map -> cam_optical is 0\.340 s away"):
        read_bag(tmp_path / "late", tmp_path / "none")


def test_a_pose_topic_is_taken_rather_than_tf(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.pose(START, 5.0)
    drive(recorder, images=1)
    assert read_bag(tmp_path / "bag", tmp_path / "a").topics[POSE].startswith("geometry_msgs/msg/PoseStamped")
    assert "/tf" in read_bag(tmp_path / "bag", tmp_path / "b", pose_topic="/tf").topics


# --- a pose topic whose frame is not the camera's


@pytest.mark.parametrize("kind", ["Odometry", "PoseStamped", "PoseWithCovarianceStamped"])
def test_static_transforms_lead_from_the_pose_to_the_camera(
    record: Callable[..., Recorder], tmp_path: Path, kind: str
) -> None:
    recorder = record()
    recorder.info(START)
    bolted = bolt(recorder)
    for index in range(3):
        recorder.pose(START + index * 33 * MS, float(index), 0.2 * index, kind, child="base_link")
        recorder.image(START + index * 33 * MS, rgb(), "rgb8")
    recorder.writer.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out", pose_frame=None if kind == "Odometry" else "base_link")
    assert summary.notes == ()
    assert summary.facts[0] == "poses: map3d -> base_link -> (static) camera_link -> (static) cam_optical"
    for index, frame in enumerate(open_dataset(tmp_path / "out").frames("train")):
        body = np.array([index, 0, 0, np.cos(0.1 * index), 0, 0, np.sin(0.1 * index)])
        want = matrix(body) @ matrix(bolted[0]) @ matrix(bolted[1])
        np.testing.assert_allclose(matrix(frame.pose_7), want, atol=1e-9)
    as_it_is = read_bag(tmp_path / "bag", tmp_path / "camera", pose_frame="")
    assert open_dataset(tmp_path / "camera").frames("train")[2].pose_7[0] == 2.0  # type: ignore[index]
    assert as_it_is.facts[0] == "poses: map3d -> camera"
    read_bag(tmp_path / "bag", tmp_path / "given", extrinsics="0,0,0.5,-0.5,0.5,-0.5,0.5")
    pose_7 = open_dataset(tmp_path / "given").frames("train")[1].pose_7
    assert pose_7 is not None and pose_7[2] == pytest.approx(0.5)
    forward = matrix(pose_7)[:3, 2]  # the camera looks where the body drives: base x is optical z
    np.testing.assert_allclose(forward, [np.cos(0.2), np.sin(0.2), 0], atol=1e-9)


def test_moving_mounts_are_followed(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.info(START)
    pan = [random_pose(1), random_pose(2)]
    for index in range(2):
        recorder.pose(START + index * 100 * MS, 0.0, kind="Odometry", child="base_link")
        recorder.tf(START + index * 100 * MS, "base_link", "cam_optical", pan[index])
    recorder.image(START + 50 * MS, rgb(), "rgb8")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out")
    (frame,) = open_dataset(tmp_path / "out").frames("train")
    np.testing.assert_allclose(matrix(frame.pose_7), between(pan[0], pan[1], 0.5), atol=1e-9)


def test_images_in_body_axes_are_told(record: Callable[..., Recorder], tmp_path: Path) -> None:
    recorder = record()
    recorder.frame = "base_link"
    odometry(recorder)
    recorder.writer.close()
    (note,) = read_bag(tmp_path / "bag", tmp_path / "out").notes
    assert "'base_link' is not named as an optical frame" in note


def odometry(recorder: Recorder) -> None:
    recorder.info(START)
    recorder.pose(START, 0.0, kind="Odometry", child="base_link")
    recorder.image(START, rgb(), "rgb8")


def only_static(recorder: Recorder) -> None:
    recorder.info(START)
    recorder.tf(START, "base_link", "cam_optical", random_pose(0), "/tf_static")
    recorder.tf(START, "wheel", "rim", random_pose(0))
    recorder.image(START, rgb(), "rgb8")


def nameless(recorder: Recorder) -> None:
    recorder.frame = ""
    only_static(recorder)


def two_cameras(recorder: Recorder) -> None:
    only_static(recorder)
    recorder.frame = "right_optical"
    recorder.image(START + 1, rgb(), "rgb8")


def wrong_quaternion(recorder: Recorder) -> None:
    only_static(recorder)
    recorder.tf(START, "map", "base_link", np.zeros(7))


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (odometry, {}, "no transform has frame 'base_link'.*so the way to 'cam_optical' is needed.*--extrinsics"),
        (odometry, {"extrinsics": "1,2,3"}, "--extrinsics 1,2,3: must be seven numbers x,y,z,qx,qy,qz,qw"),
        (odometry, {"extrinsics": "0,0,0,0,0,0,2"}, "--extrinsics .*: the quaternion has length 2"),
        (odometry, {"pose_frame": "", "map_frame": "map"}, "is in frame 'map3d', not 'map'; --pose-topic /tf"),
        (
            lambda r: (odometry(r), r.pose(START + 1, 0.0, kind="Odometry", child="arm")),
            {},
            "/slam/pose is of several frames: arm, base_link",
        ),
        (only_static, {}, "nothing moves above 'cam_optical' .cam_optical <- base_link., so there is no map"),
        (only_static, {"map_frame": "base_link"}, "nothing moves between 'base_link' and 'cam_optical'"),
        (only_static, {"map_frame": "map"}, "no transform has frame 'map'; there is base_link, cam_optical, rim"),
        (only_static, {"camera_frame": "zed"}, "no transform has frame 'zed'"),
        (
            only_static,
            {"pose_frame": "zed"},
            "--pose-frame is for pose topics and --extrinsics; with",
        ),
        (nameless, {}, "the images name no frame in their headers; --camera-frame names"),
        (two_cameras, {}, "the images are of several frames, cam_optical and right_optical; --camera-frame"),
        (wrong_quaternion, {}, "bag: transform map -> base_link: the quaternion has length 0"),
        (only_static, {"image_topic": "/tf"}, "topic '/tf' is tf2_msgs/msg/TFMessage, for image_topic it must be"),
    ],
)
def test_frames_that_lead_nowhere_are_refused_in_one_line(
    record: Callable[..., Recorder], tmp_path: Path, content: Callable[[Recorder], object], options: dict, reason: str
) -> None:
    refused(record, content, tmp_path, reason, **options)
