"""Dataset layouts: written tiny and read back exactly, refused in one line when malformed, real ones read whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import real_data
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlocnetpp.data import VOID, DataError, FolderWriter, LabelClass, dataset_digest, open_dataset
from vlocnetpp.data.layouts.folder import COLUMNS
from vlocnetpp.data.poses import checked_pose, interpolate_poses, pose_from_matrix

K = np.array([[9.0, 0.0, 5.5], [0.0, 8.5, 3.5], [0.0, 0.0, 1.0]])
CLASSES = (LabelClass("wall", (10, 20, 30)), LabelClass("Tür", (0, 255, 0)))


def random_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    x, y, z, w = Rotation.random(random_state=rng).as_quat()
    return checked_pose((*rng.normal(size=3), w, x, y, z), "test")


def write_folder(root: Path) -> list[dict[str, NDArray]]:
    """Two sequences of three frames, one frame without a pose, one without depth and mask; what was written."""
    rng = np.random.default_rng(1)
    written = []
    with FolderWriter(root, CLASSES, map_frame="lab") as writer:
        for sequence, split in (("loop_a", "train"), ("loop-b.2", "test")):
            for index in range(3):
                frame = {
                    "image": cv2.GaussianBlur(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8), (5, 5), 3.0),
                    "pose": None if (sequence, index) == ("loop_a", 0) else random_pose(rng),
                    "depth": None if index == 1 else rng.integers(0, 65535, (8, 12)).astype(np.float32) / 1000,
                    "mask": None if index == 1 else rng.choice([0, 1, VOID], (8, 12)).astype(np.uint8),
                }
                written.append(frame)
                stamp = 1_700_000_000_123_456_789 + index * 33_333_333 + len(written)
                writer.add(sequence, split, stamp, frame["image"], K, frame["pose"], frame["depth"], frame["mask"])
    return written


def test_folder_reads_back_what_was_written(tmp_path: Path) -> None:
    written = write_folder(tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.layout == "folder" and dataset.map_frame == "lab" and dataset.classes == CLASSES
    assert {split: [s.name for s in sequences] for split, sequences in dataset.splits.items()} == {
        "train": ["loop_a"],
        "test": ["loop-b.2"],
    }
    frames = dataset.frames("train") + dataset.frames("test")
    assert [frame.name for frame in frames][:2] == ["loop_a/000000", "loop_a/000001"]
    for index, (frame, want) in enumerate(zip(frames, written, strict=True), 1):
        assert frame.stamp_ns == 1_700_000_000_123_456_789 + (index - 1) % 3 * 33_333_333 + index
        np.testing.assert_array_equal(frame.K_33, K)
        for kind in ("depth", "mask"):
            got = getattr(frame, kind)()
            assert (got is None) == (want[kind] is None)
            if got is not None:
                np.testing.assert_array_equal(got, want[kind])
        assert (frame.pose_7 is None) == (want["pose"] is None)
        if frame.pose_7 is not None:
            np.testing.assert_array_equal(frame.pose_7, want["pose"])  # bit for bit
        assert np.abs(frame.image().astype(int) - want["image"]).mean() < 6  # the JPEG's own loss, RGB not swapped
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
        (lambda r: (r / "loop_a/image/000001.jpg").unlink(), r"loop_a/image/000001.jpg: is missing"),
        (lambda r: (r / "loop_a/depth/000000.png").unlink(), r"loop_a/depth/000000.png: is missing"),
        (lambda r: edit(r / "loop_a/frames.csv", "stamp_ns", "stamp"), "column stamp_ns is missing"),
        (lambda r: edit(r / "loop_a/frames.csv", "mask/000000.png", "mask/000000.png,7"), "frames.csv:2: has more"),
        (lambda r: edit(r / "loop_a/frames.csv", "9.0", "wide"), "frames.csv:2: a cell is empty or not a number"),
        (lambda r: edit(r / "loop_a/frames.csv", "9.0", "-9.0"), "frames.csv:2: fx and fy must be positive"),
        (lambda r: edit(r / "loop_a/frames.csv", ",,,,,,,,", ",1,2,3,nan,0,0,0,"), "frames.csv:2: the pose has a NaN"),
        (lambda r: edit(r / "loop_a/frames.csv", ",,,,,,,,", ",1,2,3,2,0,0,0,"), "quaternion has length 2"),
        (lambda r: edit(r / "loop_a/frames.csv", ",,,,,,,,", ",1,2,3,,,,,"), "frames.csv:2: a cell is empty"),
        (lambda r: edit(r / "loop_a/frames.csv", "image/000000.jpg", "../../secret.jpg"), "leaves the folder"),
        (lambda r: edit(r / "loop_a/frames.csv", "image/000000.jpg", ""), "frames.csv:2: no image"),
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
    with pytest.raises(DataError, match="is of no known layout; name one of folder, seven_scenes, camvid"):
        open_dataset(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        open_dataset(tmp_path / "file")
    write_folder(tmp_path / "set")
    with pytest.raises(DataError, match="no layout 'kitty'"):
        open_dataset(tmp_path / "set", "kitty")
    (tmp_path / "set" / "TrainSplit.txt").touch()
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


# --- 7-Scenes


def write_seven_scenes(root: Path, suffix: str = ".png") -> list[NDArray]:
    rng = np.random.default_rng(2)
    root.mkdir()
    (root / "TrainSplit.txt").write_text("sequence1\r\nsequence10\r\n")
    (root / "TestSplit.txt").write_text("seq-02\n")
    poses = []
    for name in ("seq-01", "seq-02", "seq-10"):
        (root / name).mkdir()
        for number in (0, 1, 4):
            stem = root / name / f"frame-{number:06d}"
            size = (480, 640) if stem.name == "frame-000000" else (6, 8)  # only the first image's size matters
            cv2.imwrite(f"{stem}.color{suffix}", np.full((*size, 3), 7 * number, np.uint8))
            depth = np.full((6, 8), 1234, np.uint16)
            depth[0, :2] = 0, 65535
            cv2.imwrite(f"{stem}.depth.png", depth)
            pose = random_pose(rng)
            poses.append(pose)
            T = np.eye(4)
            T[:3, :3] = Rotation.from_quat(pose[[4, 5, 6, 3]]).as_matrix()
            T[:3, 3] = pose[:3]
            (stem.parent / f"{stem.name}.pose.txt").write_text("\n".join("\t ".join(f"{v:.10e}" for v in r) for r in T))
    (root / "seq-02/frame-000001.pose.txt").write_text("nan " * 12 + "0 0 0 1")
    (root / "seq-02/frame-000004.pose.txt").write_text("-1.#IND " * 12 + "0 0 0 1")
    return poses


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_seven_scenes_is_read_back(tmp_path: Path, suffix: str) -> None:
    poses = write_seven_scenes(tmp_path / "s", suffix)
    dataset = open_dataset(tmp_path / "s")
    assert dataset.layout == "seven_scenes"
    assert {split: [s.name for s in each] for split, each in dataset.splits.items()} == {
        "train": ["seq-01", "seq-10"],
        "test": ["seq-02"],
    }
    first, second, third = (
        dataset.splits["train"][0].frames,
        dataset.splits["test"][0].frames,
        dataset.splits["train"][1].frames,
    )
    assert [f.name for f in first] == ["seq-01/frame-000000", "seq-01/frame-000001", "seq-01/frame-000004"]
    period = 1_000_000_000 / 30
    assert [f.stamp_ns for f in first] == [10_000_000_000 + int(n * period) for n in (0, 1, 4)]
    assert second[0].stamp_ns - first[-1].stamp_ns == third[0].stamp_ns - second[-1].stamp_ns == 10_000_000_000
    for frame, pose in zip([*first, second[0], *third], [*poses[:4], *poses[6:]], strict=True):
        np.testing.assert_allclose(frame.pose_7, pose, atol=1e-9)
    assert second[1].pose_7 is None and second[2].pose_7 is None
    np.testing.assert_array_equal(first[0].K_33, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])
    depth = first[0].depth()
    assert depth is not None and depth[0, :3].tolist() == [0.0, 0.0, np.float32(1.234)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: (r / "TrainSplit.txt").write_text("sequence1\nfirst one\n"), "TrainSplit.txt: 'first one' is not"),
        (lambda r: (r / "TrainSplit.txt").write_text("seq-02"), "TestSplit.txt: sequence 2 is listed twice"),
        (lambda r: (r / "TrainSplit.txt").write_text("seq-07"), "seq-07: is missing, a split file lists it"),
        (lambda r: (r / "seq-01/frame-000001.pose.txt").unlink(), r"frame-000001.pose.txt: is missing"),
        (lambda r: (r / "seq-01/frame-000001.depth.png").unlink(), r"frame-000001.depth.png: is missing"),
        (lambda r: (r / "seq-01/frame-000001.pose.txt").write_text("1 2 3"), r"pose.txt: has 3 numbers instead of 4 x"),
        (lambda r: (r / "seq-01/frame-000001.pose.txt").write_text("a " * 16), r"frame-000001.pose.txt: could not"),
        (lambda r: edit(r / "seq-01/frame-000001.pose.txt", ".", "1."), "frame-000001.pose.txt: not a rigid"),
        (lambda r: (r / "seq-01/frame-000001.pose.txt").write_text("1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1"), "reflection"),
        (lambda r: (r / "camera-intrinsics.txt").write_text("0 0 0 0 0 0 0 0 1"), "intrinsics.txt: fx and fy"),
        (lambda r: [p.unlink() for p in (r / "seq-01").glob("*color*")], "seq-01: has no frame-NNNNNN"),
        (
            lambda r: cv2.imwrite(f"{r}/seq-01/frame-000000.color.png", np.zeros((9, 9, 3))),
            "is missing, and .* is 9 x 9",
        ),
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


def test_camvid_is_read_back(tmp_path: Path) -> None:
    for split, names in {
        "train": ["0001TP_006690", "0001TP_006720", "Seq05VD_f00030", "Seq05VD_f00032"],
        "val": ["0016E5_07959"],
    }.items():
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / split / f"{name}.png"), np.zeros((3, 4, 3), np.uint8))
            mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
            mask[0, 0] = 255
            cv2.imwrite(str(tmp_path / f"{split}annot" / f"{name}.png"), mask)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "camvid" and len(dataset.classes) == 11
    train = dataset.sequences("train")
    assert [[f.name for f in s.frames] for s in train] == [
        ["train/0001TP_006690"],
        ["train/0001TP_006720"],
        ["train/Seq05VD_f00030", "train/Seq05VD_f00032"],
    ]
    assert np.diff([f.stamp_ns for f in dataset.frames("train")]).tolist() == [
        1_000_000_000,
        10_000_000_000,
        66_666_666,
    ]
    frame = dataset.frames("val")[0]
    assert frame.pose_7 is None and frame.depth() is None
    np.testing.assert_array_equal(frame.mask(), [[VOID, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, VOID]])
    (tmp_path / "valannot/0016E5_07959.png").unlink()
    with pytest.raises(DataError, match=r"valannot/0016E5_07959\.png: is missing"):
        open_dataset(tmp_path)


# --- poses


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
