"""metadata.yaml of a rosbag2, compared with the contents of its storage files.

The files themselves contain everything that is needed to read them; metadata.yaml lists them and counts their messages.
So it is only compared with them, and each difference is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

import yaml  # type: ignore[import-untyped]

from vlocnetpp.errors import DataError

METADATA = "metadata.yaml"
MOST = 4
"""Differences that are listed singly; further ones are counted."""


@dataclass(frozen=True)
class BagMetadata:
    """metadata.yaml of one recording."""

    path: Path
    files: tuple[str, ...]
    """Names of the storage files in order."""
    topics: dict[str, tuple[str, int]]
    """Topic -> type and count."""


def read_bag_metadata(folder: Path) -> BagMetadata:
    """Read metadata.yaml. Raises DataError, naming the file, if it is not what rosbag2 writes."""
    path = folder / METADATA
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        files = tuple(PurePath(str(each)).name for each in content["relative_file_paths"])
        topics = {
            str(each["topic_metadata"]["name"]): (str(each["topic_metadata"]["type"]), int(each["message_count"]))
            for each in content["topics_with_message_count"]
        }
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not what rosbag2 writes ({type(error).__name__})") from error
    return BagMetadata(path, files, topics)


def differences(metadata: BagMetadata, stored: dict[str, tuple[str, int]]) -> list[str]:
    """Notes on how the stored topics (topic -> type and count) differ from metadata.yaml, one for each kind."""
    notes = []
    wrong = [
        f"{count} messages of {topic}, {stored.get(topic, ('', 0))[1]} are there"
        for topic, (_, count) in metadata.topics.items()
        if count != stored.get(topic, ("", 0))[1]
    ]
    if wrong:
        notes.append(f"{metadata.path}: promises {_listed(wrong)}")
    types = [
        f"{topic} is {stored[topic][0]}, not {listed_type}"
        for topic, (listed_type, count) in metadata.topics.items()
        if topic in stored and count and stored[topic][0] != listed_type
    ]
    if types:
        notes.append(f"{metadata.path}: has other types than the recording: {_listed(types)}")
    more = [f"{topic} with {count}" for topic, (_, count) in stored.items() if count and topic not in metadata.topics]
    if more:
        notes.append(f"{metadata.path}: leaves out {_listed(more)} messages, which are there")
    return notes


def _listed(texts: list[str]) -> str:
    more = len(texts) - MOST
    return "; ".join(texts[:MOST]) + (f"; and {more} more" if more > 0 else "")
