"""Dataset layouts: written tiny and read back exactly, refused in one line when malformed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from damages import every_pose
from dataset_parts import CLASSES, K, Want
from tiny_datasets import WRITERS, write_folder

from vlocnetpp.cli import main
from vlocnetpp.data import LAYOUTS, DataError, FolderWriter, dataset_digest, iter_bag, open_dataset
from vlocnetpp.data.layouts.folder import COLUMNS


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
    for name in ("monday/monday_0.mcap", "tuesday.bag", "packed/packed_0.db3.zstd"):
        bag = tmp_path / name
        bag.parent.mkdir(exist_ok=True)
        bag.touch()
        for given in {bag, bag.parent} - {tmp_path}:
            with pytest.raises(DataError, match=f"{given.name}: is a bag; convert it with: vlocnetpp data from-bag"):
                open_dataset(given)
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
