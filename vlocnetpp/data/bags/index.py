"""The first pass through a recording: header stamps of every topic, and the messages that are small.

Where the clock is set back (a bag played in a loop, a simulation started anew), a new run begins: nothing of one run is
matched with anything of another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.pose_source import FrameWishes, PoseSamples
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, open_bag
from vlocnetpp.data.bags.to_bag import CLASSES_TOPIC
from vlocnetpp.data.bags.topics import Found, Topics, find_topics, is_static
from vlocnetpp.data.bags.transforms import UNKNOWN, TransformTree
from vlocnetpp.data.frames import LabelClass
from vlocnetpp.data.poses import PoseError
from vlocnetpp.errors import DataError
from vlocnetpp.progress import track


@dataclass
class Index:
    """What the first pass collects, message by message; lists are in the bag's order."""

    found: Found
    counts: dict[str, int]
    samples: PoseSamples
    notes: list[str]
    """Differences between the metadata and the messages that were read."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    runs: dict[str, list[int]] = field(default_factory=dict)
    cameras: list[messages.Camera | None] = field(default_factory=list)
    """None where the message is empty: drivers send zeros until they are ready."""
    not_calibrated: list[str] = field(default_factory=list)
    """Why frames have no camera, one line each."""
    frames: dict[str, set[str]] = field(default_factory=dict)
    """Topic -> frame_ids of its headers."""
    classes: tuple[LabelClass, ...] = ()

    def of_run(self, topic: str | None, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions and stamps of a topic's messages in a run of the clock."""
        if topic is None or topic not in self.stamps:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        positions = np.flatnonzero(np.array(self.runs[topic]) == run)
        return positions, np.array(self.stamps[topic], np.int64)[positions]


NO_RUN = -1
"""Of what is matched with no image."""


class _Clock:
    """Counts how often the clock of a recording was set back, by stamps that go back farther than messages out of order
    do.
    """

    def __init__(self, jump_ns: int) -> None:
        self.run = 0
        self._jump_ns = jump_ns
        self._latest: dict[str, int] = {}

    def run_of(self, key: str, stamp_ns: int, leads: bool = True) -> int:
        """The run that a message with this stamp belongs to; `key` is whose stamps are in order among each other.

        Where not `leads`, a stamp that goes back begins no run, and belongs to `NO_RUN` until one begins: two
        publishers of one transform may have different clocks.
        """
        if 0 < stamp_ns < self._latest.get(key, 0) - self._jump_ns:
            if not leads:
                return NO_RUN
            self.run += 1
            self._latest.clear()
        self._latest[key] = max(stamp_ns, self._latest.get(key, 0))
        return self.run


def read_index(bag: Path, wishes: Topics, frames: FrameWishes, jump_ns: int, posed: bool = False) -> Index:
    """Read a bag once. A stamp that goes back by more than `jump_ns` begins a new run. Raises DataError.

    posed: poses come from a file, so the transform from their frame to the camera may be needed.
    """
    with open_bag(bag) as opened:
        found = find_topics(opened, wishes)
        counts = {name: topic.msgcount for name, topic in opened.topics.items()}
        index = Index(found, counts, PoseSamples(TransformTree(str(bag))), list(opened.notes))
        wanted = {*found.roles().values(), CLASSES_TOPIC}
        odometry = found.pose is not None and found.types[found.pose].endswith("Odometry")
        named = frames.pose_frame if frames.pose_frame is not None else odometry
        transforms: list[str] = []
        if found.transforms or ((found.pose is not None or posed) and named and frames.extrinsics_7 is None):
            transforms = found.transform_topics()
        clock = _Clock(jump_ns)
        total = sum(counts.get(topic, 0) for topic in {*wanted, *transforms})
        read: Counter[str] = Counter()
        for each in track(opened.messages({*wanted, *transforms}), f"surveying {bag.name}", total):
            read[each.topic] += 1
            if each.topic == CLASSES_TOPIC:
                index.classes = messages.classes(each.message(), f"{bag}: {CLASSES_TOPIC}")
            elif each.topic in transforms:
                index.frames.setdefault(each.topic, set())
                for parent, child, stamp, pose_7 in messages.transforms(each.message()):
                    static = is_static(each.topic)
                    run = clock.run if static else clock.run_of(f"{each.topic} {parent} {child}", stamp, False)
                    index.samples.tree.add(parent, child, stamp, pose_7, static=static, run=run)
            else:
                _take(index, each, clock, bag)
    for topic in found.roles().values():
        if not read[topic]:
            raise DataError(f"{bag}: counts {counts[topic]} messages of {topic}, none could be read")
    for topic in sorted({*wanted, *transforms} & counts.keys()):
        if read[topic] != counts[topic]:
            index.notes.append(f"{bag}: counts {counts[topic]} messages of {topic}, {read[topic]} could be read")
    return index


def _take(index: Index, each: BagMessage, clock: _Clock, bag: Path) -> None:
    found, stamp = index.found, each.header_stamp_ns()
    where = f"{bag}: {each.topic} at {seconds(stamp)}"
    index.stamps.setdefault(each.topic, []).append(stamp)
    index.runs.setdefault(each.topic, []).append(clock.run_of(each.topic, stamp))
    index.frames.setdefault(each.topic, set()).add(each.header_frame())
    if each.topic == found.camera_info:
        message = each.message()
        try:
            index.cameras.append(messages.camera(message, found.image, where))
        except DataError as error:
            index.cameras.append(None)
            index.not_calibrated.append(str(error))
    elif each.topic == found.pose:
        message, samples = each.message(), index.samples
        try:
            samples.poses.append(messages.pose(message, where))
        except PoseError as error:
            samples.poses.append(UNKNOWN)
            samples.lost.append(str(error))
        samples.stamps.append(stamp)
        samples.runs.append(index.runs[each.topic][-1])
        if np.isnan(samples.poses[-1]).any():
            return  # a lost pose often has no frame_id either
        samples.parents.add(message.header.frame_id.lstrip("/"))
        samples.children.update({getattr(message, "child_frame_id", "").lstrip("/")} - {""})


def seconds(stamp_ns: int) -> str:
    """A stamp as people read it."""
    return f"{stamp_ns // SECOND_NS}.{stamp_ns % SECOND_NS:09d} s"
