"""ROS bags opened, listed and iterated: rosbag1 and rosbag2 with sqlite3 or mcap storage. Needs no ROS installation."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlocnetpp.data.frames import DataError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

SECOND_NS = 1_000_000_000
SUFFIXES = (".bag", ".mcap", ".db3")
_PART = re.compile(r"(_\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)?_\d+$")
RESCUE = "`ros2 bag reindex` or `mcap recover` may save a recording that was cut"


@dataclass(frozen=True)
class BagSummary:
    """What a conversion did; `str()` of it is what the command line prints."""

    path: Path
    """The bag or folder that was written."""
    frames: int
    sequences: int
    seconds: float
    """Recorded time, the gaps between sequences not counted."""
    topics: dict[str, str]
    """Topic -> message type and count, of the bag that was written or the topics that were read."""
    size_bytes: int
    notes: tuple[str, ...] = ()
    """What the user should know, one line each: frames left out, distortion ignored."""
    facts: tuple[str, ...] = ()
    """What else was found, one line each: the chain of frames, how many images were kept and why not all."""

    def __str__(self) -> str:
        plural = "" if self.sequences == 1 else "s"
        head = (
            f"{self.path}: {self.frames} frames in {self.sequences} sequence{plural}, "
            f"{self.seconds:.1f} s, {self.size_bytes / 1e6:.1f} MB"
        )
        width = max((len(topic) for topic in self.topics), default=0)
        lines = [f"  {topic:<{width}}  {what}" for topic, what in self.topics.items()]
        facts = [f"  {fact}" for fact in self.facts]
        return "\n".join([head, *lines, *facts, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class BagMessage:
    """One message as it lies in a bag; it is deserialized only when asked for."""

    topic: str
    msgtype: str
    """e.g. `sensor_msgs/msg/Image`, also for rosbag1."""
    log_time_ns: int
    raw: bytes
    """As stored: CDR in a rosbag2, ROS 1 serialization in a rosbag1."""
    bag: Path
    ros1: bool
    types: Typestore = field(repr=False)
    """The bag's own message definitions; the bag itself may be closed by now."""

    def message(self) -> Any:
        """The deserialized message, arrays as numpy. Raises DataError if the bytes are damaged."""
        try:
            deserialize = self.types.deserialize_ros1 if self.ros1 else self.types.deserialize_cdr
            return deserialize(self.raw, self.msgtype)
        except Exception as error:  # damaged bytes make the generated code fail in any way
            raise DataError(f"{self._place}: a {self.msgtype} is damaged: {_one_line(error)}") from error

    def cdr(self) -> bytes:
        """The bytes that a ROS 2 publisher takes. Raises DataError where a ROS 1 type has no ROS 2 counterpart."""
        if not self.ros1:
            return self.raw
        try:
            return bytes(ros2_types().ros1_to_cdr(self.raw, self.msgtype))
        except Exception as error:
            raise DataError(f"{self._place}: {self.msgtype} has no ROS 2 form: {_one_line(error)}") from error

    def header_stamp_ns(self) -> int:
        """`header.stamp` without deserializing the rest; only for messages that begin with a header."""
        # Both serializations have four bytes before the stamp: CDR its encapsulation, ROS 1 the header's seq.
        big = not self.ros1 and self.raw[1:2] == b"\x00"
        try:
            seconds, nanoseconds = struct.unpack_from(">iI" if big else "<iI", self.raw, 4)
        except struct.error as error:
            raise DataError(f"{self._place}: a {self.msgtype} is cut short") from error
        return int(seconds) * SECOND_NS + int(nanoseconds)

    def header_frame(self) -> str:
        """`header.frame_id` without deserializing the rest; without the leading slash of ROS 1."""
        big = not self.ros1 and self.raw[1:2] == b"\x00"
        try:
            (length,) = struct.unpack_from(">I" if big else "<I", self.raw, 12)
            return self.raw[16 : 16 + length].rstrip(b"\0").decode().lstrip("/")
        except (struct.error, UnicodeDecodeError) as error:
            raise DataError(f"{self._place}: a {self.msgtype} is damaged in its header") from error

    @property
    def _place(self) -> str:
        return f"{self.bag}: {self.topic} at {self.log_time_ns} ns"


@contextmanager
def open_bag(bag: Path) -> Iterator[AnyReader]:
    """Open a rosbag2 folder, a single .mcap or .db3 file, a rosbag1 file, or a folder with the parts of a split one.

    Bags recorded before Iron carry no message definitions and are read with those of Jazzy, which are the same for
    every type used here. Raises DataError if the bag is missing, cut, or of another format.
    """
    bag = Path(bag)
    if not bag.exists():
        raise DataError(f"{bag}: does not exist")
    paths = _parts(bag) if bag.is_dir() and not (bag / "metadata.yaml").is_file() else [bag]
    if paths[0].is_file() and paths[0].suffix not in SUFFIXES:
        raise DataError(f"{paths[0]}: is no bag; a rosbag2 folder, .mcap, .db3 or .bag is")

    from rosbags.highlevel import AnyReader

    try:
        reader = AnyReader(paths, default_typestore=ros2_types())
        reader.open()
    except Exception as error:  # the reader has no common error: a cut file can fail anywhere inside it
        whole = paths[0] if len(paths) == 1 else bag
        raise DataError(f"{whole}: is not a whole bag: {_one_line(error)} ({RESCUE})") from error
    try:
        yield reader
    finally:
        reader.close()


def _parts(folder: Path) -> list[Path]:
    """The storage files of a folder without metadata.yaml.

    That file is written last, so a recorder that was killed leaves the storage files alone; rosbag1 has none. Several
    files are one recording if they are named NAME_0, NAME_1 and so on (rosbag1: with the time before the number).
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not files:
        raise DataError(f"{folder}: is no bag, metadata.yaml is missing ({RESCUE})")
    recordings = {(_PART.sub("", path.stem), path.suffix) for path in files}
    if len(recordings) > 1:
        raise DataError(f"{folder}: has several recordings, {', '.join(path.name for path in files)}; name one")
    return files


def messages(reader: AnyReader, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
    """The messages of an open bag in the order of their log times; only of `topics` where given.

    Raises DataError if the bag turns out to be cut or damaged on the way.
    """
    wanted: list[Connection] = [each for each in reader.connections if topics is None or each.topic in topics]
    if not wanted:
        return
    source, types, bag = reader.messages(wanted), reader.typestore, Path(str(reader.paths[0]))
    bag = bag if len(reader.paths) == 1 else bag.parent
    while True:
        try:
            connection, log_time_ns, raw = next(source)
        except StopIteration:
            return
        except Exception as error:
            raise DataError(f"{bag}: is damaged, reading stopped: {_one_line(error)}") from error
        yield BagMessage(connection.topic, connection.msgtype, log_time_ns, bytes(raw), bag, not reader.is2, types)


def iter_bag(bag: Path, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
    """`messages` of a bag that is opened for it. Raises DataError as `open_bag` and `messages` do."""
    with open_bag(bag) as reader:
        yield from messages(reader, topics)


@cache
def ros2_types() -> Typestore:
    """The message types of ROS 2 Jazzy, for reading bags without definitions and for writing."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
