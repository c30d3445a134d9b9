"""The campus: a road of 78 m round a lawn with a glass pavilion, between buildings of which some look alike.

World frame `map`: x east, y north, z up, metres, origin in the middle of the lawn. The road is driven counter-clockwise
on its right-hand side; people walk on the pavements, a delivery robot and a car drive on the outer lane.
"""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import buildings, circuit, meshes, movables, props, textures
from vlocnetpp.data.world.circuit import Route
from vlocnetpp.data.world.labels import BUILDING, GRASS, OTHER, POLES, ROAD, SIDEWALK, VEGETATION
from vlocnetpp.data.world.meshes import rectangle
from vlocnetpp.data.world.scene import Conditions, Light, Mover, Point, Recording, Scene, daylight
from vlocnetpp.data.world.stage import Stage

ROUTE = Route(
    ((-13.5, -8.5), (2.0, -8.5), (5.0, -6.0), (14.0, -6.0), (14.0, 8.5), (-3.0, 8.5), (-6.0, 5.5), (-13.5, 5.5)),
    rounding=2.6, lane=-0.6, speed=2.0, height=1.0,
)  # fmt: skip
ROAD_HALF, PAVEMENT = 2.0, 1.5
"""Half the width of the road and the width of the pavements beside it."""


def build(stage: Stage, rng: np.random.Generator) -> None:
    """Write the campus."""
    stage.set("statistic", extent=24.0, center=[0, 0, 1.0])
    stage.set_visual("map", znear=0.005, zfar=6.0, shadowclip=1.0, fogstart=2.5, fogend=9.0)
    stage.set_visual("rgba", fog=[0.80, 0.87, 0.91, 1])
    stage.sky(textures.sky_faces(rng))
    _materials(stage, rng)
    _ground(stage)
    buildings.build(stage, rng)
    _greenery(stage, rng)
    _furniture(stage, rng)
    _fences(stage)
    _beyond(stage, rng)
    movables.car(stage, "car")
    movables.car(stage, "parked", "teal")
    for name, shirt, trousers, hair in PEOPLE:
        movables.person(stage, name, shirt, trousers, 0.10, hair)
    movables.cart(stage, "cart")
    movables.boxes(stage, "boxes")


PEOPLE = (
    ("walker", "red", "jeans", "trunk"), ("student", "teal", "black", "black"), ("visitor", "yellow", "jeans", "trunk"),
    ("reader", "violet", "sand", "black"), ("runner", "white", "black", "trunk"), ("waiting", "jeans", "sand", "black"),
)  # fmt: skip
WALKS: tuple[tuple[Point, ...], ...] = (
    ((-10.0, 2.6), (-5.6, 2.6), (-2.4, 5.7), (9.8, 5.7), (10.6, 4.5), (10.6, -2.4), (3.8, -2.4), (0.8, -5.6),
     (-10.0, -5.6)),
    ((-16.2, -10.0), (-16.2, 7.2), (-15.7, 7.2), (-15.7, -10.0)),
    ((-12.0, -11.3), (1.5, -11.3), (1.5, -10.9), (-12.0, -10.9)),
    ((16.8, -6.0), (16.8, 9.0), (16.4, 9.0), (16.4, -6.0)),
    ((-2.0, 11.2), (12.5, 11.2), (12.5, 10.8), (-2.0, 10.8)),
)  # fmt: skip
"""Closed walks on the pavements: one round the lawn, four up and down outside the road."""
STANDS = ((-9.6, 1.2), (9.6, 3.2), (2.6, -1.6), (-3.5, -4.6), (6.5, -8.9), (-16.0, 0.5), (4.0, 5.2))
"""Where somebody may stand still."""
CAR_PLACES = ((-4.6, 11.6, 0.0), (17.6, 10.4, 1.57), (-11.0, -12.6, 0.1), (9.0, -10.4, 3.1))
BOX_PLACES = ((16.4, 2.0, 0.4), (-16.2, -4.0, 0.3), (-9.2, -5.1, 0.7), (8.0, 11.2, 0.2))


def conditions(recording: Recording, rng: np.random.Generator) -> Conditions:
    """Noon, a little different each time; the split `light` is under a low red sun, with a slow shutter."""
    walks = rng.permutation(len(WALKS))
    movers = [
        Mover(PEOPLE[i][0], WALKS[walk], speed=rng.uniform(0.9, 1.5) * (2.0 if PEOPLE[i][0] == "runner" else 1.0),
              start=rng.uniform(0, 60))
        for i, walk in enumerate(walks)
    ]  # fmt: skip
    x, y = STANDS[rng.integers(len(STANDS))]
    movers.append(Mover("waiting", ((x, y),), rng.uniform(0, 2 * np.pi)))
    for name, places in (("parked", CAR_PLACES), ("boxes", BOX_PLACES)):
        x, y, yaw = places[rng.integers(len(places))]
        movers.append(Mover(name, ((x, y),), yaw + rng.uniform(-0.06, 0.06)))
    inner = tuple(map(tuple, ROUTE.line(3.1)[::40]))
    movers.append(Mover("cart", inner[::-1], speed=1.1, start=rng.uniform(0, 60)))
    movers.append(Mover("car", ((-20, 14.6), (20, 14.6), (20, 15.6), (-20, 15.6)), speed=4.0, start=rng.uniform(0, 80)))
    return Conditions(_light(recording, rng), tuple(movers))


def _light(recording: Recording, rng: np.random.Generator) -> Light:
    if recording.split == "light":
        return daylight(rng.uniform(2.6, 2.9), rng.uniform(0.35, 0.45), 0.72, 0.28, exposure_s=0.03)
    return daylight(
        rng.uniform(-2.2, -1.3), rng.uniform(0.8, 1.0), rng.uniform(0.9, 1.05), rng.uniform(-0.03, 0.05), 0.005
    )


def _materials(stage: Stage, rng: np.random.Generator) -> None:
    stage.paint("asphalt", textures.asphalt(rng))
    stage.paint("paving", textures.paving(rng))
    stage.paint("lawn", textures.lawn(rng))
    stage.paint("gravel", textures.gravel(rng))
    for name, color in (("dark", (58, 112, 56)), ("light", (118, 150, 62)), ("red", (176, 104, 62))):
        stage.paint(f"leaves_{name}", textures.leaves(rng, color))
    stage.paint("planks", textures.planks(rng, (150, 112, 76)))
    stage.paint("tiles_red", textures.roof_tiles(rng, (150, 78, 62)))
    stage.paint("hills", textures.hills(rng))
    props.colors(stage)
    stage.glass("mirror", (74, 98, 112), 1.0, 0.55)
    stage.glass("pane", (190, 215, 220), 0.25)


def _band(right: float, left: float, height: float, tile_m: float) -> meshes.Mesh:
    """A band along the road between two distances to its left."""
    return meshes.ribbon(ROUTE.line(right)[::16], ROUTE.line(left)[::16], height, tile_m)


def _ground(stage: Stage) -> None:
    stage.mesh(GRASS, "lawn", meshes.slab(rectangle(-26, 26, -22, 24), -0.02, -0.02, 3.0))
    stage.mesh(SIDEWALK, "paving", _band(-ROAD_HALF - PAVEMENT, ROAD_HALF + PAVEMENT, 0.0, 4.0))
    stage.mesh(SIDEWALK, "curb", _band(-ROAD_HALF - 0.14, ROAD_HALF + 0.14, 0.01, 2.0))
    stage.mesh(ROAD, "asphalt", _band(-ROAD_HALF, ROAD_HALF, 0.02, 4.0))
    line = ROUTE.line()
    for start in range(0, len(line) - 60, 150):  # the dashed line between the lanes
        a, b = line[start], line[start + 50]
        stage.mesh(ROAD, "marking", _strip(a, b, 0.05, 0.03))
    for share in (0.13, 0.47, 0.83):  # zebra crossings
        here = int(share * len(line))
        along = line[here + 10] - line[here]
        along /= np.linalg.norm(along)
        across = np.array([-along[1], along[0]])
        for side in np.linspace(-1.7, 1.7, 8):
            middle = line[here] + side * across
            stage.mesh(ROAD, "marking", _strip(middle - 0.9 * along, middle + 0.9 * along, 0.12, 0.035))
    for x0, x1, y0, y1 in ((2.4, 3.4, -6.0, -1.0), (-8.5, 9.5, 3.4, 4.3), (-2.6, -1.8, -5.6, 3.6)):  # paths on the lawn
        stage.mesh(SIDEWALK, "gravel", meshes.slab(rectangle(x0, x1, y0, y1), -0.01, -0.01, 2.0))
    for x0, x1, y0, y1 in ((-19.0, -16.9, -10.5, 7.6), (-3.5, 14.0, 12.0, 13.2), (17.4, 18.6, -5.5, 9.5),
                           (-13.0, 1.0, -13.0, -11.95)):  # fmt: skip
        stage.mesh(SIDEWALK, "paving", meshes.slab(rectangle(x0, x1, y0, y1), -0.005, -0.005, 4.0))
    stage.mesh(OTHER, "gravel", meshes.slab(rectangle(5.5, 13.0, -11.2, -9.4), -0.004, -0.004, 2.0))


def _strip(a: np.ndarray, b: np.ndarray, half: float, height: float) -> meshes.Mesh:
    across = np.array([a[1] - b[1], b[0] - a[0]]) / np.linalg.norm(b - a) * half
    return meshes.slab(np.array([a - across, b - across, b + across, a + across]), height, height, 1.0)


def _greenery(stage: Stage, rng: np.random.Generator) -> None:
    for x, y, height, radius, leaves in (
        (-7.5, 0.0, 5.2, 1.7, "dark"), (-4.8, 1.8, 4.2, 1.3, "light"), (-5.6, -2.8, 4.6, 1.4, "red"),
        (0.6, 0.6, 3.6, 1.1, "red"),
        (11.6, 0.6, 4.0, 0.9, "light"), (0.2, 5.0, 3.4, 0.8, "dark"), (-17.9, 8.8, 5.0, 1.4, "dark"),
        (-17.6, -12.2, 5.2, 1.6, "light"),
        (3.2, -12.6, 5.4, 1.5, "dark"), (15.2, -10.6, 4.8, 1.2, "red"), (14.6, 13.0, 5.0, 1.1, "light"),
        (-5.0, 11.9, 4.4, 1.1, "red"),
        (-18.0, 1.9, 3.4, 0.8, "red"), (-17.9, -4.3, 3.4, 0.8, "red"),
    ):  # fmt: skip
        props.tree(stage, rng, x, y, height, radius, f"leaves_{leaves}")
    for x, y, size, leaves in (
        (-9.0, 3.0, 0.5, "dark"), (-8.2, 3.1, 0.42, "red"), (-3.0, 2.9, 0.4, "light"), (4.0, -1.6, 0.45, "dark"),
        (9.9, -1.4, 0.5, "dark"),
        (9.8, 3.0, 0.42, "light"), (4.2, 3.0, 0.4, "red"), (-8.8, -4.6, 0.55, "dark"), (-4.0, -5.0, 0.5, "light"),
        (2.0, -2.6, 0.4, "dark"),
        (-17.7, -1.4, 0.5, "dark"), (-17.7, 4.6, 0.5, "dark"), (-17.7, -7.4, 0.5, "dark"), (15.6, 11.6, 0.6, "light"),
    ):  # fmt: skip
        stage.mesh(VEGETATION, f"leaves_{leaves}", meshes.crown(rng, 0.08, 2), (size, size, size), (x, y, size * 0.75))
    for x in np.arange(-12.0, 0.5, 0.9).tolist():  # a hedge before the laboratory
        ball = meshes.crown(rng, 0.05)
        stage.mesh(VEGETATION, "leaves_dark", ball, (0.56, 0.36, 0.5), (x, -12.5, 0.4))


def _furniture(stage: Stage, rng: np.random.Generator) -> None:
    outside, inside = ROUTE.line(-ROAD_HALF - 0.5), ROUTE.line(ROAD_HALF + 0.5)
    for index, share in enumerate(np.arange(0.04, 1, 0.125)):  # lamps on alternate sides of the road
        line, turned = (outside, 1) if index % 2 else (inside, -1)
        here = int(share * len(line))
        along = line[(here + 5) % len(line)] - line[here]
        x, y = line[here]
        props.lamp(stage, x, y, float(np.arctan2(along[1], along[0]) + turned * np.pi / 2))
    for x, y, yaw in (
        (-6.4, 4.7, -1.57),
        (-9.4, -1.5, 0.0),
        (3.9, -3.6, 3.14),
        (1.0, 4.7, -1.57),
        (9.0, 4.7, -1.57),
        (17.2, 4.0, 3.14),
    ):
        props.bench(stage, x, y, yaw)
    for name, title, x, y, yaw, color in (
        ("map_sign", "CAMPUS", -9.9, -4.9, -1.9, (36, 92, 140)), ("cafe_sign", "CAFE", -8.5, 9.1, -1.57, (166, 62, 52)),
        ("lab_sign", "LAB 3", -3.0, -11.9, 1.57, (58, 118, 86)),
        ("book_sign", "BOOKS", 8.8, 12.1, -1.57, (118, 84, 142)),
        ("park_sign", "PARK", 8.6, -9.6, 1.57, (36, 92, 140)), ("bus_sign", "BUS 5", 17.3, -6.4, 2.6, (206, 132, 48)),
    ):  # fmt: skip
        props.sign(stage, rng, name, title, x, y, yaw, color)
    for x, y, material in (
        (-10.0, 1.8, "bin"),
        (-16.4, -8.6, "yellow"),
        (2.0, -4.4, "bin"),
        (10.6, 3.4, "bin"),
        (4.6, 11.8, "yellow"),
    ):
        stage.rod(OTHER, material, (x, y, 0), (x, y, 0.8), 0.2)
        stage.rod(OTHER, "black", (x, y, 0.8), (x, y, 0.86), 0.215)
    palette = ((244, 222, 172), (226, 110, 74), (44, 118, 132), (240, 178, 66), (94, 70, 118), (236, 232, 220))
    stage.paint("mural", textures.mural(rng, 5, 2.2, palette))
    stage.box(BUILDING, "concrete", (-6.0, 12.6, 1.1), (0.24, 5.0, 2.2))
    stage.mesh(BUILDING, "mural", meshes.panel((-5.87, 10.1), (-5.87, 15.1), 0, 2.2))
    stage.mesh(BUILDING, "mural", meshes.panel((-6.13, 15.1), (-6.13, 10.1), 0, 2.2))
    # A fountain in the west of the lawn.
    stage.rod(OTHER, "stone", (-2.2, -2.0, 0), (-2.2, -2.0, 0.45), 1.1)
    stage.rod(OTHER, "water", (-2.2, -2.0, 0.45), (-2.2, -2.0, 0.46), 0.95)
    stage.rod(OTHER, "stone", (-2.2, -2.0, 0.4), (-2.2, -2.0, 1.3), 0.16)
    stage.ball(OTHER, "stone", (-2.2, -2.0, 1.5), (0.3, 0.3, 0.3))
    for index in range(5):  # bicycle stands before the library
        x = -1.5 + 0.55 * index
        for y in (12.3, 12.9):
            stage.rod(OTHER, "zinc", (x, y, 0), (x, y, 0.75), 0.03)
        stage.rod(OTHER, "zinc", (x, 12.3, 0.75), (x, 12.9, 0.75), 0.03, True)


def _fences(stage: Stage) -> None:
    """A slatted fence behind the workshop's yard, posts and chains along the dormitories, bollards at the crossings."""
    for z in (0.2, 0.46, 0.72, 0.98):
        stage.mesh(POLES, "planks", meshes.panel((17.0, -7.2), (14.2, -10.0), z, z + 0.2))
    for x, y in ((14.2, -10.0), (15.6, -8.6), (17.0, -7.2)):
        stage.box(POLES, "metal", (x, y, 0.65), (0.1, 0.1, 1.3), yaw=0.78)
    for y in np.arange(-9.6, 7.6, 1.6).tolist():
        stage.rod(POLES, "white", (-18.4, y, 0), (-18.4, y, 0.8), 0.06)
        stage.rod(POLES, "metal", (-18.4, y, 0.7), (-18.4, y + 1.6, 0.7), 0.025)
    for share in (0.10, 0.16, 0.44, 0.50, 0.80, 0.86):
        for offset in (-ROAD_HALF - 0.35, ROAD_HALF + 0.35):
            x, y = ROUTE.line(offset)[int(share * len(ROUTE.line()))]
            stage.rod(POLES, "white", (x, y, 0), (x, y, 0.75), 0.07)
            stage.rod(POLES, "red", (x, y, 0.55), (x, y, 0.66), 0.072)


def _beyond(stage: Stage, rng: np.random.Generator) -> None:
    """What is seen between the buildings: a street in the north, trees, a tower, a chimney, hills."""
    props.field(stage, radius=110, z=-0.06)
    props.hills(stage, rng, radius=105, height=15, waves=(1.2, 3.2))
    for x, y, height, radius, leaves in (
        (-10, -24, 8, 2.6, "dark"), (4, -22, 7, 2.4, "light"), (14, -21, 8, 2.6, "red"), (-26, -15, 8, 2.5, "dark"),
        (-27, 12, 8, 2.6, "light"), (-3.5, 22, 8, 2.4, "dark"), (15, 23, 8, 2.6, "red"), (27, -3, 9, 2.6, "dark"),
        (-17, 21, 7.5, 2.4, "red"),
    ):  # fmt: skip
        props.tree(stage, rng, x, y, height, radius, f"leaves_{leaves}")
    # A clock tower in the south-west and a chimney in the north-east.
    stage.box(BUILDING, "sand", (-30, -24, 9), (4, 4, 18))
    stage.box(BUILDING, "stone", (-30, -24, 18.2), (4.8, 4.8, 0.5))
    stage.rod(BUILDING, "white", (-28.2, -22.2, 15.5), (-27.9, -21.9, 15.5), 1.3)
    stage.rod(BUILDING, "brick_side", (27, 24, 0), (27, 24, 18), 0.9)
    stage.rod(BUILDING, "white", (27, 24, 15.5), (27, 24, 16.6), 0.93)


CAMPUS = Scene(
    "suite/campus", "a road of 78 m round a lawn between buildings, glass among them", build, conditions,
    circuit.recordings(ROUTE), 0.34, 64, shadow_px=1024,
)  # fmt: skip
