"""How the demo's robot is driven: smooth closed loops around the island, as exact camera poses at 15 Hz."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.world.attitude import camera_quaternion
from vlocnetpp.data.world.scene import START_NS

RATE_HZ = 15.0
CAMERA_HEIGHT_M = 0.9
MIN_SPEED, MAX_SPEED = 0.45, 1.05
"""Mean speeds in m/s that a loop may be driven at; within them a recording covers its loop exactly once."""


@dataclass(frozen=True)
class Style:
    """One way to drive the loop; lengths in metres, angles in radians."""

    half_x: float
    half_y: float
    """Half axes of the ellipse."""
    clockwise: bool = False
    sway: float = 0.08
    """Amplitude of the sideways deviation from the ellipse."""
    sways: int = 3
    """Sideways swings per loop; a whole number keeps the loop closed and smooth."""
    yaw_swing: float = 0.03
    """Amplitude of the look-around: the camera's yaw against the direction of motion."""
    yaw_swing_hz: float = 0.08
    pitch: float = 0.045
    """Mean pitch, positive upwards."""
    pitch_swing: float = 0.010
    """Amplitude of the pitching."""
    speed_variation: float = 0.15
    """Relative variation of the speed about its mean."""

    def drive(self, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """See `driving.drive`."""
        return drive(self, frames, rng)


TRAINING: tuple[Style, ...] = (
    Style(3.50, 2.55),
    Style(3.58, 2.66, clockwise=True, sways=2, speed_variation=0.1),
    Style(3.05, 2.10, speed_variation=0.25, sways=4),
    Style(3.78, 2.82, sway=0.05, pitch_swing=0.014, speed_variation=0.06),
    Style(3.42, 2.46, sway=0.27, sways=4, yaw_swing=0.20, yaw_swing_hz=0.11, speed_variation=0.1),
    Style(3.35, 2.42, clockwise=True, sway=0.22, sways=3, yaw_swing=0.16, yaw_swing_hz=0.15, speed_variation=0.2),
)
"""The styles of the training loops, taken in turn."""
TEST = Style(3.32, 2.48, sway=0.17, sways=3, yaw_swing=0.07, yaw_swing_hz=0.19, speed_variation=0.3, pitch_swing=0.013)
VALIDATION = Style(3.62, 2.52, sway=0.12, sways=4, yaw_swing=0.10, yaw_swing_hz=0.13, speed_variation=0.1)


def drive(style: Style, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Drive one loop.

    Returns stamps in nanoseconds (N,) from `START_NS` on and camera-to-world poses (N, 7) x, y, z, qw, qx, qy, qz with
    qw >= 0, optical camera frame, world z up. Where so few frames are asked for that the loop would be driven faster
    than `MAX_SPEED`, only its beginning is; where many, it is driven round again.
    """
    angle = np.linspace(0, 2 * np.pi, 20001)
    phase = rng.uniform(0, 2 * np.pi, 6)
    swing = style.sway * (np.sin(style.sways * angle + phase[0]) + 0.2 * np.sin((style.sways + 1) * angle + phase[1]))
    # Sideways along the ellipse's outward normal.
    normal = np.stack([np.cos(angle) * style.half_y, np.sin(angle) * style.half_x], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    path = np.stack([style.half_x * np.cos(angle), style.half_y * np.sin(angle)], 1) + swing[:, None] * normal
    if style.clockwise:
        path = path[::-1]
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    length = travelled[-1]

    time = np.arange(frames) / RATE_HZ
    speed = np.clip(length * RATE_HZ / max(frames, 1), MIN_SPEED, MAX_SPEED)
    # A whole number of periods per loop keeps the mean speed.
    omega = 2 * np.pi * 3 * speed / length
    eased = time - style.speed_variation / omega * (np.cos(omega * time + phase[2]) - np.cos(phase[2]))
    start = length * rng.uniform()
    along = (start + speed * eased) % length
    position = np.stack([np.interp(along, travelled, path[:, k]) for k in range(2)], 1)
    step = 0.02
    ahead, behind = (np.stack([np.interp((along + d) % length, travelled, path[:, k]) for k in range(2)], 1)
                     for d in (step, -step))  # fmt: skip
    heading = np.arctan2(*(ahead - behind).T[::-1])

    yaw = heading + style.yaw_swing * np.sin(2 * np.pi * style.yaw_swing_hz * time + phase[3])
    pitch = style.pitch + style.pitch_swing * (
        np.sin(2 * np.pi * 0.7 * time + phase[4]) + 0.5 * np.sin(2 * np.pi * 0.31 * time)
    )
    roll = 0.5 * style.pitch_swing * np.sin(2 * np.pi * 0.53 * time + phase[5])
    height = CAMERA_HEIGHT_M + 0.3 * style.pitch_swing * np.sin(2 * np.pi * 0.7 * time + phase[5])
    turn = camera_quaternion(yaw, pitch, roll)
    stamps = START_NS + np.round(np.arange(frames) * 1e9 / RATE_HZ).astype(np.int64)
    return stamps, np.column_stack([position, height, turn])
