"""ROS bags opened, listed and iterated: rosbag1 and rosbag2 with sqlite3 or mcap storage. Needs no ROS installation."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from vlocnetpp.data.bags.bag_metadata import METADATA, BagMetadata, differences, read_bag_metadata
from vlocnetpp.data.bags.storage import SUFFIXES, Channel, Storage, open_storage, remedy
from vlocnetpp.data.files import visible
from vlocnetpp.errors import DataError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

SECOND_NS = 1_000_000_000
READ = ("cdr", "ros1")
"""Encodings of messages that are read."""
NO_DAMAGE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM)
"""Errors of the system that say nothing of the file itself."""
PACKED, ZSTD = ".zstd", b"\x28\xb5\x2f\xfd"
_PART = re.compile(r"(_\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)?_\d+$")


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
    """Notes for the user, one line each: frames left out, distortion ignored."""
    facts: tuple[str, ...] = ()
    """Further facts, one line each: the chain of frames, how many images were kept and why others were not."""

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

    channel: Channel
    log_time_ns: int
    raw: bytes
    """As stored: CDR in a rosbag2, ROS 1 serialization in a rosbag1."""
    part: Path
    """The storage file that it lies in; it may be closed by now."""

    @property
    def topic(self) -> str:
        """The topic it was published on."""
        return self.channel.topic

    @property
    def msgtype(self) -> str:
        """e.g. `sensor_msgs/msg/Image`, also for rosbag1."""
        return self.channel.msgtype

    @property
    def ros1(self) -> bool:
        """Whether it is in ROS 1 serialization, not in CDR."""
        return self.channel.encoding == "ros1"

    def message(self) -> Any:
        """The deserialized message, arrays as numpy. Raises DataError if it or its definition is damaged."""
        try:
            types = _types(self.msgtype, self.channel.definition)
            return (types.deserialize_ros1 if self.ros1 else types.deserialize_cdr)(self.raw, self.msgtype)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # damaged bytes make the generated code fail in any way
            raise DataError(f"{self._place}: a {self.msgtype} is damaged: {_one_line(error)}") from error

    def cdr(self) -> bytes:
        """The bytes that a ROS 2 publisher takes. Raises DataError where a ROS 1 type has no ROS 2 counterpart."""
        if not self.ros1:
            return self.raw
        try:
            return bytes(ros2_types().ros1_to_cdr(self.raw, self.msgtype))
        except ModuleNotFoundError:
            raise
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
        return f"{self.part}: {self.topic} at {self.log_time_ns} ns"


@dataclass(frozen=True)
class Topic:
    """A topic of a recording, over all of its parts."""

    msgtype: str
    """e.g. `sensor_msgs/msg/Image`; one that is not read names its encoding, `sensor_msgs/msg/Image as json`."""
    msgcount: int


class Bag:
    """An open recording: its parts in the order of their first message, and what they hold."""

    def __init__(self, path: Path, storages: list[tuple[Path, Storage]], notes: tuple[str, ...]) -> None:
        self.path = path
        self.notes = notes
        """Notes, one line each: differences from metadata.yaml, and damage of the storage files."""
        self._storages = sorted(storages, key=lambda each: each[1].start_ns)
        types: dict[str, set[str]] = {}
        counts: dict[str, int] = {}
        for _, storage in self._storages:
            for channel in storage.channels:
                types.setdefault(channel.topic, set()).add(_type_of(channel))
                counts[channel.topic] = counts.get(channel.topic, 0) + channel.count
        self.topics = {name: Topic(" or ".join(sorted(kinds)), counts[name]) for name, kinds in sorted(types.items())}

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """The messages in the order of their log times; only of `topics` where given.

        Raises DataError, naming the part, if it turns out to be damaged on the way.
        """
        wanted = set(self.topics if topics is None else topics)
        for path, storage in self._storages:
            source = storage.messages(wanted)
            while True:
                try:
                    channel, log_time_ns, raw = next(source)
                    raw = _decompressed(raw) if channel.encoding == "cdr" else bytes(raw)
                except StopIteration:
                    break
                except ModuleNotFoundError:
                    raise
                except Exception as error:  # a damaged file can fail anywhere inside its reader
                    raise DataError(f"{path}: is damaged, reading stopped: {_reason(error, path)}") from error
                yield BagMessage(channel, log_time_ns, raw, path)


@contextmanager
def open_bag(bag: Path) -> Iterator[Bag]:
    """Open a rosbag2 folder, a single .mcap or .db3 file, a rosbag1 file, or a folder with the parts of a split one.

    The suffix decides the format; a further `.zstd` means that the whole file is compressed. metadata.yaml is compared
    with the files and may be missing. Bags recorded before Iron carry no message definitions and are read with those of
    Jazzy, which are the same for every type used here. Raises DataError, naming the part, if the bag is missing, cut,
    or of another format.
    """
    bag = Path(bag)
    if not bag.exists():
        raise DataError(f"{bag}: does not exist")
    bag_metadata: BagMetadata | None = None
    notes: list[str] = []
    if bag.is_dir():
        paths, bag_metadata, notes = _parts(bag)
    elif _storage_suffix(bag) not in SUFFIXES:
        raise DataError(f"{bag}: is no bag; a rosbag2 folder, .mcap, .db3 or .bag is")
    else:
        paths = [bag]
    with ExitStack() as stack:
        storages = []
        for path in paths:
            try:
                file = stack.enter_context(_unpacked(path)) if path.suffix == PACKED else path
                storage = open_storage(file)
            except (DataError, ModuleNotFoundError):
                raise
            except Exception as error:  # the readers have no common error: a cut file can fail anywhere inside them
                if isinstance(error, OSError) and error.errno in NO_DAMAGE:
                    unpacked = f"unpacked into {gettempdir()} (TMPDIR names another folder)"
                    what = unpacked if path.suffix == PACKED else "read"
                    raise DataError(f"{path}: cannot be {what}: {error.strerror}") from error
                raise DataError(f"{path}: is not a whole bag: {_reason(error, path)}") from error
            stack.callback(storage.close)
            storages.append((path, storage))
        if bag_metadata is not None:
            stored: dict[str, tuple[str, int]] = {}
            for _, storage in storages:
                for channel in storage.channels:
                    before = stored.get(channel.topic, ("", 0))[1]
                    stored[channel.topic] = channel.msgtype, before + channel.count
            notes += differences(bag_metadata, stored)
        notes += [note for _, storage in storages for note in storage.notes]
        yield Bag(bag, storages, tuple(notes))


def _parts(folder: Path) -> tuple[list[Path], BagMetadata | None, list[str]]:
    """The storage files of a folder, the contents of metadata.yaml, and notes on both.

    metadata.yaml is written last, so a recorder that was killed leaves the storage files alone; rosbag1 has none.
    Several files are one recording if they are named NAME_0, NAME_1 and so on (rosbag1: with the time before).
    """
    files = sorted(path for path in visible(folder) if _storage_suffix(path) in SUFFIXES)
    if not files:
        raise DataError(f"{folder}: is no bag, it has no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    notes: list[str] = []
    if (folder / METADATA).is_file():
        try:
            bag_metadata = read_bag_metadata(folder)
        except DataError as error:
            notes.append(f"{error}; the storage files are read as they are")
        else:
            listed = [_listed(folder, name, bag_metadata.path) for name in bag_metadata.files]
            more = [path for path in files if path not in listed]
            notes += [
                f"{path}: is not in {METADATA} and not read; remove {METADATA} to read all parts" for path in more
            ]
            return listed, bag_metadata, notes
    recordings = {
        (_PART.sub("", path.name.partition(_storage_suffix(path))[0]), _storage_suffix(path)) for path in files
    }
    if len(recordings) > 1:
        raise DataError(f"{folder}: has several recordings, {', '.join(path.name for path in files)}; name one")
    return files, None, notes


def _listed(folder: Path, name: str, metadata: Path) -> Path:
    """A storage file that metadata.yaml names; recorders that compress list it with the ending or without."""
    for path in (folder / name, folder / f"{name}{PACKED}"):
        if path.exists():
            if _storage_suffix(path) not in SUFFIXES:
                raise DataError(f"{path}: is no storage file that is read here; {', '.join(SUFFIXES)} are")
            return path
    raise DataError(
        f"{folder / name}: is missing, {metadata} lists it; put it there, or remove {METADATA} to read the rest"
    )


def _storage_suffix(path: Path) -> str:
    return Path(path.name.removesuffix(PACKED)).suffix


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A storage file that was compressed as a whole, unpacked for as long as it is read."""
    import zstandard

    with TemporaryDirectory() as folder:
        file = Path(folder) / path.name.removesuffix(PACKED)
        with path.open("rb") as packed, file.open("wb") as plain:
            zstandard.ZstdDecompressor().copy_stream(packed, plain)
        yield file


def _decompressed(raw: bytes) -> bytes:
    """A message in CDR; one that was compressed by itself begins with zstd's magic number, CDR never does."""
    if raw[:4] != ZSTD:
        return bytes(raw)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(raw)


def _type_of(channel: Channel) -> str:
    return channel.msgtype if channel.encoding in READ else f"{channel.msgtype} as {channel.encoding or 'nothing'}"


@lru_cache(maxsize=256)
def _types(msgtype: str, definition: tuple[str, str]) -> Typestore:
    """The types that a definition gives, and those of Jazzy where there is none."""
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    kind, text = definition
    if not kind:
        return ros2_types()
    types = get_typestore(Stores.EMPTY)
    if kind == "msg":
        types.register(get_types_from_msg(text, msgtype))
        return types
    found = {}
    for part in text.split("=" * 80 + "\n"):
        found.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part) if part else {})
    types.register(found)
    return types


def iter_bag(bag: Path, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
    """The messages of a bag that is opened for it. Raises DataError as `open_bag` and `Bag.messages` do."""
    with open_bag(bag) as opened:
        yield from opened.messages(topics)


@cache
def ros2_types() -> Typestore:
    """The message types of ROS 2 Jazzy, for reading bags without definitions and for writing."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def _reason(error: BaseException, path: Path) -> str:
    """What went wrong inside a storage file, and what may recover it."""
    return f"{_one_line(error)} ({remedy(Path(path.name.removesuffix(PACKED)))})"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
