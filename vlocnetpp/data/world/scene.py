"""A scene as data: geometry, the conditions of a recording, and the drives that become sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world.stage import Stage

Point = tuple[float, float]
Rgb = tuple[float, float, float]

FOVY = np.radians(62.0)
"""Vertical field of view of the camera, radians."""
RATE_HZ = 10.0
"""Images a second in the suite; the demo's courtyard has a rate of its own."""
START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame of a dataset."""


class Motion(Protocol):
    """A way to move the camera."""

    def drive(self, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Stamps in nanoseconds (N,) and camera-to-world poses (N, 7), optical frame, qw >= 0, world z up."""


@dataclass(frozen=True)
class Recording:
    """One uninterrupted drive, which becomes a sequence."""

    sequence: str
    split: str
    number: int
    """Number of the recording; with the seed it decides the drive, the light and the positions of people."""
    frames: int
    motion: Motion


def check_frames_scale(frames_scale: float) -> None:
    """Raise DataError for a factor by which no drive can be filmed."""
    if not 0 < frames_scale <= 100:
        raise DataError(f"frames_scale must be in (0, 100], not {frames_scale}")


def scaled(recording: Recording, frames_scale: float) -> Recording:
    """The same drive with more or fewer frames, at least one."""
    return replace(recording, frames=max(1, round(recording.frames * frames_scale)))


@dataclass(frozen=True)
class Light:
    """Two directional lights and an ambient one; strengths are RGB, 1 is a full channel."""

    toward_sun: tuple[float, float, float]
    sun: Rgb
    toward_fill: tuple[float, float, float]
    fill: Rgb
    ambient: Rgb
    exposure_s: float = 0.0
    """How long the shutter is open: what moves meanwhile is blurred."""


def daylight(azimuth: float, elevation: float, brightness: float, warmth: float, exposure_s: float = 0.0) -> Light:
    """Sun and sky; angles in radians, `warmth` moves the sun from blue to red."""
    x, y, z = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)
    sun = 0.60 * brightness * np.array([1 + warmth, 1, 1 - warmth])
    ambient = 0.54 * brightness * np.array([0.98, 1.0, 1.03])
    return Light((x, y, z), tuple(sun), (-x, -y, 0.3 * z), (0.14 * brightness,) * 3, tuple(ambient), exposure_s)


def indoors(brightness: float, warmth: float, exposure_s: float, azimuth: float = 0.9) -> Light:
    """Lamps in the ceiling and a window to one side; angles in radians."""
    color = brightness * np.array([1 + warmth, 1, 1 - warmth])
    x, y = np.cos(azimuth), np.sin(azimuth)
    return Light(
        (0.6 * x, 0.6 * y, 0.8), tuple(0.42 * color), (-0.8 * x, -0.8 * y, -0.3), tuple(0.18 * color),
        tuple(0.66 * color), exposure_s,
    )  # fmt: skip


@dataclass(frozen=True)
class Mover:
    """Where a movable body is: it stands on the only point of its route, or goes round a closed one."""

    body: str
    route: tuple[Point, ...]
    """Corners in metres."""
    yaw: float = 0.0
    """Yaw while it stands, radians; on a route it faces ahead."""
    speed: float = 0.0
    """Metres a second."""
    start: float = 0.0
    """Metres along the route at time 0."""

    def at(self, time_s: float) -> tuple[float, float, float]:
        """x, y in metres and yaw in radians at a time since the start of the recording."""
        if len(self.route) == 1:
            return *self.route[0], self.yaw
        corner = np.array([*self.route, self.route[0]])
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corner, axis=0), axis=1))])
        along = self.start + self.speed * time_s + np.array([-0.25, 0.0, 0.25])  # looks round the corner a little early
        (x0, x, x1), (y0, y, y1) = (np.interp(along % travelled[-1], travelled, corner[:, k]) for k in range(2))
        return float(x), float(y), float(np.arctan2(y1 - y0, x1 - x0))


@dataclass(frozen=True)
class Conditions:
    """What differs between recordings of one scene."""

    light: Light
    movers: tuple[Mover, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A world that can be rendered."""

    name: str
    summary: str
    build: Callable[[Stage, np.random.Generator], None]
    conditions: Callable[[Recording, np.random.Generator], Conditions]
    recordings: tuple[Recording, ...]
    frame_core_s: float
    """Measured without a graphics card, at 320 x 240: seconds of one core for a frame."""
    frame_kb: float
    """Measured at 320 x 240: kilobytes on disk for a frame."""
    shadow_px: int = 0
    """Edge of the shadow map; 0 is no shadows: indoors light comes from everywhere, and rendering is twice as fast."""
