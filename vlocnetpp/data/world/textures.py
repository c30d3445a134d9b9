"""Painted surfaces: every texture of the courtyard, drawn with numpy and OpenCV from a seed.

All pictures are (H, W, 3) uint8 RGB. Contrast is kept soft and free of pixel noise: the surfaces have to be told apart
by a network and still pack well as JPEG.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator
Color = tuple[int, int, int]

PIXELS_PER_METRE = 72
_AA = cv2.LINE_AA


def _plain(height: int, width: int, color: Color) -> Image:
    return np.full((height, width, 3), color, np.uint8)


def _smooth_noise(rng: Rng, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """Cloudy noise in about [-1, 1] that tiles: a coarse random grid, wrapped and enlarged."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    big = cv2.resize(np.tile(grid, (3, 3)), (3 * width, 3 * height), interpolation=cv2.INTER_CUBIC)
    return np.clip(big[height : 2 * height, width : 2 * width] / 1.5, -1, 1)


def _shade(image: Image, field_HW: NDArray, strength: float) -> Image:
    return np.clip(image + strength * field_HW[..., None], 0, 255).astype(np.uint8)


def vary(rng: Rng, color: Color, spread: float) -> Color:
    """A colour near another."""
    change = rng.normal(0, spread) + rng.normal(0, spread / 4, 3)
    return tuple(int(np.clip(c + d, 0, 255)) for c, d in zip(color, change, strict=True))  # type: ignore[return-value]


def _blend(a: Color, b: Color, share: float) -> Color:
    return tuple(int(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def brick(rng: Rng, width_m: float, height_m: float, color: Color = (158, 84, 66)) -> Image:
    """Brickwork in running bond, courses of 18 cm."""
    height, width = round(height_m * PIXELS_PER_METRE), round(width_m * PIXELS_PER_METRE)
    image = _plain(height, width, _blend(color, (200, 185, 170), 0.18))
    length, course = 0.44 * PIXELS_PER_METRE, 0.18 * PIXELS_PER_METRE
    for row in range(int(height / course) + 1):
        for column in range(-1, int(width / length) + 1):
            left = round((column + 0.5 * (row % 2)) * length)
            top = round(row * course)
            corner = round(left + length - 3), round(top + course - 3)
            cv2.rectangle(image, (left, top), corner, vary(rng, color, 4), -1)
    return _shade(image, _smooth_noise(rng, height, width, 5), 6)


def plaster(rng: Rng, width_m: float, height_m: float, color: Color) -> Image:
    """A painted wall: one colour, a little darker near the ground, without corners for a feature detector."""
    height, width = round(height_m * PIXELS_PER_METRE), round(width_m * PIXELS_PER_METRE)
    ground = np.clip(np.linspace(height_m, 0, height)[:, None] / 0.6, 0, 1) - 1
    return _shade(_plain(height, width, color), np.repeat(ground, width, 1), 22)


def cladding(rng: Rng, width_m: float, height_m: float, color: Color, panel_m: tuple[float, float]) -> Image:
    """Flat panels with dark joints, each a slightly different shade."""
    height, width = round(height_m * PIXELS_PER_METRE), round(width_m * PIXELS_PER_METRE)
    image = _plain(height, width, _blend(color, (0, 0, 0), 0.35))
    across, down = panel_m[0] * PIXELS_PER_METRE, panel_m[1] * PIXELS_PER_METRE
    for row in range(int(np.ceil(height / down))):
        for column in range(int(np.ceil(width / across))):
            start = round(column * across) + 1, round(row * down) + 1
            stop = round((column + 1) * across) - 2, round((row + 1) * down) - 2
            cv2.rectangle(image, start, stop, vary(rng, color, 6), -1)
    return image


def window(
    rng: Rng,
    wall: Image,
    left_m: float,
    bottom_m: float,
    width_m: float,
    height_m: float,
    frame: Color,
    panes: tuple[int, int] = (2, 2),
    glass: Color = (92, 116, 138),
) -> None:
    """Paint a window with frame, sill and reflecting panes onto a wall, in place; metres from the wall's lower left."""
    scale = PIXELS_PER_METRE
    x0, x1 = round(left_m * scale), round((left_m + width_m) * scale)
    y1 = wall.shape[0] - round(bottom_m * scale)
    y0 = y1 - round(height_m * scale)
    cv2.rectangle(wall, (x0 - 3, y0 - 3), (x1 + 3, y1 + 3), _blend(frame, (0, 0, 0), 0.3), -1)
    cv2.rectangle(wall, (x0 - 1, y0 - 1), (x1 + 1, y1 + 1), frame, -1)
    curtain = rng.random() < 0.4
    across, down = (x1 - x0) / panes[0], (y1 - y0) / panes[1]
    for row in range(panes[1]):
        for column in range(panes[0]):
            a, b = round(x0 + column * across) + 2, round(x0 + (column + 1) * across) - 2
            c, d = round(y0 + row * down) + 2, round(y0 + (row + 1) * down) - 2
            ramp = np.linspace(1.25, 0.75, max(d - c, 1))[:, None, None] * np.array(vary(rng, glass, 5))
            wall[c:d, a:b] = np.clip(ramp, 0, 255).astype(np.uint8)
            cv2.fillPoly(
                wall[c:d, a:b],
                [np.array([[0, (d - c) // 2], [(b - a) // 2, 0], [(b - a) * 3 // 4, 0], [0, (d - c) * 3 // 4]])],
                _blend(glass, (255, 255, 255), 0.35),
                _AA,
            )
            if curtain and column in (0, panes[0] - 1):
                edge = (a, round(a + 0.3 * (b - a))) if column == 0 else (round(b - 0.3 * (b - a)), b)
                wall[c:d, edge[0] : edge[1]] = (214, 206, 190)
    cv2.rectangle(wall, (x0 - 6, y1 + 3), (x1 + 6, y1 + 8), (205, 200, 192), -1)


def door(
    wall: Image, left_m: float, width_m: float, height_m: float, color: Color, glazed: bool = True, leaves: int = 1
) -> None:
    """Paint a door standing on the ground onto a wall, in place."""
    scale = PIXELS_PER_METRE
    x0, x1 = round(left_m * scale), round((left_m + width_m) * scale)
    y0, y1 = wall.shape[0] - round(height_m * scale), wall.shape[0]
    cv2.rectangle(wall, (x0 - 6, y0 - 6), (x1 + 6, y1), _blend(color, (235, 230, 220), 0.75), -1)
    for leaf in range(leaves):
        a, b = x0 + (x1 - x0) * leaf // leaves, x0 + (x1 - x0) * (leaf + 1) // leaves - 2
        cv2.rectangle(wall, (a, y0), (b, y1), color, -1)
        if glazed:
            top = (a + (b - a) // 5, y0 + 12), (b - (b - a) // 5, y0 + (y1 - y0) // 2)
            cv2.rectangle(wall, *top, (120, 146, 160), -1)
        low = (a + (b - a) // 5, y0 + (y1 - y0) * 5 // 8), (b - (b - a) // 5, y1 - 14)
        cv2.rectangle(wall, *low, _blend(color, (0, 0, 0), 0.25), 2)
        cv2.circle(wall, (b - 7 if leaf == 0 else a + 7, (y0 + y1) // 2 + 8), 3, (225, 205, 120), -1, _AA)


def roller_door(wall: Image, left_m: float, width_m: float, height_m: float, color: Color) -> None:
    """Paint a ribbed garage door onto a wall, in place."""
    scale = PIXELS_PER_METRE
    x0, x1 = round(left_m * scale), round((left_m + width_m) * scale)
    y0, y1 = wall.shape[0] - round(height_m * scale), wall.shape[0]
    cv2.rectangle(wall, (x0 - 5, y0 - 5), (x1 + 5, y1), (96, 98, 100), -1)
    for top in range(y0, y1, 16):
        cv2.rectangle(wall, (x0, top), (x1, top + 13), color, -1)


def lettering(wall: Image, text: str, left_m: float, bottom_m: float, height_m: float, color: Color) -> None:
    """Write a name onto a wall, in place."""
    scale = height_m * PIXELS_PER_METRE / 22
    origin = round(left_m * PIXELS_PER_METRE), wall.shape[0] - round(bottom_m * PIXELS_PER_METRE)
    cv2.putText(wall, text, origin, cv2.FONT_HERSHEY_DUPLEX, scale, color, max(1, round(2 * scale)), _AA)


def mural(rng: Rng, width_m: float, height_m: float, palette: tuple[Color, ...]) -> Image:
    """An abstract painting of large overlapping discs, waves and triangles: no two seeds are alike."""
    height, width = round(height_m * PIXELS_PER_METRE), round(width_m * PIXELS_PER_METRE)
    image = _plain(height, width, palette[0])
    for band in range(3):
        x = np.arange(0, width + 8, 8)
        y = height * (0.45 + 0.2 * band) + height * 0.1 * np.sin(x / width * rng.uniform(5, 11) + rng.uniform(0, 6))
        outline = np.concatenate([np.stack([x, y], 1), [[width + 8, height], [0, height]]])
        cv2.fillPoly(image, [outline.astype(np.int32)], palette[1 + band % (len(palette) - 1)], _AA)
    for index in range(7):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        radius = int(rng.uniform(0.08, 0.3) * height)
        color = palette[1 + index % (len(palette) - 1)]
        if index % 3 == 2:
            angles = rng.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
            corners = np.array(centre) + 1.4 * radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(image, [corners.astype(np.int32)], color, _AA)
        else:
            cv2.circle(image, centre, radius, color, -1, _AA)
            cv2.circle(image, centre, max(radius // 2, 3), palette[(3 + index) % len(palette)], 6, _AA)
    return image


def poster(rng: Rng, title: str, color: Color) -> Image:
    """A notice of 0.9 x 1.2 m: title, picture and lines of text."""
    image = _plain(192, 144, _blend(color, (255, 255, 255), 0.82))
    cv2.rectangle(image, (0, 0), (143, 44), color, -1)
    cv2.putText(image, title, (8, 31), cv2.FONT_HERSHEY_DUPLEX, 0.8, (250, 250, 245), 2, _AA)
    cv2.rectangle(image, (14, 56), (129, 122), _blend(color, (255, 255, 255), 0.5), -1)
    hill = [[14, 122], [int(rng.uniform(35, 60)), 74], [80, 108], [int(rng.uniform(92, 112)), 84], [129, 122]]
    cv2.fillPoly(image, [np.array(hill)], _blend(color, (20, 30, 20), 0.35), _AA)
    cv2.circle(image, (int(rng.uniform(30, 115)), 72), 9, (246, 214, 110), -1, _AA)
    for row in range(4):
        cv2.line(image, (14, 136 + 13 * row), (int(rng.uniform(80, 129)), 136 + 13 * row), (90, 90, 95), 4)
    cv2.rectangle(image, (0, 0), (143, 191), (70, 72, 76), 4)
    return image


def asphalt(rng: Rng) -> Image:
    """A tile of 4 x 4 m of road surface: soft patches and one mended crack."""
    image = _shade(_plain(256, 256, (104, 105, 110)), _smooth_noise(rng, 256, 256, 6), 7)
    image = _shade(image, _smooth_noise(rng, 256, 256, 16), 2)
    points = np.cumsum(rng.normal([9, 5], 6, (22, 2)), 0).astype(np.int32)
    cv2.polylines(image, [points + [20, 40]], False, (86, 87, 92), 2, _AA)
    return image


def paving(rng: Rng, color: Color = (188, 180, 168)) -> Image:
    """A tile of 4 x 4 m of square slabs, 80 cm each."""
    image = _plain(160, 160, _blend(color, (0, 0, 0), 0.13))
    for row in range(5):
        for column in range(5):
            start = 32 * column + 1, 32 * row + 1
            cv2.rectangle(image, start, (start[0] + 29, start[1] + 29), vary(rng, color, 4), -1)
    return image


def lawn(rng: Rng) -> Image:
    """A tile of 3 x 3 m of mown grass with clover and daisies."""
    image = _shade(_plain(256, 256, (100, 150, 66)), _smooth_noise(rng, 256, 256, 5), 14)
    image = _shade(image, _smooth_noise(rng, 256, 256, 20), 7)
    for _ in range(26):
        centre = int(rng.uniform(4, 252)), int(rng.uniform(4, 252))
        cv2.circle(image, centre, 2, (222, 224, 200), -1, _AA)
    return image


def gravel(rng: Rng) -> Image:
    """A tile of 2 x 2 m of light gravel."""
    image = _shade(_plain(128, 128, (176, 164, 146)), _smooth_noise(rng, 128, 128, 28), 14)
    return _shade(image, _smooth_noise(rng, 128, 128, 4), 6)


def leaves(rng: Rng, color: Color) -> Image:
    """A tile of foliage: overlapping clumps from dark to light."""
    image = _plain(128, 128, _blend(color, (10, 20, 10), 0.16))
    for layer in range(3):
        shade = _blend(_blend(color, (10, 20, 10), 0.12), _blend(color, (235, 240, 150), 0.10), layer / 2)
        for _ in range(20):
            x, y = rng.uniform(0, 128, 2)
            axes = int(rng.uniform(8, 15)), int(rng.uniform(6, 10))
            angle, tint = rng.uniform(0, 180), vary(rng, shade, 5)
            for dx in (-128, 0, 128):
                for dy in (-128, 0, 128):
                    cv2.ellipse(image, (int(x + dx), int(y + dy)), axes, angle, 0, 360, tint, -1, _AA)
    return image


def planks(rng: Rng, color: Color) -> Image:
    """A tile of 1 x 1 m of horizontal boards."""
    image = _plain(96, 96, _blend(color, (0, 0, 0), 0.4))
    for row in range(6):
        cv2.rectangle(image, (0, 16 * row), (95, 16 * row + 13), vary(rng, color, 8), -1)
    return image


def roof_tiles(rng: Rng, color: Color) -> Image:
    """A tile of 2 x 2 m of roof: rows with a shadow under each."""
    image = _plain(128, 128, color)
    for row in range(5):
        cv2.rectangle(image, (0, 26 * row), (127, 26 * row + 25), vary(rng, color, 5), -1)
        cv2.line(image, (0, 26 * row), (127, 26 * row), _blend(color, (0, 0, 0), 0.4), 3)
    return image


def hills(rng: Rng) -> Image:
    """What lies beyond the court: hazy wooded slopes, lighter towards the top."""
    ramp = np.linspace(0, 1, 64)[:, None, None]
    image = np.repeat(np.array((146, 166, 160)) * (1 - ramp) + np.array((126, 144, 104)) * ramp, 256, 1)
    return _shade(image.astype(np.uint8), _smooth_noise(rng, 64, 256, 9), 7)


def sky_faces(rng: Rng, size: int = 256) -> dict[str, Image]:
    """Six faces of a sky with cumulus clouds, keyed as MuJoCo's skybox wants them.

    MuJoCo shows a face mirrored: column 0 lies to the right of somebody inside the box. The clouds are drawn once on
    the sphere, so the faces join without a seam.
    """
    blobs = []
    for _ in range(26):
        azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.75)
        blobs += [
            (azimuth + rng.normal(0, 0.13), elevation + abs(rng.normal(0, 0.035)), rng.uniform(0.035, 0.09))
            for _ in range(6)
        ]
    across = (np.arange(size) + 0.5) / size * 2 - 1
    c, r = np.meshgrid(across, -across)
    one = np.ones_like(c)
    looks = {
        "right": (one, c, r),
        "left": (-one, -c, r),
        "back": (-c, one, r),
        "front": (c, -one, r),
        "up": (r, c, one),
        "down": (r, c, -one),
    }
    faces = {}
    for name, direction in looks.items():
        x, y, z = np.stack(direction) / np.linalg.norm(np.stack(direction), axis=0)
        height = np.clip(z, 0, 1)[..., None]
        image = np.array((206, 224, 238)) * (1 - height) ** 2.2 + np.array((92, 146, 214)) * (1 - (1 - height) ** 2.2)
        cover, azimuth, elevation = np.zeros_like(z), np.arctan2(y, x), np.arcsin(z)
        for blob_azimuth, blob_elevation, blob_size in blobs:
            sideways = (azimuth - blob_azimuth + np.pi) % (2 * np.pi) - np.pi
            upwards = elevation - blob_elevation
            upwards = np.where(upwards < 0, 2.2 * upwards, upwards)  # cumulus: a flat base
            distance = (sideways * np.cos(blob_elevation) / 1.5) ** 2 + upwards**2
            cover = np.maximum(cover, np.clip(1.25 - distance / blob_size**2, 0, 1))
        cover = 0.85 * (cover * cover * (3 - 2 * cover))[..., None]
        faces[name] = np.clip(image * (1 - cover) + 250 * cover, 0, 255).astype(np.uint8)
    return faces
