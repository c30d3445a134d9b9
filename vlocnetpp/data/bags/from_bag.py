"""A recording as a dataset folder: images with K, and what the bag has of poses, depth and masks, matched by stamp.

Only header stamps count, never the time of recording. A frame's pose is interpolated (linear and slerp) between the
pose before and the pose after it, never extrapolated; the nearer of the two must be within `max_association_s`. Depth
and mask are the nearest in time within the same limit. Poses are taken as those of the camera's optical frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages as says
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, BagSummary, messages, open_bag, size_on_disk
from vlocnetpp.data.bags.to_bag import CLASSES_TOPIC, MASK_TOPIC
from vlocnetpp.data.frames import DataError, LabelClass
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.poses import angle_between, interpolate_poses
from vlocnetpp.progress import track

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader


def read_bag(
    bag: Path | Mapping[str, Path],
    out: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    pose_topic: str | None = None,
    depth_topic: str | None = None,
    mask_topic: str | None = None,
    max_association_s: float = 0.02,
    split: str = "train",
    gap_s: float = 1.0,
    min_translation_m: float = 0.0,
    min_rotation_deg: float = 0.0,
    jpeg_quality: int = 92,
) -> BagSummary:
    """Convert a recording into the project's folder `out`, whole or not at all.

    bag: rosbag1, rosbag2 folder, .mcap or .db3 file; or a bag for each split, e.g. {"train": a, "test": b}.
    *_topic: None finds the topic by its type and fails with the candidates where there are several; "" leaves the
    pose, depth or mask out. The mask is found only under the name that `write_bag` gives it.
    max_association_s: see the module. Frames without a pose are left out and counted in the notes; a bag without any
    pose topic gives frames without poses.
    gap_s: a longer pause between images begins a new sequence. min_translation_m, min_rotation_deg: a frame that has
    moved less than both since the last one kept is left out; 0 asks for no motion of that kind.
    jpeg_quality: of images recorded raw; JPEG and PNG bytes are copied unchanged.
    Raises DataError in one line naming the bag, the topic and the reason; then nothing is left at `out`.
    """
    wishes = _Wishes(image_topic, camera_info_topic, pose_topic, depth_topic, mask_topic)
    limits = _Limits(
        round(max_association_s * SECOND_NS), round(gap_s * SECOND_NS), min_translation_m, np.deg2rad(min_rotation_deg)
    )
    writer = FolderWriter(out, jpeg_quality=jpeg_quality)
    bags = {name: Path(path) for name, path in bag.items()} if isinstance(bag, Mapping) else {split: Path(bag)}
    recordings = [_survey(path, name, wishes, limits) for name, path in bags.items()]
    map_frames = {each.map_frame for each in recordings if each.map_frame}
    if len(map_frames) > 1:
        raise DataError(f"{out}: the bags' poses are in different frames: {', '.join(sorted(map_frames))}")
    if len({each.classes for each in recordings}) > 1:
        raise DataError(f"{out}: the bags' masks have different classes")
    writer.map_frame = map_frames.pop() if map_frames else "map"
    writer.classes = recordings[0].classes
    with writer:
        for recording in recordings:
            _copy(recording, writer)
    topics = {}
    for recording in recordings:
        for topic, what in recording.topics.items():
            topics[topic if len(recordings) == 1 else f"{recording.split}: {topic}"] = what
    frames = [frame for recording in recordings for frame in recording.frames]
    seconds = sum(recording.seconds for recording in recordings)
    notes = tuple(note for recording in recordings for note in recording.notes)
    sequences = len({frame.sequence for frame in frames})
    return BagSummary(Path(out), len(frames), sequences, seconds, topics, size_on_disk(Path(out)), notes)


@dataclass(frozen=True)
class _Wishes:
    """Topics as the user named them."""

    image: str | None
    camera_info: str | None
    pose: str | None
    depth: str | None
    mask: str | None


@dataclass(frozen=True)
class _Limits:
    association_ns: int
    gap_ns: int
    translation_m: float
    rotation_rad: float


@dataclass(frozen=True)
class _Topics:
    """Topics as they were found."""

    image: str
    camera_info: str
    pose: str | None
    depth: str | None
    mask: str | None


@dataclass(frozen=True)
class _Planned:
    """A frame to be written: which messages of each topic, counted from 0 in the bag's order, belong together."""

    sequence: str
    stamp_ns: int
    camera: says.Camera
    pose_7: NDArray[np.float64] | None
    image: int
    depth: int | None
    mask: int | None


@dataclass(frozen=True)
class _Recording:
    """All that is to be known of a bag before its pixels are read."""

    bag: Path
    split: str
    found: _Topics
    frames: list[_Planned]
    classes: tuple[LabelClass, ...]
    map_frame: str
    topics: dict[str, str]
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Recorded time without the gaps between sequences."""
        ends: dict[str, tuple[int, int]] = {}
        for frame in self.frames:
            first, _ = ends.get(frame.sequence, (frame.stamp_ns, 0))
            ends[frame.sequence] = (first, frame.stamp_ns)
        return sum(last - first for first, last in ends.values()) / SECOND_NS


@dataclass
class _Index:
    """What the first pass through a bag gathers, message by message."""

    found: _Topics
    counts: dict[str, str]
    stamps: dict[str, list[int]] = field(default_factory=dict)
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    cameras: list[says.Camera] = field(default_factory=list)
    frame_ids: set[tuple[str, str]] = field(default_factory=set)
    """(frame, child frame) of the poses."""
    classes: tuple[LabelClass, ...] = ()


def _survey(bag: Path, split: str, wishes: _Wishes, limits: _Limits) -> _Recording:
    """Stamps, poses and K of a bag, and from them the frames that will be written."""
    index = _index(bag, wishes)
    found, notes = index.found, []
    parents = sorted({parent for parent, _ in index.frame_ids})
    if len(parents) > 1:
        raise DataError(f"{bag}: {found.pose} is in several frames: {', '.join(parents)}")
    for _, child in sorted(index.frame_ids):
        if child and "optical" not in child:
            notes.append(f"{bag}: poses are of '{child}'; its offset to the camera is not applied")
    if any(camera.distorted for camera in index.cameras):
        notes.append(
            f"{bag}: {found.camera_info} has lens distortion, which is not corrected; record a rectified image"
        )
    images = _increasing(index.stamps[found.image])
    skipped = len(index.stamps[found.image]) - len(images)
    if skipped:
        notes.append(f"{bag}: {skipped} images left out, their stamp does not come after the one before")
    at_ns = np.array([index.stamps[found.image][image] for image in images])
    if not at_ns.any():
        raise DataError(f"{bag}: {found.image} carries no stamps, nothing can be matched to it")
    poses: list[NDArray[np.float64] | None] = [None] * len(images)
    if found.pose is None:
        notes.append(f"{bag}: no pose topic is read, so the frames have no pose")
    else:
        pose_ns = np.array(index.stamps[found.pose])
        poses = interpolate_poses(pose_ns, np.array(index.poses), at_ns, limits.association_ns)
        missing, limit = sum(pose is None for pose in poses), f"within {limits.association_ns / SECOND_NS:g} s"
        if missing == len(poses):
            nearest = _nearest(pose_ns, at_ns)[1].min() / SECOND_NS
            raise DataError(
                f"{bag}: no image lies between two poses of {found.pose} and {limit} of one; the nearest is "
                f"{nearest:.3f} s away"
            )
        if missing:
            notes.append(f"{bag}: {missing} of {len(poses)} images left out, no pose before and after {limit} of one")
    frames = _plan(index, split, images, at_ns, poses, limits)
    topics = {topic: index.counts[topic] for topic in sorted(vars(found).values(), key=str) if topic}
    return _Recording(bag, split, found, frames, index.classes, parents[0] if parents else "", topics, tuple(notes))


def _index(bag: Path, wishes: _Wishes) -> _Index:
    """First pass: header stamps of every topic, and the messages that are small."""
    with open_bag(bag) as reader:
        found = _find_topics(reader, bag, wishes)
        index = _Index(found, {name: f"{info.msgtype}  {info.msgcount}" for name, info in reader.topics.items()})
        wanted = {topic for topic in vars(found).values() if topic}
        for each in messages(reader, wanted | {CLASSES_TOPIC}):
            if each.topic == CLASSES_TOPIC:
                index.classes = says.classes(each.message(), f"{bag}: {CLASSES_TOPIC}")
                continue
            stamp = each.header_stamp_ns()
            index.stamps.setdefault(each.topic, []).append(stamp)
            where = f"{bag}: {each.topic} at {_seconds(stamp)}"
            if each.topic == found.camera_info:
                index.cameras.append(says.camera(each.message(), found.image, where))
            elif each.topic == found.pose:
                message = each.message()
                index.poses.append(says.pose(message, where))
                index.frame_ids.add((message.header.frame_id, getattr(message, "child_frame_id", "")))
    return index


def _plan(
    index: _Index,
    split: str,
    images: list[int],
    at_ns: NDArray[np.int64],
    poses: list[NDArray[np.float64] | None],
    limits: _Limits,
) -> list[_Planned]:
    """The frames to write: those with a pose where there is a pose topic, cut into sequences, thinned by motion."""
    found = index.found
    partner: dict[str, list[int | None]] = {}
    for kind, topic in (("depth", found.depth), ("mask", found.mask)):
        partner[kind] = [None] * len(images)
        if topic:
            nearest, distance = _nearest(np.array(index.stamps[topic]), at_ns)
            near = distance <= limits.association_ns
            partner[kind] = [int(each) if ok else None for each, ok in zip(nearest, near, strict=True)]
    # the camera_info before an image is the one that held when it was taken
    camera = np.clip(np.searchsorted(index.stamps[found.camera_info], at_ns, "right") - 1, 0, None)
    frames: list[_Planned] = []
    sequence, last_ns, last_pose = -1, None, None
    for row, (image, stamp, pose) in enumerate(zip(images, at_ns.tolist(), poses, strict=True)):
        if pose is None and found.pose is not None:
            continue
        if last_ns is None or stamp - last_ns > limits.gap_ns:
            sequence, last_pose = sequence + 1, None
        last_ns = stamp
        if pose is not None and last_pose is not None and not _moved(last_pose, pose, limits):
            continue
        last_pose = pose
        frames.append(
            _Planned(
                f"{split}-{sequence:02d}",
                stamp,
                index.cameras[camera[row]],
                pose,
                image,
                partner["depth"][row],
                partner["mask"][row],
            )
        )
    return frames


def _copy(recording: _Recording, writer: FolderWriter) -> None:
    """Second pass: write each planned frame as soon as all its messages have come by."""
    found = recording.found
    plan = [
        [(topic, index) for topic, index in ((found.image, f.image), (found.depth, f.depth), (found.mask, f.mask))]
        for f in recording.frames
    ]
    parts = [[(topic, index) for topic, index in keys if topic and index is not None] for keys in plan]
    uses = Counter(key for keys in parts for key in keys)
    held: dict[tuple[str, int], BagMessage] = {}
    seen: Counter[str] = Counter()
    done = 0
    topics = {topic for topic in (found.image, found.depth, found.mask) if topic}
    with open_bag(recording.bag) as reader:
        total = sum(info.msgcount for name, info in reader.topics.items() if name in topics)
        for each in track(messages(reader, topics), f"reading {recording.bag.name}", total):
            key = (each.topic, seen[each.topic])
            seen[each.topic] += 1
            if uses[key]:
                held[key] = each
            while done < len(parts) and all(key in held for key in parts[done]):
                _write(recording, recording.frames[done], held, writer)
                for key in parts[done]:
                    uses[key] -= 1
                    if not uses[key]:
                        del held[key]
                done += 1
    if done < len(parts):
        raise DataError(f"{recording.bag}: has changed while it was read")


def _write(
    recording: _Recording, frame: _Planned, held: dict[tuple[str, int], BagMessage], writer: FolderWriter
) -> None:
    found, at = recording.found, _seconds(frame.stamp_ns)
    where = f"{recording.bag}: {found.image} at {at}"
    image_HW3, encoded = says.color(held[found.image, frame.image].message(), where)
    if any(frame.camera.size) and image_HW3.shape[:2] != frame.camera.size:
        raise DataError(
            f"{where}: the image is {image_HW3.shape[1]} x {image_HW3.shape[0]}, "
            f"{found.camera_info} is for {frame.camera.size[1]} x {frame.camera.size[0]}"
        )
    depth_HW = mask_HW = None
    if found.depth is not None and frame.depth is not None:
        depth_HW = says.depth(held[found.depth, frame.depth].message(), f"{recording.bag}: {found.depth} at {at}")
    if found.mask is not None and frame.mask is not None:
        mask_HW = says.mask(held[found.mask, frame.mask].message(), f"{recording.bag}: {found.mask} at {at}")
    for kind, pixels in (("depth", depth_HW), ("mask", mask_HW)):
        if pixels is not None and pixels.shape != image_HW3.shape[:2]:
            raise DataError(
                f"{where}: the {kind} is {pixels.shape[1]} x {pixels.shape[0]}, the image "
                f'{image_HW3.shape[1]} x {image_HW3.shape[0]}; {kind}_topic "" leaves it out'
            )
    writer.add(
        frame.sequence,
        recording.split,
        frame.stamp_ns,
        image_HW3,
        frame.camera.K_33,
        frame.pose_7,
        depth_HW,
        mask_HW,
        encoded=encoded,
    )


# --- which topics


def _find_topics(reader: AnyReader, bag: Path, wishes: _Wishes) -> _Topics:
    types = {name: info.msgtype or "" for name, info in reader.topics.items() if info.msgcount}
    colors: list[str] = []
    depths: list[str] = []
    for name, msgtype in types.items():
        if msgtype == says.RAW:
            first = next(messages(reader, {name})).message()
            (depths if first.encoding in says.DEPTH_ENCODINGS else colors).append(name)
        elif msgtype == says.COMPRESSED and name != MASK_TOPIC and not name.endswith("/compressedDepth"):
            colors.append(name)
    image = _choose(bag, types, "image", wishes.image, (says.RAW, says.COMPRESSED), colors)
    if not image:
        raise DataError(f"{bag}: has no image topic, only {_listing(types)}")
    infos = [name for name, msgtype in types.items() if msgtype == says.CAMERA_INFO]
    beside = [name for name in _camera_info_names(image) if name in infos]
    camera_info = _choose(bag, types, "camera_info", wishes.camera_info, (says.CAMERA_INFO,), beside[:1] or infos)
    if not camera_info:
        raise DataError(f"{bag}: has no {says.CAMERA_INFO}, so K of {image} is unknown")
    poses = [name for name, msgtype in types.items() if msgtype in says.POSE_TYPES]
    masks = [MASK_TOPIC] if MASK_TOPIC in types else []
    return _Topics(
        image,
        camera_info,
        _choose(bag, types, "pose", wishes.pose, says.POSE_TYPES, poses),
        _choose(bag, types, "depth", wishes.depth, (says.RAW,), depths),
        _choose(bag, types, "mask", wishes.mask, (says.RAW, says.COMPRESSED), masks),
    )


def _choose(
    bag: Path, types: dict[str, str], kind: str, wish: str | None, fitting: tuple[str, ...], candidates: list[str]
) -> str | None:
    if wish == "":
        return None
    if wish is not None:
        if wish not in types:
            raise DataError(f"{bag}: has no message on topic '{wish}'; there is {_listing(types)}")
        if types[wish] not in fitting:
            raise DataError(
                f"{bag}: topic '{wish}' is {types[wish]}, for {kind}_topic it must be {' or '.join(fitting)}"
            )
        return wish
    if len(candidates) > 1:
        raise DataError(f"{bag}: {kind}_topic could be {' or '.join(sorted(candidates))}; name one")
    return candidates[0] if candidates else None


def _listing(types: dict[str, str]) -> str:
    return ", ".join(f"{name} ({msgtype})" for name, msgtype in sorted(types.items())) or "no message at all"


def _camera_info_names(image_topic: str) -> tuple[str, str]:
    """Where a driver publishes the camera_info of an image: beside it (image_transport), or below it."""
    base = image_topic.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/camera_info", f"{base}/camera_info"


# --- what belongs together


def _increasing(stamps: list[int]) -> list[int]:
    """Positions of the stamps that come after all before them."""
    kept: list[int] = []
    for index, stamp in enumerate(stamps):
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


def _moved(before_7: NDArray[np.float64], after_7: NDArray[np.float64], limits: _Limits) -> bool:
    if not limits.translation_m and not limits.rotation_rad:
        return True
    metres = float(np.linalg.norm(after_7[:3] - before_7[:3]))
    return bool(
        (limits.translation_m and metres >= limits.translation_m)
        or (limits.rotation_rad and angle_between(before_7, after_7) >= limits.rotation_rad)
    )


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // SECOND_NS}.{stamp_ns % SECOND_NS:09d} s"
