"""Records the node's messages in an mcap bag, from which they are read back for the scores."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vlocnetpp.data.bags.reader import ros2_types

if TYPE_CHECKING:
    from rosbags.interfaces import Connection


class Recording:
    """An mcap bag being written. The log time of a message is its image's stamp, so the bag plays beside the input.

    Messages of a topic are read back in the order in which they came: where stamps go back, log times stay.
    """

    def __init__(self, folder: Path) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        # version 8 is the newest that Humble reads too
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}
        self._newest_ns: dict[str, int] = {}

    def __enter__(self) -> Recording:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, topic: str, msgtype: str, log_time_ns: int, cdr: bytes) -> None:
        """Add one serialized message."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=ros2_types())
        self._newest_ns[topic] = max(log_time_ns, self._newest_ns.get(topic, log_time_ns))
        self._writer.write(self._connections[topic], self._newest_ns[topic], cdr)


def type_name(message_type: Any) -> str:
    """`geometry_msgs/msg/PoseStamped` of a message class."""
    package, kind = message_type.__module__.split(".")[:2]
    return f"{package}/{kind}/{message_type.__name__}"
