"""What is known of a recording before its pixels are read: the frames to write, and notes on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.clock_offset import Turning, find_offset, turning_of_images
from vlocnetpp.data.bags.index import Index, read_index
from vlocnetpp.data.bags.plan import NO_POSE, NOT_AFTER, Limits, Planned, nearest, plan
from vlocnetpp.data.bags.pose_file import read_pose_file
from vlocnetpp.data.bags.pose_source import FrameWishes, PoseSamples, PoseSource, pose_source
from vlocnetpp.data.bags.reader import SECOND_NS, open_bag
from vlocnetpp.data.bags.topics import Found, Topics
from vlocnetpp.data.frames import LabelClass
from vlocnetpp.errors import DataError
from vlocnetpp.progress import track

LACKING_SHARE = 0.1
"""Of the frames; where more have no depth or mask, although there is a topic of it, it is said."""
MOST_IMAGES = 3000
"""About so many images are used to estimate a clock's offset."""
LONGEST_STEP_S = 0.5


@dataclass(frozen=True)
class Recording:
    """What is known of a bag before its pixels are read."""

    bag: Path
    split: str
    found: Found
    frames: list[Planned]
    classes: tuple[LabelClass, ...]
    map_frame: str
    chain: str
    images: int
    """Number of recorded images, of which `frames` are kept."""
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


@dataclass(frozen=True)
class PoseFile:
    """A file of poses that are not in the recording."""

    path: Path
    offset_s: float | None
    """Seconds to add to its stamps; None estimates them from the images."""


def survey(
    bag: Path, split: str, wishes: Topics, frames: FrameWishes, limits: Limits, poses: PoseFile | None = None
) -> Recording:
    """Read a bag without its pixels. Raises DataError naming the bag, the topic and the reason if it cannot be used.

    poses: a file that they come from instead of a topic; to find the offset of its clock, some images are decoded.
    """
    index = read_index(bag, wishes, frames, limits.gap_ns, posed=poses is not None)
    found = index.found
    if not any(index.stamps[found.image]):
        raise DataError(f"{bag}: {found.image} carries no stamps, nothing can be matched to it")
    if index.cameras and not any(index.cameras):
        raise DataError(index.not_calibrated[0])
    notes = [*index.notes, *_notes(bag, index)]
    source = None
    if poses is not None:
        notes += _fill_from_file(bag, index, poses, frames.map_frame or "map")
    name = found.pose if poses is None else str(poses.path)
    if name is None:
        notes.append(f"{bag}: no pose topic is read, so the frames have no pose")
    else:
        source = pose_source(bag, found, name, index.samples, index.frames[found.image], frames, limits.pose_ns)
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
    for kind, topic in (("depth", found.depth), ("mask", found.mask)):
        without = sum(getattr(frame, kind) is None for frame in planned)
        if topic is not None and without > LACKING_SHARE * len(planned):
            within = f"within {limits.association_ns / SECOND_NS:g} s (--max-association)"
            notes.append(f"{bag}: {without} of {len(planned)} frames have no {kind}, {topic} has none {within}")
    if found.mask is not None and not index.classes:
        notes.append(f"{bag}: {found.mask} has no class names; write them into dataset.yaml (docs/recordings.md)")
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


def _fill_from_file(bag: Path, index: Index, file: PoseFile, map_frame: str) -> tuple[str, ...]:
    """Add the poses of a file to the index, on the clock of the images. Returns notes."""
    stamps, poses, notes = read_pose_file(file.path)
    offset_s = file.offset_s
    if offset_s is None:
        found = find_offset(_turning(bag, index), stamps, poses)
        how = "give the seconds to add to its stamps with --pose-offset (0: the clocks are the same)"
        if found is None:
            raise DataError(f"{file.path}: too few images and poses to find the offset of its clock; {how}")
        if not found.clear:
            raise DataError(
                f"{file.path}: the offset of its clock cannot be told, turning by images and by poses agrees to "
                f"{found.correlation:.2f} at {found.seconds:+.3f} s and to {found.rival:.2f} elsewhere; {how}"
            )
        offset_s = found.seconds
        elsewhere = f", elsewhere at most {found.rival:.2f}" if found.rival > -1.0 else ""
        agreed = f"(correlation {found.correlation:.2f}{elsewhere})"
        notes += (f"{file.path}: clock offset {offset_s:+.3f} s, by turning in the images and in the poses {agreed}",)
    samples = index.samples
    samples.stamps = (stamps + round(offset_s * SECOND_NS)).tolist()
    samples.poses, samples.runs, samples.any_run = list(poses), [0] * len(stamps), True
    samples.parents = {map_frame.lstrip("/")}
    return notes


def _turning(bag: Path, index: Index) -> Turning:
    """The camera's angular speed by its images; of a long recording by pairs of neighbours at intervals."""
    found = index.found
    every = max(1, len(index.stamps[found.image]) // MOST_IMAGES)
    camera = next(each for each in index.cameras if each is not None)

    def images() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        with open_bag(bag) as opened:
            for place, each in enumerate(opened.messages({found.image})):
                if place % every < 2:
                    try:
                        image_HW3 = messages.color(each.message(), f"{bag}: {found.image}")[0]
                    except DataError:  # left out and counted when the images are copied
                        continue
                    yield each.header_stamp_ns(), image_HW3

    shown = track(images(), f"turning in {bag.name}", len(index.stamps[found.image]) * min(2, every) // every)
    return turning_of_images(shown, camera.K_33, LONGEST_STEP_S)


def _notes(bag: Path, index: Index) -> list[str]:
    found, notes = index.found, []
    if index.not_calibrated:
        passed = len(index.not_calibrated)
        notes.append(f"{index.not_calibrated[0]}: {passed} of {len(index.cameras)} camera_info are passed over")
    if any(camera is not None and camera.distorted for camera in index.cameras):
        notes.append(
            f"{bag}: {found.camera_info} has lens distortion, which is not corrected; record a rectified image"
        )

    def of(topic: str) -> str:
        return " and ".join(sorted(index.frames[topic]))

    image_frames = index.frames[found.image]
    camera_frames = index.frames[found.camera_info] - {""}
    if camera_frames and camera_frames.isdisjoint(image_frames):
        notes.append(
            f"{bag}: {found.camera_info} is of frame '{of(found.camera_info)}', the image of '{of(found.image)}'; "
            "K may be another camera's: name the image's own with --camera-info-topic"
        )
    if found.depth is not None and index.frames[found.depth] != image_frames:
        notes.append(
            f"{bag}: {found.depth} is of frame '{of(found.depth)}', the image of '{of(found.image)}'; it must be "
            "registered to the image, pixel by pixel"
        )
    return notes


def _why_no_pose(index: Index, source: PoseSource, limits: Limits) -> str:
    at_ns = np.array(index.stamps[index.found.image], np.int64)
    said = f"no image lies between two poses and within {limits.pose_ns / SECOND_NS:g} s of one (--max-pose-distance)"
    for each in source.nearest_of:
        name = (index.found.pose or "the file's poses") if isinstance(each, PoseSamples) else str(each)
        distance = nearest(np.array(each.stamps, np.int64), at_ns)[1].min() / SECOND_NS
        said += f"; the nearest of {name} is {distance:.3f} s away"
    return said


def _rate(index: Index, topic: str) -> str:
    stamps = index.stamps.get(topic, [])
    steps = np.diff(np.sort(np.array(stamps, np.int64)))
    steps = steps[steps > 0]
    return f"  {SECOND_NS / np.median(steps):.1f} Hz" if len(steps) else ""
