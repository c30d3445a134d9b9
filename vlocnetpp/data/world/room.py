"""The room: 5 x 4 m, cluttered: desk, shelf, sofa, sideboard, rug, posters. Filmed by hand.

World frame `map`: x east, y north, z up, metres, origin in the middle of the floor.
"""

from __future__ import annotations

import numpy as np

from vlocnetpp.data.world import handheld, interiors, meshes, movables, props, textures
from vlocnetpp.data.world.interiors import SEAM, ceiling, plain_wall, wall
from vlocnetpp.data.world.labels import OTHER, ROAD, SIDEWALK
from vlocnetpp.data.world.meshes import rectangle
from vlocnetpp.data.world.scene import Conditions, Mover, Recording, Scene, indoors
from vlocnetpp.data.world.stage import Stage

EAST, NORTH, HIGH = 2.5, 2.0, 2.5
"""Half extents and height."""


def build(stage: Stage, rng: np.random.Generator) -> None:
    """Write the room."""
    stage.set("statistic", extent=4.0, center=[0, 0, 1.0])
    stage.set_visual("map", znear=0.01, zfar=5.0, fogstart=10.0, fogend=20.0)
    for name, color in (("dark", (58, 112, 56)), ("light", (118, 150, 62))):
        stage.paint(f"leaves_{name}", textures.leaves(rng, color))
    stage.paint("parquet", interiors.parquet(rng))
    props.colors(stage)
    stage.color("ceiling", (238, 236, 230))
    whole = rectangle(-EAST - SEAM, EAST + SEAM, -NORTH - SEAM, NORTH + SEAM)
    stage.mesh(ROAD, "parquet", meshes.slab(whole, 0, 0, 2.0))
    ceiling(stage, "ceiling", whole, HIGH)
    stage.rod(OTHER, "lamp", (0, 0.2, HIGH - 0.1), (0, 0.2, HIGH - 0.01), 0.3)
    _walls(stage, rng)
    _furniture(stage, rng)
    movables.person(stage, "visitor", "red", "jeans", 0.10)
    movables.vacuum(stage, "vacuum")


def conditions(recording: Recording, rng: np.random.Generator) -> Conditions:
    """Daylight; the split `light` is lamplight, warm and dim. Somebody walks along the sideboard, a vacuum cleans."""
    start = rng.uniform(0, 4)
    movers = (
        Mover(
            "visitor", ((-0.9, 1.25), (1.1, 1.25), (1.1, 1.35), (-0.9, 1.35)), speed=rng.uniform(0.25, 0.5), start=start
        ),
        Mover("vacuum", ((-1.3, -0.9), (1.5, -0.9), (1.5, 0.8), (-1.3, 0.8)), speed=0.3, start=rng.uniform(0, 9)),
    )
    if recording.split == "light":
        return Conditions(indoors(0.6, 0.25, 0.03, azimuth=4.4), movers)
    return Conditions(indoors(rng.uniform(0.93, 1.05), rng.uniform(-0.03, 0.05), 0.008), movers)


def _walls(stage: Stage, rng: np.random.Generator) -> None:
    north = plain_wall(rng, 2 * EAST, HIGH, (222, 210, 180))
    textures.window(rng, north, 1.5, 0.95, 1.9, 1.25, (244, 244, 240), (3, 2), (150, 196, 226))
    wall(stage, "north", (-EAST, NORTH), (EAST, NORTH), north)
    south = plain_wall(rng, 2 * EAST, HIGH, (152, 178, 172))
    wall(stage, "south", (EAST, -NORTH), (-EAST, -NORTH), south)
    west = textures.brick(rng, 2 * NORTH, HIGH, (172, 116, 92))
    wall(stage, "west", (-EAST, -NORTH), (-EAST, NORTH), west)
    east = plain_wall(rng, 2 * NORTH, HIGH, (226, 222, 212))
    textures.door(east, 0.25, 0.95, 2.05, (120, 84, 60), glazed=False)
    wall(stage, "east", (EAST, NORTH), (EAST, -NORTH), east)
    palette = ((240, 228, 200), (206, 96, 70), (52, 110, 130), (236, 180, 80), (90, 76, 120))
    for name, picture, start, stop, bottom, top in (
        ("art", textures.mural(rng, 1.4, 0.9, palette), (0.6, -1.98), (-0.8, -1.98), 1.15, 2.05),
        ("poster_a", textures.poster(rng, "JAZZ", (166, 62, 52)), (1.75, -1.98), (1.15, -1.98), 1.15, 1.95),
        ("poster_b", textures.poster(rng, "SEA", (36, 92, 140)), (-1.3, -1.98), (-1.9, -1.98), 1.2, 2.0),
        ("poster_c", textures.poster(rng, "ALPS", (58, 118, 86)), (-2.48, -1.7), (-2.48, -1.15), 1.25, 1.98),
        ("map", textures.mural(rng, 1.0, 0.7, palette[::-1]), (-2.48, 0.75), (-2.48, 1.75), 1.3, 2.0),
        ("calendar", textures.poster(rng, "MAY", (118, 84, 142)), (-2.0, 1.98), (-1.6, 1.98), 1.3, 1.85),
    ):  # fmt: skip
        stage.mesh(OTHER, stage.paint(name, picture), meshes.panel(start, stop, bottom, top))


def _furniture(stage: Stage, rng: np.random.Generator) -> None:
    colors = ((140, 50, 48), (226, 190, 120), (52, 76, 108), (200, 120, 80))
    corners = np.array([[-0.95, -0.75, 0.006], [0.95, -0.75, 0.006], [0.95, 0.55, 0.006], [-0.95, 0.55, 0.006]])
    flat = meshes.quad(corners, np.array([[0, 1], [1, 1], [1, 0], [0, 0]]))
    stage.mesh(SIDEWALK, stage.paint("rug", interiors.rug(rng, colors)), flat)
    interiors.desk(stage, (-2.1, -0.25), np.pi)
    interiors.chair(stage, (-1.5, -0.2), np.pi - 0.5, "teal")
    interiors.shelf(stage, rng, (2.33, -0.75), 1.9, 0.3, 2.0, np.pi)
    interiors.sofa(stage, (-0.1, -1.6), np.pi / 2, 1.9, "jeans", ("yellow", "red", "sand"))
    interiors.plant(stage, rng, -2.15, 1.65, 1.25, "leaves_dark")
    interiors.plant(stage, rng, 1.6, -1.7, 0.9, "leaves_light")
    stage.box(OTHER, "white", (0.35, 1.78, 0.36), (1.9, 0.42, 0.68))  # the sideboard and what stands on it
    for x in (-0.28, 0.35, 0.98):
        stage.box(OTHER, "wood", (x, 1.565, 0.36), (0.56, 0.02, 0.56))
        stage.ball(OTHER, "black", (x + 0.2, 1.55, 0.4), (0.02, 0.02, 0.02))
    clutter = ("red", "teal", "yellow", "violet", "cardboard", "green_door", "cream", "black")
    for index in range(9):
        x, material = -0.5 + 0.21 * index, clutter[index % len(clutter)]
        size = rng.uniform(0.05, 0.09), rng.uniform(0.1, 0.3)
        if index % 3 == 0:
            stage.rod(OTHER, material, (x, 1.78, 0.7), (x, 1.78, 0.7 + size[1]), size[0])
        elif index % 3 == 1:
            stage.box(
                OTHER, material, (x, 1.75, 0.7 + size[1] / 2), (2 * size[0], 0.2, size[1]), yaw=rng.uniform(-0.4, 0.4)
            )
        else:
            stage.ball(OTHER, material, (x, 1.78, 0.78), (0.08, 0.08, 0.08))
    for index in range(7):  # boxes and books on the floor by the walls
        x, y = ((-2.2, -1.55), (-1.7, -1.7), (1.95, 0.6), (2.2, 0.85), (-1.9, 1.05), (1.9, 1.6), (2.2, 1.35))[index]
        tall = rng.uniform(0.15, 0.5)
        stage.box(OTHER, clutter[(index * 3) % 8], (x, y, tall / 2), (0.36, 0.32, tall), yaw=rng.uniform(-0.5, 0.5))
        stage.box(
            OTHER, clutter[(index * 3 + 2) % 8], (x, y, tall + 0.05), (0.24, 0.2, 0.1), yaw=rng.uniform(-0.9, 0.9)
        )
    stage.rod(OTHER, "metal", (2.2, 1.7, 0), (2.2, 1.7, 1.5), 0.02)  # a standard lamp
    stage.rod(OTHER, "cream", (2.2, 1.7, 1.45), (2.2, 1.7, 1.75), 0.18)
    stage.rod(OTHER, "stone", (2.2, 1.7, 0), (2.2, 1.7, 0.03), 0.15)


ROOM = Scene(
    "suite/room", "a cluttered room of 5 x 4 m, filmed by hand", build, conditions, handheld.recordings(), 0.12, 60
)
