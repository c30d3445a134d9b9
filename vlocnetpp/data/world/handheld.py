"""A camera carried by hand through a small room: six degrees of freedom, looking about, as in 7-Scenes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.world.attitude import camera_quaternion
from vlocnetpp.data.world.scene import RATE_HZ, START_NS, Recording

TUBE_M = 0.1
"""Half the width, along y, of the tube that all filmed paths stay in; shifts are counted from its edge."""


@dataclass(frozen=True)
class Handheld:
    """One way to carry the camera; metres, seconds, radians."""

    path: int
    """Which path: equal numbers are the same path, whatever the seed of the dataset."""
    duration: float = 25.0
    begin: float = 0.0
    """Seconds into the path."""
    shift: float = 0.0
    """Sideways, along +y."""
    backwards: bool = False
    """Whether the path is filmed from its end, every pose as it was."""

    def drive(self, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Stamps in nanoseconds (N,) and camera-to-world poses (N, 7); the same path at any number of frames.

        The hand's tremor depends on `rng`, the path does not.
        """
        time = np.arange(frames) * self.duration / frames
        at = self.begin + (self.duration - time if self.backwards else time)
        phase = np.random.default_rng(self.path).uniform(0, 2 * np.pi, 16)

        def wave(index: int, hertz: float) -> NDArray[np.float64]:
            return np.sin(2 * np.pi * hertz * at + phase[index])

        x = 0.2 + 0.85 * wave(0, 0.043) + 0.2 * wave(1, 0.13)
        y = -0.55 + TUBE_M * (0.8 * wave(2, 0.11) + 0.2 * wave(3, 0.31)) + self.shift
        z = 1.38 + 0.12 * wave(4, 0.071) + 0.03 * wave(5, 0.29)
        yaw = np.pi + 1.9 * wave(6, 0.037) + 0.25 * wave(7, 0.19)
        pitch = -0.22 + 0.17 * wave(8, 0.09) + 0.05 * wave(9, 0.33)
        roll = 0.09 * wave(10, 0.12) + 0.04 * wave(11, 0.41)
        tremor = 0.004 * np.sin(2 * np.pi * np.outer(np.array([1.3, 1.7, 2.1]), time) + rng.uniform(0, 6, (3, 1)))
        turn = camera_quaternion(yaw + tremor[0], pitch + tremor[1], roll + tremor[2])
        stamps = START_NS + np.round(time * 1e9).astype(np.int64)
        return stamps, np.column_stack([x, y, z, turn])


def recordings() -> tuple[Recording, ...]:
    """The sequences of the room; `suite.SPLITS` says what each split is for."""

    def shots() -> Iterator[tuple[str, Handheld]]:
        for path in range(5):
            yield "train", Handheld(path)
        yield "val", Handheld(11, 12.0)
        yield "test", Handheld(12)
        for name, distance in (("lane_025", 0.25), ("lane_050", 0.5), ("lane_100", 1.0)):
            for path in (1, 3):
                yield name, Handheld(path, 7.5, 8.0, TUBE_M + distance)
        for path in (0, 2):
            yield "reverse", Handheld(path, 8.0, 6.0, backwards=True)
        for path in (13, 14):
            yield "light", Handheld(path, 8.0)
        for index in range(16):
            yield "anywhere", Handheld(20 + index, 0.8, 3.0 * index)

    counts: dict[str, int] = {}
    listed = []
    for number, (split, shot) in enumerate(shots()):
        counts[split] = counts.get(split, 0) + 1
        listed.append(Recording(f"{split}-{counts[split]:02d}", split, number, round(shot.duration * RATE_HZ), shot))
    return tuple(listed)
