"""The bag that is played: which topics, how many images, and the ground truth that comes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import iter_bag
from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp.data.bags.index import Index, read_index
from vlocnetpp.data.bags.pose_source import FrameWishes, drifts, pose_source
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, open_bag
from vlocnetpp.data.bags.to_bag import CAMERA, MASK_TOPIC, POSE_TOPIC
from vlocnetpp.data.bags.topics import Topics as TopicWishes
from vlocnetpp.data.bags.topics import pose_topics
from vlocnetpp.data.bags.transforms import TF_TYPES
from vlocnetpp.errors import DataError

IMAGE_TYPES = (bag_messages.RAW, bag_messages.COMPRESSED)
USUAL_IMAGES = (f"{CAMERA}/rgb/color/rect/image/compressed", f"{CAMERA}/rgb/color/rect/image")


@dataclass(frozen=True)
class Topics:
    """What is read from the bag."""

    image: str
    image_type: str
    camera_info: str
    truth: str | None
    masks: str | None

    @property
    def compressed(self) -> bool:
        """Whether the images are sensor_msgs/CompressedImage."""
        return self.image_type == bag_messages.COMPRESSED

    @property
    def image_base(self) -> str:
        """The name without image_transport's suffix."""
        return self.image.removesuffix("/compressed") if self.compressed else self.image


@dataclass(frozen=True)
class Source:
    """A bag after its first reading."""

    bag: Path
    topics: Topics
    stamps_ns: NDArray[np.int64]
    """(N,) of the images, in the order in which they are played."""
    truth_N7: NDArray[np.float64]
    """Ground-truth camera-to-map poses of the images, NaN where there is none."""
    first_camera_info: bytes
    """CDR; published before the first image so that no image waits for it."""

    @property
    def seconds(self) -> float:
        """Recorded time from the first to the last image."""
        return float(self.stamps_ns.max() - self.stamps_ns.min()) / SECOND_NS

    def play(self) -> Iterator[BagMessage]:
        """Images and camera_info in the order of their recording."""
        return iter_bag(self.bag, {self.topics.image, self.topics.camera_info})

    def masks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Ground-truth masks with their stamps: (H, W) class ids, 255 unlabelled."""
        if self.topics.masks is not None:
            for each in iter_bag(self.bag, {self.topics.masks}):
                yield each.header_stamp_ns(), bag_messages.mask(each.message(), f"{self.bag}: {self.topics.masks}")


def survey(
    bag: Path,
    image: str | None = None,
    camera_info: str | None = None,
    truth: str | None = None,
    max_association_s: float = 0.02,
    frames: FrameWishes = FrameWishes(),  # noqa: B008 - frozen
) -> Source:
    """Read a bag once, without its pixels.

    A topic that is None is found; of the ground truth as from-bag does, unless it is in the frame of an odometry, and
    "" leaves it out. `frames`: as in from-bag, which frame the ground truth is of, and the transform from
    there to the camera's optical frame. Raises DataError, in one line, if the bag cannot be read, a topic is missing or
    ambiguous, there is no image, or the camera is not calibrated.
    """
    topics, notes = _find_topics(bag, image, camera_info, truth)
    chosen = truth is not None or topics.truth == POSE_TOPIC
    wishes = TopicWishes(topics.image, topics.camera_info, topics.truth or "", depth="", mask="")
    index = read_index(bag, wishes, frames, SECOND_NS)
    stamps_ns = np.array(index.stamps.get(topics.image, []), dtype=np.int64)
    if index.cameras and not any(index.cameras):
        raise DataError(index.not_calibrated[0])
    others_ns = stamps_ns[np.diff(stamps_ns, prepend=-1) != 0]
    if len(np.unique(others_ns)) < len(others_ns):
        raise DataError(f"{bag}: images come again with stamps of before, as in a bag played in a loop: cut it")
    if not len(stamps_ns) or not index.cameras:
        raise DataError(f"{bag}: {topics.camera_info if len(stamps_ns) else topics.image} has no message")
    truth_N7: NDArray[np.float64] = np.full((len(stamps_ns), 7), np.nan)
    if topics.truth is not None:
        try:
            truth_N7, said = _truth(bag, topics, index, frames, round(max_association_s * SECOND_NS), chosen)
            notes += said
        except DataError as error:
            if chosen:
                raise
            # A bag is worth replaying without the one topic that might have been its ground truth.
            topics, notes = replace(topics, truth=None), (*notes, f"no ground truth: {error}")
    for note in notes:
        print(f"replay: note: {note}", file=sys.stderr)
    return Source(bag, topics, stamps_ns, truth_N7, _first_camera_info(bag, topics))


def _truth(
    bag: Path, topics: Topics, index: Index, frames: FrameWishes, limit_ns: int, chosen: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Ground-truth poses (N, 7) of the images, and notes. Raises DataError; also for poses in a frame that drifts where
    their topic was not chosen.
    """
    name = str(topics.truth)
    poses = pose_source(bag, index.found, name, index.samples, index.frames[topics.image], frames, limit_ns)
    if drifts(poses.map_frame) and not chosen:
        raise DataError(f"{bag}: {name} is in '{poses.map_frame}', which drifts; --pose-topic {name} takes it anyway")
    stamps_ns, runs = np.array(index.stamps[topics.image]), np.array(index.runs[topics.image])
    truth_N7 = np.full((len(stamps_ns), 7), np.nan)
    for run in np.unique(runs):
        truth_N7[runs == run] = poses.at(stamps_ns[runs == run], int(run))
    print(f"replay: ground truth: {name}, {poses.chain}", file=sys.stderr)
    return truth_N7, poses.notes


def _first_camera_info(bag: Path, topics: Topics) -> bytes:
    """CDR of the first message with a calibration."""
    for each in iter_bag(bag, {topics.camera_info}):
        with suppress(DataError):  # drivers send zeros until they are ready
            bag_messages.camera(each.message(), topics.image, f"{bag}: {topics.camera_info}")
            return each.cdr()
    raise DataError(f"{bag}: {topics.camera_info} has no message with a calibration")


def _find_topics(
    bag: Path, image: str | None, camera_info: str | None, truth: str | None
) -> tuple[Topics, tuple[str, ...]]:
    """The topics, and notes on the recording."""
    with open_bag(bag) as opened:
        types = {name: topic.msgtype for name, topic in opened.topics.items() if topic.msgcount}
        notes = opened.notes
    image = _named(bag, types, "--image-topic", image, IMAGE_TYPES) or _find_image(bag, types)
    camera_info = _named(bag, types, "--camera-info-topic", camera_info, (bag_messages.CAMERA_INFO,))
    if camera_info is None:
        base = image.removesuffix("/compressed")
        # image_transport publishes it beside the image, newer ZED wrappers below it as well
        beside = (f"{base.rpartition('/')[0]}/camera_info", f"{base}/camera_info")
        camera_info = next((name for name in beside if types.get(name) == bag_messages.CAMERA_INFO), None)
    if camera_info is None:
        raise DataError(f"{bag}: no camera_info beside {image}; name one with --camera-info-topic: {_list(types)}")
    if truth is None:
        truths = [POSE_TOPIC] if types.get(POSE_TOPIC) in bag_messages.POSE_TYPES else pose_topics(types)
        truth = truths[0] if len(truths) == 1 else ""
        if len(truths) > 1:
            notes += (f"no ground truth: it could be {' or '.join(sorted(truths))}; --pose-topic names one",)
    elif truth:
        _named(bag, types, "--pose-topic", truth, (*bag_messages.POSE_TYPES, *TF_TYPES))
    masks = MASK_TOPIC if types.get(MASK_TOPIC) in IMAGE_TYPES else None
    return Topics(image, types[image], camera_info, truth or None, masks), notes


def _find_image(bag: Path, types: dict[str, str]) -> str:
    for usual in USUAL_IMAGES:
        if types.get(usual) in IMAGE_TYPES:
            return usual
    images = [name for name, kind in types.items() if kind in IMAGE_TYPES]
    candidates = [name for name in images if "depth" not in name and name != MASK_TOPIC]
    if len(candidates) == 1:
        return candidates[0]
    what = "several image topics" if candidates else "no image topic"
    raise DataError(f"{bag}: {what}; name one with --image-topic: {_list(types)}")


def _named(bag: Path, types: dict[str, str], option: str, name: str | None, fitting: tuple[str, ...]) -> str | None:
    if name is not None and types.get(name) not in fitting:
        found = f"is {types[name]}" if name in types else "is not in the bag"
        raise DataError(f"{bag}: {option} {name} {found}, it must be {' or '.join(fitting)}; there is {_list(types)}")
    return name


def _list(types: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(types.items())) or "nothing"
