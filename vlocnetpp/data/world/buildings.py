"""The campus's buildings: painted blocks, some of them alike, and two of glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlocnetpp.data.world import meshes, textures
from vlocnetpp.data.world.labels import BUILDING, OTHER, SIDEWALK
from vlocnetpp.data.world.stage import Stage


@dataclass(frozen=True)
class Block:
    """A building with the same painted front on opposite sides; metres."""

    name: str
    plan: tuple[float, float, float, float]
    """x from and to, y from and to."""
    height: float
    wall: str
    """`brick`, `plaster` or `cladding`."""
    color: textures.Color
    text: str
    """Painted over the entrance."""
    gable: bool = False
    """A pitched roof instead of a flat one."""
    twin: bool = False
    """Painted like every other twin."""


BLOCKS: tuple[Block, ...] = (
    Block("library", (-2.5, 13.0, 13.2, 18.0), 5.6, "brick", (158, 84, 66), "LIBRARY", gable=True),
    Block("cafe", (-14.5, -7.0, 10.0, 15.0), 3.6, "plaster", (236, 206, 140), "CAFE"),
    Block("dorm_a", (-24.0, -19.0, 2.6, 7.4), 5.2, "plaster", (214, 196, 176), "A", gable=True, twin=True),
    Block("dorm_b", (-24.0, -19.0, -3.6, 1.2), 5.2, "plaster", (214, 196, 176), "B", gable=True, twin=True),
    Block("dorm_c", (-24.0, -19.0, -9.8, -5.0), 5.2, "plaster", (214, 196, 176), "C", gable=True, twin=True),
    Block("lab", (-12.5, 0.5, -18.0, -13.0), 6.6, "cladding", (92, 126, 142), "LAB 3"),
    Block("workshop", (5.2, 13.4, -15.5, -11.3), 3.2, "plaster", (176, 184, 190), "G2"),
    Block("archive", (16.5, 22.0, 12.5, 18.0), 7.2, "cladding", (150, 118, 92), "ARCHIVE"),
    Block("boiler", (16.5, 22.0, -13.5, -8.2), 4.0, "brick", (132, 92, 78), "7"),
)


def build(stage: Stage, rng: np.random.Generator) -> None:
    """Put all of them up; needs the materials of `props` and the glass `pane` and `mirror`."""
    for block in BLOCKS:
        _block(stage, rng, block)
    _glass_house(stage)
    _pavilion(stage)


def _block(stage: Stage, rng: np.random.Generator, block: Block) -> None:
    (x0, x1, y0, y1), height = block.plan, block.height
    for side, wide, ends in (
        ("long", x1 - x0, (((x0, y0), (x1, y0)), ((x1, y1), (x0, y1)))),
        ("short", y1 - y0, (((x1, y0), (x1, y1)), ((x0, y1), (x0, y0)))),
    ):
        look = np.random.default_rng(17) if block.twin else rng
        picture = stage.paint(f"{block.name}_{side}", _front(look, wide, block))
        for start, stop in ends:
            stage.mesh(BUILDING, picture, meshes.panel(start, stop, 0, height))
    if block.gable:
        stage.mesh(BUILDING, "tiles_red", meshes.gable(x0 - 0.4, x1 + 0.4, y0 - 0.4, y1 + 0.4, height, height + 2.0))
    else:
        stage.box(BUILDING, "roof", ((x0 + x1) / 2, (y0 + y1) / 2, height + 0.1), (x1 - x0 + 0.3, y1 - y0 + 0.3, 0.2))
        stage.box(BUILDING, "concrete", (x0 + 1.6, y1 - 1.6, height + 0.6), (1.4, 1.2, 0.9))


def _front(rng: np.random.Generator, wide: float, block: Block) -> textures.Image:
    """Rows of windows, an entrance in the middle of the ground floor, lettering over it."""
    height, wall, color, text = block.height, block.wall, block.color, block.text
    if wall == "brick":
        picture, frame, glass = textures.brick(rng, wide, height, color), (236, 232, 222), (92, 116, 138)
    elif wall == "cladding":
        picture, frame, glass = textures.cladding(rng, wide, height, color, (1.3, 0.9)), (58, 64, 72), (132, 164, 182)
    else:
        picture, frame, glass = textures.plaster(rng, wide, height, color), (92, 84, 76), (110, 128, 138)
    bays = int(wide / 2.1)
    pitch = wide / bays
    entrance = bays // 2
    for floor in range(int(height / 2.5)):
        for bay in range(bays):
            left, bottom = (bay + 0.5) * pitch - 0.55, 0.9 + 2.45 * floor
            if floor == 0 and bay == entrance:
                if text == "G2":
                    textures.roller_door(picture, left - 0.2, 1.6, 2.1, (226, 226, 222))
                else:
                    textures.door(picture, left, 1.15, 2.1, (44, 92, 142) if wall == "plaster" else (58, 96, 76))
            else:
                textures.window(rng, picture, left, bottom, 1.1, 1.25, frame, (2, 2), glass)
    ink = (52, 84, 120) if wall == "plaster" else (236, 226, 206)
    middle = (entrance + 0.5) * pitch - 0.18 * len(text)
    textures.lettering(picture, text, middle, 2.42 if height < 4.5 else 2.38, 0.3, ink)
    return picture[::2, ::2].copy() if wide * height > 60 else picture


def _glass_house(stage: Stage) -> None:
    """East: an office block; its ground floor is seen through clear glass, the two above it mirror the campus."""
    x, y0, y1, high = 18.7, -5.0, 9.5, 8.4
    stage.pane(BUILDING, "pane", (x, y1), (x, y0), 0.1, 2.8)
    stage.pane(BUILDING, "mirror", (x, y1), (x, y0), 2.8, high)
    stage.box(BUILDING, "anthracite", (x + 5.0, (y0 + y1) / 2, high / 2), (0.2, y1 - y0, high))
    for y in (y0, y1):
        stage.box(BUILDING, "concrete", (x + 2.5, y, high / 2), (5.2, 0.25, high))
    for z in (0.05, 2.8, 5.6, high):
        stage.box(BUILDING, "concrete", (x + 2.55, (y0 + y1) / 2, z), (4.9, y1 - y0, 0.22))
        stage.box(BUILDING, "anthracite", (x - 0.05, (y0 + y1) / 2, z), (0.1, y1 - y0, 0.3))
    for y in np.arange(y0 + 1.8, y1, 1.8).tolist():
        stage.box(BUILDING, "metal", (x - 0.02, y, high / 2), (0.07, 0.07, high))
    for material, y in (("yellow", -3.2), ("teal", 0.2), ("red", 5.0), ("violet", 7.8)):
        stage.box(BUILDING, material, (x + 3.6, y, 1.4), (0.2, 2.4, 2.4))
        stage.box(OTHER, "wood", (x + 1.6, y + 1.0, 0.8), (0.8, 1.6, 0.08))
    stage.box(BUILDING, "black", (x - 0.05, 2.2, 1.15), (0.06, 2.0, 2.1))


def _pavilion(stage: Stage) -> None:
    """On the lawn: a flat roof on four posts round clear glass, with chairs and plants inside."""
    x0, x1, y0, y1, high = 4.6, 9.4, -1.0, 2.6, 2.7
    stage.box(SIDEWALK, "stone", ((x0 + x1) / 2, (y0 + y1) / 2, 0.05), (x1 - x0 + 0.8, y1 - y0 + 0.8, 0.1))
    stage.box(BUILDING, "white", ((x0 + x1) / 2, (y0 + y1) / 2, high + 0.12), (x1 - x0 + 1.2, y1 - y0 + 1.2, 0.24))
    for start, stop in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        stage.pane(BUILDING, "pane", start, stop, 0.1, high)
        for share in (0.0, 0.5):
            x, y = np.array(start) + share * (np.array(stop) - np.array(start))
            stage.rod(BUILDING, "anthracite", (x, y, 0.1), (x, y, high), 0.06)
    for x, y, material in ((5.6, 0.2, "red"), (6.4, 1.6, "yellow"), (7.6, 0.0, "red"), (8.4, 1.7, "teal")):
        stage.box(OTHER, material, (x, y, 0.5), (0.5, 0.5, 0.1))
        stage.box(OTHER, material, (x, y + 0.24, 0.8), (0.5, 0.06, 0.6))
        stage.rod(OTHER, "metal", (x, y, 0.1), (x, y, 0.5), 0.05)
    stage.rod(OTHER, "white", (7.0, 0.9, 0.1), (7.0, 0.9, 0.8), 0.5)
