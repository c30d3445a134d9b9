"""A robot that drives a closed route in a lane, and splits that leave the training path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.world.attitude import camera_quaternion
from vlocnetpp.data.world.scene import RATE_HZ, START_NS, Point, Recording

STEP_M = 0.02
"""Spacing of the points of a smoothed route."""


@dataclass(frozen=True)
class Route:
    """A closed route for a robot, driven counter-clockwise; metres."""

    corners: tuple[Point, ...]
    rounding: float
    """Standard deviation of the Gaussian that rounds the corners."""
    lane: float
    """Lane of the training loops: distance from the route to its left, negative to its right."""
    speed: float
    """Metres a second."""
    height: float
    """Of the camera over the ground."""
    pitch: float = 0.03
    """Mean pitch of the camera, radians, positive upwards."""

    def line(self, offset: float = 0.0) -> NDArray[np.float64]:
        """(N, 2) points along the route, about `STEP_M` apart, `offset` to its left; the last joins the first."""
        corner = np.array([*self.corners, self.corners[0]])
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corner, axis=0), axis=1))])
        count = int(travelled[-1] / STEP_M)
        along = np.arange(count) * travelled[-1] / count
        sharp = np.stack([np.interp(along, travelled, corner[:, k]) for k in range(2)], 1)
        wave = np.exp(-2 * (np.pi * self.rounding * np.fft.rfftfreq(count, travelled[-1] / count)) ** 2)
        smooth = np.fft.irfft(np.fft.rfft(sharp, axis=0) * wave[:, None], count, axis=0)
        ahead = np.roll(smooth, -1, 0) - np.roll(smooth, 1, 0)
        left = np.stack([-ahead[:, 1], ahead[:, 0]], 1) / np.linalg.norm(ahead, axis=1, keepdims=True)
        return smooth + offset * left

    def length(self) -> float:
        """Metres."""
        line = self.line()
        return float(np.linalg.norm(np.roll(line, -1, 0) - line, axis=1).sum())


@dataclass(frozen=True)
class Lap:
    """A part of a route, or all of it, driven in a lane; shares are of the route, angles in radians."""

    route: Route
    offset: float = 0.0
    """Metres to the left of the training lane, as seen when driving counter-clockwise."""
    start: float | None = None
    """Where it starts; by default anywhere."""
    share: float = 1.0
    reverse: bool = False
    sway: float = 0.04
    """Amplitude of the sideways deviation from the lane, metres."""
    sways: int = 5
    yaw_swing: float = 0.04
    """Amplitude of the look-around: the camera's yaw against the direction of motion."""
    pitch_swing: float = 0.006
    """Amplitude of pitching and rolling."""
    speed_variation: float = 0.15
    """Relative variation of the speed about its mean."""

    def frames(self) -> int:
        """How many at the suite's rate."""
        return round(self.share * self.route.length() / self.route.speed * RATE_HZ)

    def drive(self, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Stamps in nanoseconds (N,) and camera-to-world poses (N, 7); the same drive at any number of frames."""
        phase = rng.uniform(0, 2 * np.pi, 8)
        start = rng.uniform() if self.start is None else self.start
        line = self.route.line(self.route.lane + self.offset)
        round_ = np.arange(len(line)) / len(line) * 2 * np.pi
        swing = self.sway * (0.8 * np.sin(self.sways * round_ + phase[0]) + 0.2 * np.sin(11 * round_ + phase[1]))
        ahead = np.roll(line, -1, 0) - np.roll(line, 1, 0)
        left = np.stack([-ahead[:, 1], ahead[:, 0]], 1) / np.linalg.norm(ahead, axis=1, keepdims=True)
        line = line + swing[:, None] * left
        if self.reverse:
            line = line[::-1]
        closed = np.concatenate([line, line[:1]])
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
        length = travelled[-1]

        duration = self.share * self.route.length() / self.route.speed
        time = np.arange(frames) * duration / frames
        speed = self.share * length / duration
        omega = (
            2 * np.pi * max(1, round(7 * self.share)) / duration
        )  # whole periods of the variation keep the mean speed
        eased = time - self.speed_variation / omega * (np.cos(omega * time + phase[2]) - np.cos(phase[2]))
        along = ((1 - start if self.reverse else start) * length + speed * eased) % length

        def at(shift: float) -> NDArray[np.float64]:
            return np.stack([np.interp((along + shift) % length, travelled, closed[:, k]) for k in range(2)], 1)

        position, direction = at(0), at(0.25) - at(-0.15)  # the camera is turned a little ahead of the motion
        yaw = np.arctan2(direction[:, 1], direction[:, 0]) + self.yaw_swing * (
            0.7 * np.sin(2 * np.pi * 0.13 * time + phase[3]) + 0.3 * np.sin(2 * np.pi * 0.31 * time + phase[4])
        )
        pitch = self.route.pitch + self.pitch_swing * (
            np.sin(2 * np.pi * 0.9 * time + phase[5]) + 0.5 * np.sin(2 * np.pi * 0.37 * time + phase[6])
        )
        roll = 0.6 * self.pitch_swing * np.sin(2 * np.pi * 0.61 * time + phase[7])
        height = self.route.height + 0.5 * self.pitch_swing * np.sin(2 * np.pi * 0.9 * time + phase[5])
        stamps = START_NS + np.round(time * 1e9).astype(np.int64)
        return stamps, np.column_stack([position, height, camera_quaternion(yaw, pitch, roll)])


OUTERMOST = 0.15
"""Metres from the training lane to the outermost training loops; parallel lanes are counted from there."""


def recordings(route: Route) -> tuple[Recording, ...]:
    """The sequences of a scene that is driven round; `suite.SPLITS` says what each split is for."""

    def laps() -> Iterator[tuple[str, Lap]]:
        yield "train", Lap(route, -OUTERMOST)
        yield "train", Lap(route, -0.05, sway=0.06, yaw_swing=0.10, speed_variation=0.25)
        yield "train", Lap(route, 0.05, sway=0.06, sways=3, yaw_swing=0.16, pitch_swing=0.01)
        yield "train", Lap(route, OUTERMOST, yaw_swing=0.07, speed_variation=0.1)
        yield "val", Lap(route, 0.10, share=0.5, sways=4, yaw_swing=0.08)
        yield "test", Lap(route, 0.0, sways=7, yaw_swing=0.09, speed_variation=0.2, pitch_swing=0.008)
        for distance, name in ((0.25, "lane_025"), (0.50, "lane_050"), (1.00, "lane_100")):
            for start in (0.05, 0.38, 0.71):
                yield name, Lap(route, OUTERMOST + distance, start, 0.15, sway=0.02)
        for start in (0.20, 0.53, 0.86):
            yield "reverse", Lap(route, 0.0, start, 0.15, reverse=True)
        for start in (0.12, 0.45, 0.78):
            yield "light", Lap(route, 0.0, start, 0.16)
        for index in range(24):
            yield (
                "anywhere",
                Lap(route, OUTERMOST * np.sin(2.4 * index), (index * 0.382) % 1, 0.02, yaw_swing=0.2, sway=0.0),
            )

    counts: dict[str, int] = {}
    listed = []
    for number, (split, lap) in enumerate(laps()):
        counts[split] = counts.get(split, 0) + 1
        listed.append(Recording(f"{split}-{counts[split]:02d}", split, number, lap.frames(), lap))
    return tuple(listed)
