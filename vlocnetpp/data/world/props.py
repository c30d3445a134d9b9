"""Things that stand or move in a scene: plain colours, trees, lamps, benches, signs."""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import meshes, textures
from vlocnetpp.data.world.labels import BACKGROUND, OTHER, POLES, VEGETATION
from vlocnetpp.data.world.stage import Stage

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "curb": (206, 202, 194), "marking": (236, 236, 230), "trunk": (112, 86, 62), "metal": (70, 76, 82),
    "zinc": (150, 156, 160), "white": (238, 238, 234), "lamp": (255, 246, 214), "wood": (168, 122, 78),
    "field": (150, 164, 110), "bin": (46, 98, 82), "stone": (176, 172, 166), "water": (120, 170, 196),
    "cream": (232, 214, 176), "concrete": (186, 188, 188), "anthracite": (74, 80, 90), "roof": (112, 112, 116),
    "brick_side": (150, 88, 72), "green_door": (58, 96, 76), "yellow": (236, 190, 60), "red": (186, 58, 52),
    "skin": (214, 168, 138), "jeans": (58, 76, 116), "black": (40, 42, 46), "car": (176, 44, 48),
    "glass": (70, 92, 110), "teal": (48, 128, 132), "violet": (118, 84, 142), "cardboard": (190, 152, 104),
    "petal": (214, 104, 132), "sand": (206, 190, 160),
}  # fmt: skip
"""Plain materials by name, RGB 0-255."""


def colors(stage: Stage) -> None:
    """Make the plain materials."""
    for name, rgb in COLORS.items():
        stage.color(name, rgb, specular=0.3 if name in ("car", "glass") else 0.0)


def tree(stage: Stage, rng: np.random.Generator, x: float, y: float, height: float, radius: float, leaves: str) -> None:
    """A tree of a trunk, three boughs and five crowns; `leaves` is a material."""
    top = height - radius
    stage.rod(VEGETATION, "trunk", (x, y, 0), (x, y, top), 0.055 * height / 2 + 0.02)
    for turn in (0.5, 2.6, 4.7):
        reach = 0.5 * radius * np.array([np.cos(turn), np.sin(turn)])
        stage.rod(VEGETATION, "trunk", (x, y, top - 0.75 * radius), (x + reach[0], y + reach[1], top), 0.04, True)
    stage.mesh(VEGETATION, leaves, meshes.crown(rng, 0.10), (radius, radius, 0.85 * radius), (x, y, top + 0.1))
    for _ in range(4):
        turn, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.65)
        centre = (
            x + 0.6 * radius * np.cos(turn),
            y + 0.6 * radius * np.sin(turn),
            top + rng.uniform(-0.3, 0.45) * radius,
        )
        stage.mesh(VEGETATION, leaves, meshes.crown(rng, 0.12), np.array([share, share, 0.85 * share]) * radius, centre)


def lamp(stage: Stage, x: float, y: float, toward: float) -> None:
    """A street lamp of 3.2 m whose arm reaches out along `toward`, radians."""
    reach = 0.6 * np.array([np.cos(toward), np.sin(toward)])
    stage.rod(POLES, "metal", (x, y, 0), (x, y, 0.5), 0.075)
    stage.rod(POLES, "metal", (x, y, 0), (x, y, 3.1), 0.045)
    stage.rod(POLES, "metal", (x, y, 3.1), (x + reach[0], y + reach[1], 3.25), 0.035, True)
    stage.box(POLES, "zinc", (x + reach[0], y + reach[1], 3.26), (0.5, 0.2, 0.08), yaw=toward)
    stage.box(POLES, "lamp", (x + reach[0], y + reach[1], 3.21), (0.4, 0.15, 0.04), yaw=toward)


def bench(stage: Stage, x: float, y: float, yaw: float) -> None:
    """A wooden bench; `yaw` is where somebody on it looks."""
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    for offset in (-0.15, 0.0, 0.15):
        stage.box(OTHER, "wood", (x + offset * forward[0], y + offset * forward[1], 0.45), (0.12, 1.4, 0.05), yaw=yaw)
    for z in (0.62, 0.78):
        stage.box(OTHER, "wood", (x - 0.24 * forward[0], y - 0.24 * forward[1], z), (0.04, 1.4, 0.12), yaw=yaw)
    for side in (-0.55, 0.55):
        foot = (x - side * forward[1], y + side * forward[0], 0.22)
        stage.box(OTHER, "metal", foot, (0.4, 0.06, 0.44), yaw=yaw)


def sign(stage: Stage, rng: np.random.Generator, name: str, title: str, x: float, y: float, yaw: float,
          color: tuple[int, int, int]) -> None:  # fmt: skip
    """A notice on two legs; `yaw` is where its front looks."""
    stage.paint(name, textures.poster(rng, title, color))
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([x, y]) + 0.45 * np.array([forward[1], -forward[0]])
    right = 2 * np.array([x, y]) - left
    front = 0.03 * forward
    stage.mesh(OTHER, name, meshes.panel(tuple(left + front), tuple(right + front), 0.6, 1.8))
    stage.box(OTHER, "metal", (x, y, 1.2), (0.05, 0.96, 1.26), yaw=yaw)
    for foot in (left, right):
        stage.rod(POLES, "metal", (*foot, 0), (*foot, 1.85), 0.03)


def field(stage: Stage, radius: float, z: float) -> None:
    """Flat land around everything."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    disc = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    stage.mesh(BACKGROUND, "field", meshes.slab(disc, z, z, 8.0))


def hills(stage: Stage, rng: np.random.Generator, radius: float, height: float, waves: tuple[float, float]) -> None:
    """A ring of hills; `waves` bounds the amplitude of each of four waves about the height."""
    angle = np.linspace(2 * np.pi, 0, 121)
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    crest = height + sum(rng.uniform(*waves) * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5, 8))
    stage.mesh(BACKGROUND, "hills", meshes.wall(ring, -0.1, np.asarray(crest)))
