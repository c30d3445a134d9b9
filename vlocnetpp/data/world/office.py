"""The office: one floor round a core. A corridor is bare, one has the same door nine times, two have things to know.

World frame `map`: x east, y north, z up, metres, origin in the middle of the core. The corridors are driven
counter-clockwise on the right; a lounge opens in the west, a meeting room lies behind glass in the east.
"""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import circuit, interiors, meshes, movables, props, textures
from vlocnetpp.data.world.circuit import Route
from vlocnetpp.data.world.interiors import SEAM, ceiling, plain_wall, wall
from vlocnetpp.data.world.labels import BUILDING, OTHER, ROAD, SIDEWALK
from vlocnetpp.data.world.meshes import rectangle
from vlocnetpp.data.world.scene import Conditions, Mover, Recording, Scene, indoors
from vlocnetpp.data.world.stage import Stage

ROUTE = Route(((-8, -4), (8, -4), (8, 4), (-8, 4)), rounding=1.05, lane=-0.35, speed=1.2, height=0.95, pitch=0.0)
HALF, HIGH = 1.3, 2.6
"""Half the width of a corridor, and the height of the rooms."""
OUT_X, OUT_Y, IN_X, IN_Y = 8 + HALF, 4 + HALF, 8 - HALF, 4 - HALF
DEEP, OPEN = 3.2, 3.4
"""Depth of lounge and meeting room, and half their width."""
WHITE, DOOR = (226, 226, 220), (146, 106, 70)
BUSY = ("train", "val", "test", "light")
"""Splits in which somebody walks in the corridors; in the lanes there is no room to pass."""


def build(stage: Stage, rng: np.random.Generator) -> None:
    """Write the floor."""
    stage.set("statistic", extent=12.0, center=[0, 0, 1.0])
    stage.set_visual("map", znear=0.005, zfar=4.0, fogstart=10.0, fogend=20.0)
    for name, color in (("dark", (58, 112, 56)), ("light", (118, 150, 62))):
        stage.paint(f"leaves_{name}", textures.leaves(rng, color))
    stage.paint("carpet", interiors.carpet(rng, (132, 136, 142)))
    stage.paint("parquet", interiors.parquet(rng))
    props.colors(stage)
    stage.color("ceiling", (236, 236, 232))
    stage.glass("pane", (190, 215, 220), 0.25)
    _shell(stage)
    _walls(stage, rng)
    _lounge(stage, rng)
    _meeting_room(stage, rng)
    _corridors(stage, rng)
    movables.person(stage, "colleague", "teal", "black", 0.10, "black")
    movables.person(stage, "guest", "red", "jeans", 0.10)
    movables.person(stage, "speaker", "violet", "sand")
    movables.cart(stage, "cart")


def conditions(recording: Recording, rng: np.random.Generator) -> Conditions:
    """Office hours, a little different each time; `light` is the evening: dim, warm, a slow shutter."""
    lounge = ((-11.6, -2.2), (-10.2, -2.2), (-10.2, 2.2), (-11.6, 2.2))
    meeting = ((10.0, -2.6), (11.9, -2.6), (11.9, 2.6), (10.0, 2.6))
    walk = tuple((float(x), float(y)) for x, y in ROUTE.line(0.88)[::-40])
    colleague = walk if recording.split in BUSY else lounge
    movers = (
        Mover("colleague", colleague, speed=rng.uniform(0.6, 1.1), start=rng.uniform(0, 40)),
        Mover("guest", lounge[::-1], speed=rng.uniform(0.3, 0.6), start=rng.uniform(0, 10)),
        Mover("speaker", meeting, speed=rng.uniform(0.3, 0.6), start=rng.uniform(0, 12)),
        Mover("cart", ((-10.0, rng.choice([-2.9, 2.9])),), rng.uniform(0, 6.28)),
    )
    if recording.split == "light":
        return Conditions(indoors(0.62, 0.22, 0.03, azimuth=3.6), movers)
    return Conditions(indoors(rng.uniform(0.95, 1.05), rng.uniform(-0.02, 0.04), 0.006), movers)


def _shell(stage: Stage) -> None:
    whole = rectangle(-OUT_X - DEEP - SEAM, OUT_X + DEEP + SEAM, -OUT_Y - SEAM, OUT_Y + SEAM)
    stage.mesh(ROAD, "carpet", meshes.slab(whole, 0, 0, 2.0))
    for x0, x1 in ((-OUT_X - DEEP - SEAM, -OUT_X), (OUT_X, OUT_X + DEEP + SEAM)):
        floor = rectangle(x0, x1, -OPEN - SEAM, OPEN + SEAM)
        stage.mesh(SIDEWALK, "parquet", meshes.slab(floor, 0.004, 0.004, 2.0))
    ceiling(stage, "ceiling", whole, HIGH)
    for x in np.arange(-7.2, 7.3, 2.4).tolist():
        for y in (-4.0, 4.0):
            stage.box(OTHER, "lamp", (x, y, HIGH - 0.04), (1.2, 0.3, 0.03))
    for y in (-1.6, 1.6):
        for middle in (-8.0, 8.0, -11.0, 11.0):
            stage.box(OTHER, "lamp", (middle, y, HIGH - 0.04), (0.3, 1.2, 0.03))


def _walls(stage: Stage, rng: np.random.Generator) -> None:
    """South: bare on both sides. North: the same door again and again. East and west: different."""
    wall(stage, "south", (OUT_X, -OUT_Y), (-OUT_X, -OUT_Y), plain_wall(rng, 2 * OUT_X, HIGH, WHITE))
    wall(stage, "core_south", (-IN_X, -IN_Y), (IN_X, -IN_Y), plain_wall(rng, 2 * IN_X, HIGH, WHITE))
    north = plain_wall(rng, 2 * OUT_X, HIGH, WHITE)
    interiors.doors(north, np.arange(1.15, 2 * OUT_X - 1, 1.92), DOOR)
    wall(stage, "north", (-OUT_X, OUT_Y), (OUT_X, OUT_Y), north)
    core_north = plain_wall(rng, 2 * IN_X, HIGH, WHITE)
    interiors.doors(core_north, np.arange(0.6, 2 * IN_X - 1, 1.92), DOOR)
    wall(stage, "core_north", (IN_X, IN_Y), (-IN_X, IN_Y), core_north)
    west = plain_wall(rng, 2 * IN_Y, HIGH, (98, 146, 148))
    textures.lettering(west, "3F", 2.3, 1.2, 0.9, (236, 236, 230))
    textures.door(west, 0.5, 0.95, 2.08, (206, 132, 48))
    wall(stage, "core_west", (-IN_X, IN_Y), (-IN_X, -IN_Y), west)
    east = textures.brick(rng, 2 * IN_Y, HIGH, (176, 120, 92))
    textures.door(east, 3.6, 1.5, 2.1, (120, 124, 130), leaves=2)
    textures.lettering(east, "LIFT", 2.2, 1.6, 0.3, (240, 236, 226))
    wall(stage, "core_east", (IN_X, -IN_Y), (IN_X, IN_Y), east)
    for name, x, sign in (("ne", OUT_X, 1), ("se", OUT_X, -1), ("sw", -OUT_X, -1), ("nw", -OUT_X, 1)):
        a, b = (x, sign * OUT_Y), (x, sign * OPEN)
        start, stop = (a, b) if (x > 0) == (sign > 0) else (b, a)
        wall(stage, name, start, stop, plain_wall(rng, OUT_Y - OPEN, HIGH, WHITE))


def _lounge(stage: Stage, rng: np.random.Generator) -> None:
    x = -OUT_X - DEEP
    palette = ((238, 226, 196), (206, 96, 70), (52, 110, 130), (236, 180, 80), (90, 76, 120))
    wall(stage, "lounge", (x, -OPEN), (x, OPEN), textures.mural(rng, 2 * OPEN, HIGH, palette))
    for name, start, stop, color in (
        ("lounge_n", (x, OPEN), (-OUT_X, OPEN), (222, 190, 120)),
        ("lounge_s", (-OUT_X, -OPEN), (x, -OPEN), (150, 176, 140)),
    ):  # fmt: skip
        wall(stage, name, start, stop, plain_wall(rng, DEEP, HIGH, color))
    interiors.sofa(stage, (-12.05, 0.9), 0.0, 1.9, "teal", ("yellow", "red"))
    interiors.sofa(stage, (-11.0, 2.95), -np.pi / 2, 1.5, "violet", ("sand",))
    interiors.shelf(stage, rng, (-11.4, -3.2), 1.5, 0.3, 1.9, np.pi / 2)
    stage.rod(OTHER, "white", (-10.9, 0.6, 0.4), (-10.9, 0.6, 0.44), 0.45)
    stage.rod(OTHER, "metal", (-10.9, 0.6, 0), (-10.9, 0.6, 0.4), 0.05)
    interiors.plant(stage, rng, -12.1, -1.4, 1.5, "leaves_dark")
    interiors.plant(stage, rng, -9.8, 3.1, 1.1, "leaves_light")


def _meeting_room(stage: Stage, rng: np.random.Generator) -> None:
    x = OUT_X + DEEP
    stage.pane(BUILDING, "pane", (OUT_X, OPEN), (OUT_X, -OPEN), 0.0, HIGH)
    for y in np.linspace(-OPEN, OPEN, 5):
        stage.box(BUILDING, "anthracite", (OUT_X, y, HIGH / 2), (0.07, 0.07, HIGH))
    back = plain_wall(rng, 2 * OPEN, HIGH, (206, 212, 216))
    for left in (0.5, 2.7, 4.9):
        textures.window(rng, back, left, 0.9, 1.5, 1.3, (240, 240, 236), (2, 1), (150, 190, 222))
    wall(stage, "meeting", (x, OPEN), (x, -OPEN), back)
    board = plain_wall(rng, DEEP, HIGH, (206, 212, 216))
    board[60:130, 50:190] = (250, 250, 250)
    wall(stage, "meeting_n", (OUT_X, OPEN), (x, OPEN), board)
    wall(stage, "meeting_s", (x, -OPEN), (OUT_X, -OPEN), plain_wall(rng, DEEP, HIGH, (190, 120, 90)))
    stage.box(OTHER, "wood", (11.0, 0, 0.73), (1.1, 2.6, 0.05))
    stage.box(OTHER, "metal", (11.0, 0, 0.36), (0.3, 1.6, 0.7))
    for index, y in enumerate((-0.9, 0.0, 0.9)):
        for side in (-1, 1):
            interiors.chair(stage, (11.0 - 0.75 * side, y), 0.0 if side > 0 else np.pi, ("red", "teal", "red")[index])


def _corridors(stage: Stage, rng: np.random.Generator) -> None:
    """What hangs and stands in the corridors: much at the corners, a little in the north, nothing in the south."""
    y = OUT_Y - 0.02
    for name, title, x, color in (("p1", "FIRE", -8.6, (186, 58, 52)), ("p2", "TALK", 8.0, (58, 118, 86))):
        stage.paint(name, textures.poster(rng, title, color))
        stage.mesh(OTHER, name, meshes.panel((x - 0.4, y), (x + 0.4, y), 0.9, 2.0))
    for name, title, y, color in (("p3", "MAP", -4.4, (36, 92, 140)), ("p4", "CAFE", 4.4, (166, 62, 52))):
        stage.paint(name, textures.poster(rng, title, color))
        x = -OUT_X + 0.02 if y > 0 else OUT_X - 0.02
        turn = -1 if y > 0 else 1
        stage.mesh(OTHER, name, meshes.panel((x, y + 0.4 * turn), (x, y - 0.4 * turn), 0.9, 2.0))
    for x, y in ((-9.1, 5.1), (9.1, -5.1)):
        interiors.plant(stage, rng, x, y, 0.9, "leaves_dark")
    for index, material in enumerate(("teal", "white", "teal", "yellow", "white")):  # lockers in the south-west corner
        stage.box(OTHER, material, (-9.1, -3.75 - 0.3 * index, 0.9), (0.35, 0.28, 1.8))
    for x, y in ((-5.2, 5.2), (9.2, 4.4)):
        stage.rod(OTHER, "red", (x, y, 0.9), (x, y, 1.35), 0.07)
    stage.box(OTHER, "anthracite", (-OUT_X + 0.25, 4.4, 0.42), (0.4, 0.7, 0.84))  # a copier
    stage.box(OTHER, "white", (-OUT_X + 0.25, 4.4, 0.87), (0.35, 0.6, 0.06))


OFFICE = Scene(
    "suite/office", "corridors of 46 m round a core: a bare one, one of identical doors", build, conditions,
    circuit.recordings(ROUTE), 0.1, 45,
)  # fmt: skip
