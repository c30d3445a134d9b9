"""What rooms are made of: wall pictures, floors, shelves, plants, desks. Walls are seen from inside only."""

from __future__ import annotations

import cv2
import numpy as np

from vlocnetpp.data.world import meshes, textures
from vlocnetpp.data.world.labels import BUILDING, OTHER, VEGETATION
from vlocnetpp.data.world.scene import Point
from vlocnetpp.data.world.stage import Stage
from vlocnetpp.data.world.textures import Color, Image

Rng = np.random.Generator
SEAM = 0.02
"""Surfaces that meet overlap by this much, metres, so that nothing is seen between them."""


def plain_wall(rng: Rng, width_m: float, height_m: float, color: Color) -> Image:
    """Paint and a skirting board: almost no texture."""
    picture = textures.plaster(rng, width_m, height_m, color)
    cv2.rectangle(picture, (0, picture.shape[0] - 8), (picture.shape[1], picture.shape[0]), (120, 116, 110), -1)
    return picture


def doors(picture: Image, lefts: np.ndarray, color: Color) -> None:
    """Paint identical doors onto a wall, in place; metres from its left edge."""
    for left in lefts:
        textures.door(picture, float(left), 0.95, 2.08, color, glazed=False)


def wall(stage: Stage, name: str, start: Point, stop: Point, picture: Image, bottom: float = 0.0) -> None:
    """An upright wall from `start`, its left edge seen from the room, to `stop`, covered by a picture at its scale."""
    top = bottom + picture.shape[0] / textures.PIXELS_PER_METRE
    stage.mesh(BUILDING, stage.paint(name, picture), meshes.panel(start, stop, bottom, top))


def ceiling(stage: Stage, material: str, outline_N2: np.ndarray, height: float) -> None:
    """A flat ceiling, seen from below, a little under the tops of the walls."""
    corners = np.column_stack([outline_N2[::-1], np.full(len(outline_N2), height - SEAM)])
    stage.mesh(BUILDING, material, meshes.quad(corners, corners[:, :2] / 2.0))


def parquet(rng: Rng, color: Color = (176, 134, 92)) -> Image:
    """A tile of 2 x 2 m of wooden floor."""
    image = np.full((192, 192, 3), (120, 88, 60), np.uint8)
    for row in range(16):
        for column in range(-1, 3):
            left, top = 96 * column + (row * 37) % 96, 12 * row
            shade = textures.vary(rng, color, 9)
            cv2.rectangle(image, (left, top), (left + 94, top + 10), shade, -1)
    return image


def carpet(rng: Rng, color: Color) -> Image:
    """A tile of 2 x 2 m of speckled carpet squares."""
    image = np.full((128, 128, 3), color, np.uint8).astype(int)
    image += (rng.normal(0, 5, (32, 32, 1)).repeat(4, 0).repeat(4, 1)).astype(int)
    image[::64], image[:, ::64] = np.array(color) - 14, np.array(color) - 14
    return np.clip(image, 0, 255).astype(np.uint8)


def rug(rng: Rng, colors: tuple[Color, ...]) -> Image:
    """A rug of nested borders and lozenges, stretched once over its floor."""
    image = np.full((160, 240, 3), colors[0], np.uint8)
    for index, inset in enumerate((8, 18, 26)):
        cv2.rectangle(image, (inset, inset), (239 - inset, 159 - inset), colors[1 + index % (len(colors) - 1)], 5)
    for x in range(50, 220, 35):
        for y in (55, 105):
            shape = np.array([[x, y - 16], [x + 14, y], [x, y + 16], [x - 14, y]])
            cv2.fillPoly(image, [shape], colors[1 + int(rng.integers(len(colors) - 1))], cv2.LINE_AA)
    return image


def plant(stage: Stage, rng: Rng, x: float, y: float, height: float, leaves: str, bottom: float = 0.0) -> None:
    """A pot plant."""
    pot = 0.28 * height
    stage.rod(OTHER, "stone", (x, y, bottom), (x, y, bottom + pot), 0.16 * height)
    for turn in range(3):
        at = (x + 0.1 * height * np.cos(2.1 * turn), y + 0.1 * height * np.sin(2.1 * turn), bottom + 0.62 * height)
        size = np.array([0.17, 0.17, 0.34]) * height
        stage.mesh(VEGETATION, leaves, meshes.crown(rng, 0.16, 2), size, at)


def shelf(stage: Stage, rng: Rng, centre: Point, wide: float, deep: float, high: float, yaw: float) -> None:
    """A bookcase whose books look along `yaw`; no two are alike."""
    (x, y), forward = centre, np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([-forward[1], forward[0]])
    back = (*(np.array(centre) - 0.45 * deep * forward), high / 2)
    stage.box(OTHER, "wood", back, (0.03, wide, high), yaw=yaw)
    for side in (-0.5, 0.5):
        stage.box(OTHER, "wood", (*(np.array(centre) + side * wide * left), high / 2), (deep, 0.03, high), yaw=yaw)
    levels = int(high / 0.38)
    paints = ("red", "teal", "yellow", "violet", "cream", "green_door", "jeans", "sand", "white", "black", "brick_side")
    for level in range(levels + 1):
        z = level * (high - 0.03) / levels + 0.015
        stage.box(OTHER, "wood", (x, y, z), (deep, wide, 0.03), yaw=yaw)
        at = -0.5 * wide + 0.03
        while level < levels:
            thick, tall = rng.uniform(0.05, 0.13), rng.uniform(0.2, 0.31)
            if at + thick > 0.5 * wide - 0.02:
                break
            if rng.random() < 0.86:
                place = np.array(centre) + (at + thick / 2) * left + 0.02 * forward
                paint = str(rng.choice(paints))
                stage.box(OTHER, paint, (*place, z + 0.015 + tall / 2), (0.7 * deep, 0.9 * thick, tall), yaw=yaw)
            at += thick


def desk(stage: Stage, centre: Point, yaw: float, wide: float = 1.5) -> None:
    """A desk with a screen, a keyboard, a mug and papers; somebody at it looks along `yaw`."""
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([-forward[1], forward[0]])

    def put(material: str, ahead: float, aside: float, z: float, size: tuple[float, float, float]) -> None:
        place = np.array(centre) + ahead * forward + aside * left
        stage.box(OTHER, material, (*place, z), size, yaw=yaw)

    put("wood", 0, 0, 0.73, (0.7, wide, 0.04))
    for ahead in (-0.3, 0.3):
        for aside in (-0.46, 0.46):
            put("metal", ahead, aside * wide, 0.355, (0.05, 0.05, 0.71))
    put("white", 0.05, 0.42 * wide, 0.4, (0.5, 0.18, 0.6))
    put("black", 0.18, 0, 1.06, (0.04, 0.62, 0.37))
    put("teal", 0.155, 0, 1.06, (0.01, 0.56, 0.31))
    put("yellow", 0.149, 0.12, 1.1, (0.01, 0.2, 0.1))
    put("black", 0.2, 0, 0.81, (0.12, 0.1, 0.13))
    put("anthracite", -0.12, 0, 0.76, (0.14, 0.42, 0.02))
    put("white", -0.1, 0.4, 0.755, (0.3, 0.21, 0.01))
    put("cardboard", 0.1, -0.5, 0.83, (0.3, 0.24, 0.16))
    mug = np.array(centre) - 0.15 * forward - 0.36 * left
    stage.rod(OTHER, "red", (*mug, 0.75), (*mug, 0.85), 0.045)


def chair(stage: Stage, centre: Point, yaw: float, material: str) -> None:
    """A chair; somebody on it looks along `yaw`."""
    (x, y), forward = centre, np.array([np.cos(yaw), np.sin(yaw)])
    stage.rod(OTHER, "metal", (x, y, 0.03), (x, y, 0.45), 0.04)
    stage.rod(OTHER, "black", (x, y, 0.02), (x, y, 0.06), 0.26)
    stage.box(OTHER, material, (x, y, 0.48), (0.46, 0.46, 0.08), yaw=yaw)
    stage.box(OTHER, material, (x - 0.22 * forward[0], y - 0.22 * forward[1], 0.78), (0.06, 0.44, 0.5), yaw=yaw)


def sofa(stage: Stage, centre: Point, yaw: float, wide: float, material: str, cushions: tuple[str, ...]) -> None:
    """A sofa; somebody on it looks along `yaw`."""
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    left = np.array([-forward[1], forward[0]])
    stage.box(OTHER, material, (*centre, 0.22), (0.75, wide, 0.42), yaw=yaw)
    stage.box(OTHER, material, (*(np.array(centre) - 0.3 * forward), 0.55), (0.16, wide, 0.55), yaw=yaw)
    for side in (-0.5, 0.5):
        stage.box(OTHER, material, (*(np.array(centre) + side * wide * left), 0.32), (0.75, 0.14, 0.62), yaw=yaw)
    for index, cushion in enumerate(cushions):
        aside = (index + 0.5) / len(cushions) - 0.5
        place = np.array(centre) + 0.9 * aside * wide * left - 0.17 * forward
        stage.box(OTHER, cushion, (*place, 0.58), (0.12, 0.36, 0.3), yaw=yaw)
