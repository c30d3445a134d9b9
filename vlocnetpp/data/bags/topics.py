"""Which topics of a recording are read: as the user named them, or found by their types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.reader import Bag
from vlocnetpp.data.bags.to_bag import MASK_TOPIC
from vlocnetpp.data.bags.transforms import TF_TYPES
from vlocnetpp.errors import DataError


@dataclass(frozen=True)
class Topics:
    """Names of topics. As the user's choice, None means to find the topic and "" to leave it out; as a result, None is
    absent.
    """

    image: str | None = None
    camera_info: str | None = None
    pose: str | None = None
    depth: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Found:
    """The topics that are read, with the types of all topics of the bag."""

    image: str
    camera_info: str
    pose: str | None
    depth: str | None
    mask: str | None
    types: dict[str, str]
    """Of every topic with a message."""

    def roles(self) -> dict[str, str]:
        """Role -> topic of what is read."""
        names = {"image": self.image, "camera_info": self.camera_info, "pose": self.pose}
        names |= {"depth": self.depth, "mask": self.mask}
        return {role: topic for role, topic in names.items() if topic}

    @property
    def transforms(self) -> bool:
        """Whether poses come from a transform topic."""
        return self.pose is not None and self.types[self.pose] in TF_TYPES

    def transform_topics(self) -> list[str]:
        """The topics with transforms: those of the robot whose `/tf` was named, else all."""
        every = [topic for topic, msgtype in self.types.items() if msgtype in TF_TYPES]
        if not self.transforms:
            return every
        return [topic for topic in every if topic in (self.pose, f"{self.pose}_static", "/tf_static")]


def find_topics(bag: Bag, wishes: Topics) -> Found:
    """Choose the topics. Raises DataError, listing the candidates, where one is missing, unfit or not the only one."""
    types = {name: topic.msgtype for name, topic in bag.topics.items() if topic.msgcount}
    colors: list[str] = []
    depths: list[str] = []
    for name, msgtype in types.items():
        if msgtype not in (messages.RAW, messages.COMPRESSED) or (
            msgtype == messages.COMPRESSED and name == MASK_TOPIC
        ):
            continue
        first = next(bag.messages({name}), None)
        if first is None:
            continue  # a file may count messages that it does not hold
        message = first.message()
        encoding = message.encoding if msgtype == messages.RAW else messages.encoding_before(message)
        if encoding == "mono16" and "depth" not in name.lower():
            continue  # infrared or thermal, more likely; --depth-topic takes it all the same
        (depths if encoding in messages.DEPTH_ENCODINGS else colors).append(name)
    image = _choose(bag.path, types, "image", wishes.image, (messages.RAW, messages.COMPRESSED), colors)
    if not image:
        raise DataError(f"{bag.path}: has no image topic, only {_listing(types)}")
    infos = [name for name, msgtype in types.items() if msgtype == messages.CAMERA_INFO]
    beside = [name for name in camera_info_names(image) if name in infos]
    camera_info = _choose(
        bag.path, types, "camera_info", wishes.camera_info, (messages.CAMERA_INFO,), beside[:1] or infos
    )
    if not camera_info:
        raise DataError(f"{bag.path}: has no {messages.CAMERA_INFO}, so K of {image} is unknown")
    masks = [MASK_TOPIC] if MASK_TOPIC in types else []
    return Found(
        image,
        camera_info,
        _choose(bag.path, types, "pose", wishes.pose, (*messages.POSE_TYPES, *TF_TYPES), pose_topics(types)),
        _choose(bag.path, types, "depth", wishes.depth, (messages.RAW, messages.COMPRESSED), depths),
        _choose(bag.path, types, "mask", wishes.mask, (messages.RAW, messages.COMPRESSED), masks),
        types,
    )


def pose_topics(types: dict[str, str]) -> list[str]:
    """Topics that the poses may come from, of topic -> type. A transform topic only where there is no other: most
    recordings have both.
    """
    poses = [name for name, msgtype in types.items() if msgtype in messages.POSE_TYPES]
    return poses or [name for name, msgtype in types.items() if msgtype in TF_TYPES and not is_static(name)]


def camera_info_names(image_topic: str) -> tuple[str, str]:
    """Where a driver publishes the camera_info of an image: beside it (image_transport), or below it."""
    base = image_topic.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/camera_info", f"{base}/camera_info"


def is_static(topic: str) -> bool:
    """Whether a transform topic holds static transforms."""
    return topic.endswith("tf_static")


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
