"""Poses from a file beside a recording: what is written in it, and by how much its clock is off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_recorder import MS, START, Recorder
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlocnetpp.cli import main
from vlocnetpp.data import DataError, FolderWriter, open_dataset, read_bag
from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.pose_file import read_pose_file

K = np.array([[120.0, 0.0, 79.5], [0.0, 120.0, 59.5], [0.0, 0.0, 1.0]])
SIZE = (120, 160)
STEP = 50 * MS
IMAGES = 300
BOLT = np.array([0.1, 0.0, 0.5, 0.5, -0.5, 0.5, -0.5])
"""The camera's optical frame in the body: it looks where the body drives."""


def at(seconds: float) -> tuple[NDArray, Rotation]:
    """Where the body is and how it is turned: irregularly, so that no part of the drive is like another."""
    yaw = (
        0.5 * np.sin(1.1 * seconds)
        + 0.35 * np.sin(0.37 * seconds + 1.0)
        + 0.2 * np.sin(2.3 * seconds + 0.02 * seconds**2)
    )
    pitch = 0.05 * np.sin(1.7 * seconds + 2.0)
    return np.array([0.4 * seconds, np.sin(0.5 * seconds), 0.0]), Rotation.from_euler("zy", [yaw, pitch])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of far walls at 20 Hz from a camera that turns with the body, for 15 seconds; no poses."""
    bag = tmp_path_factory.mktemp("drive") / "bag"
    random = np.random.default_rng(0)
    wall = cv2.GaussianBlur(random.random((360, 1600)), (0, 0), 2.5)
    wall = ((wall - wall.min()) / np.ptp(wall) * 255).astype(np.uint8)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(SIZE)], axis=-1).reshape(-1, 3)
    recorder = Recorder(bag)
    x, y, z, w = BOLT[[4, 5, 6, 3]]
    optical = Rotation.from_quat([x, y, z, w])
    recorder.tf(START, "body", "cam_optical", BOLT, "/tf_static")
    for index in range(IMAGES):
        turn = at(index * STEP * 1e-9)[1] * optical
        seen = turn.apply(rays)
        across = 800 + 320 * np.arctan2(seen[:, 1], seen[:, 0])
        down = 180 - 320 * seen[:, 2] / np.hypot(seen[:, 0], seen[:, 1])
        maps = [each.reshape(SIZE).astype(np.float32) for each in (across, down)]
        grey = cv2.remap(wall, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        recorder.info(START + index * STEP, SIZE, K)
        recorder.image(START + index * STEP, np.dstack([grey] * 3), "rgb8")
    recorder.writer.close()
    return bag


def trajectory(
    offset_s: float, first_s: float = -3.0, last_s: float = 20.0, hz: float = 50.0
) -> list[tuple[int, NDArray]]:
    """Stamps in nanoseconds of a clock that is `offset_s` behind, and poses of the body (x y z qx qy qz qw)."""
    rows = []
    for seconds in np.arange(first_s, last_s, 0.02):
        place, turn = at(seconds)
        rows.append((START + round((seconds - offset_s) * 1e9), np.array([*place, *turn.as_quat()])))
    return rows


def tum(path: Path, rows: list[tuple[int, NDArray]]) -> Path:
    lines = [f"{stamp // 10**9}.{stamp % 10**9:09d} {' '.join(map(repr, pose.tolist()))}" for stamp, pose in rows]
    path.write_text("# stamp tx ty tz qx qy qz qw\n" + "\n".join(lines) + "\n")
    return path


def check(folder: Path, tolerance_s: float) -> None:
    """Every frame has the pose that its stamp means, as far as the clock is known."""
    frames = open_dataset(folder).frames("train")
    assert len(frames) == IMAGES
    for frame in frames[::20]:
        place, turn = at((frame.stamp_ns - START) * 1e-9)
        x, y, z, w = BOLT[[4, 5, 6, 3]]
        expected = place + turn.apply(BOLT[:3])
        assert frame.pose_7 is not None
        np.testing.assert_allclose(frame.pose_7[:3], expected, atol=1.2 * tolerance_s + 1e-3)
        found = Rotation.from_quat(frame.pose_7[[4, 5, 6, 3]])
        assert (found.inv() * turn * Rotation.from_quat([x, y, z, w])).magnitude() < 1.8 * tolerance_s + 1e-3


@pytest.mark.parametrize("offset_s", [0.0, 3.217, -0.132, 1_699_999_990.0, -3600.0])
def test_the_offset_of_a_clock_is_found_and_printed(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], offset_s: float
) -> None:
    file = tum(tmp_path / "slam.tum", trajectory(offset_s))
    words = ["data", "from-bag", str(recording), str(tmp_path / "out"), "--poses", str(file), "--pose-frame", "body"]
    assert main(words) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if "clock offset" in line)
    found = float(line.partition("clock offset ")[2].split()[0])
    assert found == pytest.approx(offset_s, abs=0.012)
    if not offset_s:
        assert found == 0.0  # a clock that is right is left alone
    check(tmp_path / "out", abs(found - offset_s))
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    assert report["options"]["poses"] == {"train": "slam.tum"}
    assert any("clock offset" in note for note in report["recordings"][0]["notes"])


def test_a_conversion_is_not_continued_with_other_poses(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tum(tmp_path / "slam.tum", trajectory(0.0)), tmp_path / "out"
    add = FolderWriter.add

    def full(self: FolderWriter, sequence: str, *layers: Any, **more: Any) -> str:
        if sequence == "train-03":
            raise DataError("the disk is full")
        return add(self, sequence, *layers, **more)

    def convert() -> None:
        read_bag(recording, out, poses=file, pose_offset_s=0.0, pose_frame="body", gap_s=0.04)

    with monkeypatch.context() as patch:
        patch.setattr(FolderWriter, "add", full)
        with pytest.raises(DataError, match="the disk is full"):
            convert()
    tum(file, trajectory(0.1))
    with pytest.raises(DataError, match=r"out\.partial: was begun with poses train"):
        convert()
    tum(file, trajectory(0.0))
    convert()
    assert len(open_dataset(out).sequences("train")) == IMAGES


def test_a_given_offset_is_taken_and_images_outside_of_the_poses_have_none(recording: Path, tmp_path: Path) -> None:
    file = tum(tmp_path / "slam.tum", trajectory(2.5, 1.01, 9.0))
    summary = read_bag(recording, tmp_path / "out", poses=file, pose_offset_s=2.5, pose_frame="body")
    frames = open_dataset(tmp_path / "out").frames("train")
    assert [frames[0].stamp_ns - START, frames[-1].stamp_ns - START] == [1050 * MS, 8950 * MS]
    assert not any("clock offset" in note for note in summary.notes)
    assert summary.facts[0] == "poses: map -> body -> (static) cam_optical"


def test_a_broken_image_does_not_end_the_search_for_the_offset(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    color, calls = messages.color, []

    def broken(message: object, where: str) -> object:
        calls.append(where)
        if len(calls) == 40:
            raise DataError(f"{where}: is truncated")
        return color(message, where)

    monkeypatch.setattr(messages, "color", broken)
    file = tum(tmp_path / "slam.tum", trajectory(0.2))
    summary = read_bag(recording, tmp_path / "out", poses=file, pose_frame="body")
    (note,) = (note for note in summary.notes if "clock offset" in note)
    assert float(note.partition("clock offset ")[2].split()[0]) == pytest.approx(0.2, abs=0.012)


def test_an_offset_that_cannot_be_told_is_asked_for(recording: Path, tmp_path: Path) -> None:
    still = [(stamp, np.array([0, 0, 0, 0, 0, 0, 1.0])) for stamp, _ in trajectory(0.0)]
    with pytest.raises(DataError, match=r"slam\.tum: the offset of its clock cannot be told.*--pose-offset"):
        read_bag(recording, tmp_path / "out", poses=tum(tmp_path / "slam.tum", still), pose_frame="body")
    few = trajectory(0.0)[:5]
    with pytest.raises(DataError, match=r"too few images and poses to find the offset.*--pose-offset"):
        read_bag(recording, tmp_path / "out", poses=tum(tmp_path / "slam.tum", few), pose_frame="body")
    other = [(stamp, at_pose) for (stamp, _), (_, at_pose) in zip(trajectory(0.0), trajectory(0.0)[::-1], strict=True)]
    with pytest.raises(DataError, match="cannot be told"):
        read_bag(recording, tmp_path / "out", poses=tum(tmp_path / "slam.tum", other), pose_frame="body")
    assert not (tmp_path / "out").exists()


def test_the_frame_of_the_poses_is_asked_for_as_with_a_topic(recording: Path, tmp_path: Path) -> None:
    file = tum(tmp_path / "slam.tum", trajectory(0.0))
    summary = read_bag(recording, tmp_path / "out", poses=file, pose_offset_s=0.0, map_frame="site")
    assert any("slam.tum does not say of which frame its poses are" in note for note in summary.notes)
    assert open_dataset(tmp_path / "out").map_frame == "site"
    with pytest.raises(DataError, match="poses come from a file or from topic '/tf', not from both"):
        read_bag(recording, tmp_path / "both", poses=file, pose_topic="/tf")
    with pytest.raises(DataError, match="split 'test' has no file of poses"):
        read_bag({"train": recording, "test": recording}, tmp_path / "two", poses=file)


POSE = np.array([1.0, 2.0, 3.0, 0.5, 0.5, 0.5, -0.5])
WRITTEN = {
    "TUM": "1700000000.123456789 1 2 3 0.5 0.5 0.5 -0.5",
    "CSV": "1700000000.123456789,1,2,3,0.5,0.5,0.5,-0.5",
    "nanoseconds": "1700000000123456789,1,2,3,0.5,0.5,0.5,-0.5",
    "named": "qw,qx,qy,qz,time,x,y,z\n-0.5,0.5,0.5,0.5,1700000000.123456789,1,2,3",
    "EuRoC": "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z [], "
    "v_RS_R_x [m s^-1], v_RS_R_y, v_RS_R_z\n1700000000123456789,1,2,3,-0.5,0.5,0.5,0.5,7,7,7",
    "rostopic": "%time,field.header.stamp,field.pose.position.x,field.pose.position.y,field.pose.position.z,"
    "field.pose.orientation.x,field.pose.orientation.y,field.pose.orientation.z,field.pose.orientation.w\n"
    "1700000000123456789,1700000000123456789,1,2,3,0.5,0.5,0.5,-0.5",
    "flattened": "header.stamp.sec,header.stamp.nanosec,frame_id,pose.position.x,pose.position.y,pose.position.z,"
    "pose.orientation.x,pose.orientation.y,pose.orientation.z,pose.orientation.w\n"
    "1700000000,123456789,map,1,2,3,0.5,0.5,0.5,-0.5",
    "bagpy": "Time,header.seq,header.stamp.secs,header.stamp.nsecs,header.frame_id,pose.position.x,pose.position.y,"
    "pose.position.z,pose.orientation.x,pose.orientation.y,pose.orientation.z,pose.orientation.w\n"
    "1700000000.9,7,1700000000,123456789,map,1,2,3,0.5,0.5,0.5,-0.5",
    "seconds by another name": "timestamp,nsec,x,y,z,qx,qy,qz,qw\n1700000000,123456789,1,2,3,0.5,0.5,0.5,-0.5",
    "RTAB-Map": "#timestamp x y z qx qy qz qw id\n1700000000.123456789 1 2 3 0.5 0.5 0.5 -0.5 4",
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_way_of_writing_poses(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "poses.txt"
    file.write_text(f"{WRITTEN[kind]}\n")
    stamps, poses, notes = read_pose_file(file)
    assert stamps.tolist() == [START] and notes == ()
    np.testing.assert_allclose(poses, [[1, 2, 3, 0.5, -0.5, -0.5, -0.5]], atol=1e-15)


@pytest.mark.parametrize(("digits", "unit"), [(13, 10**6), (16, 10**3), (19, 1)])
def test_whole_numbers_are_milli_micro_or_nanoseconds(tmp_path: Path, digits: int, unit: int) -> None:
    (tmp_path / "poses.csv").write_text(f"{str(START)[:digits]},1,2,3,0,0,0,1\n")
    assert read_pose_file(tmp_path / "poses.csv")[0].tolist() == [START // unit * unit]


def test_nanoseconds_below_a_tenth_of_a_second_keep_their_zeros(tmp_path: Path) -> None:
    file = tmp_path / "poses.csv"
    file.write_text("secs,nsecs,x,y,z,qx,qy,qz,qw\n7,42,1,2,3,0,0,0,1\n")
    assert read_pose_file(file)[0].tolist() == [7 * 10**9 + 42]
    file.write_text("secs,nsecs,x,y,z,qx,qy,qz,qw\n7.5,42,1,2,3,0,0,0,1\n")
    with pytest.raises(DataError, match=r"poses\.csv:2: '7.5' and '42' are not whole seconds and nanoseconds"):
        read_pose_file(file)


def test_lines_that_are_no_poses_and_stamps_twice(tmp_path: Path) -> None:
    file = tmp_path / "poses.tum"
    file.write_text("3 1 2 3 0 0 0 1\n1 0 0 0 0 0 0 0\n2 9 9 9 0 0 0 1\n2 1 1 1 0 0 0 1\n")
    stamps, poses, notes = read_pose_file(file)
    assert stamps.tolist() == [10**9, 2 * 10**9, 3 * 10**9]
    assert np.isnan(poses[0]).all() and poses[1, 0] == 9 and poses[2, 0] == 1
    assert "poses.tum:2: the quaternion has length 0 instead of 1: 1 of 4 poses read as unknown" in notes[0]
    assert "1 of 4 poses have a stamp that is there before" in notes[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no pose"),
        ("# nothing\n", "has no pose"),
        ("1 2 3\n", ":1: has 3 columns instead of 8"),
        ("a b c d e f g h\n", ":1: could not convert string to float: 'b'"),
        ("now 1 2 3 0 0 0 1\n", ":1: 'now' is not a stamp"),
        ("1 0 0 0 nan 0 0 1\n2 0 0 0 0 0 0 0\n", ":1: the pose has a NaN"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "poses.txt").write_text(content)
    with pytest.raises(DataError, match=f"poses.txt.*{reason}"):
        read_pose_file(tmp_path / "poses.txt")
