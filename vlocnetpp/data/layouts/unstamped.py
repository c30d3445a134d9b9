"""Shared by layouts whose images carry no stamps: names in order, one camera rate, ten seconds between sequences, and
depth that may be of another size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.files import natural
from vlocnetpp.data.frames import Frame, Sequence, image_size

RATE_HZ = 30
GAP_NS = 10_000_000_000


@dataclass(frozen=True)
class UnstampedFrame:
    """An image before it has a stamp."""

    name: str
    """Within its sequence."""
    image: Path
    K_33: NDArray[np.float64]
    pose_7: NDArray[np.float64] | None
    depth: Path | None = None
    depth_units_per_m: float = 1000.0


def by_folder(names: list[str]) -> dict[str, list[str]]:
    """Image names as datasets list them, `seq1/frame00001.png`, by their folder, sorted as people number them."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=natural):
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    return groups


def distinct(names: list[str], plain: Callable[[str], str]) -> dict[str, str]:
    """Each name made plain; a number follows where another name would be the same. Names that are plain keep theirs."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: plain(name) != name):
        made, number = plain(name), 2
        while made in found.values():
            made, number = f"{plain(name)}-{number}", number + 1
        found[name] = made
    return {name: found[name] for name in names}


Key = TypeVar("Key")


def usable_depths(
    found: dict[Key, Path], folder: Path, size: tuple[int, int]
) -> tuple[dict[Key, Path], tuple[str, ...]]:
    """Depth images, none where their size is not that of the colour images (height, width), and notes."""
    if not found:
        return {}, ()
    height, width = image_size(next(iter(found.values())))
    if (height, width) == size:
        return found, ()
    text = f"{folder}: depth is {width} x {height}, colour {size[1]} x {size[0]}"
    return {}, (f"{text}: left out, resize the colour images and K to the depth to use it",)


def splits_of(groups: Mapping[str, Mapping[str, list[UnstampedFrame]]]) -> dict[str, tuple[Sequence, ...]]:
    """Split -> sequence -> shots in order, as sequences with stamps that are unique in the dataset."""
    splits: dict[str, tuple[Sequence, ...]] = {}
    start_ns = GAP_NS  # not 0: a stamp of 0 means "not set" in a ROS header
    for split, sequences in groups.items():
        read = []
        for name, shots in sequences.items():
            stamps = [start_ns + i * 1_000_000_000 // RATE_HZ for i in range(len(shots))]
            read.append(Sequence(name, tuple(map(_frame, [name] * len(shots), stamps, shots))))
            start_ns = stamps[-1] + GAP_NS
        splits[split] = tuple(read)
    return splits


def _frame(sequence: str, stamp_ns: int, shot: UnstampedFrame) -> Frame:
    return Frame(
        f"{sequence}/{shot.name}",
        stamp_ns,
        shot.image,
        shot.K_33,
        shot.pose_7,
        shot.depth,
        depth_units_per_m=shot.depth_units_per_m,
    )
