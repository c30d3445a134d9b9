"""Datasets as they really are: files that a computer adds, poses that are none, and what tools write a little
differently. Each is read with the right values in every layout that can have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damages import every_pose
from tiny_datasets import (
    WRITERS,
    Want,
    row,
    write_deeploc,
    write_folder,
    write_kitti,
    write_seven_scenes,
    write_tum_alone,
)

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, open_dataset


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


LOST = {
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
        if kind != "long" or write not in (write_kitti, write_seven_scenes)
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
    (note,) = open_dataset(tmp_path / "set").notes
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
