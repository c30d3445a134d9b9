"""The courtyard: 14 x 11 m between a library, a workshop, a laboratory and a fence, around a road with a green island.

World frame `map`: x east, y north, z up, metres, origin in the middle of the island.
"""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import driving, meshes, movables, props, textures
from vlocnetpp.data.world.labels import (
    BUILDING,
    GRASS,
    OTHER,
    POLES,
    ROAD,
    SIDEWALK,
    VEGETATION,
)
from vlocnetpp.data.world.meshes import rectangle, rounded
from vlocnetpp.data.world.scene import Conditions, Mover, Recording, Scene, daylight
from vlocnetpp.data.world.stage import Stage

EAST, NORTH = 7.0, 5.5
"""Half extents of the court."""
PERSON_PLACES = (
    (-5.7, 2.9), (-2.75, 4.05), (-0.6, 4.3), (2.55, 3.95), (5.3, 2.2), (5.9, 0.45), (5.6, -1.4), (2.6, -4.4),
    (0.9, -4.35),
    (-2.0, -4.3), (-4.9, -3.4), (-5.8, -0.2), (3.75, 3.8), (-5.5, 0.85),
)  # fmt: skip
"""Where somebody may stand: on the pavement, clear of every loop and of the furniture."""
CAR_PLACES = ((5.75, -3.7, 1.57), (5.55, -3.9, -1.57), (-1.5, -8.2, 0.0), (3.5, -8.2, 3.14))
"""x, y, yaw of the car: parked in the bay or waiting outside."""
CART_PLACES = ((-6.1, -2.6, 1.3), (-1.5, 4.2, 0.2), (5.9, 1.5, 1.7), (0.2, -5.0, 2.9))
BOX_PLACES = ((5.95, 2.3, 0.4), (-6.2, 0.5, 0.3), (4.25, 4.4, 0.7), (-5.2, -4.9, 0.1), (-2.7, -4.75, 1.0))


PEOPLE = 4


def build(stage: Stage, rng: np.random.Generator) -> None:
    """Write the courtyard."""
    stage.set("statistic", extent=10.0, center=[0, 0, 1.0])
    stage.set_visual("map", znear=0.01, zfar=10.0, shadowclip=1.0, fogstart=3.0, fogend=9.0)
    stage.set_visual("rgba", fog=[0.80, 0.87, 0.91, 1])
    stage.sky(textures.sky_faces(rng))
    _materials(stage, rng)
    _ground(stage)
    _library(stage, rng)
    _workshop(stage, rng)
    _laboratory(stage, rng)
    _south_side(stage, rng)
    _greenery(stage, rng)
    _furniture(stage, rng)
    _beyond(stage, rng)
    movables.car(stage, "car")
    movables.person(stage, "person0", "red", "jeans")
    movables.person(stage, "person1", "teal", "black", 0.10, "black")
    movables.person(stage, "person2", "yellow", "jeans")
    movables.person(stage, "person3", "violet", "sand", 0.10, "black")
    movables.cart(stage, "cart")
    movables.boxes(stage, "boxes")


def conditions(recording: Recording, rng: np.random.Generator) -> Conditions:
    """A sunny day, a little different each time, and people, car, cart and boxes in one of their places."""
    azimuth, elevation = rng.uniform(-2.3, -1.2), rng.uniform(0.75, 1.0)
    brightness, warmth = rng.uniform(0.88, 1.06), rng.uniform(-0.03, 0.05)
    movers = []
    for index, place in enumerate(rng.choice(len(PERSON_PLACES), PEOPLE, replace=False)):
        x, y = np.array(PERSON_PLACES[place]) + rng.uniform(-0.12, 0.12, 2)
        movers.append(Mover(f"person{index}", ((x, y),), rng.uniform(0, 2 * np.pi)))
    for name, places in (("car", CAR_PLACES), ("cart", CART_PLACES), ("boxes", BOX_PLACES)):
        x, y, yaw = places[rng.integers(len(places))]
        movers.append(Mover(name, ((x, y),), yaw + rng.uniform(-0.06, 0.06)))
    return Conditions(daylight(azimuth, elevation, brightness, warmth), tuple(movers))


def _materials(stage: Stage, rng: np.random.Generator) -> None:
    stage.paint("asphalt", textures.asphalt(rng))
    stage.paint("paving", textures.paving(rng))
    stage.paint("lawn", textures.lawn(rng))
    stage.paint("gravel", textures.gravel(rng))
    stage.paint("leaves_dark", textures.leaves(rng, (58, 112, 56)))
    stage.paint("leaves_light", textures.leaves(rng, (118, 150, 62)))
    stage.paint("leaves_red", textures.leaves(rng, (176, 104, 62)))
    stage.paint("planks", textures.planks(rng, (150, 112, 76)))
    stage.paint("tiles_red", textures.roof_tiles(rng, (150, 78, 62)))
    stage.paint("hills", textures.hills(rng))
    props.colors(stage)


def _ground(stage: Stage) -> None:
    stage.mesh(SIDEWALK, "paving", meshes.slab(rectangle(-EAST, EAST, -NORTH, NORTH), 0, 0, 4.0))
    stage.mesh(SIDEWALK, "curb", meshes.slab(rounded(5.02, 3.82), 0.006, 0.006, 2.0))
    stage.mesh(ROAD, "asphalt", meshes.slab(rounded(4.9, 3.7), 0.012, 0.012, 4.0))
    stage.mesh(SIDEWALK, "curb", meshes.slab(rectangle(4.5, 6.85, -5.45, -2.0), 0.006, 0.006, 2.0))
    stage.mesh(ROAD, "asphalt", meshes.slab(rectangle(4.0, 6.75, -5.35, -2.1), 0.015, 0.015, 4.0))
    for x in (4.75, 6.65):
        stage.mesh(ROAD, "marking", meshes.slab(rectangle(x - 0.05, x + 0.05, -5.3, -2.5), 0.02, 0.02, 1.0))
    middle = rounded(3.45, 2.5, count=60)
    for i in range(0, 60, 3):  # the dashed line between the lanes
        a, b = middle[i], middle[(i + 1) % 60]
        across = np.array([a[1] - b[1], b[0] - a[0]]) / np.linalg.norm(b - a) * 0.045
        stage.mesh(
            ROAD, "marking", meshes.slab(np.array([a - across, b - across, b + across, a + across]), 0.02, 0.02, 1.0)
        )
    for i in range(6):  # a zebra crossing towards the library
        y = 1.5 + 0.36 * i
        stage.mesh(ROAD, "marking", meshes.slab(rectangle(-0.75, 0.75, y, y + 0.18), 0.022, 0.022, 1.0))
    for x in (-3.6, -3.2):  # a stop line and an arrow in the west
        stage.mesh(ROAD, "marking", meshes.slab(rectangle(x, x + 0.14, -0.7, 0.7), 0.022, 0.022, 1.0))
    arrow = np.array([[3.3, 0.7], [3.55, 0.7], [3.55, -0.1], [3.75, -0.1], [3.42, -0.75], [3.1, -0.1], [3.3, -0.1]])[
        ::-1
    ]
    stage.mesh(ROAD, "marking", meshes.slab(arrow, 0.022, 0.022, 1.0))
    for half, top, label, material in ((0.0, 0.11, SIDEWALK, "curb"), (0.12, 0.13, GRASS, "lawn")):
        stage.mesh(label, material, meshes.slab(rounded(1.9 - half, 1.2 - half), 0.0, top, 3.0))
    for x0, x1, y0, y1 in ((-6.9, -1.3, 4.6, 5.4), (1.3, 4.6, 4.6, 5.4), (-6.9, -4.6, -5.4, -4.0), (4.6, 6.9, 3.5, 5.4),
                           (6.2, 6.95, -0.6, 3.5), (-3.4, 3.2, -5.4, -4.95)):  # fmt: skip
        stage.mesh(GRASS, "lawn", meshes.slab(rectangle(x0, x1, y0, y1), 0.0, 0.05, 3.0))
    stage.mesh(OTHER, "gravel", meshes.slab(rectangle(-6.95, -6.2, -1.6, 3.4), 0.0, 0.04, 2.0))


def _library(stage: Stage, rng: np.random.Generator) -> None:
    """North: brick, two rows of white windows, a green double door under a canopy, a tiled roof."""
    picture = textures.brick(rng, 14, 4.3)
    for x in (0.7, 2.5, 4.3, 8.9, 10.7, 12.4):
        textures.window(rng, picture, x, 0.9, 0.95, 1.25, (236, 232, 222), (2, 3))
    for x in (0.7, 2.5, 4.3, 6.55, 8.9, 10.7, 12.4):
        textures.window(rng, picture, x, 2.85, 0.95, 1.0, (236, 232, 222), (2, 2))
    textures.door(picture, 6.1, 1.8, 2.1, (58, 96, 76), leaves=2)
    textures.lettering(picture, "LIBRARY", 6.15, 3.92, 0.24, (236, 226, 206))
    stage.paint("library", picture)
    stage.mesh(BUILDING, "library", meshes.panel((-EAST, NORTH), (EAST, NORTH), 0, 4.3))
    stage.box(BUILDING, "brick_side", (0, NORTH + 2.01, 2.15), (14, 4, 4.3))
    stage.mesh(BUILDING, "tiles_red", meshes.gable(-EAST - 0.3, EAST + 0.3, NORTH - 0.3, NORTH + 4.3, 4.25, 5.9))
    stage.box(BUILDING, "zinc", (0, NORTH - 0.32, 4.22), (14.6, 0.1, 0.1))
    stage.box(BUILDING, "green_door", (0, NORTH - 0.45, 2.25), (2.3, 0.9, 0.1))
    stage.box(SIDEWALK, "stone", (0, NORTH - 0.35, 0.06), (2.2, 0.7, 0.12))
    for x in (-1.05, 1.05):
        stage.rod(POLES, "metal", (x, NORTH - 0.82, 0), (x, NORTH - 0.82, 2.2), 0.035)
    for x in (-3.5, 4.0):
        stage.box(BUILDING, "brick_side", (x, NORTH + 2.6, 5.9), (0.7, 0.7, 1.1))
        stage.box(BUILDING, "stone", (x, NORTH + 2.6, 6.47), (0.85, 0.85, 0.1))
    for x in (-6.8, 6.4):
        stage.rod(BUILDING, "zinc", (x, NORTH - 0.06, 0), (x, NORTH - 0.06, 4.2), 0.05)


def _workshop(stage: Stage, rng: np.random.Generator) -> None:
    """West: a low cream house, mostly bare plaster, and a garden wall with a mural."""
    picture = textures.plaster(rng, 7, 3.1, (232, 214, 176))
    textures.door(picture, 1.0, 0.95, 2.05, (44, 92, 142))
    textures.window(rng, picture, 4.9, 1.0, 1.3, 1.1, (70, 96, 128), (3, 1), glass=(110, 128, 138))
    textures.lettering(picture, "12", 2.25, 1.75, 0.3, (52, 84, 120))
    stage.paint("workshop", picture)
    stage.mesh(BUILDING, "workshop", meshes.panel((-EAST, -1.5), (-EAST, NORTH), 0, 3.1))
    stage.box(BUILDING, "cream", (-EAST - 2.01, 2.0, 1.55), (4, 7, 3.1))
    stage.box(BUILDING, "roof", (-EAST - 1.95, 2.0, 3.2), (4.3, 7.3, 0.2))
    stage.box(BUILDING, "teal", (-EAST + 0.35, -0.02, 2.2), (0.8, 1.5, 0.06), pitch=0.25)
    stage.box(BUILDING, "roof", (-EAST - 1.4, 3.6, 3.7), (0.8, 1.1, 0.9))
    palette = ((244, 222, 172), (226, 110, 74), (44, 118, 132), (240, 178, 66), (94, 70, 118), (236, 232, 220))
    stage.paint("mural", textures.mural(rng, 4, 2.3, palette))
    stage.mesh(BUILDING, "mural", meshes.panel((-EAST, -NORTH), (-EAST, -1.5), 0, 2.3))
    stage.box(BUILDING, "concrete", (-EAST - 0.13, -3.5, 1.15), (0.24, 4, 2.3))
    stage.box(BUILDING, "stone", (-EAST - 0.1, -3.5, 2.34), (0.4, 4.05, 0.09))


def _laboratory(stage: Stage, rng: np.random.Generator) -> None:
    """East: a tall clad block with ribbon windows and, lower, a bare concrete garage."""
    picture = textures.cladding(rng, 6.5, 5.4, (92, 126, 142), (1.3, 0.9))
    for bottom in (0.95, 2.75, 4.35):
        for x in (0.35, 2.45) if bottom < 1 else (0.35, 2.45, 4.5):
            textures.window(rng, picture, x, bottom, 1.75, 0.85, (58, 64, 72), (3, 1), glass=(132, 164, 182))
    textures.door(picture, 4.75, 1.2, 2.1, (206, 132, 48), leaves=1)
    textures.lettering(picture, "LAB 3", 2.45, 3.78, 0.42, (242, 244, 244))
    stage.paint("laboratory", picture)
    stage.mesh(BUILDING, "laboratory", meshes.panel((EAST, NORTH), (EAST, -1.0), 0, 5.4))
    stage.box(BUILDING, "anthracite", (EAST + 2.01, 2.25, 2.7), (4, 6.5, 5.4))
    stage.box(BUILDING, "zinc", (EAST + 1.95, 2.25, 5.45), (4.2, 6.7, 0.12))
    stage.box(BUILDING, "yellow", (EAST - 0.4, 0.17, 2.22), (0.8, 1.7, 0.08))
    for y in (4.3, 1.2):
        stage.box(BUILDING, "concrete", (EAST + 1.6, y, 5.9), (1.1, 1.0, 0.8))
    garage = textures.plaster(rng, 4.5, 2.5, (190, 192, 192))
    textures.roller_door(garage, 1.1, 2.4, 2.0, (226, 226, 222))
    textures.lettering(garage, "G2", 3.75, 1.5, 0.4, (96, 98, 100))
    stage.paint("garage", garage)
    stage.mesh(BUILDING, "garage", meshes.panel((EAST, -1.0), (EAST, -NORTH), 0, 2.5))
    stage.box(BUILDING, "concrete", (EAST + 1.51, -3.25, 1.25), (3, 4.5, 2.5))
    stage.box(BUILDING, "anthracite", (EAST + 1.45, -3.25, 2.55), (3.2, 4.6, 0.12))


def _south_side(stage: Stage, rng: np.random.Generator) -> None:
    """South: a slatted fence in the west, a gate, a hedge on a low wall in the east."""
    y = -NORTH
    for z in (0.2, 0.46, 0.72, 0.98):
        stage.mesh(POLES, "planks", meshes.panel((-1.9, y), (-EAST, y), z, z + 0.2))
        stage.box(POLES, "wood", ((-1.9 - EAST) / 2, y - 0.03, z + 0.1), (EAST - 1.9, 0.04, 0.2))
    for x in np.linspace(-EAST + 0.1, -1.9, 5):
        stage.box(POLES, "metal", (x, y + 0.04, 0.65), (0.1, 0.1, 1.3))
    for x in (-1.7, 0.9):
        stage.box(BUILDING, "brick_side", (x, y, 0.85), (0.42, 0.42, 1.7))
        stage.box(BUILDING, "stone", (x, y, 1.74), (0.54, 0.54, 0.1))
        stage.ball(OTHER, "stone", (x, y, 1.93), (0.15, 0.15, 0.15))
    for z in (0.15, 0.6, 1.1):
        stage.rod(POLES, "metal", (-1.5, y, z), (0.7, y, z), 0.03)
    for x in np.linspace(-1.42, 0.62, 9):
        stage.rod(POLES, "metal", (x, y, 0.1), (x, y, 1.25), 0.022)
    stage.box(BUILDING, "stone", (4.05, y, 0.22), (5.9, 0.36, 0.44))
    for index in range(7):
        ball = meshes.crown(rng, 0.05)
        stage.mesh(VEGETATION, "leaves_dark", ball, (0.56, 0.34, 0.48), (1.55 + 0.83 * index, y - 0.02, 0.82))


def _greenery(stage: Stage, rng: np.random.Generator) -> None:
    props.tree(stage, rng, -0.85, 0.1, 3.3, 0.95, "leaves_light")
    props.tree(stage, rng, 5.85, 4.45, 3.7, 0.85, "leaves_red")
    props.tree(stage, rng, -5.7, -4.75, 3.2, 0.8, "leaves_dark")
    for x, y, size, leaves in (
        (-6.4, 5.0, 0.42, "leaves_dark"), (-5.5, 5.05, 0.34, "leaves_light"), (-3.9, 5.05, 0.4, "leaves_dark"),
        (-2.1, 5.05, 0.36, "leaves_red"), (2.2, 5.05, 0.4, "leaves_light"), (3.9, 5.05, 0.38, "leaves_dark"),
        (6.55, 2.9, 0.36, "leaves_light"), (6.58, 1.9, 0.4, "leaves_dark"), (-6.6, 2.9, 0.36, "leaves_light"),
        (-6.6, -1.2, 0.34, "leaves_red"), (1.3, -0.25, 0.34, "leaves_dark"), (0.35, 0.7, 0.24, "leaves_red"),
        (-1.5, -0.35, 0.24, "leaves_dark"),
    ):  # fmt: skip
        stage.mesh(VEGETATION, leaves, meshes.crown(rng, 0.08, 2), (size, size, size * 0.95), (x, y, size * 0.75))
    for x in (-3.2, 3.0):  # flower tubs
        stage.rod(OTHER, "stone", (x, 4.3, 0), (x, 4.3, 0.4), 0.24)
        for turn in range(6):
            centre = (x + 0.14 * np.cos(turn * 1.05), 4.3 + 0.14 * np.sin(turn * 1.05), 0.47)
            stage.ball(VEGETATION, "petal" if turn % 2 else "leaves_light", centre, (0.1, 0.1, 0.1))


def _furniture(stage: Stage, rng: np.random.Generator) -> None:
    props.lamp(stage, 5.25, 3.15, np.pi * 1.2)
    props.lamp(stage, -5.35, 3.2, -0.6)
    props.lamp(stage, -5.2, -3.3, 0.6)
    props.lamp(stage, 3.9, -4.7, 1.9)
    props.lamp(stage, 0.1, 0.0, 0.0)
    props.bench(stage, -4.6, 4.3, -np.pi / 2)
    props.bench(stage, 5.85, -0.5, np.pi)
    props.bench(stage, -1.0, -4.75, np.pi / 2)
    props.bench(stage, -5.95, 1.8, 0.0)
    props.sign(stage, rng, "map_sign", "CAMPUS", 1.95, 4.45, -np.pi / 2, (36, 92, 140))
    props.sign(stage, rng, "cafe_sign", "CAFE", -6.3, -0.55, 0.0, (166, 62, 52))
    props.sign(stage, rng, "lab_sign", "LAB 3", 6.1, 3.1, np.pi, (58, 118, 86))
    props.sign(stage, rng, "park_sign", "PARK", 1.6, -5.0, np.pi / 2, (118, 84, 142))
    for x, y, material in ((-2.3, 4.35, "bin"), (5.3, -1.95, "bin"), (-5.9, -2.0, "yellow"), (2.4, -4.85, "bin")):
        stage.rod(OTHER, material, (x, y, 0), (x, y, 0.8), 0.2)
        stage.rod(OTHER, "black", (x, y, 0.8), (x, y, 0.86), 0.215)
    for x in (-4.2, -3.8, -3.4):  # bicycle stands
        stage.rod(OTHER, "zinc", (x, -4.6, 0), (x, -4.6, 0.75), 0.03)
        stage.rod(OTHER, "zinc", (x, -4.1, 0), (x, -4.1, 0.75), 0.03)
        stage.rod(OTHER, "zinc", (x, -4.6, 0.75), (x, -4.1, 0.75), 0.03, True)
    # A fountain of two bowls on the island.
    stage.rod(OTHER, "stone", (0.75, 0.2, 0.1), (0.75, 0.2, 0.75), 0.1)
    stage.rod(OTHER, "stone", (0.75, 0.2, 0.1), (0.75, 0.2, 0.3), 0.42)
    stage.rod(OTHER, "water", (0.75, 0.2, 0.3), (0.75, 0.2, 0.31), 0.36)
    stage.rod(OTHER, "stone", (0.75, 0.2, 0.7), (0.75, 0.2, 0.8), 0.24)
    stage.ball(OTHER, "water", (0.75, 0.2, 0.82), (0.18, 0.18, 0.06))
    for angle in np.radians([200, 240, 300, 340]):  # bollards along the south
        x, y = 5.25 * np.cos(angle), 4.15 * np.sin(angle)
        stage.rod(POLES, "white", (x, y, 0), (x, y, 0.7), 0.07)
        stage.rod(POLES, "red", (x, y, 0.5), (x, y, 0.62), 0.072)


def _beyond(stage: Stage, rng: np.random.Generator) -> None:
    """What is seen over walls and fence: a street, trees, houses, a tower and hills."""
    props.field(stage, radius=46, z=-0.05)
    stage.mesh(ROAD, "asphalt", meshes.slab(rectangle(-16, 16, -10, -6.6), -0.03, -0.03, 4.0))
    stage.mesh(GRASS, "lawn", meshes.slab(rectangle(-16, 16, -22, -10.4), -0.03, -0.03, 3.0))
    props.hills(stage, rng, radius=44, height=6.5, waves=(0.6, 1.6))
    for x, y, height, radius, leaves in (
        (-9.5, -12.0, 4.6, 1.5, "leaves_dark"), (-4.0, -14.5, 5.4, 1.8, "leaves_light"),
        (2.6, -12.6, 4.2, 1.4, "leaves_dark"),
        (8.4, -13.5, 5.2, 1.8, "leaves_red"), (-13.5, -7.5, 5.5, 1.8, "leaves_dark"),
        (13.5, -9.0, 5.5, 1.8, "leaves_light"),
        (-12.6, 4.5, 6.0, 1.7, "leaves_light"),
    ):  # fmt: skip
        props.tree(stage, rng, x, y, height, radius, leaves)
    for name, centre, size, color in (
        ("house_a", (-8.5, -24), (7, 5, 6.0), (214, 178, 128)), ("house_b", (6.5, -26), (8, 5, 7.5), (190, 108, 92)),
        ("house_c", (16.5, -19), (6, 5, 5.5), (206, 208, 200)),
    ):  # fmt: skip
        (x, y), (wide, deep, high) = centre, size
        picture = textures.plaster(rng, wide, high, color)
        for floor in range(int(high / 2.2)):
            for column in range(int(wide / 1.8)):
                textures.window(rng, picture, 0.7 + 1.7 * column, 0.8 + 2.1 * floor, 0.9, 1.2, (240, 238, 232), (2, 2))
        stage.paint(name, picture[::2, ::2].copy())
        front = meshes.panel((x + wide / 2, y + deep / 2), (x - wide / 2, y + deep / 2), 0, high)
        stage.mesh(BUILDING, name, front)
        stage.box(BUILDING, "sand", (x, y - 0.02, high / 2), (wide, deep, high))
        stage.mesh(BUILDING, "tiles_red", meshes.gable(x - wide / 2 - 0.3, x + wide / 2 + 0.3, y - deep / 2 - 0.3,
                   y + deep / 2 + 0.3, high, high + 2.2))  # fmt: skip
    # A clock tower in the west and a chimney in the north-east: landmarks over the roofs.
    stage.box(BUILDING, "sand", (-19, 1.5, 6.0), (3, 3, 12))
    stage.box(BUILDING, "stone", (-19, 1.5, 12.1), (3.5, 3.5, 0.4))
    spire = np.array([[-20.6, -0.1], [-17.4, -0.1], [-17.4, 3.1], [-20.6, 3.1]])
    tip = np.array([-19, 1.5, 15.5])
    for i in range(4):
        a, b = spire[i], spire[(i + 1) % 4]
        corners = np.array([[*a, 12.3], [*b, 12.3], tip, tip - [0, 0, 1e-3]])
        stage.mesh(BUILDING, "teal", meshes.quad(corners, np.zeros((4, 2))))
    stage.rod(BUILDING, "white", (-17.55, 1.5, 10.2), (-17.45, 1.5, 10.2), 0.95)
    stage.box(BUILDING, "black", (-17.42, 1.5, 10.5), (0.03, 0.12, 0.7))
    stage.box(BUILDING, "black", (-17.42, 1.75, 10.2), (0.03, 0.55, 0.12))
    stage.rod(BUILDING, "brick_side", (17, 9, 0), (17, 9, 13), 0.7)
    stage.rod(BUILDING, "white", (17, 9, 11.6), (17, 9, 12.4), 0.72)


def _recordings() -> tuple[Recording, ...]:
    """Six training loops, one of each style, then a test and a validation loop."""
    train = [Recording(f"train-{lap + 1:02d}", "train", lap, 300, style) for lap, style in enumerate(driving.TRAINING)]
    test = Recording("test-01", "test", 1001, 400, driving.TEST)
    return (*train, test, Recording("val-01", "val", 1002, 120, driving.VALIDATION))


COURTYARD = Scene(
    "demo/courtyard", "a courtyard of 14 x 11 m, the demo's world", build, conditions, _recordings(), 0.2, 72,
    shadow_px=2048,
)  # fmt: skip
