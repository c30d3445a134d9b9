"""Which frames a recording gives: messages matched by stamp, cut into sequences, thinned by motion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.bags import messages
from vlocnetpp.data.bags.index import Index
from vlocnetpp.data.bags.pose_source import PoseSource
from vlocnetpp.data.poses import angle_between

NOT_AFTER, NO_POSE, STOOD_STILL = "their stamp is not after the one before", "no pose", "too little motion"
"""Why an image is left out."""


@dataclass(frozen=True)
class Limits:
    """Tolerances for matching messages and thinning frames."""

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
    camera: messages.Camera
    pose_7: NDArray[np.float64] | None
    image: int
    depth: int | None
    mask: int | None


def plan(index: Index, split: str, source: PoseSource | None, limits: Limits) -> tuple[list[Planned], Counter[str]]:
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


def _partners(index: Index, topic: str | None, run: int, at_ns: NDArray[np.int64], limit_ns: int) -> list[int | None]:
    """For every image the nearest message of a topic, None where it is too far away."""
    positions, stamps = index.of_run(topic, run)
    if not len(positions) or not len(at_ns):
        return [None] * len(at_ns)
    closest, distance = nearest(stamps, at_ns)
    return [int(positions[each]) if far <= limit_ns else None for each, far in zip(closest, distance, strict=True)]


def _cameras(index: Index, run: int, at_ns: NDArray[np.int64]) -> list[messages.Camera]:
    """The camera_info before an image is the one that held when it was taken; without one, the first that there is."""
    known = {position: camera for position, camera in enumerate(index.cameras) if camera is not None}
    positions, stamps = index.of_run(index.found.camera_info, run)
    good = np.isin(positions, list(known))
    positions, stamps = positions[good], stamps[good]
    if not len(positions):
        return [next(iter(known.values()))] * len(at_ns)
    order = np.argsort(stamps, kind="stable")
    before = np.clip(np.searchsorted(stamps[order], at_ns, "right") - 1, 0, None)
    return [known[each] for each in positions[order][before].tolist()]


def _increasing(stamps: NDArray[np.int64]) -> list[int]:
    """Positions of the stamps that come after all before them."""
    kept: list[int] = []
    for index, stamp in enumerate(stamps.tolist()):
        if not kept or stamp > stamps[kept[-1]]:
            kept.append(index)
    return kept


def nearest(stamps: NDArray[np.int64], at_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
