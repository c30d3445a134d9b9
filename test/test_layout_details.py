"""What each layout has of its own, conversions of poses, and the real recordings read whole."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
from conftest import ROOT, real_data
from dataset_parts import K, matrix_of, row, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tiny_datasets import write_camvid, write_deeploc, write_kitti, write_seven_scenes, write_tum, write_tum_alone

from vlocnetpp.data import LAYOUTS, VOID, DataError, open_dataset
from vlocnetpp.data.layouts import tum_rgbd
from vlocnetpp.data.poses import checked_pose, interpolate_poses, pose_from_matrix


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- 7-Scenes


def test_seven_scenes_takes_jpeg_and_the_published_intrinsics(tmp_path: Path) -> None:
    write_seven_scenes(tmp_path / "s")
    (tmp_path / "s/camera-intrinsics.txt").unlink()
    with pytest.raises(DataError, match=r"is missing, and .* is 16 x 12"):
        open_dataset(tmp_path / "s")
    for path in (tmp_path / "s").rglob("*.color.png"):
        cv2.imwrite(str(path.with_suffix(".jpg")), np.zeros((480, 640, 3), np.uint8))
        path.unlink()
    frame = open_dataset(tmp_path / "s").frames("test")[0]
    assert frame.image_path.suffix == ".jpg"
    np.testing.assert_array_equal(frame.K_33, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: (r / "TrainSplit.txt").write_text("sequence1\nfirst one\n"), "TrainSplit.txt: 'first one' is not"),
        (lambda r: (r / "TrainSplit.txt").write_text("seq-02"), "TestSplit.txt: sequence 2 is listed twice"),
        (lambda r: (r / "TrainSplit.txt").write_text("seq-07"), "seq-07: is missing, a split file lists it"),
        (lambda r: (r / "seq-01/frame-000004.pose.txt").unlink(), r"frame-000004.pose.txt: is missing"),
        (lambda r: (r / "seq-01/frame-000004.depth.png").unlink(), r"frame-000004.depth.png: is missing"),
        (lambda r: (r / "seq-01/frame-000004.pose.txt").write_text("1 2 3"), r"pose.txt: has 3 numbers instead of 4 x"),
        (lambda r: (r / "seq-01/frame-000004.pose.txt").write_text("a " * 16), r"frame-000004.pose.txt: could not"),
        (lambda r: edit(r / "seq-01/frame-000004.pose.txt", ".", "1."), "frame-000004.pose.txt: not a rigid"),
        (lambda r: (r / "seq-01/frame-000004.pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1"), "reflection"),
        (lambda r: (r / "camera-intrinsics.txt").write_text("0 0 0 0 0 0 0 0 1"), "intrinsics.txt: fx and fy"),
        (lambda r: [p.unlink() for p in (r / "seq-01").glob("*color*")], "seq-01: has no frame-NNNNNN"),
    ],
)
def test_malformed_seven_scenes_is_refused(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    write_seven_scenes(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(DataError, match=reason) as caught:
        open_dataset(tmp_path / "s")
    assert "\n" not in str(caught.value)


def test_zipped_sequences_get_a_hint(tmp_path: Path) -> None:
    write_seven_scenes(tmp_path / "s")
    shutil.rmtree(tmp_path / "s/seq-10")
    (tmp_path / "s/seq-10.zip").touch()
    with pytest.raises(DataError, match=r"unpack seq-10\.zip first"):
        open_dataset(tmp_path / "s")


# --- CamVid


def test_camvid_names_a_missing_mask(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    (tmp_path / "valannot/0016E5_07959.png").unlink()
    with pytest.raises(DataError, match=r"valannot/0016E5_07959\.png: is missing"):
        open_dataset(tmp_path)


# --- DeepLoc


def test_a_plain_folder_of_images_needs_nothing_but_its_intrinsics(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.jpeg"):
        cv2.imwrite(str(tmp_path / name.lower()), np.full((4, 6, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"put camera-intrinsics\.txt beside them"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"camera-intrinsics.txt: cannot be read"):
        open_dataset(tmp_path, "images")
    (tmp_path / "camera-intrinsics.txt").write_text("6 0 3\n0 6 2\n0 0 1\n")
    dataset = open_dataset(tmp_path)
    frames = dataset.frames("test")
    assert (dataset.layout, [frame.name for frame in frames]) == ("images", ["a.png", "b.jpg", "c.jpeg"])
    assert frames[2].stamp_ns == 100_000_000
    assert frames[0].image().shape == (4, 6, 3)
    assert frames[0].pose_7 is None


def test_deeploc_begins_a_sequence_where_the_camera_jumps_and_takes_given_intrinsics(tmp_path: Path) -> None:
    write_deeploc(tmp_path)
    edit(tmp_path / "train/poses.txt", "Image_130 1.3", "Image_130 9.3")
    write(tmp_path / "camera-intrinsics.txt", *(row(each) for each in K))
    dataset = open_dataset(tmp_path)
    assert [len(sequence.frames) for sequence in dataset.sequences("train")] == [2, 1, 2]
    assert [each.name for each in dataset.classes][:2] == ["Background", "Sky"] and len(dataset.classes) == 10
    np.testing.assert_array_equal(dataset.frames("test")[0].K_33, K)


# --- KITTI odometry


def test_a_kitti_sequence_alone_finds_its_poses(tmp_path: Path) -> None:
    wants = write_kitti(tmp_path / "k")
    alone = open_dataset(tmp_path / "k/sequences/09")
    assert {split: [s.name for s in each] for split, each in alone.splits.items()} == {"train": ["kitti"]}
    shutil.copytree(tmp_path / "k/sequences/09", tmp_path / "moved")
    assert [frame.pose_7 for frame in open_dataset(tmp_path / "moved").frames("train")] == [None] * 3
    shutil.copy(tmp_path / "k/poses/09.txt", tmp_path / "moved/poses.txt")
    for frame, same, want in zip(
        alone.frames("train"), open_dataset(tmp_path / "moved").frames("train"), wants[3:6], strict=True
    ):
        np.testing.assert_allclose(frame.pose_7, want.pose_7, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(frame.pose_7, same.pose_7)


def test_kitti_without_training_images_or_times(tmp_path: Path) -> None:
    write_kitti(tmp_path)
    shutil.rmtree(tmp_path / "sequences/00/image_2")
    (tmp_path / "sequences/09/times.txt").unlink()
    (tmp_path / "sequences/09/image_2/000001.png").unlink()  # rows are found by number
    dataset = open_dataset(tmp_path)
    assert {split: [s.name for s in each] for split, each in dataset.splits.items()} == {
        "train": ["09"],
        "benchmark": ["11"],
    }
    assert [frame.stamp_ns for frame in dataset.frames("train")] == [10_000_000_000, 10_200_000_000]


# --- TUM RGB-D


def test_tum_knows_the_published_intrinsics_by_the_name_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "rgbd_dataset_freiburg3_desk"
    write_tum_alone(root)
    (root / "camera-intrinsics.txt").unlink()
    with pytest.raises(DataError, match="is 16 x 12, not the published 640 x 480"):
        open_dataset(root)
    first = min((root / "rgb").iterdir())
    cv2.imwrite(str(first), np.zeros((480, 640, 3), np.uint8))
    assert open_dataset(root).frames("train")[0].K_33[0, 0] == 535.4
    root.rename(tmp_path / "desk")
    desk = open_dataset(tmp_path / "desk")
    np.testing.assert_array_equal(desk.frames("train")[0].K_33, [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]])
    (note,) = desk.notes
    assert "desk/camera-intrinsics.txt: is missing" in note and "K is the nominal one" in note


def test_tum_sequences_without_split_files_are_all_in_train_and_share_intrinsics(tmp_path: Path) -> None:
    write_tum(tmp_path)
    (tmp_path / "TrainSplit.txt").unlink()
    (tmp_path / "TestSplit.txt").unlink()
    (tmp_path / "fr_room/camera-intrinsics.txt").rename(tmp_path / "camera-intrinsics.txt")
    dataset = open_dataset(tmp_path)
    assert [sequence.name for sequence in dataset.sequences("train")] == ["fr_desk", "fr_room", "fr_xyz"]
    assert set(dataset.splits) == {"train"}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**62))
def test_a_stamp_written_in_seconds_is_read_to_the_nanosecond(stamp_ns: int) -> None:
    assert tum_rgbd.stamp_of(f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}", "here") == stamp_ns


# --- poses


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_a_pose_written_as_text_is_the_same_pose(place: list[float], turn: list[float]) -> None:
    norm = np.linalg.norm(turn)
    hypothesis.assume(norm > 1e-3)
    pose = checked_pose((*place, *(np.array(turn) / norm)), "here")
    again = checked_pose([float(cell) for cell in row(pose).split()], "here")
    np.testing.assert_array_equal(again, pose)
    T_44 = matrix_of(pose)
    from_text = pose_from_matrix(np.array([float(cell) for cell in row(T_44).split()]).reshape(4, 4), "here")
    np.testing.assert_array_equal(from_text[:3], pose[:3])
    assert min(np.abs(from_text[3:] - pose[3:]).max(), np.abs(from_text[3:] + pose[3:]).max()) < 1e-12


def test_pose_from_matrix_agrees_with_scipy_and_refuses_what_is_no_pose() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        rotation = Rotation.random(random_state=rng)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = rotation.as_matrix(), rng.normal(size=3)
        pose = pose_from_matrix(T, "test")
        assert pose[3] >= 0
        np.testing.assert_allclose(Rotation.from_quat(pose[[4, 5, 6, 3]]).as_matrix(), T[:3, :3], atol=1e-14)
        np.testing.assert_array_equal(pose[:3], T[:3, 3])
    for bad, reason in ((1.01 * np.eye(4), "rigid"), (np.diag([1, 1, -1, 1.0]), "reflection"), (np.eye(3), "4 x 4")):
        with pytest.raises(DataError, match=f"here: .*{reason}"):
            pose_from_matrix(bad, "here")


def test_interpolation_is_linear_and_slerp_and_never_extrapolates() -> None:
    turn = Rotation.from_rotvec([0, 0, 1.2]).as_quat()
    poses = np.array([[4, 0, 0, turn[3], *turn[:3]], [0, 0, 0, 1, 0, 0, 0.0]])
    at = np.array([999, 1000, 1025, 1050, 1090, 1100, 1101])
    got = interpolate_poses(np.array([1100, 1000]), poses, at, limit_ns=25)
    assert [pose is None for pose in got] == [True, False, False, True, False, False, True]
    quarter, late = got[2], got[4]
    assert quarter is not None and late is not None
    np.testing.assert_allclose(quarter[:3], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(Rotation.from_quat(quarter[[4, 5, 6, 3]]).as_rotvec(), [0, 0, 0.3], atol=1e-12)
    np.testing.assert_allclose(late[:3], [3.6, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(got[5], poses[0])


def test_nothing_is_interpolated_across_a_gap() -> None:
    """Tracking was lost from 1100 to 1500; the robot may have gone anywhere."""
    stamps = np.array([1000, 1020, 1040, 1060, 1080, 1100, 1500, 1520])
    poses = np.tile([0.0, 0, 0, 1, 0, 0, 0], (len(stamps), 1))
    at = np.array([1090, 1100, 1105, 1495, 1500, 1510])
    got = interpolate_poses(stamps, poses, at, limit_ns=25)
    assert [pose is None for pose in got] == [False, False, True, True, False, False]
    sparse = stamps * 20  # poses that are always far apart have no gap in 400 of them
    assert interpolate_poses(sparse[:6], poses[:6], np.array([20 * 1000 + 10]), limit_ns=25)[0] is not None


# --- the real recordings


def test_redkitchen_is_read_whole() -> None:
    dataset = open_dataset(real_data("redkitchen"))
    assert {split: [len(s.frames) for s in each] for split, each in dataset.splits.items()} == {
        "train": [90, 30, 90, 30, 90, 30, 90, 90],
        "test": [40, 40, 40],
    }
    frames = dataset.frames("train") + dataset.frames("test")
    assert all(frame.pose_7 is not None for frame in frames)
    assert len({frame.stamp_ns for frame in frames}) == 660
    for frame in frames[::60]:
        depth = frame.depth()
        assert depth is not None and frame.image().shape == (240, 320, 3) and depth.shape == (240, 320)
        assert 0.3 < np.median(depth[depth > 0]) < 4.0


def test_camvid_real_is_read_whole() -> None:
    dataset = open_dataset(real_data("camvid"))
    assert {split: (len(each), len(dataset.frames(split))) for split, each in dataset.splits.items()} == {
        "train": (367, 367),
        "val": (1, 101),
    }
    seen: set[int] = set()
    for frame in dataset.frames("train")[::20]:
        mask = frame.mask()
        assert mask is not None and mask.shape == frame.image().shape[:2]
        seen.update(np.unique(mask).tolist())
    assert seen == {*range(11), VOID}


def test_the_page_has_every_layout() -> None:
    page = (ROOT / "docs/layouts.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(LAYOUTS)
    for name in LAYOUTS:
        docs = inspect.getdoc(importlib.import_module(f"vlocnetpp.data.layouts.{name}")) or ""
        tree = re.findall(r"(?:^    .*\n?)+", docs, re.MULTILINE)[0].rstrip("\n")
        assert f"`{name}`\n\n{tree}\n" in page, f"the tree of {name} is not that of its module"
