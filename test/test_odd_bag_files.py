"""Bags with topics that nobody reads, files of other tools, and interruptions."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest
from bag_recorder import IMAGE, INFO, MS, START, Recorder, rgb
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from odd_drives import STEP, drive, notes_with, xs

from vlocnetpp.data import DataError, FolderWriter, iter_bag, read_bag
from vlocnetpp.data.bags.reader import open_bag
from vlocnetpp_ros.replay.source import survey as replayed

# --- topics that nobody reads, and files of other tools


def rewritten(bag: Path, copy: Path, extra: bool = True, **options: Any) -> None:
    """An mcap copied message by message, with topics beside it whose schemas and encodings are others'."""
    with bag.open("rb") as source, copy.open("wb") as target:
        writer = McapWriter(target, **options)
        writer.start(profile="", library="test")
        channels: dict[int, int] = {}
        if extra:
            service = b"MSG: std_srvs/srv/SetBool_Event\n====\nSRV: std_srvs/srv/SetBool\nbool data # / \n"
            for topic, name, kind, schema, encoding in (
                ("/set/_service_event", "std_srvs/srv/SetBool_Event", "ros2msg", service, "cdr"),
                ("/log", "foxglove.Log", "protobuf", b"\n\xff\xfe\x80proto", "protobuf"),
                ("/settings", "Settings", "jsonschema", b'{"type": "object"}', "json"),
                ("/web/image", "sensor_msgs/msg/Image", "jsonschema", b"{}", "json"),
                ("/odd", "odd/msg/Odd", "ros2idl", b"module odd {", "cdr"),
            ):
                channel = writer.register_channel(topic, encoding, writer.register_schema(name, kind, schema))
                writer.add_message(channel, START, b"\0\1\0\0{}", START)
            bare = writer.register_channel("/bare", "", 0)
            writer.add_message(bare, START, b"x", START)
        for schema, channel, message in make_reader(source).iter_messages():
            assert schema is not None
            if channel.id not in channels:
                there = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(channel.topic, channel.message_encoding, there)
            writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()


MCAP_OPTIONS: dict[str, dict[str, Any]] = {
    "zstd": {},
    "lz4": {"compression": CompressionType.LZ4},
    "without chunks": {"use_chunking": False},
    "without an index": {"index_types": IndexType.NONE, "use_summary_offsets": False, "use_statistics": False},
    "without repeated channels": {"repeat_channels": False, "repeat_schemas": False},
    "tiny chunks": {"chunk_size": 100},
}


@pytest.mark.parametrize("options", MCAP_OPTIONS)
def test_an_mcap_of_any_writer_with_topics_of_others(tmp_path: Path, options: str) -> None:
    drive(tmp_path / "bag")
    rewritten(tmp_path / "bag/bag.mcap", tmp_path / "run.mcap", **MCAP_OPTIONS[options])
    summary = read_bag(tmp_path / "run.mcap", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8)) and summary.notes == ()
    assert len(replayed(tmp_path / "run.mcap").stamps_ns) == 8
    with open_bag(tmp_path / "run.mcap") as bag:
        assert bag.topics["/web/image"].msgtype == "sensor_msgs/msg/Image as json"
        assert bag.topics["/bare"].msgcount == 1
    with pytest.raises(DataError, match="topic '/web/image' is sensor_msgs/msg/Image as json, for image_topic it must"):
        read_bag(tmp_path / "run.mcap", tmp_path / "web", image_topic="/web/image")
    with pytest.raises(DataError, match="at 1700000000123456789 ns: a odd/msg/Odd is damaged"):
        next(iter_bag(tmp_path / "run.mcap", {"/odd"})).message()


def test_an_mcap_that_counts_more_than_it_holds_is_told_of(tmp_path: Path) -> None:
    drive(tmp_path / "bag")
    storage = tmp_path / "bag/bag.mcap"
    with open_bag(tmp_path / "bag") as bag, storage.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None and bag.topics[IMAGE].msgcount == 8
        (number,) = (key for key, channel in summary.channels.items() if channel.topic == IMAGE)
    data = storage.read_bytes()
    start = data.rindex(struct.pack("<HQ", number, 8))  # in the record of statistics, at the end
    storage.write_bytes(data[:start] + struct.pack("<HQ", number, 9) + data[start + 10 :])
    read = read_bag(storage, tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    assert len(notes_with(read, f"counts 9 messages of {IMAGE}, 8 could be read")) == 1


def test_a_topic_without_a_single_message_of_those_it_counts_is_passed_over_or_refused(tmp_path: Path) -> None:
    drive(tmp_path / "bag", poses="PoseStamped")
    with (tmp_path / "bag/bag.mcap").open("rb") as source, (tmp_path / "run.mcap").open("wb") as target:
        writer = McapWriter(target)
        writer.start(profile="ros2", library="test")
        channels: dict[int, int] = {}
        for schema, channel, message in make_reader(source).iter_messages():
            assert schema is not None
            if channel.id not in channels:
                kind = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(channel.topic, "cdr", kind)
                if channel.topic == "/tf_static":
                    static = channels[channel.id]
                if channel.topic == IMAGE:
                    empty = writer.register_channel("/empty", "cdr", kind)
            writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()
    data = (tmp_path / "run.mcap").read_bytes()
    start = data.rindex(struct.pack("<HQ", static, 1))  # in the record of statistics, at the end
    (tmp_path / "run.mcap").write_bytes(data[:start] + struct.pack("<HQ", empty, 1) + data[start + 10 :])
    read_bag(tmp_path / "run.mcap", tmp_path / "out", pose_frame="")
    assert xs(tmp_path / "out") == list(range(8))
    with pytest.raises(DataError, match=r"run\.mcap: counts 1 messages of /empty, none could be read"):
        read_bag(tmp_path / "run.mcap", tmp_path / "none", image_topic="/empty", camera_info_topic=INFO)


def test_an_mcap_with_ros1_messages_is_read(tmp_path: Path) -> None:
    """What converters from rosbag1 write: profile ros1, definitions and messages in the serialization of ROS 1."""
    from rosbags.rosbag1 import Reader

    drive(tmp_path / "bag.bag", "rosbag1")
    with Reader(tmp_path / "bag.bag") as source, (tmp_path / "run.mcap").open("wb") as target:
        writer = McapWriter(target)
        writer.start(profile="ros1", library="test")
        channels = {}
        for each in source.connections:
            schema = writer.register_schema(each.msgtype.replace("/msg/", "/"), "ros1msg", each.msgdef.data.encode())
            channels[each.id] = writer.register_channel(each.topic, "ros1", schema)
        for connection, stamp, data in source.messages():
            writer.add_message(channels[connection.id], stamp, bytes(data), stamp)
        writer.finish()
    read_bag(tmp_path / "run.mcap", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    assert next(iter_bag(tmp_path / "run.mcap", {IMAGE})).cdr()[:4] == b"\0\1\0\0"


def test_sqlite3_definitions_that_nobody_reads_may_be_anything(tmp_path: Path) -> None:
    drive(tmp_path / "bag", "sqlite3")
    with sqlite3.connect(tmp_path / "bag/bag.db3") as database:
        database.execute(
            "INSERT INTO message_definitions (topic_type, encoding, encoded_message_definition, type_description_hash) "
            "VALUES ('a/srv/B_Event', 'ros2msg', 'SRV: / nonsense', ''), ('c', 'jsonschema', '{}', '')"
        )
        database.execute("INSERT INTO topics VALUES (90, '/b', 'a/srv/B_Event', 'cdr', '', '')")
        database.execute("INSERT INTO topics VALUES (91, '/c', 'c', 'json', '', '')")
        database.execute("INSERT INTO messages VALUES (900, 90, ?, x'00'), (901, 91, ?, x'00')", (START, START))
    database.close()
    summary = read_bag(tmp_path / "bag", tmp_path / "out")
    assert xs(tmp_path / "out") == list(range(8))
    assert len(notes_with(summary, "leaves out /b with 1; /c with 1 messages")) == 1


def test_parts_follow_each_other_by_time_and_not_by_the_letters_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for part in range(11):
        recorder = Recorder(tmp_path / f"part{part}")
        recorder.info(START + part * STEP)
        recorder.pose(START + part * STEP, float(part))
        recorder.image(START + part * STEP, rgb(part), "rgb8")
        recorder.writer.close()
        (tmp_path / f"part{part}/part{part}.mcap").rename(tmp_path / f"run/run_{part}.mcap")
    read_bag(tmp_path / "run", tmp_path / "out", pose_frame="")
    assert xs(tmp_path / "out") == list(range(11))


# --- interruptions


def test_an_interrupted_conversion_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sequences; the run ends in the third. What was complete is not read again, and all is as in one run."""
    recorder = Recorder(tmp_path / "bag")
    recorder.info(START)
    for index in range(9):
        stamp = START + index * STEP + index // 3 * 10_000 * MS
        recorder.pose(stamp, float(index))
        recorder.image(stamp, rgb(index), "rgb8")
    recorder.writer.close()
    read_bag(tmp_path / "bag", tmp_path / "whole", pose_frame="")
    written: list[int] = []
    add = FolderWriter.add

    def counted(writer: FolderWriter, sequence: str, split: str, stamp_ns: int, *rest: Any, **more: Any) -> str:
        written.append(stamp_ns)
        if len(written) == 8:
            raise KeyboardInterrupt
        return add(writer, sequence, split, stamp_ns, *rest, **more)

    monkeypatch.setattr(FolderWriter, "add", counted)
    with pytest.raises(KeyboardInterrupt):
        read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"out\.partial: was begun with jpeg_quality 92, not 50"):
        read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="", jpeg_quality=50)
    read_bag(tmp_path / "bag", tmp_path / "out", pose_frame="")
    assert len(written) == 8 + 3 and not (tmp_path / "out.partial").exists()
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "whole", tmp_path / "out")
    ]
    assert files[0] == files[1]
