"""All that is to be known of a recording before its pixels are read: the frames to write, and what to tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlocnetpp.data.bags.index import Index, read_index
from vlocnetpp.data.bags.plan import NO_POSE, NOT_AFTER, Limits, Planned, nearest, plan
from vlocnetpp.data.bags.pose_source import FrameWishes, PoseSamples, PoseSource, pose_source
from vlocnetpp.data.bags.reader import SECOND_NS
from vlocnetpp.data.bags.topics import Found, Topics
from vlocnetpp.data.frames import LabelClass
from vlocnetpp.errors import DataError


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


def survey(bag: Path, split: str, wishes: Topics, frames: FrameWishes, limits: Limits) -> Recording:
    """Read a bag without its pixels. Raises DataError naming the bag, the topic and the reason if it cannot be used."""
    index = read_index(bag, wishes, frames, limits.gap_ns)
    found = index.found
    if not any(index.stamps[found.image]):
        raise DataError(f"{bag}: {found.image} carries no stamps, nothing can be matched to it")
    if index.cameras and not any(index.cameras):
        raise DataError(index.not_calibrated[0])
    notes = [*index.notes, *_notes(bag, index)]
    source = None
    if found.pose is None:
        notes.append(f"{bag}: no pose topic is read, so the frames have no pose")
    else:
        source = pose_source(bag, found, index.samples, index.frames[found.image], frames, limits.pose_ns)
        notes += source.notes
    planned, left_out = plan(index, split, source, limits)
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


def _notes(bag: Path, index: Index) -> list[str]:
    found, notes = index.found, []
    if index.not_calibrated:
        passed = len(index.not_calibrated)
        notes.append(f"{index.not_calibrated[0]}: {passed} of {len(index.cameras)} camera_info are passed over")
    if any(camera is not None and camera.distorted for camera in index.cameras):
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


def _why_no_pose(index: Index, source: PoseSource, limits: Limits) -> str:
    at_ns = np.array(index.stamps[index.found.image], np.int64)
    said = f"no image lies between two poses and within {limits.pose_ns / SECOND_NS:g} s of one (--max-pose-distance)"
    for each in source.nearest_of:
        name = index.found.pose if isinstance(each, PoseSamples) else str(each)
        distance = nearest(np.array(each.stamps, np.int64), at_ns)[1].min() / SECOND_NS
        said += f"; the nearest of {name} is {distance:.3f} s away"
    return said


def _rate(index: Index, topic: str) -> str:
    stamps = index.stamps.get(topic, [])
    steps = np.diff(np.sort(np.array(stamps, np.int64)))
    steps = steps[steps > 0]
    return f"  {SECOND_NS / np.median(steps):.1f} Hz" if len(steps) else ""
