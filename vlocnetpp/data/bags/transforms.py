"""The transforms of a recording as a tree: `/tf` and `/tf_static`, looked up at the stamps of images.

A transform `parent -> child` is the pose of the child frame in the parent. A lookup goes from one frame up to the
common ancestor and down to the other, and interpolates every moving transform on the way by itself, translation linear
and rotation slerp. Nothing is extrapolated. Static transforms hold at all times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.poses import interpolate_poses, known_pose, note_of_lost
from vlocnetpp.errors import DataError
from vlocnetpp.poses import compose as compose
from vlocnetpp.poses import inverse as inverse

TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
SAME = 1e-6
"""Largest difference between repeated values of one static transform."""
UNKNOWN = np.full(7, np.nan)


class UnknownFrameError(DataError):
    """No transform leads to a frame."""


@dataclass
class Transform:
    """The samples of one transform in a recording."""

    parent: str
    child: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    """In which run of the clock each sample is; a lookup never mixes two."""
    lost: list[str] = field(default_factory=list)
    """Why samples are invalid; a moving transform keeps their stamps, with a pose of NaN."""
    changed: bool = False
    """Whether it is static and was published with different values, of which the latest counts, as in tf2."""

    def __str__(self) -> str:
        return f"{self.parent} -> {self.child}"

    def at(self, at_M: NDArray[np.int64], run: int, limit_ns: int) -> NDArray[np.float64]:
        """(M, 7) poses of the child in the parent, NaN where there is none."""
        if self.static:
            return np.tile(self.poses[-1], (len(at_M), 1))
        mine = np.array(self.runs) == run
        if not mine.any():
            return np.full((len(at_M), 7), np.nan)
        return filled(interpolate_poses(np.array(self.stamps)[mine], np.array(self.poses)[mine], at_M, limit_ns))


@dataclass(frozen=True)
class Chain:
    """The chain of transforms between two frames: from both up to their common ancestor."""

    target: str
    source: str
    down: tuple[Transform, ...]
    """From the ancestor to the target."""
    up: tuple[Transform, ...]
    """From the ancestor to the source."""

    def __str__(self) -> str:
        names = [self.target]
        names += [f"<- {each.parent}" for each in reversed(self.down)]
        names += [f"-> {'(static) ' if each.static else ''}{each.child}" for each in self.up]
        return " ".join(names)

    @property
    def moving(self) -> list[Transform]:
        """The transforms on the way that are not static."""
        return [each for each in (*self.down, *self.up) if not each.static]

    def at(self, at_M: NDArray[np.int64], run: int, limit_ns: int) -> NDArray[np.float64]:
        """(M, 7) poses of the source frame in the target frame, NaN where a moving transform has none."""
        pose = np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], (len(at_M), 1))
        for each in self.down:
            pose = compose(pose, each.at(at_M, run, limit_ns))
        pose = inverse(pose) if self.down else pose
        for each in self.up:
            pose = compose(pose, each.at(at_M, run, limit_ns))
        return pose


class TransformTree:
    """Every transform of one recording. Errors name the recording and the frames."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._transforms: dict[tuple[str, str], Transform] = {}

    @property
    def frames(self) -> list[str]:
        """Names of all frames in order."""
        return sorted({name for pair in self._transforms for name in pair})

    def add(
        self, parent: str, child: str, stamp_ns: int, pose_7: NDArray[np.float64], *, static: bool, run: int = 0
    ) -> None:
        """Add a sample of a transform.

        A fault of a transform (no unit quaternion, a static one that changes) is reported only by a chain that needs
        it: recordings hold transforms of things that have nothing to do with the camera.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            return  # a frame cannot be its own parent; tf2 drops it too
        transform = self._transforms.setdefault((parent, child), Transform(parent, child, static))
        known = known_pose(pose_7, f"{self._where}: transform {transform}", transform.lost)
        if static and transform.static and transform.poses and known is not None:
            transform.changed |= bool(np.abs(transform.poses[-1] - known).max() > SAME)
        if transform.static and not static:  # published both ways: what moves is the truth
            transform.static, transform.changed = False, False
            transform.stamps, transform.poses, transform.runs = [], [], []
        if transform.static == static and (known is not None or not static):
            transform.stamps.append(stamp_ns)
            transform.poses.append(UNKNOWN if known is None else known)
            transform.runs.append(run)

    def path_to_root(self, frame: str) -> list[Transform]:
        """The transforms from a frame up to the root of its tree, nearest first.

        Raises DataError if a frame on the way has two parents or is its own ancestor.
        """
        path: list[Transform] = []
        seen = [frame]
        while True:
            above = [each for (_, child), each in self._transforms.items() if child == seen[-1]]
            if len(above) > 1:
                parents = " and ".join(
                    f"'{each.parent}' ({'static' if each.static else 'moving'})"
                    for each in sorted(above, key=lambda each: each.parent)
                )
                raise DataError(
                    f"{self._where}: frame '{seen[-1]}' has two parents, {parents}; record with one publisher of it, "
                    "or name a pose topic instead of /tf"
                )
            if not above:
                return path
            path.append(above[0])
            if above[0].parent in seen:
                loop = " -> ".join([above[0].parent, *reversed(seen[seen.index(above[0].parent) :])])
                raise DataError(f"{self._where}: the transforms form a loop, {loop}")
            seen.append(above[0].parent)

    def chain(self, target: str, source: str) -> Chain:
        """The way from the target frame to the source frame.

        Raises DataError if one of them is unknown, they are in different trees or no sample of a transform on the way
        is a pose, and as `path_to_root` does.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        for name in (target, source):
            if name not in self.frames:
                self._refuse_unknown(name)
        up, down = self.path_to_root(source), self.path_to_root(target)
        roots = [path[-1].parent if path else name for path, name in ((down, target), (up, source))]
        if roots[0] != roots[1]:
            raise UnknownFrameError(
                f"{self._where}: no transforms connect '{target}' with '{source}': the first is in the tree of "
                f"'{roots[0]}', the second in that of '{roots[1]}'"
            )
        while up and down and up[-1] is down[-1]:
            up, down = up[:-1], down[:-1]
        for each in (*up, *down):
            if each.lost and not any(np.isfinite(pose).all() for pose in each.poses):
                raise DataError(each.lost[0])
        return Chain(target, source, tuple(reversed(down)), tuple(reversed(up)))

    def moving_frames(self) -> list[str]:
        """The moving frames without a moving frame below them: the body of a robot, each of its driven wheels."""
        moving = [each for each in self._transforms.values() if not each.static]
        return sorted({each.child for each in moving} - {each.parent for each in moving})

    def notes(self, chain: Chain) -> tuple[str, ...]:
        """Notes on a chain's transforms: invalid samples, static ones that changed."""
        notes: list[str] = []
        for each in (*chain.down, *chain.up):
            if not each.static:
                notes += note_of_lost(each.lost, len(each.stamps))
            if each.changed:
                notes.append(
                    f"{self._where}: the static transform {each} was published with different values; the latest counts"
                )
        return tuple(notes)

    def map_above(self, frame: str) -> str:
        """The frame that poses of `frame` are best given in: `map` where it is an ancestor, else the root.

        Raises DataError if nothing moves above the frame, so that there is no map.
        """
        frame = frame.lstrip("/")
        if frame not in self.frames:
            self._refuse_unknown(frame)
        path = self.path_to_root(frame)
        parents = [each.parent for each in path]
        if all(each.static for each in path):
            raise DataError(
                f"{self._where}: nothing moves above '{frame}' ({' <- '.join([frame, *parents])}), so there is no map"
            )
        return "map" if "map" in parents else parents[-1]

    def _refuse_unknown(self, frame: str) -> NoReturn:
        there = ", ".join(self.frames) or "none"
        raise UnknownFrameError(f"{self._where}: no transform has frame '{frame}'; there is {there}")


def filled(poses: list[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """A list of poses as (M, 7), NaN for None."""
    return np.array([np.full(7, np.nan) if pose is None else pose for pose in poses]).reshape(-1, 7)
