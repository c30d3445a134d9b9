"""Dataset layouts: written tiny and read back exactly, refused in one line when malformed, real ones read whole."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
from conftest import ROOT, real_data
from damages import every_pose
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tiny_datasets import (
    CLASSES,
    WRITERS,
    K,
    Want,
    matrix_of,
    row,
    write,
    write_camvid,
    write_deeploc,
    write_folder,
    write_kitti,
    write_seven_scenes,
    write_tum,
    write_tum_alone,
)

from vlocnetpp.cli import main
from vlocnetpp.data import LAYOUTS, VOID, DataError, FolderWriter, dataset_digest, iter_bag, open_dataset
from vlocnetpp.data.layouts import tum_rgbd
from vlocnetpp.data.layouts.folder import COLUMNS
from vlocnetpp.data.poses import checked_pose, interpolate_poses, pose_from_matrix


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, list[Want]]:
    """A tiny dataset of each layout: where it is, the layout's name and what it must be read as."""
    layout, write = WRITERS[request.param]
    return tmp_path / "set", layout, write(tmp_path / "set")


def test_every_layout_is_recognized_and_read_back_exactly(written: tuple[Path, str, list[Want]]) -> None:
    root, layout, wants = written
    assert [name for name, reader in LAYOUTS.items() if reader.recognizes(root)] == [layout]
    dataset = open_dataset(root)
    assert dataset.layout == layout and dataset_digest(dataset) == dataset_digest(open_dataset(root, layout))
    found = {(split, sequence.name): sequence.frames for split, each in dataset.splits.items() for sequence in each}
    expected: dict[tuple[str, str], list[Want]] = {}
    for want in wants:
        expected.setdefault((want.split, want.sequence), []).append(want)
    assert {key: len(frames) for key, frames in found.items()} == {key: len(each) for key, each in expected.items()}
    for key, frames in found.items():
        for frame, want in zip(frames, expected[key], strict=True):
            assert (frame.name, frame.stamp_ns) == (want.name, want.stamp_ns)
            np.testing.assert_array_equal(frame.K_33, want.K_33)
            np.testing.assert_array_equal(frame.image(), want.image_HW3)
            assert (frame.pose_7 is None) == (want.pose_7 is None), frame.name
            if frame.pose_7 is not None:
                np.testing.assert_allclose(frame.pose_7, want.pose_7, rtol=0, atol=1e-12)
            for got, wanted in ((frame.depth(), want.depth_HW), (frame.mask(), want.mask_HW)):
                assert (got is None) == (wanted is None), frame.name
                if got is not None:
                    np.testing.assert_array_equal(got, wanted)
    assert len({frame.name for frames in found.values() for frame in frames}) == len(wants)


def test_info_and_to_bag_work_for_every_layout(
    written: tuple[Path, str, list[Want]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, layout, wants = written
    assert main(["data", "info", str(root)]) == 0
    assert f"layout {layout}" in capsys.readouterr().out
    assert main(["data", "to-bag", str(root), str(tmp_path / "bag"), "--split", "train"]) == 0
    train = [want for want in wants if want.split == "train"]
    counts = Counter(message.topic for message in iter_bag(tmp_path / "bag"))
    assert counts["/zed/zed_node/rgb/color/rect/image/compressed"] == len(train)
    assert counts["/ground_truth/pose"] == sum(want.pose_7 is not None for want in train)
    assert counts["/ground_truth/mask/compressed"] == sum(want.mask_HW is not None for want in train)
    assert counts["/zed/zed_node/depth/depth_registered"] == sum(want.depth_HW is not None for want in train)


def test_folder_keeps_classes_map_frame_and_poses_bit_for_bit(tmp_path: Path) -> None:
    wants = write_folder(tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.map_frame == "lab" and dataset.classes == CLASSES
    for frame, want in zip(dataset.frames("train") + dataset.frames("test"), wants, strict=True):
        np.testing.assert_array_equal(frame.pose_7, want.pose_7)
    assert not (tmp_path / "set.partial").exists()


def test_folder_stores_encoded_images_unchanged(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    encoded = {suffix: cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png")}
    with FolderWriter(tmp_path / "set") as writer:
        for stamp, data in enumerate(encoded.values()):
            writer.add("a", "train", stamp, None, K, encoded=data)
    frames = open_dataset(tmp_path / "set").frames("train")
    assert [frame.image_path.suffix for frame in frames] == list(encoded)
    assert [frame.image_path.read_bytes() for frame in frames] == list(encoded.values())
    np.testing.assert_array_equal(frames[1].image(), image[:, :, ::-1])


def test_depth_that_cannot_be_stored_becomes_unknown(tmp_path: Path) -> None:
    depth = np.full((2, 3), 1.5, np.float32)
    depth[0] = np.nan, np.inf, -np.inf
    depth[1] = -1.0, 70.0, 65.534
    with FolderWriter(tmp_path / "set") as writer:
        writer.add("a", "train", 0, np.zeros((2, 3, 3), np.uint8), K, depth_HW=depth)
    got = open_dataset(tmp_path / "set").frames("train")[0].depth()
    np.testing.assert_array_equal(got, np.array([[0, 0, 0], [0, 0, 65.534]], np.float32))


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt), FolderWriter(tmp_path / "set") as writer:  # noqa: PT012
        writer.add("a", "train", 0, image, K)
        raise KeyboardInterrupt
    with pytest.raises(DataError, match="no frame was added"), FolderWriter(tmp_path / "set"):
        pass
    assert list(tmp_path.iterdir()) == []
    write_folder(tmp_path / "set")
    with pytest.raises(DataError, match="set: exists already"):
        FolderWriter(tmp_path / "set")
    (tmp_path / "other.partial").mkdir()
    with pytest.raises(DataError, match=r"other\.partial: another run"), FolderWriter(tmp_path / "other"):
        pass
    assert (tmp_path / "other.partial").exists()  # it is not ours to remove


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"stamp_ns": 5}, "does not come after"),
        ({"split": "test"}, "second split"),
        ({"sequence": "../a"}, "must be letters"),
        ({"image_HW3": np.zeros((8, 12), np.uint8)}, r"must be \(H, W, 3\) uint8"),
        ({"image_HW3": None}, "needs an image"),
        ({"image_HW3": None, "encoded": b"GIF89a"}, "not a decodable image"),
        ({"encoded": b"GIF89a"}, "neither JPEG nor PNG"),
        ({"K_33": np.zeros((3, 3))}, "fx and fy must be positive"),
        ({"K_33": np.array([[9.0, 1.0, 5.0], [0, 9.0, 4.0], [0, 0, 1.0]])}, "skew"),
        ({"pose_7": np.array([0, 0, np.nan, 1, 0, 0, 0])}, "NaN"),
        ({"pose_7": np.array([0, 0, 0, 1.01, 0, 0, 0])}, "length 1.01"),
        ({"pose_7": np.eye(4)}, "seven numbers"),
        ({"depth_HW": np.zeros((4, 6), np.float32)}, "depth of shape"),
        ({"mask_HW": np.zeros((8, 12), np.int64)}, "uint8 class ids"),
    ],
)
def test_frames_that_could_not_be_read_back_are_refused(tmp_path: Path, arguments: dict, reason: str) -> None:
    good = {"sequence": "a", "split": "train", "stamp_ns": 10, "image_HW3": np.zeros((8, 12, 3), np.uint8), "K_33": K}
    with pytest.raises(DataError, match=reason) as caught, FolderWriter(tmp_path / "set") as writer:  # noqa: PT012
        writer.add(**good)
        writer.add(**{**good, "stamp_ns": 20, **arguments})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def swap_last_rows(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: (r / "dataset.yaml").write_text("format: 9\n"), r"dataset.yaml: format 9 is not known"),
        (lambda r: (r / "dataset.yaml").write_text("a: [1\nb"), r"dataset.yaml: is not YAML"),
        (lambda r: (r / "dataset.yaml").write_bytes(b"\xff\xfe\x00"), r"dataset.yaml: is not YAML"),
        (lambda r: (r / "dataset.yaml").write_text("[]"), r"dataset.yaml: has no 'format'"),
        (lambda r: edit(r / "dataset.yaml", "test: [loop-b.2]", "test: [../x]"), "'splits' must map"),
        (lambda r: edit(r / "dataset.yaml", "test: [loop-b.2]", "test: [loop_a]"), "in split 'train' and in 'test'"),
        (lambda r: edit(r / "dataset.yaml", "color: [10, 20, 30]", "color: [10, 20]"), "needs a name and a color"),
        (lambda r: shutil.rmtree(r / "loop_a"), r"loop_a/frames.csv: cannot be read: No such file"),
        (lambda r: (r / "loop_a/image/000001.png").unlink(), r"loop_a/image/000001.png: is missing"),
        (lambda r: (r / "loop_a/depth/000000.png").unlink(), r"loop_a/depth/000000.png: is missing"),
        (lambda r: edit(r / "loop_a/frames.csv", "stamp_ns", "stamp"), "column stamp_ns is missing"),
        (lambda r: edit(r / "loop_a/frames.csv", "mask/000000.png", "mask/000000.png,7"), "frames.csv:2: has more"),
        (lambda r: edit(r / "loop_a/frames.csv", "9.0", "wide"), "frames.csv:2: a cell is empty or not a number"),
        (lambda r: edit(r / "loop_a/frames.csv", "9.0", "-9.0"), "frames.csv:2: fx and fy must be positive"),
        (every_pose("loop_a/frames.csv", "1,2,3,nan,0,0,0"), "frames.csv:2: the pose has a NaN"),
        (every_pose("loop_a/frames.csv", "1,2,3,2,0,0,0"), "quaternion has length 2"),
        (lambda r: edit(r / "loop_a/frames.csv", ",,,,,,,,", ",1,2,3,,,,,"), "frames.csv:2: a cell is empty"),
        (lambda r: edit(r / "loop_a/frames.csv", "image/000000.png", "../../secret.jpg"), "leaves the folder"),
        (lambda r: edit(r / "loop_a/frames.csv", "image/000000.png", ""), "frames.csv:2: no image"),
        (lambda r: edit(r / "loop_a/frames.csv", "\n000001,", "\n000000,"), "a frame name occurs twice"),
        (lambda r: swap_last_rows(r / "loop_a/frames.csv"), "stamps do not increase"),
        (lambda r: (r / "loop_a/frames.csv").write_bytes(b"\xff\xfe"), "frames.csv: is not a table"),
        (lambda r: (r / "loop_a/frames.csv").write_text(""), "frames.csv: column name is missing"),
        (lambda r: (r / "loop_a/frames.csv").write_text(",".join(COLUMNS)), "frames.csv: lists no frame"),
    ],
)
def test_malformed_folder_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    root = tmp_path / "set"
    write_folder(root)
    damage(root)
    with pytest.raises(DataError, match=reason) as caught:
        open_dataset(root)
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_damaged_pixels_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    frame = open_dataset(tmp_path / "set").frames("train")[0]
    for path, read in ((frame.image_path, frame.image), (frame.depth_path, frame.depth), (frame.mask_path, frame.mask)):
        assert path is not None
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=f"{path.name}: is truncated"):
            read()
        path.write_bytes(b"not an image")
        with pytest.raises(DataError, match=f"{path.name}: is not a decodable image"):
            read()
    shutil.copy(frame.depth_path.with_name("000002.png"), frame.mask_path)
    with pytest.raises(DataError, match="a mask must be 8-bit"):
        frame.mask()


def test_open_dataset_recognizes_or_asks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: does not exist"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(
        DataError, match="is of no known layout; name one of folder, seven_scenes, deeploc, kitti, tum_rgbd, euroc"
    ):
        open_dataset(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        open_dataset(tmp_path / "file")
    write_folder(tmp_path / "set")
    with pytest.raises(DataError, match="no layout 'kitty'"):
        open_dataset(tmp_path / "set", "kitty")
    (tmp_path / "set" / "TrainSplit.txt").touch()
    (tmp_path / "set" / "seq-01").mkdir()
    with pytest.raises(DataError, match="could be folder or seven_scenes; name one"):
        open_dataset(tmp_path / "set")
    assert open_dataset(tmp_path / "set", "folder").layout == "folder"
    with pytest.raises(DataError, match="has no frame"):
        open_dataset(tmp_path / "set", "seven_scenes")


def test_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    write_folder(tmp_path / "a")
    digest = dataset_digest(open_dataset(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert dataset_digest(open_dataset(tmp_path / "b")) == digest and len(digest) == 64
    edit(tmp_path / "b/loop_a/frames.csv", "5.5", "5.6")
    assert dataset_digest(open_dataset(tmp_path / "b")) != digest
    read = open_dataset(tmp_path / "a")
    (sequence,) = read.splits["train"]
    frames = tuple(replace(frame, depth_units_per_m=5000.0) for frame in sequence.frames)
    splits = {**read.splits, "train": (replace(sequence, frames=frames),)}
    assert dataset_digest(replace(read, splits=splits)) != digest


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
