"""Where the camera's pose comes from: a pose topic or `/tf`, and the transform from its frame to the camera. Recorded
poses are of some frame (`base_link`, `zed_camera_link`); the network learns those of the camera's optical frame. The
transform between the two is looked up in the recording or given by the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags.to_bag import POSE_TOPIC
from vlocnetpp.data.bags.topics import Found
from vlocnetpp.data.bags.transforms import Transform, TransformTree, UnknownFrameError, compose, filled
from vlocnetpp.data.poses import checked_pose, interpolate_poses, note_of_lost
from vlocnetpp.errors import DataError

HOW_TO_BRIDGE = (
    "record /tf_static too, or name the camera's optical frame with --camera-frame, or give its pose in the frame that "
    "moves with --extrinsics x,y,z,qx,qy,qz,qw"
)
HOW_TO_GO_ON = (
    "record /tf_static, or give the camera's pose in that frame with --extrinsics x,y,z,qx,qy,qz,qw, "
    "or say with --pose-frame '' that the poses are those of the camera's optical frame"
)


@dataclass(frozen=True)
class FrameWishes:
    """Frames as the user named them."""

    map_frame: str | None = None
    """With transforms: the frame that poses are in. None finds it."""
    camera_frame: str | None = None
    """The camera's optical frame. None takes that of the images."""
    pose_frame: str | None = None
    """The frame whose poses a pose topic has. None takes Odometry's child frame, else the camera's; "" the camera's."""
    extrinsics_7: NDArray[np.float64] | None = None
    """Pose of the camera's optical frame in the frame that the poses are of, instead of looking it up."""


@dataclass
class PoseSamples:
    """The poses of a pose topic, in the bag's order, and the tree of the recording's transforms."""

    tree: TransformTree
    stamps: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    """NaN where a message holds no pose."""
    lost: list[str] = field(default_factory=list)
    """Why poses are NaN, one line each."""
    parents: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)
    any_run: bool = False
    """Whether they come from a pose file, whose clock is not the recording's."""


@dataclass(frozen=True)
class PoseSource:
    """Poses of the camera's optical frame at any stamps."""

    map_frame: str
    chain: str
    """The chain of frames from the map to the camera, as text."""
    at: Callable[[NDArray[np.int64], int], NDArray[np.float64]]
    """Stamps (M) and the run of the clock -> (M, 7) poses, NaN where there is none."""
    nearest_of: tuple[Transform | PoseSamples, ...]
    """Name of the source of the stamps, for error messages."""
    notes: tuple[str, ...]


def parse_extrinsics(text: str) -> NDArray[np.float64]:
    """`x,y,z,qx,qy,qz,qw`, in ROS order, -> (7,) x, y, z, qw, qx, qy, qz. Raises DataError for any other text."""
    try:
        x, y, z, qx, qy, qz, qw = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"--extrinsics {text}: must be seven numbers x,y,z,qx,qy,qz,qw") from error
    return checked_pose((x, y, z, qw, qx, qy, qz), f"--extrinsics {text}")


def pose_source(
    bag: Path, found: Found, name: str, samples: PoseSamples, image_frames: set[str], wishes: FrameWishes, limit_ns: int
) -> PoseSource:
    """Choose how the camera's poses are computed from the recorded ones.

    name: the pose topic, or the file that the samples are from. limit_ns: an image must be this near to a pose; applies
    to every moving transform by itself.
    Raises DataError, naming the frames, if no transform leads to the camera.
    """
    if found.transforms:
        return _from_transforms(bag, samples.tree, image_frames, wishes, limit_ns)
    return _from_samples(bag, name, samples, image_frames, wishes, limit_ns)


def _from_transforms(
    bag: Path, tree: TransformTree, image_frames: set[str], wishes: FrameWishes, limit_ns: int
) -> PoseSource:
    if wishes.pose_frame and wishes.extrinsics_7 is None:
        raise DataError(
            f"{bag}: --pose-frame is for pose topics and --extrinsics; with transforms --camera-frame names the frame"
        )
    camera = _camera_frame(bag, image_frames, wishes) if wishes.extrinsics_7 is None else _body(bag, tree, wishes)
    try:
        map_frame = (wishes.map_frame or tree.map_above(camera)).lstrip("/")
        chain = tree.chain(map_frame, camera)
    except UnknownFrameError as error:
        raise DataError(f"{error}; {HOW_TO_BRIDGE}") from error
    if not chain.moving:
        raise DataError(f"{bag}: nothing moves between '{map_frame}' and '{camera}' ({chain})")

    def at(at_M: NDArray[np.int64], run: int) -> NDArray[np.float64]:
        return _extended(chain.at(at_M, run, limit_ns), wishes)

    notes = (*tree.notes(chain), *_axes_note(bag, camera, wishes), *_drift(bag, map_frame))
    return PoseSource(map_frame, f"{chain}{_extension(wishes)}", at, tuple(chain.moving), notes)


def _from_samples(
    bag: Path, name: str, samples: PoseSamples, image_frames: set[str], wishes: FrameWishes, limit_ns: int
) -> PoseSource:
    lost = note_of_lost(samples.lost, len(samples.poses))
    if len(samples.parents) > 1:
        raise DataError(f"{bag}: {name} is in several frames: {', '.join(sorted(samples.parents))}")
    if len(samples.children) > 1:
        raise DataError(f"{bag}: {name} is of several frames: {', '.join(sorted(samples.children))}")
    (map_frame,), child = samples.parents, next(iter(samples.children), "")
    if wishes.map_frame and wishes.map_frame.lstrip("/") != map_frame:
        raise DataError(
            f"{bag}: {name} is in frame '{map_frame}', not '{wishes.map_frame}'; --pose-topic /tf looks that up"
        )
    if wishes.pose_frame is not None:
        child = wishes.pose_frame.lstrip("/")
    camera = (wishes.camera_frame or "/".join(sorted(image_frames))).lstrip("/")
    lookup = None
    notes = _axes_note(bag, camera, wishes) if child == camera else ()
    if wishes.extrinsics_7 is None and child and child != camera:
        camera = _camera_frame(bag, image_frames, wishes)
        notes = _axes_note(bag, camera, wishes)
        try:
            lookup = samples.tree.chain(child, camera)
        except DataError as error:
            raise DataError(
                f"{error}; poses of {name} are of '{child}', so the way to '{camera}' is needed: {HOW_TO_GO_ON}"
            ) from error
    elif wishes.extrinsics_7 is None and not child and wishes.pose_frame is None and name != POSE_TOPIC:
        said = f"{bag}: {name} does not say of which frame its poses are; they are taken as the camera's optical "
        notes = (f"{said}frame's. --pose-frame base_link (zed_camera_link, ...) names another",)

    def at(at_M: NDArray[np.int64], run: int) -> NDArray[np.float64]:
        mine = np.full(len(samples.stamps), True) if samples.any_run else np.array(samples.runs) == run
        if not mine.any():
            return np.full((len(at_M), 7), np.nan)
        stamps, poses = np.array(samples.stamps)[mine], np.array(samples.poses)[mine]
        pose = filled(interpolate_poses(stamps, poses, at_M, limit_ns))
        if lookup is not None:
            pose = compose(pose, lookup.at(at_M, run, limit_ns))
        return _extended(pose, wishes)

    chain = f"{map_frame or 'map'} -> {child or 'camera'}"
    if lookup is not None:
        chain += str(lookup).removeprefix(child)
    moving = tuple(lookup.moving) if lookup is not None else ()
    if lookup is not None:
        notes += samples.tree.notes(lookup)
    notes += (*lost, *_drift(bag, map_frame))
    return PoseSource(map_frame, f"{chain}{_extension(wishes)}", at, (samples, *moving), notes)


def _camera_frame(bag: Path, image_frames: set[str], wishes: FrameWishes) -> str:
    if wishes.camera_frame:
        return wishes.camera_frame.lstrip("/")
    names = sorted(name for name in image_frames if name)
    if len(names) != 1:
        said = f"are of several frames, {' and '.join(names)}" if names else "name no frame in their headers"
        raise DataError(f"{bag}: the images {said}; --camera-frame names the camera's optical frame")
    return names[0]


def _body(bag: Path, tree: TransformTree, wishes: FrameWishes) -> str:
    """The frame that given extrinsics start from: as named, else the one that moves."""
    named = wishes.pose_frame or wishes.camera_frame
    if named:
        return named.lstrip("/")
    moving = tree.moving_frames()
    if len(moving) != 1:
        raise DataError(
            f"{bag}: --extrinsics could be in {' or '.join(moving) or 'no frame, none moves'}; "
            "--pose-frame names the one"
        )
    return moving[0]


def _axes_note(bag: Path, camera: str, wishes: FrameWishes) -> tuple[str, ...]:
    if "optical" in camera or wishes.extrinsics_7 is not None:
        return ()
    said = f"{bag}: '{camera}' is not named as an optical frame; its axes are taken as x right, y down, z forward. "
    return (f"{said}If they are x forward, y left, z up, name the optical frame with --camera-frame",)


def drifts(map_frame: str) -> bool:
    """Whether poses in this frame are those of an odometry, by its name."""
    return "odom" in map_frame


def _drift(bag: Path, map_frame: str) -> tuple[str, ...]:
    if not drifts(map_frame):
        return ()
    return (f"{bag}: poses are in '{map_frame}', which drifts: the same place gets another pose in the next lap",)


def _extended(pose_M7: NDArray[np.float64], wishes: FrameWishes) -> NDArray[np.float64]:
    if wishes.extrinsics_7 is None:
        return pose_M7
    return compose(pose_M7, np.tile(wishes.extrinsics_7, (len(pose_M7), 1)))


def _extension(wishes: FrameWishes) -> str:
    return "" if wishes.extrinsics_7 is None else " -> (given) camera"
