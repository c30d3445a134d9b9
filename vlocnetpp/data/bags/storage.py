"""One small reader for each storage format: mcap, rosbag2's sqlite3 and rosbag1. rosbags' AnyReader is not used. It
parses the definition of every topic when it opens a bag, looks channels up by their quality of service as metadata.yaml
has it, knows no encoding but CDR, and opens sqlite3 with `immutable=1`, which passes over the write-ahead log (rosbags
0.11, rosbags/highlevel/anyreader.py, rosbag2/reader.py and storage_sqlite3.py in https://gitlab.com/ternaris/rosbags).
So a topic that nobody reads could make a whole recording unreadable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from vlocnetpp.errors import DataError

if TYPE_CHECKING:
    from mcap.reader import SeekingReader

SUFFIXES = (".bag", ".mcap", ".db3")
MCAP = b"\x89MCAP0\r\n"
"""First and last bytes of an mcap file (https://mcap.dev/spec)."""
SQLITE = b"SQLite format 3\0"
HOT_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
"""First bytes of a rollback journal that was not rolled back (https://www.sqlite.org/fileformat.html)."""


@dataclass(frozen=True)
class Channel:
    """A topic as one storage file has it."""

    topic: str
    msgtype: str
    """e.g. `sensor_msgs/msg/Image`, also for rosbag1."""
    encoding: str
    """Of the messages; `cdr` and `ros1` are read."""
    definition: tuple[str, str]
    """Its format, `msg` or `idl`, and its text; empty where the file has none or one of another format."""
    count: int


class Storage(Protocol):
    """An open storage file. Methods may raise any error for a damaged file."""

    channels: list[Channel]
    start_ns: int
    """Log time of the first message."""
    notes: tuple[str, ...]
    """Notes on the file, one line each."""

    def messages(self, topics: Collection[str]) -> Iterator[tuple[Channel, int, bytes]]:
        """Channel, log time in nanoseconds and serialized message, in the order of the log times."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_storage(path: Path) -> Storage:
    """Open one file by its suffix. Raises DataError for a journal, anything else for a damaged file."""
    kinds: dict[str, Callable[[Path], Storage]] = {".bag": Rosbag1File, ".mcap": McapFile, ".db3": SqliteFile}
    return kinds[path.suffix](path)


def remedy(path: Path) -> str:
    """The command that may recover a damaged file of this format."""
    saved = f"saved/{path.name}"
    return {
        ".bag": f"`rosbag reindex {path.name}` writes the index of a recording that was cut anew",
        ".mcap": f"`mcap recover {path.name} -o {saved}` may save a recording that was cut",
        ".db3": f"`sqlite3 {path.name} .recover | sqlite3 {saved}` may save a recording that was cut",
    }[path.suffix]


class McapFile:
    """An mcap file of any profile."""

    def __init__(self, path: Path) -> None:
        from mcap.reader import SeekingReader

        self.notes: tuple[str, ...] = ()
        self._file = path.open("rb")
        try:
            _check_mcap_ends(self._file)
            self._reader: SeekingReader = SeekingReader(self._file, validate_crcs=True)
            summary = self._reader.get_summary()
            statistics = None if summary is None else summary.statistics
            self._indexed = (
                summary is not None
                and statistics is not None
                and len(summary.chunk_indexes) > 0
                and len(summary.channels) == statistics.channel_count
            )
            found: dict[int, tuple[Any, Any]] = {}
            if self._indexed:
                assert summary is not None and statistics is not None
                counts = dict(statistics.channel_message_counts)
                self.start_ns = statistics.message_start_time
                found = {key: (each, summary.schemas.get(each.schema_id)) for key, each in summary.channels.items()}
            else:
                counts, self.start_ns = {}, 2**63
                for schema, channel, message in self._in_file_order(None):
                    found[channel.id] = channel, schema
                    counts[channel.id] = counts.get(channel.id, 0) + 1
                    self.start_ns = min(self.start_ns, message.log_time)
        except BaseException:
            self._file.close()
            raise
        self._channels = {key: _mcap_channel(*pair, counts.get(key, 0)) for key, pair in found.items()}
        self.channels = list(self._channels.values())

    def _in_file_order(self, topics: Collection[str] | None) -> Iterator[tuple[Any, Any, Any]]:
        """Without an index of chunks: as the recorder wrote them. Sorting by time would take the whole file."""
        from mcap.reader import NonSeekingReader

        self._file.seek(0)
        return NonSeekingReader(self._file, validate_crcs=True).iter_messages(topics, log_time_order=False)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[Channel, int, bytes]]:
        """As `Storage.messages`."""
        source = self._reader.iter_messages(topics) if self._indexed else self._in_file_order(topics)
        for _, channel, message in source:
            yield self._channels[channel.id], message.log_time, message.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_mcap_ends(file: BinaryIO) -> None:
    """Raise ValueError for a file that is not mcap or was cut; the library's own message names internal records."""
    size = file.seek(0, 2)
    for place, wrong in ((0, "it does not begin as an mcap does"), (size - len(MCAP), "its end is missing")):
        file.seek(max(place, 0))
        if file.read(len(MCAP)) != MCAP:
            raise ValueError(wrong if size else "it is empty")
    file.seek(0)


def _mcap_channel(channel: Any, schema: Any, count: int) -> Channel:
    formats = {"ros1msg": "msg", "ros2msg": "msg", "ros2idl": "idl", "omgidl": "idl"}
    kind = formats.get(schema.encoding, "") if schema is not None else ""
    # A schema of another encoding is bytes; only those that are text are decoded.
    definition = (kind, schema.data.decode("utf-8", "replace")) if kind and schema.data else ("", "")
    name = "" if schema is None else schema.name
    if channel.message_encoding == "ros1" and name.count("/") == 1:
        name = name.replace("/", "/msg/")
    return Channel(channel.topic, name, channel.message_encoding, definition, count)


class SqliteFile:
    """A .db3 file of rosbag2.

    A recorder that was killed leaves messages in a write-ahead log beside it. SQLite reads that with the database, but
    would write an index of it beside the two and fold it in or delete it in the end, and the original is never changed.
    Without file locks and in exclusive mode the index is kept in memory (https://www.sqlite.org/wal.html#noshm), and
    the log is left alone at closing (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, which Python's own module has from 3.12 on).
    """

    def __init__(self, path: Path) -> None:
        import apsw

        if path.is_symlink():
            path = path.resolve()  # as SQLite does, which looks for a log beside the file itself
        journal = path.with_name(path.name + "-journal")
        if journal.is_file():
            with journal.open("rb") as file:
                if file.read(8) == HOT_JOURNAL:
                    raise DataError(
                        f"{journal}: the recorder was killed and left changes to be undone; copy {path.name} with it, "
                        f"run `sqlite3 {path.name} 'SELECT count(*) FROM messages'` on the copy and convert that"
                    )
        log = path.with_name(path.name + "-wal")
        self.notes: tuple[str, ...] = ()
        if log.is_file() and log.stat().st_size:
            self.notes = (f"{log}: the recorder was killed; this log is read too, the newest messages may be missing",)
        with path.open("rb") as file:
            if file.read(len(SQLITE)) != SQLITE:
                raise ValueError("it does not begin as a database does")
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        self._database = apsw.Connection(f"{path.absolute().as_uri()}?vfs=unix-none", flags=flags)
        try:
            self._database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            definitions = self._definitions()
            self._channels = {
                key: Channel(topic, msgtype, encoding, definitions.get(msgtype, ("", "")), count)
                for key, topic, msgtype, encoding, count in self._database.execute(
                    "SELECT topics.id, name, type, serialization_format, count(messages.id) FROM topics "
                    "LEFT JOIN messages ON topics.id = messages.topic_id GROUP BY topics.id ORDER BY topics.id"
                )
            }
            ((start_ns,),) = self._database.execute("SELECT min(timestamp) FROM messages")
        except BaseException:
            self._database.close()
            raise
        self.start_ns = 2**63 if start_ns is None else start_ns
        self.channels = list(self._channels.values())

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Type -> definition; none in files recorded before Iron."""
        formats = {"ros2msg": "msg", "ros2idl": "idl"}
        if not self._database.execute("PRAGMA table_info(message_definitions)").fetchall():
            return {}
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        return {
            name: (formats[kind], text)
            for name, kind, text in self._database.execute(query)
            if kind in formats and text
        }

    def messages(self, topics: Collection[str]) -> Iterator[tuple[Channel, int, bytes]]:
        """As `Storage.messages`."""
        wanted = [key for key, channel in self._channels.items() if channel.topic in topics]
        places = ",".join("?" * len(wanted))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) ORDER BY timestamp, id"
        for key, timestamp, data in self._database.execute(query, wanted):
            yield self._channels[key], timestamp, data

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class Rosbag1File:
    """A .bag file of ROS 1."""

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag1 import Reader

        self.notes: tuple[str, ...] = ()
        self._reader = Reader(path)
        try:
            self._reader.open()
            self.start_ns = self._reader.start_time
            counts = {
                each.id: sum(chunk.connection_counts.get(each.id, 0) for chunk in self._reader.chunk_infos)
                for each in self._reader.connections
            }
        except BaseException:
            with suppress(Exception):  # the error of the damaged file is raised, not one from closing it
                self._reader.close()
            raise
        self._channels = {
            each.id: Channel(each.topic, each.msgtype, "ros1", ("msg", each.msgdef.data), counts[each.id])
            for each in self._reader.connections
        }
        self.channels = list(self._channels.values())

    def messages(self, topics: Collection[str]) -> Iterator[tuple[Channel, int, bytes]]:
        """As `Storage.messages`."""
        wanted = [each for each in self._reader.connections if each.topic in topics]
        if not wanted:
            return
        for connection, timestamp, data in self._reader.messages(wanted):
            yield self._channels[connection.id], timestamp, data

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
