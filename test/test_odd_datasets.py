"""Datasets as they really are: files that a computer adds, poses that are none, and what tools write a little
differently. Each is read with the right values in every layout that can have it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from damages import every_pose
from dataset_parts import HEIGHT, WIDTH, Want, row
from tiny_datasets import (
    WRITERS,
    write_cambridge,
    write_deeploc,
    write_euroc_alone,
    write_folder,
    write_kitti,
    write_scannet,
    write_seven_scenes,
    write_tum_alone,
    write_twelve_scenes,
)
from tiny_reconstructions import write_colmap, write_nerf_transforms

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.data.doctor.align import _plain
from vlocnetpp.data.frames import image_size
from vlocnetpp.data.layouts.unstamped import distinct


def check(root: Path, wants: list[Want]) -> None:
    """Frames, images and poses are those that were written, in this order."""
    dataset = open_dataset(root)
    read = [
        (split, sequence.name, frame)
        for split, sequences in dataset.splits.items()
        for sequence in sequences
        for frame in sequence.frames
    ]
    found = {frame.name: (split, sequence, frame) for split, sequence, frame in read}
    assert len(read) == len(wants) and set(found) == {want.name for want in wants}
    for want in wants:
        split, sequence, frame = found[want.name]
        assert (split, sequence, frame.stamp_ns) == (want.split, want.sequence, want.stamp_ns)
        np.testing.assert_array_equal(frame.image(), want.image_HW3)
        np.testing.assert_allclose(frame.K_33, want.K_33, atol=1e-12)
        if want.pose_7 is None:
            assert frame.pose_7 is None, want.name
        else:
            assert frame.pose_7 is not None
            np.testing.assert_allclose(frame.pose_7, want.pose_7, atol=1e-9)


def litter(root: Path) -> None:
    """What macOS, Windows, network drives and unpackers leave beside, and in place of, every file."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"x")
        (folder / "@eaDir").mkdir()
    (root / "__MACOSX").mkdir()
    for name in ("rgb.txt", "color.png", "poses.txt"):
        (root / "__MACOSX" / name).write_text("x")


@pytest.mark.parametrize("case", WRITERS)
def test_hidden_files_and_thumbnails_are_no_data(case: str, tmp_path: Path) -> None:
    layout, write = WRITERS[case]
    wants = write(tmp_path / "set")
    litter(tmp_path / "set")
    assert open_dataset(tmp_path / "set").layout == layout
    check(tmp_path / "set", wants)


def rewrite(path: Path, line: int, change: Callable[[str], str]) -> None:
    lines = path.read_text().splitlines()
    lines[line] = change(lines[line])
    path.write_text("\n".join(lines) + "\n")


def lost_in_folder(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "nan,0,0,0", "zero": "0,0,0,0", "long": "1.01,0,0,0"}[lost]
    rewrite(
        root / "loop_a/frames.csv", 2, lambda text: ",".join([*text.split(",")[:5], quaternion, *text.split(",")[9:]])
    )
    return ["loop_a/000001"]


def lost_in_deeploc(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "nan 0 0 0", "zero": "0 0 0 0", "long": "1.01 0 0 0"}[lost]
    rewrite(root / "train/poses.txt", 3, lambda text: f"{text.split()[0]} 1 2 3 {quaternion}")
    return ["train/Image_115"]


def lost_in_tum(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "0 0 0 NaN", "zero": "0 0 0 0", "long": "0 0 0 1.01"}[lost]
    rewrite(root / "groundtruth.txt", 2, lambda text: f"{text.split()[0]} 1 2 3 {quaternion}")
    return ["tum/1305031102.211214"]  # lies between this line and the next


def lost_in_kitti(root: Path, lost: str) -> list[str]:
    matrix = {"nan": "nan " * 12, "zero": "0 " * 12}[lost]
    rewrite(root / "poses/00.txt", 1, lambda _: matrix)
    return ["00/000001"]


def lost_in_seven_scenes(root: Path, lost: str) -> list[str]:
    text = {"nan": "-inf " * 12 + "0 0 0 1", "zero": "0 " * 16}[lost]
    (root / "seq-01/frame-000004.pose.txt").write_text(text)
    return ["seq-01/frame-000004"]


def lost_in_cambridge(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "nan 0 0 0", "zero": "0 0 0 0", "long": "1.01 0 0 0"}[lost]
    table = root / "dataset_train.txt"
    line = next(i for i, text in enumerate(table.read_text().splitlines()) if "frame00010" in text)
    rewrite(table, line, lambda text: f"{text.split()[0]} 1 2 3 {quaternion}")
    return ["seq1/frame00010"]


def lost_in_euroc(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "nan,0,0,0", "zero": "0,0,0,0", "long": "1.01,0,0,0"}[lost]
    rewrite(
        root / "mav0/state_groundtruth_estimate0/data.csv", 1, lambda text: f"{text.split(',')[0]},1,2,3,{quaternion}"
    )
    return [f"mav0/{min((root / 'mav0/cam0/data').iterdir()).stem}"]


def lost_in_colmap(root: Path, lost: str) -> list[str]:
    quaternion = {"nan": "nan 0 0 0", "zero": "0 0 0 0", "long": "1.01 0 0 0"}[lost]
    rewrite(root / "sparse/0/images.txt", 1, lambda text: f"3 {quaternion} 1 2 3 {' '.join(text.split()[8:])}")
    return ["walk/im 1"]


def lost_in_nerf_transforms(root: Path, lost: str) -> list[str]:
    content = json.loads((root / "transforms.json").read_text())
    content["frames"][0]["transform_matrix"] = [[{"nan": float("nan"), "zero": 0.0}[lost]] * 4] * 4
    (root / "transforms.json").write_text(json.dumps(content))
    return ["train-images/frame_2"]


LOST = {
    write_cambridge: lost_in_cambridge,
    write_euroc_alone: lost_in_euroc,
    write_colmap: lost_in_colmap,
    write_nerf_transforms: lost_in_nerf_transforms,
    write_folder: lost_in_folder,
    write_deeploc: lost_in_deeploc,
    write_tum_alone: lost_in_tum,
    write_kitti: lost_in_kitti,
    write_seven_scenes: lost_in_seven_scenes,
}


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write, kind)
        for write in LOST
        for kind in ("nan", "zero", "long")
        if kind != "long" or write not in (write_kitti, write_seven_scenes, write_nerf_transforms)
    ],
)
def test_a_pose_that_is_none_is_unknown_and_told(
    write: Callable[[Path], list[Want]], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wants = write(tmp_path / "set")
    names = LOST[write](tmp_path / "set", kind)
    for want in wants:
        want.pose_7 = None if want.name in names else want.pose_7
    check(tmp_path / "set", wants)
    assumed = ("unit of length", "K is nominal")
    notes = open_dataset(tmp_path / "set").notes
    (note,) = (each for each in notes if not any(words in each for words in assumed))
    assert str(tmp_path / "set") in note and "read as unknown" in note and "\n" not in note
    assert main(["data", "info", str(tmp_path / "set")]) == 0
    assert f"note: {note}" in capsys.readouterr().out
    assert main(["data", "to-bag", str(tmp_path / "set"), str(tmp_path / "bag"), "--split", "train"]) == 0
    assert f"note: {note}" in capsys.readouterr().out


def test_a_table_without_a_single_pose_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    every_pose("loop_a/frames.csv", "1,2,3,0,0,0,0")(tmp_path / "set")
    with pytest.raises(DataError, match=r"frames\.csv:2: the quaternion has length 0"):
        open_dataset(tmp_path / "set")


def test_kitti_calibration_without_a_blank_behind_the_colon(tmp_path: Path) -> None:
    wants = write_kitti(tmp_path / "set")
    for calib in (tmp_path / "set").rglob("calib.txt"):
        calib.write_text(calib.read_text().replace(": ", ":"))
    check(tmp_path / "set", wants)


def test_quaternions_rounded_to_two_digits_are_poses(tmp_path: Path) -> None:
    """|q|^2 from 0.99 to 1.01, as tf2 has it; they are brought to unit length."""
    wants = write_tum_alone(tmp_path / "set")
    pose = np.array([1.0, 2.0, 3.0, 0.707, 0.71, 0.0, 0.0])
    lines = [f"{stamp} {row(pose[:3])} {row(pose[[4, 5, 6, 3]])}" for stamp in ("1305031102.1", "1305031102.3")]
    (tmp_path / "set/groundtruth.txt").write_text("\n".join(lines))
    rewrite(tmp_path / "set/rgb.txt", 2, lambda text: text.replace("1305031102.175304 ", "1305031102.1000 "))
    frame = open_dataset(tmp_path / "set").frames("train")[0]
    assert wants and frame.pose_7 is not None
    np.testing.assert_allclose(frame.pose_7[3:], pose[3:] / np.linalg.norm(pose[3:]), atol=1e-12)


# --- public layouts: what their makers and tools write a little differently


def test_cambridge_without_a_reconstruction_says_that_k_is_nominal(tmp_path: Path) -> None:
    write_cambridge(tmp_path)
    (tmp_path / "reconstruction.nvm").unlink()
    dataset = open_dataset(tmp_path)
    assert dataset.frames("train")[0].K_33[0, 0] == pytest.approx(1670 * WIDTH / 1920)
    (note,) = dataset.notes
    assert "reconstruction.nvm: is missing" in note and "nominal" in note
    (tmp_path / "camera-intrinsics.txt").write_text("9 0 7 0 9 5 0 0 1")
    assert open_dataset(tmp_path).frames("train")[0].K_33[0, 0] == 9 and open_dataset(tmp_path).notes == ()


def test_cambridge_takes_jpeg_where_the_table_says_png(tmp_path: Path) -> None:
    write_cambridge(tmp_path)
    image = tmp_path / "seq1/frame00002.png"
    pixels = cv2.imread(str(image))
    image.unlink()
    cv2.imwrite(str(image.with_suffix(".jpg")), pixels)
    assert open_dataset(tmp_path).frames("train")[0].image_path == image.with_suffix(".jpg")


def test_lens_distortion_is_told_and_a_fisheye_refused(tmp_path: Path) -> None:
    write_euroc_alone(tmp_path / "euroc")
    sensor = tmp_path / "euroc/mav0/cam0/sensor.yaml"
    sensor.write_text(sensor.read_text().replace("[0.0, 0.0, 0.0, 0.0]", "[-0.28, 0.07, 0.0, 0.0]"))
    (note,) = open_dataset(tmp_path / "euroc").notes
    assert "has lens distortion (radial-tangential), which is not corrected" in note
    sensor.write_text(sensor.read_text().replace("radial-tangential", "equidistant"))
    with pytest.raises(DataError, match=r"sensor\.yaml: the lens is a fisheye"):
        open_dataset(tmp_path / "euroc")
    write_colmap(tmp_path / "colmap")
    cameras = tmp_path / "colmap/sparse/0/cameras.txt"
    assert len(open_dataset(tmp_path / "colmap").notes) == 1  # of the unit of length
    cameras.write_text(cameras.read_text().replace("0.0 0.0 0.0 0.0", "0.1 0.0 0.0 0.0"))
    assert "has lens distortion (OPENCV)" in open_dataset(tmp_path / "colmap").notes[1]
    cameras.write_text(cameras.read_text().replace("OPENCV", "OPENCV_FISHEYE"))
    with pytest.raises(DataError, match="camera model OPENCV_FISHEYE is no pinhole"):
        open_dataset(tmp_path / "colmap")
    write_nerf_transforms(tmp_path / "nerf")
    transforms = tmp_path / "nerf/transforms.json"
    transforms.write_text(transforms.read_text().replace('"k1": 0.0', '"k1": 0.1'))
    assert "has lens distortion" in open_dataset(tmp_path / "nerf").notes[0]
    transforms.write_text(transforms.read_text().replace('"OPENCV"', '"OPENCV_FISHEYE"'))
    with pytest.raises(DataError, match="camera model OPENCV_FISHEYE is no pinhole"):
        open_dataset(tmp_path / "nerf")
    content = json.loads(transforms.read_text())
    transforms.write_text(json.dumps({**content, "camera_model": "OPENCV", "is_fisheye": True}))
    with pytest.raises(DataError, match="camera model fisheye is no pinhole"):
        open_dataset(tmp_path / "nerf")


def test_a_colmap_model_lies_in_any_of_three_places_and_may_be_split_by_folders(tmp_path: Path) -> None:
    wants = write_colmap(tmp_path / "set", ".bin")
    for place in ("sparse", "."):
        for name in ("cameras.bin", "images.bin"):
            ((tmp_path / "set").glob("**/" + name).__next__()).rename(tmp_path / "set" / place / name)
        check(tmp_path / "set", wants)
    (tmp_path / "set/TrainSplit.txt").write_text("walk\n")
    (tmp_path / "set/TestSplit.txt").write_text("left\n")
    dataset = open_dataset(tmp_path / "set")
    assert [len(dataset.frames(split)) for split in ("train", "test")] == [1, 2]


def test_folders_within_folders_of_a_colmap_model_are_listed_as_they_are(tmp_path: Path) -> None:
    write_colmap(tmp_path)
    (tmp_path / "images/run").mkdir()
    (tmp_path / "images/walk").rename(tmp_path / "images/run/walk")
    table = tmp_path / "sparse/0/images.txt"
    table.write_text(table.read_text().replace(" walk/", " run/walk/"))
    (tmp_path / "TrainSplit.txt").write_text("left\n")
    (tmp_path / "TestSplit.txt").write_text("run/walk\n")
    dataset = open_dataset(tmp_path)
    assert [each.name for each in dataset.sequences("test")] == ["run-walk"]
    (tmp_path / "TestSplit.txt").write_text("run-walk\n")
    assert [each.name for each in open_dataset(tmp_path).sequences("test")] == ["run-walk"], "also by that name"


def test_names_that_become_one_stay_apart() -> None:
    names = ["a/b", "a-b", "a", "a b"]
    assert distinct(names, lambda name: name.replace("/", "-")) == {
        "a/b": "a-b-2",
        "a-b": "a-b",
        "a": "a",
        "a b": "a b",
    }
    assert [_plain(name) for name in ("küche 1", "Übung", ".hidden", "fr1_desk")] == [
        "k-che-1", "_-bung", "_.hidden", "fr1_desk",
    ]  # fmt: skip


def test_stray_images_and_depth_of_another_size_are_told(tmp_path: Path) -> None:
    write_twelve_scenes(tmp_path / "twelve")
    data = tmp_path / "twelve/data"
    for kind in ("color.png", "pose.txt"):
        shutil.copy(data / f"frame-000001.{kind}", data / f"frame-000099.{kind}")
    cv2.imwrite(str(data / "frame-000001.depth.png"), np.ones((HEIGHT * 2, WIDTH * 2), np.uint16))
    stray, depth, lost = sorted(open_dataset(tmp_path / "twelve").notes, key=lambda note: "split" not in note)
    assert "1 of 5 images are in no sequence" in stray
    assert "depth is 32 x 24, colour 16 x 12: left out" in depth and "read as unknown" in lost
    write_scannet(tmp_path / "scannet")
    assert "scene0001_00/depth: depth is 8 x 6, colour 16 x 12: left out" in open_dataset(tmp_path / "scannet").notes[0]


@pytest.mark.parametrize("quality", [5, 95])
@pytest.mark.parametrize("size", [(3, 5), (480, 641)])
def test_the_size_of_an_image_is_read_from_its_header(tmp_path: Path, size: tuple[int, int], quality: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    tag = b"\xff\xe1\x00\x10Exif\0\0" + b"\xff\xc0" * 4
    (tmp_path / "a.jpg").write_bytes(jpeg.tobytes()[:2] + tag + jpeg.tobytes()[2:])
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (tmp_path / "a.bmp").write_bytes(cv2.imencode(".bmp", pixels)[1].tobytes())
    assert [image_size(tmp_path / f"a.{kind}") for kind in ("jpg", "png", "bmp")] == [size] * 3
    (tmp_path / "none").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="none: is truncated"):
        image_size(tmp_path / "none")
