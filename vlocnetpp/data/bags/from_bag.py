"""A recording as a dataset folder: images with K, and what the bag has of poses, depth and masks, matched by stamp.

A frame's pose is interpolated (linear and slerp) between the pose before and the pose after it, never extrapolated.
Depth and mask are the nearest in time. `conversion.json`, beside the frames, records what was done.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.index import seconds
from vlocnetpp.data.bags.plan import Limits, Planned
from vlocnetpp.data.bags.pose_source import FrameWishes, parse_extrinsics
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, BagSummary, open_bag, size_on_disk
from vlocnetpp.data.bags.survey import PoseFile, Recording, survey
from vlocnetpp.data.bags.topics import Topics
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.layouts.text_files import read_text
from vlocnetpp.errors import DataError
from vlocnetpp.progress import track

REPORT = "conversion.json"
REPORT_FORMAT = 1
UNREADABLE = "cannot be decoded"
"""Why an image is left out, or its depth or mask."""
UNREADABLE_SHARE = 0.1
"""Largest share of such frames: a recorder that was killed breaks some, a format that is not understood breaks all."""
Layers = tuple[NDArray[np.uint8], bytes | None, NDArray[np.float32] | None, NDArray[np.uint8] | None]
"""Image, its bytes where they can be kept, depth and mask."""


def read_bag(
    bag: Path | Mapping[str, Path],
    out: Path,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    pose_topic: str | None = None,
    poses: Path | Mapping[str, Path] | None = None,
    pose_offset_s: float | None = None,
    depth_topic: str | None = None,
    mask_topic: str | None = None,
    map_frame: str | None = None,
    camera_frame: str | None = None,
    pose_frame: str | None = None,
    extrinsics: str | None = None,
    max_pose_distance_s: float = 0.1,
    max_association_s: float = 0.02,
    split: str = "train",
    gap_s: float = 1.0,
    min_translation_m: float = 0.0,
    min_rotation_deg: float = 0.0,
    jpeg_quality: int = 92,
) -> BagSummary:
    """Convert a recording into the project's folder `out`, whole or not at all.

    bag: rosbag1, rosbag2 folder, .mcap or .db3 file, folder of parts; or a bag for each split, e.g. {"train": a,
    "test": b}.
    *_topic: None finds the topic by its type and fails with the candidates where there are several; "" leaves the
    pose, depth or mask out. `/tf` is a pose topic, found where the bag has no other. The mask is found only under the
    name that `write_bag` gives it.
    poses: a TUM or CSV file with the poses instead of a topic, e.g. of a SLAM that was run offline; one for each split
    where there are several. pose_offset_s: seconds to add to its stamps; None estimates them from the camera's angular
    speed.
    map_frame, camera_frame: with `/tf`, the frames between which poses are looked up; None takes `map` or the root of
    the tree, and the frame of the images. pose_frame: the frame whose poses a pose topic has; static transforms lead
    from there to the camera; None takes Odometry's child frame, else the camera itself; "" always the camera itself.
    extrinsics: "x,y,z,qx,qy,qz,qw", the camera's optical frame in the frame of the poses, instead of a lookup.
    max_pose_distance_s: how near an image must be to the nearer of the two poses that it lies between. Frames without a
    pose are left out and counted; a bag without any pose topic gives frames without poses.
    max_association_s: how near depth and mask must be to the image.
    gap_s: a longer pause between images begins a new sequence, and so does a clock that goes back by more.
    Frames that cannot be decoded are left out and counted, up to one in ten.
    min_translation_m, min_rotation_deg: a frame that has moved less than both since the last one kept is left out; 0
    asks for no motion of that kind.
    jpeg_quality: of images recorded raw; JPEG and PNG bytes are copied unchanged, except with an Exif tag.
    A run that was interrupted leaves the sequences that it completed in `<out>.partial`; the same call continues there.
    Raises DataError in one line naming the bag, the topic and the reason; then nothing is left at `out`.
    """
    if poses is not None and pose_topic:
        raise DataError(f"{out}: poses come from a file or from topic '{pose_topic}', not from both")
    files = _by_split(poses, split)
    wishes = Topics(image_topic, camera_info_topic, pose_topic if poses is None else "", depth_topic, mask_topic)
    extrinsics_7 = None if extrinsics is None else parse_extrinsics(extrinsics)
    frame_wishes = FrameWishes(map_frame, camera_frame, pose_frame, extrinsics_7)
    limits = Limits(
        round(max_association_s * SECOND_NS),
        round(max_pose_distance_s * SECOND_NS),
        round(gap_s * SECOND_NS),
        min_translation_m,
        float(np.deg2rad(min_rotation_deg)),
    )
    options = {
        "poses": {name: path.name for name, path in files.items()},
        "pose_offset_s": pose_offset_s,
        "map_frame": map_frame,
        "camera_frame": camera_frame,
        "pose_frame": pose_frame,
        "extrinsics": extrinsics,
        "max_pose_distance_s": max_pose_distance_s,
        "max_association_s": max_association_s,
        "gap_s": gap_s,
        "min_translation_m": min_translation_m,
        "min_rotation_deg": min_rotation_deg,
        "jpeg_quality": jpeg_quality,
    }
    bags = _by_split(bag, split)
    writer = FolderWriter(out, jpeg_quality=jpeg_quality, settings=_settings(options, wishes, bags, files))
    for name in bags:
        if files and name not in files:
            raise DataError(f"{out}: split '{name}' has no file of poses")
    pose_files = {name: PoseFile(path, pose_offset_s) for name, path in files.items()}
    recordings = [survey(path, name, wishes, frame_wishes, limits, pose_files.get(name)) for name, path in bags.items()]
    writer.map_frame = _common_map_frame(recordings, out)
    if len({each.classes for each in recordings}) > 1:
        raise DataError(f"{out}: the bags' masks have different classes")
    writer.classes = recordings[0].classes
    with writer:
        recordings = [_copy(recording, writer) for recording in recordings]
        report = {"format": REPORT_FORMAT, "recordings": [_report(each) for each in recordings], "options": options}
        _write_report(writer.partial / REPORT, report)
    return _summary(Path(out), recordings)


def _by_split(paths: Path | Mapping[str, Path] | None, split: str) -> dict[str, Path]:
    """One path, or one for each split, as the latter."""
    if paths is None:
        return {}
    return {name: Path(path) for name, path in paths.items()} if isinstance(paths, Mapping) else {split: Path(paths)}


def _settings(
    options: Mapping[str, Any], wishes: Topics, bags: Mapping[str, Path], files: Mapping[str, Path]
) -> dict[str, str]:
    """What decides the content: an interrupted conversion is continued only with the same."""
    named = {role: topic for role, topic in asdict(wishes).items() if topic is not None}
    sizes = {f"recording {name}": f"{path.name}, {size_on_disk(path)} bytes" for name, path in bags.items()}
    digests = {f"poses {name}": hashlib.sha256(read_text(path).encode()).hexdigest() for name, path in files.items()}
    return {key: str(value) for key, value in (dict(options) | named).items()} | sizes | digests


def _common_map_frame(recordings: Sequence[Recording], out: Path) -> str:
    """The frame of all poses, `map` where there is none. Raises DataError where the bags have different ones."""
    frames = {each.map_frame for each in recordings if each.map_frame}
    if len(frames) > 1:
        raise DataError(f"{out}: the bags' poses are in different frames: {', '.join(sorted(frames))}")
    return frames.pop() if frames else "map"


def _copy(recording: Recording, writer: FolderWriter) -> Recording:
    """Second pass: write each planned frame as soon as all its messages have come by. Returns what was written.

    Sequences that an interrupted run completed are kept.
    """
    found = recording.found
    kept = {name for name in recording.spans() if writer.keep(name, recording.split)}
    frames = [frame for frame in recording.frames if frame.sequence not in kept]
    plan = [
        [(topic, index) for topic, index in ((found.image, f.image), (found.depth, f.depth), (found.mask, f.mask))]
        for f in frames
    ]
    parts = [[(topic, index) for topic, index in keys if topic and index is not None] for keys in plan]
    uses = Counter(key for keys in parts for key in keys)
    held: dict[tuple[str, int], BagMessage] = {}
    seen: Counter[str] = Counter()
    done = 0
    unreadable: list[DataError] = []
    topics = {topic for topic in (found.image, found.depth, found.mask) if topic}
    with open_bag(recording.bag) as bag:
        total = sum(bag.topics[name].msgcount for name in topics)
        for each in track(bag.messages(topics), f"reading {recording.bag.name}", total):
            key = (each.topic, seen[each.topic])
            seen[each.topic] += 1
            if uses[key]:
                held[key] = each
            while done < len(parts) and all(key in held for key in parts[done]):
                try:
                    layers = _decode(recording, frames[done], held)
                except DataError as error:
                    unreadable.append(error)
                    if len(unreadable) > UNREADABLE_SHARE * len(recording.frames):
                        raise unreadable[0] from error
                else:
                    _write(recording, frames[done], layers, writer)
                for key in parts[done]:
                    uses[key] -= 1
                    if not uses[key]:
                        del held[key]
                done += 1
                if done == len(frames) or frames[done].sequence != frames[done - 1].sequence:
                    writer.complete(frames[done - 1].sequence)
    if done < len(parts):
        raise DataError(f"{recording.bag}: has changed while it was read")
    return _as_written(recording, writer, unreadable)


def _as_written(recording: Recording, writer: FolderWriter, unreadable: Sequence[DataError]) -> Recording:
    """The recording with the frames that the folder has. Those that an interrupted run left out are counted, too."""
    written = {(name, stamp_ns) for name in recording.spans() for stamp_ns in writer.stamps(name)}
    frames = [frame for frame in recording.frames if (frame.sequence, frame.stamp_ns) in written]
    if not (missing := len(recording.frames) - len(frames)):
        return recording
    why = f", e.g. {unreadable[0]}" if unreadable else ""
    note = f"{recording.bag}: {missing} of {recording.images} images left out, they or their depth or mask {UNREADABLE}"
    left_out = {**recording.left_out, UNREADABLE: missing}
    return replace(recording, frames=frames, left_out=left_out, notes=(*recording.notes, note + why))


def _decode(recording: Recording, frame: Planned, held: Mapping[tuple[str, int], BagMessage]) -> Layers:
    """Raises DataError for a message that cannot be used."""
    found, at = recording.found, seconds(frame.stamp_ns)
    where = f"{recording.bag}: {found.image} at {at}"
    image_HW3, encoded = messages.color(held[found.image, frame.image].message(), where)
    if any(frame.camera.size) and image_HW3.shape[:2] != frame.camera.size:
        raise DataError(
            f"{where}: the image is {image_HW3.shape[1]} x {image_HW3.shape[0]}, "
            f"{found.camera_info} is for {frame.camera.size[1]} x {frame.camera.size[0]}"
        )
    depth_HW = mask_HW = None
    if found.depth is not None and frame.depth is not None:
        depth_HW = messages.depth(held[found.depth, frame.depth].message(), f"{recording.bag}: {found.depth} at {at}")
    if found.mask is not None and frame.mask is not None:
        mask_HW = messages.mask(held[found.mask, frame.mask].message(), f"{recording.bag}: {found.mask} at {at}")
    for kind, pixels in (("depth", depth_HW), ("mask", mask_HW)):
        if pixels is not None and pixels.shape != image_HW3.shape[:2]:
            raise DataError(
                f"{where}: the {kind} is {pixels.shape[1]} x {pixels.shape[0]}, the image "
                f'{image_HW3.shape[1]} x {image_HW3.shape[0]}; {kind}_topic "" leaves it out'
            )
    return image_HW3, encoded, depth_HW, mask_HW


def _write(recording: Recording, frame: Planned, layers: Layers, writer: FolderWriter) -> None:
    image_HW3, encoded, depth_HW, mask_HW = layers
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


# --- what was done


def _report(recording: Recording) -> dict[str, Any]:
    """One recording's part of conversion.json."""
    return {
        "bag": recording.bag.name,
        "split": recording.split,
        "topics": recording.found.roles(),
        "recorded": recording.topics,
        "frames": recording.chain or None,
        "images": {"recorded": recording.images, "kept": len(recording.frames), "left_out": recording.left_out},
        "sequences": {
            name: {
                "frames": count,
                "first_stamp_ns": first,
                "last_stamp_ns": last,
                "frames_per_s": round((count - 1) * SECOND_NS / (last - first), 3) if last > first else None,
            }
            for name, (count, first, last) in recording.spans().items()
        },
        "notes": list(recording.notes),
    }


def _write_report(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _summary(out: Path, recordings: list[Recording]) -> BagSummary:
    topics: dict[str, str] = {}
    facts: list[str] = []
    notes: list[str] = []
    for recording in recordings:
        prefix = "" if len(recordings) == 1 else f"{recording.split}: "
        topics.update({f"{prefix}{topic}": what for topic, what in recording.topics.items()})
        if recording.chain:
            facts.append(f"{prefix}poses: {recording.chain}")
        kept = f"{prefix}images: {len(recording.frames)} of {recording.images} kept"
        facts.append("; ".join([kept, *(f"{count}: {reason}" for reason, count in recording.left_out.items())]))
        notes += recording.notes
    frames = [frame for recording in recordings for frame in recording.frames]
    sequences = len({frame.sequence for frame in frames})
    lasted = sum(recording.seconds for recording in recordings)
    return BagSummary(out, len(frames), sequences, lasted, topics, size_on_disk(out), tuple(notes), tuple(facts))
