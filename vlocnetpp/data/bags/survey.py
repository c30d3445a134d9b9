"""The first pass through a recording: which frames will be written, from stamps, poses and K alone.

Only header stamps count, never the time of recording. Where the clock is set back (a bag played in a loop, a simulation
started anew), a new run begins: nothing of one run is matched with anything of another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages as says
from vlocnetpp.data.bags.pose_source import FrameWishes, PoseSamples, PoseSource, pose_source
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, messages, open_bag
from vlocnetpp.data.bags.to_bag import CLASSES_TOPIC
from vlocnetpp.data.bags.topics import Found, Topics, find_topics, is_static
from vlocnetpp.data.bags.transforms import TransformTree
from vlocnetpp.data.frames import DataError, LabelClass
from vlocnetpp.data.poses import angle_between
from vlocnetpp.progress import track

NOT_AFTER, NO_POSE, STOOD_STILL = "their stamp is not after the one before", "no pose", "too little motion"
"""Why an image is left out."""


@dataclass(frozen=True)
class Limits:
    """What belongs together and what is kept."""

    association_ns: int
    pose_ns: int
    gap_ns: int
    translation_m: float
    rotation_rad: float


@dataclass(frozen=True)
class Planned:
    """A frame to be written: which messages of each topic, counted from 0 in the bag's order, belong together."""

    sequence: str
    stamp_ns: int
    camera: says.Camera
    pose_7: NDArray[np.float64] | None
    image: int
    depth: int | None
    mask: int | None


@dataclass(frozen=True)
class Recording:
    """All that is to be known of a bag before its pixels are read."""

    bag: Path
    split: str
    found: Found
    frames: list[Planned]
    classes: tuple[LabelClass, ...]
    map_frame: str
    chain: str
    images: int
    """Recorded, of which `frames` are kept."""
    left_out: dict[str, int]
    """Reason -> images."""
    topics: dict[str, str]
    """Topic that is read -> type, count and rate."""
    notes: tuple[str, ...]

    def spans(self) -> dict[str, tuple[int, int, int]]:
        """Sequence -> frames, first and last stamp in nanoseconds."""
        spans: dict[str, tuple[int, int, int]] = {}
        for frame in self.frames:
            count, first, _ = spans.get(frame.sequence, (0, frame.stamp_ns, 0))
            spans[frame.sequence] = (count + 1, first, frame.stamp_ns)
        return spans

    @property
    def seconds(self) -> float:
        """Recorded time without the gaps between sequences."""
        return sum(last - first for _, first, last in self.spans().values()) / SECOND_NS


@dataclass
class _Index:
    """What the first pass gathers, message by message."""

    found: Found
    counts: dict[str, int]
    samples: PoseSamples
    stamps: dict[str, list[int]] = field(default_factory=dict)
    runs: dict[str, list[int]] = field(default_factory=dict)
    cameras: list[says.Camera] = field(default_factory=list)
    frames: dict[str, set[str]] = field(default_factory=dict)
    """Topic -> frame_ids of its headers."""
    classes: tuple[LabelClass, ...] = ()

    def of_run(self, topic: str | None, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions and stamps of a topic's messages in a run of the clock."""
        if topic is None or topic not in self.stamps:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        positions = np.flatnonzero(np.array(self.runs[topic]) == run)
        return positions, np.array(self.stamps[topic], np.int64)[positions]


class _Clock:
    """Counts how often the clock of a recording was set back, by stamps that go back further than disorder does."""

    def __init__(self, jump_ns: int) -> None:
        self.run = 0
        self._jump_ns = jump_ns
        self._latest: dict[str, int] = {}

    def run_of(self, key: str, stamp_ns: int) -> int:
        """The run that a message with this stamp belongs to; `key` is whose stamps are in order among each other."""
        if 0 < stamp_ns < self._latest.get(key, 0) - self._jump_ns:
            self.run += 1
            self._latest.clear()
        self._latest[key] = max(stamp_ns, self._latest.get(key, 0))
        return self.run


def survey(bag: Path, split: str, wishes: Topics, frames: FrameWishes, limits: Limits) -> Recording:
    """Read a bag without its pixels. Raises DataError naming the bag, the topic and the reason if it cannot be used."""
    index = _index(bag, wishes, frames, limits)
    found = index.found
    if not any(index.stamps[found.image]):
        raise DataError(f"{bag}: {found.image} carries no stamps, nothing can be matched to it")
    notes = _notes(bag, index)
    source = None
    if found.pose is None:
        notes.append(f"{bag}: no pose topic is read, so the frames have no pose")
    else:
        source = pose_source(bag, found, index.samples, index.frames[found.image], frames, limits.pose_ns)
        notes += source.notes
    planned, left_out = _plan(index, split, source, limits)
    if source is not None and not planned:
        raise DataError(f"{bag}: {_why_no_pose(index, source, limits)}")
    for reason, count in left_out.items():
        if reason == NOT_AFTER:
            notes.append(f"{bag}: {count} images left out, {reason}")
        elif reason == NO_POSE:
            within = f"within {limits.pose_ns / SECOND_NS:g} s"
            notes.append(
                f"{bag}: {count} of {len(index.stamps[found.image])} images left out, no pose before and after {within}"
                " of one (--max-pose-distance)"
            )
    runs = max(index.runs[found.image]) + 1
    if runs > 1:
        times = "once" if runs == 2 else f"{runs - 1} times"
        notes.append(f"{bag}: the clock goes back {times}; what comes after is in sequences of its own")
    if source is None:
        map_frame, chain = "", ""
    else:
        map_frame, chain = source.map_frame, source.chain
    read = {*found.roles().values(), *(topic for topic in found.transform_topics() if topic in index.frames)}
    topics = {topic: f"{found.types[topic]}  {index.counts[topic]}{_rate(index, topic)}" for topic in sorted(read)}
    images = len(index.stamps[found.image])
    return Recording(
        bag, split, found, planned, index.classes, map_frame, chain, images, dict(left_out), topics, tuple(notes)
    )


def _index(bag: Path, wishes: Topics, frames: FrameWishes, limits: Limits) -> _Index:
    with open_bag(bag) as reader:
        found = find_topics(reader, bag, wishes)
        counts = {name: info.msgcount for name, info in reader.topics.items()}
        index = _Index(found, counts, PoseSamples(TransformTree(str(bag))))
        wanted = {*found.roles().values(), CLASSES_TOPIC}
        odometry = found.pose is not None and found.types[found.pose].endswith("Odometry")
        named = frames.pose_frame if frames.pose_frame is not None else odometry
        transforms: list[str] = []
        if found.transforms or (found.pose is not None and named and frames.extrinsics_7 is None):
            transforms = found.transform_topics()
        clock = _Clock(limits.gap_ns)
        total = sum(counts.get(topic, 0) for topic in {*wanted, *transforms})
        for each in track(messages(reader, {*wanted, *transforms}), f"surveying {bag.name}", total):
            if each.topic == CLASSES_TOPIC:
                index.classes = says.classes(each.message(), f"{bag}: {CLASSES_TOPIC}")
            elif each.topic in transforms:
                index.frames.setdefault(each.topic, set())
                for parent, child, stamp, pose_7 in says.transforms(each.message(), f"{bag}: {each.topic}"):
                    static = is_static(each.topic)
                    run = clock.run if static else clock.run_of(f"{each.topic} {parent} {child}", stamp)
                    index.samples.tree.add(parent, child, stamp, pose_7, static=static, run=run)
            else:
                _take(index, each, clock, bag)
    return index


def _take(index: _Index, each: BagMessage, clock: _Clock, bag: Path) -> None:
    found, stamp = index.found, each.header_stamp_ns()
    where = f"{bag}: {each.topic} at {seconds(stamp)}"
    index.stamps.setdefault(each.topic, []).append(stamp)
    index.runs.setdefault(each.topic, []).append(clock.run_of(each.topic, stamp))
    index.frames.setdefault(each.topic, set()).add(each.header_frame())
    if each.topic == found.camera_info:
        index.cameras.append(says.camera(each.message(), found.image, where))
    elif each.topic == found.pose:
        message, samples = each.message(), index.samples
        samples.poses.append(says.pose(message, where))
        samples.stamps.append(stamp)
        samples.runs.append(index.runs[each.topic][-1])
        samples.parents.add(message.header.frame_id.lstrip("/"))
        samples.children.update({getattr(message, "child_frame_id", "").lstrip("/")} - {""})


def _notes(bag: Path, index: _Index) -> list[str]:
    found, notes = index.found, []
    if any(camera.distorted for camera in index.cameras):
        notes.append(
            f"{bag}: {found.camera_info} has lens distortion, which is not corrected; record a rectified image"
        )
    image_frames = index.frames[found.image]
    if found.depth is not None and index.frames[found.depth] != image_frames:
        depth_of, image_of = (" and ".join(sorted(names)) for names in (index.frames[found.depth], image_frames))
        notes.append(
            f"{bag}: {found.depth} is of frame '{depth_of}', the image of '{image_of}'; it must be registered to the "
            "image, pixel by pixel"
        )
    return notes


def _plan(index: _Index, split: str, source: PoseSource | None, limits: Limits) -> tuple[list[Planned], Counter[str]]:
    """The frames to write: those with a pose where there is a pose source, cut into sequences, thinned by motion."""
    found = index.found
    left_out: Counter[str] = Counter()
    frames: list[Planned] = []
    sequence = -1
    for run in sorted(set(index.runs[found.image])):
        images, stamps = index.of_run(found.image, run)
        after = _increasing(stamps)
        left_out[NOT_AFTER] += len(stamps) - len(after)
        images, at_ns = images[after], stamps[after]
        poses_M7 = None if source is None else source.at(at_ns, run)
        partner = {}
        for kind, topic in (("depth", found.depth), ("mask", found.mask)):
            partner[kind] = _partners(index, topic, run, at_ns, limits.association_ns)
        cameras = _cameras(index, run, at_ns)
        last_ns, last_pose = None, None
        for row, (image, stamp) in enumerate(zip(images.tolist(), at_ns.tolist(), strict=True)):
            pose = None if poses_M7 is None else poses_M7[row]
            if pose is not None and not np.isfinite(pose).all():
                left_out[NO_POSE] += 1
                continue
            if last_ns is None or stamp - last_ns > limits.gap_ns:
                sequence, last_pose = sequence + 1, None
            last_ns = stamp
            if pose is not None and last_pose is not None and not _moved(last_pose, pose, limits):
                left_out[STOOD_STILL] += 1
                continue
            last_pose = pose
            depth, mask = partner["depth"][row], partner["mask"][row]
            frames.append(Planned(f"{split}-{sequence:02d}", stamp, cameras[row], pose, image, depth, mask))
    return frames, +left_out


def _why_no_pose(index: _Index, source: PoseSource, limits: Limits) -> str:
    at_ns = np.array(index.stamps[index.found.image], np.int64)
    said = f"no image lies between two poses and within {limits.pose_ns / SECOND_NS:g} s of one (--max-pose-distance)"
    for each in source.nearest_of:
        name = index.found.pose if isinstance(each, PoseSamples) else str(each)
        distance = _nearest(np.array(each.stamps, np.int64), at_ns)[1].min() / SECOND_NS
        said += f"; the nearest of {name} is {distance:.3f} s away"
    return said


def _partners(index: _Index, topic: str | None, run: int, at_ns: NDArray[np.int64], limit_ns: int) -> list[int | None]:
    """For every image the nearest message of a topic, None where it is too far away."""
    positions, stamps = index.of_run(topic, run)
    if not len(positions) or not len(at_ns):
        return [None] * len(at_ns)
    nearest, distance = _nearest(stamps, at_ns)
    return [int(positions[each]) if far <= limit_ns else None for each, far in zip(nearest, distance, strict=True)]


def _cameras(index: _Index, run: int, at_ns: NDArray[np.int64]) -> list[says.Camera]:
    """The camera_info before an image is the one that held when it was taken; without one, the first that there is."""
    positions, stamps = index.of_run(index.found.camera_info, run)
    if not len(positions):
        return [index.cameras[0]] * len(at_ns)
    order = np.argsort(stamps, kind="stable")
    before = np.clip(np.searchsorted(stamps[order], at_ns, "right") - 1, 0, None)
    return [index.cameras[each] for each in positions[order][before]]


def _increasing(stamps: NDArray[np.int64]) -> list[int]:
    """Positions of the stamps that come after all before them."""
    kept: list[int] = []
    for index, stamp in enumerate(stamps.tolist()):
        if not kept or stamp > stamps[kept[-1]]:
            kept.append(index)
    return kept


def _nearest(stamps: NDArray[np.int64], at_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every wanted stamp the position of the nearest one, and its distance in nanoseconds."""
    order = np.argsort(stamps, kind="stable")
    ordered = stamps[order]
    after = np.clip(np.searchsorted(ordered, at_ns), 0, len(ordered) - 1)
    before = np.clip(after - 1, 0, None)
    best = np.where(np.abs(ordered[after] - at_ns) < np.abs(ordered[before] - at_ns), after, before)
    return order[best], np.abs(ordered[best] - at_ns)


def _moved(before_7: NDArray[np.float64], after_7: NDArray[np.float64], limits: Limits) -> bool:
    if not limits.translation_m and not limits.rotation_rad:
        return True
    metres = float(np.linalg.norm(after_7[:3] - before_7[:3]))
    return bool(
        (limits.translation_m and metres >= limits.translation_m)
        or (limits.rotation_rad and angle_between(before_7, after_7) >= limits.rotation_rad)
    )


def _rate(index: _Index, topic: str) -> str:
    stamps = index.stamps.get(topic, [])
    steps = np.diff(np.sort(np.array(stamps, np.int64)))
    steps = steps[steps > 0]
    return f"  {SECOND_NS / np.median(steps):.1f} Hz" if len(steps) else ""


def seconds(stamp_ns: int) -> str:
    """A stamp as people read it."""
    return f"{stamp_ns // SECOND_NS}.{stamp_ns % SECOND_NS:09d} s"
