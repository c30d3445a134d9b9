"""Recordings as they really are: what recorders, tools and people leave behind, each read right or refused in one line
that names the part and helps. After public bug reports of people who record robots; all content is made here."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_recorder import IMAGE, INFO, START, K, Recorder, rgb
from odd_drives import STEP, STRAIGHT, drive, edit_metadata, notes_with, xs

from vlocnetpp.data import DataError, open_dataset, read_bag
from vlocnetpp.data.bags.from_bag import REPORT
from vlocnetpp.data.bags.reader import open_bag
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp_ros.replay.source import survey as replayed

# --- poses that are none


@pytest.mark.parametrize("scale", [0.0, float("nan"), 0.9])
@pytest.mark.parametrize("poses", ["Odometry", "PoseStamped", "tf"])
@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_a_lost_localization_is_unknown_and_counted(tmp_path: Path, kind: str, poses: str, scale: float) -> None:
    drive(tmp_path / "bag", kind, poses=poses, lost={3: scale, 4: scale})
    summary = read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="base" if poses == "PoseStamped" else None)
    assert xs(tmp_path / "out") == [0, 1, 2, 5, 6, 7]
    (note,) = notes_with(summary, "read as unknown")
    assert "2 of 10 poses" in note and str(tmp_path / "bag") in note
    assert ("NaN" in note) == np.isnan(scale)


def test_images_beside_a_lost_pose_have_none_and_rounded_quaternions_are_poses(tmp_path: Path) -> None:
    """tf2 takes a squared length from 0.99 to 1.01."""
    drive(tmp_path / "bag", lost={2: 0.0, 5: 0.9951, 6: 1.0049})
    read_bag(tmp_path / "bag", tmp_path / "whole")
    assert xs(tmp_path / "whole") == [0, 1, 3, 4, 5, 6, 7]
    recorder = Recorder(tmp_path / "between")
    recorder.info(START)
    for index, scale in enumerate((1.0, 0.0, 1.0, 1.0)):
        recorder.pose(START + index * STEP, float(index), scale=scale)
        recorder.image(START + index * STEP + STEP // 2, rgb(index), "rgb8")
    recorder.writer.close()
    read_bag(tmp_path / "between", tmp_path / "half", pose_frame="")
    assert xs(tmp_path / "half") == [2.5]


def test_a_source_without_a_single_pose_is_refused(tmp_path: Path) -> None:
    drive(tmp_path / "bag", lost=dict.fromkeys(range(-1, 9), 0.0))
    with pytest.raises(DataError, match=r"/slam/pose at 1700000000.* the quaternion has length 0"):
        read_bag(tmp_path / "bag", tmp_path / "out")
    drive(tmp_path / "tf", poses="tf", lost=dict.fromkeys(range(-1, 9), float("nan")))
    with pytest.raises(DataError, match="transform map -> base: the pose has a NaN"):
        read_bag(tmp_path / "tf", tmp_path / "out")


def test_replay_reads_the_same_lost_poses_and_late_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive(tmp_path / "bag", poses="PoseStamped", lost={3: 0.0}, unready=2)
    source = replayed(tmp_path / "bag", truth="/slam/pose")
    assert np.isnan(source.truth_N7[3]).all() and np.isfinite(np.delete(source.truth_N7, 3, axis=0)).all()
    with open_bag(tmp_path / "bag") as bag:
        third = [each.cdr() for each in bag.messages({INFO})][2]
    assert source.first_camera_info == third
    assert "the quaternion has length 0 instead of 1: 1 of 10 poses read as unknown" in capsys.readouterr().err


# --- images that are none


def jpegs(folder: Path, broken: set[int], count: int = 30) -> None:
    """Ten images a second with x from 0 on, a pause of two seconds before the last ten."""
    whole = cv2.imencode(".jpg", rgb()[:, :, ::-1])[1].tobytes()
    recorder = Recorder(folder)
    recorder.info(START)
    for index in range(count):
        stamp = START + index * STEP + (2_000_000_000 if index >= count - 10 else 0)
        recorder.pose(stamp, float(index))
        recorder.jpeg(stamp, whole[: len(whole) // 2] if index in broken else whole)
    recorder.writer.close()


def test_images_that_cannot_be_decoded_are_left_out_and_counted(tmp_path: Path) -> None:
    jpegs(tmp_path / "bag", broken={4, 29})
    summary = read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert xs(tmp_path / "out") == [x for x in range(30) if x not in (4, 29)]
    (note,) = notes_with(summary, "cannot be decoded")
    assert "2 of 30 images left out" in note and "is truncated" in note
    assert any("images: 28 of 30 kept; 2: cannot be decoded" in fact for fact in summary.facts)
    report = json.loads((tmp_path / "out" / REPORT).read_text())["recordings"][0]
    assert report["images"] == {"recorded": 30, "kept": 28, "left_out": {"cannot be decoded": 2}}
    assert [each["frames"] for each in report["sequences"].values()] == [19, 9]


def test_a_sequence_of_broken_images_alone_is_none(tmp_path: Path) -> None:
    jpegs(tmp_path / "bag", broken=set(range(100, 110)), count=110)
    read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert [each.name for each in open_dataset(tmp_path / "out").sequences("train")] == ["train-00"]


def test_where_one_in_ten_cannot_be_decoded_the_format_is_not_understood(tmp_path: Path) -> None:
    jpegs(tmp_path / "bag", broken={3, 4, 5, 6})
    with pytest.raises(DataError, match=r"/compressed at .* s: is truncated"):
        read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_what_an_interrupted_conversion_left_out_is_counted_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpegs(tmp_path / "bag", broken={4, 29})
    add = FolderWriter.add

    def full(self: FolderWriter, sequence: str, *layers: Any, **more: Any) -> str:
        if sequence == "train-01":
            raise DataError("the disk is full")
        return add(self, sequence, *layers, **more)

    monkeypatch.setattr(FolderWriter, "add", full)
    with pytest.raises(DataError, match="the disk is full"):
        read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    monkeypatch.undo()
    assert (tmp_path / "out.partial" / "train-00").is_dir()
    summary = read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert summary.frames == 28 and "2 of 30 images left out" in notes_with(summary, "cannot be decoded")[0]


# --- cameras and frames


@pytest.mark.parametrize("unready", [2, 7])
def test_the_first_camera_info_that_is_calibrated_counts(tmp_path: Path, unready: int) -> None:
    drive(tmp_path / "bag", unready=unready)
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    frames = open_dataset(tmp_path / "out").frames("train")
    assert len(frames) == 8 and all(np.array_equal(frame.K_33, K) for frame in frames)
    (note,) = notes_with(summary, "camera_info are passed over")
    assert f"{unready} of 8" in note and "K is zero" in note


def test_a_rectified_topic_may_leave_k_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "bag")
    recorder.info(START, K_33=0 * K, P_33=K)
    recorder.image(START, rgb(), "rgb8")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "out", pose_topic="")
    np.testing.assert_array_equal(open_dataset(tmp_path / "out").frames("train")[0].K_33, K)


def test_extrinsics_alone_lead_from_tf_to_the_camera(tmp_path: Path) -> None:
    drive(tmp_path / "bag", poses="tf", static=False)
    with pytest.raises(DataError, match=r"no transform has frame 'cam_optical'.*--camera-frame.*--extrinsics"):
        read_bag(tmp_path / "bag", tmp_path / "none")
    above = "0,0,0.5,-0.5,0.5,-0.5,0.5"
    summary = read_bag(tmp_path / "bag", tmp_path / "out", extrinsics=above)
    assert summary.facts[0] == "poses: map -> base -> (given) camera"
    expected = np.array([[i, 0, 0.5, 0.5, -0.5, 0.5, -0.5] for i in range(8)])
    found = np.array([frame.pose_7 for frame in open_dataset(tmp_path / "out").frames("train")])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    read_bag(tmp_path / "bag", tmp_path / "named", extrinsics=above, pose_frame="base")
    assert xs(tmp_path / "named") == list(range(8))


def test_extrinsics_ask_where_several_frames_move(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "bag")
    recorder.info(START)
    for index in range(3):
        for parent, child in (("map", "odom"), ("odom", "base"), ("base", "wheel"), ("base", "arm")):
            recorder.tf(START + index * STEP, parent, child, STRAIGHT)
    recorder.image(START + STEP, rgb(), "rgb8")
    recorder.writer.close()
    with pytest.raises(DataError, match="--extrinsics could be in arm or wheel; --pose-frame names the one"):
        read_bag(tmp_path / "bag", tmp_path / "out", extrinsics="1,0,0,0,0,0,1")
    read_bag(tmp_path / "bag", tmp_path / "out", extrinsics="1,0,0,0,0,0,1", pose_frame="base")
    assert xs(tmp_path / "out") == [1]


def test_the_latest_of_two_static_transforms_counts(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "bag")
    recorder.info(START)
    recorder.tf(START, "base", "cam_optical", STRAIGHT, "/tf_static")
    for index in range(3):
        recorder.tf(START + index * STEP, "map", "base", STRAIGHT)
    recorder.image(START + STEP, rgb(), "rgb8")
    recorder.tf(START + 2 * STEP, "base", "cam_optical", STRAIGHT + [0.25, 0, 0, 0, 0, 0, 0], "/tf_static")
    recorder.writer.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == [0.25]
    assert len(notes_with(summary, "static transform base -> cam_optical was published with different values")) == 1


# --- metadata.yaml against the files


def other_qos(about: dict[str, Any]) -> None:
    for topic in about["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = "- reliability: 2\n  depth: 7\n"


def no_qos(about: dict[str, Any]) -> None:
    for topic in about["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = 17


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
@pytest.mark.parametrize("change", [other_qos, no_qos, lambda about: about.update(storage_identifier="")])
def test_messages_are_found_whatever_metadata_says_of_them(
    tmp_path: Path, kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    drive(tmp_path / "bag", kind, poses="tf")
    edit_metadata(tmp_path / "bag", change)
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    assert summary.notes == ()
    assert len(replayed(tmp_path / "bag").stamps_ns) == 8


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_every_difference_from_metadata_is_told(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    def change(about: dict[str, Any]) -> None:
        topics = {each["topic_metadata"]["name"]: each for each in about["topics_with_message_count"]}
        topics[IMAGE]["message_count"] = 40
        topics[INFO]["topic_metadata"]["type"] = "sensor_msgs/msg/Imu"
        about["topics_with_message_count"] = [each for name, each in topics.items() if name != "/tf_static"]
        about["topics_with_message_count"].append(
            {"message_count": 3, "topic_metadata": {"name": "/scan", "type": "sensor_msgs/msg/LaserScan"}}
        )

    drive(tmp_path / "bag", kind)
    edit_metadata(tmp_path / "bag", change)
    (storage,) = (tmp_path / "bag").glob("bag.*")
    shutil.copy(storage, storage.with_stem("bag_1"))
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    promised, types, more = notes_with(summary, "metadata.yaml: ")
    assert f"40 messages of {IMAGE}, 8 are there" in promised and "3 messages of /scan, 0 are there" in promised
    assert f"{INFO} is sensor_msgs/msg/CameraInfo, not sensor_msgs/msg/Imu" in types
    assert "leaves out /tf_static with 1 messages" in more
    assert len(notes_with(summary, "is not in metadata.yaml and not read")) == 1
    replayed(tmp_path / "bag")
    assert f"40 messages of {IMAGE}, 8 are there" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "a: [", "rosbag2_bagfile_information: {version: 99}", "[" * 3000])
def test_metadata_that_is_none_is_told_and_not_needed(tmp_path: Path, content: str) -> None:
    drive(tmp_path / "bag")
    (tmp_path / "bag/metadata.yaml").write_text(content)
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    assert len(notes_with(summary, "metadata.yaml: is not what rosbag2 writes")) == 1


def test_hidden_files_beside_a_recording_are_no_part_of_it(tmp_path: Path) -> None:
    drive(tmp_path / "bag")
    (tmp_path / "bag/metadata.yaml").unlink()
    (tmp_path / "bag/._bag.mcap").write_bytes(b"\0\5\x16\7")
    (tmp_path / "bag/Thumbs.db").write_bytes(b"x")
    read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))


# --- recorders that were killed


def killed(bag: Path, share: float, shm: bool) -> None:
    """Write the last messages of a sqlite3 recording into a write-ahead log that nobody folds in."""
    database = bag / "bag.db3"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    rows = connection.execute(
        "SELECT id, topic_id, timestamp, data FROM messages ORDER BY timestamp DESC LIMIT ?", [int(count * share)]
    ).fetchall()
    connection.executemany("DELETE FROM messages WHERE id = ?", [row[:1] for row in rows])
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    for ending in ("", "-wal", *(["-shm"] if shm else [])):
        shutil.copy(f"{database}{ending}", bag / f"left.db3{ending}")
    connection.close()
    database.unlink()
    (bag / "metadata.yaml").unlink()


@pytest.mark.parametrize("shm", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_the_log_of_a_killed_recorder_is_read_and_left_alone(tmp_path: Path, shm: bool, whole: bool) -> None:
    bag = tmp_path / "a b%20?#"
    drive(tmp_path / "bag", "sqlite3")
    killed(tmp_path / "bag", 0.5, shm)
    (tmp_path / "bag").rename(bag)
    if not whole:  # cut within a frame: what was committed before is there
        log = bag / "left.db3-wal"
        log.write_bytes(log.read_bytes()[:-10])
    before = {path.name: path.read_bytes() for path in bag.iterdir()}
    summary = read_bag(bag, tmp_path / "out")
    # Without the end of the log the transaction in it never happened.
    assert xs(tmp_path / "out") == list(range(8 if whole else 4))
    assert len(notes_with(summary, "left.db3-wal: the recorder was killed")) == 1
    assert {path.name: path.read_bytes() for path in bag.iterdir()} == before
    assert len(replayed(bag, truth="/slam/pose").stamps_ns) == (8 if whole else 4)


def test_a_hot_journal_is_refused_with_the_remedy_and_a_cold_one_is_not(tmp_path: Path) -> None:
    drive(tmp_path / "bag", "sqlite3")
    journal = tmp_path / "bag/bag.db3-journal"
    journal.write_bytes(bytes(512))
    read_bag(tmp_path / "bag", tmp_path / "out")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    with pytest.raises(DataError, match=r"bag\.db3-journal: the recorder was killed.*copy bag\.db3 with it"):
        read_bag(tmp_path / "bag", tmp_path / "again")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("mcap", "mcap recover run_1.mcap"),
        ("sqlite3", "sqlite3 run_1.db3 .recover"),
        ("rosbag1", "rosbag reindex run_1"),
    ],
)
def test_the_part_that_is_damaged_is_named_with_advice_for_its_format(tmp_path: Path, kind: str, advice: str) -> None:
    (tmp_path / "run").mkdir()
    suffix = {"mcap": ".mcap", "sqlite3": ".db3", "rosbag1": ".bag"}[kind]
    for part in range(2):
        made = tmp_path / (f"part{part}{suffix}" if kind == "rosbag1" else f"part{part}")
        drive(made, kind)
        (made if made.is_file() else made / f"part{part}{suffix}").rename(tmp_path / f"run/run_{part}{suffix}")
    second = tmp_path / f"run/run_1{suffix}"
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    with pytest.raises(DataError, match=f"run/run_1{suffix}: .*{advice}") as caught:
        read_bag(tmp_path / "run", tmp_path / "out")
    assert "reindex" not in str(caught.value) or kind == "rosbag1"
