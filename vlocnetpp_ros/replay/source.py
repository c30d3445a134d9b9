"""The bag that is played: which topics, how many images, and the ground truth that comes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import iter_bag
from vlocnetpp.data.bags import messages as bag_messages
from vlocnetpp.data.bags.reader import SECOND_NS, BagMessage, open_bag
from vlocnetpp.data.bags.to_bag import CAMERA, MASK_TOPIC, POSE_TOPIC
from vlocnetpp.data.poses import PoseError, interpolate_poses, note_of_lost
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
) -> Source:
    """Read a bag once, without its pixels.

    A topic that is None is found. Raises DataError, in one line, if the bag cannot be read, a topic is missing or
    ambiguous, there is no image, or the camera is not calibrated.
    """
    topics, notes = _find_topics(bag, image, camera_info, truth)
    stamps: list[int] = []
    truth_stamps: list[int] = []
    truth_poses: list[NDArray[np.float64]] = []
    first_camera_info: bytes | None = None
    lost: list[str] = []
    not_calibrated: list[str] = []
    wanted = {topics.image, topics.camera_info} | ({topics.truth} if topics.truth else set())
    for each in iter_bag(bag, wanted):
        if each.topic == topics.image:
            stamps.append(each.header_stamp_ns())
        elif each.topic == topics.truth:
            truth_stamps.append(each.header_stamp_ns())
            try:
                truth_poses.append(bag_messages.pose(each.message(), f"{bag}: {topics.truth}"))
            except PoseError as error:
                truth_poses.append(np.full(7, np.nan))
                lost.append(str(error))
        elif first_camera_info is None:
            message = each.message()
            try:
                bag_messages.camera(message, topics.image, f"{bag}: {topics.camera_info}")
                first_camera_info = each.cdr()
            except DataError as error:
                not_calibrated.append(str(error))
    if not_calibrated and first_camera_info is None:
        raise DataError(not_calibrated[0])
    if not stamps or first_camera_info is None:
        raise DataError(f"{bag}: {topics.camera_info if stamps else topics.image} has no message")
    for note in (*notes, *note_of_lost(lost, len(truth_poses))):
        print(f"replay: note: {note}", file=sys.stderr)
    stamps_ns = np.array(stamps, dtype=np.int64)
    truth_N7 = np.full((len(stamps), 7), np.nan)
    if truth_poses:
        limit_ns = round(max_association_s * SECOND_NS)
        found = interpolate_poses(np.array(truth_stamps), np.array(truth_poses), stamps_ns, limit_ns)
        for row, pose_7 in enumerate(found):
            if pose_7 is not None:
                truth_N7[row] = pose_7
    return Source(bag, topics, stamps_ns, truth_N7, first_camera_info)


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
    truth = _named(bag, types, "--ground-truth", truth, bag_messages.POSE_TYPES)
    if truth is None and types.get(POSE_TOPIC) in bag_messages.POSE_TYPES:
        truth = POSE_TOPIC
    masks = MASK_TOPIC if types.get(MASK_TOPIC) in IMAGE_TYPES else None
    return Topics(image, types[image], camera_info, truth, masks), notes


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
