"""The few solids MuJoCo has no primitive for: triangles with texture coordinates and normals.

Texture coordinate v grows downwards in the picture, as MuJoCo reads it. Every face has its own vertices, so edges stay
sharp and textures run in metres along the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Triangles in metres."""

    vertex_V3: Array
    normal_V3: Array
    texcoord_V2: Array
    face_F3: NDArray[np.int64]


def join(*parts: Mesh) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0] + [len(part.vertex_V3) for part in parts[:-1]])
    return Mesh(
        np.concatenate([part.vertex_V3 for part in parts]),
        np.concatenate([part.normal_V3 for part in parts]),
        np.concatenate([part.texcoord_V2 for part in parts]),
        np.concatenate([part.face_F3 + start for part, start in zip(parts, starts, strict=True)]),
    )


def rounded(half_x: float, half_y: float, exponent: float = 2.6, count: int = 72) -> Array:
    """Outline of a superellipse, counter-clockwise."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    radius = (np.abs(c / half_x) ** exponent + np.abs(s / half_y) ** exponent) ** (-1 / exponent)
    return np.stack([radius * c, radius * s], 1)


def rectangle(x0: float, x1: float, y0: float, y1: float) -> Array:
    """Outline of a rectangle, counter-clockwise."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def quad(corners_43: Array, uv_42: Array) -> Mesh:
    """A flat four-sided face, corners counter-clockwise as seen from its front."""
    corners = np.asarray(corners_43, float)
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    normals = np.tile(normal / np.linalg.norm(normal), (4, 1))
    return Mesh(corners, normals, np.asarray(uv_42, float), np.array([[0, 1, 2], [0, 2, 3]]))


def panel(start: tuple[float, float], stop: tuple[float, float], bottom: float, top: float) -> Mesh:
    """An upright picture from `start` (its left edge, seen from the front) to `stop`, spanned once by its texture."""
    (x0, y0), (x1, y1) = start, stop
    corners = [[x0, y0, bottom], [x1, y1, bottom], [x1, y1, top], [x0, y0, top]]
    return quad(np.array(corners), np.array([[0, 1], [1, 1], [1, 0], [0, 0]]))


def slab(outline_N2: Array, bottom: float, top: float, tile_m: float) -> Mesh:
    """A star-shaped plate with vertical sides; the outline runs counter-clockwise, the texture repeats every tile."""
    outline = np.asarray(outline_N2, float)
    count = len(outline)
    flat = np.concatenate([outline, outline.mean(0, keepdims=True)])
    ring = np.arange(count)
    cover = Mesh(
        np.column_stack([flat, np.full(count + 1, top)]),
        np.tile([0.0, 0.0, 1.0], (count + 1, 1)),
        flat * [1, -1] / tile_m,
        np.column_stack([np.full(count, count), ring, (ring + 1) % count]),
    )
    return cover if top - bottom < 1e-6 else join(cover, wall(np.vstack([outline, outline[:1]]), bottom, top, tile_m))


def ribbon(right_N2: Array, left_N2: Array, height: float, tile_m: float) -> Mesh:
    """A flat closed band between two lines of as many points, such as the edges of a road driven round."""
    right, left = np.asarray(right_N2, float), np.asarray(left_N2, float)
    count = len(right)
    flat = np.concatenate([right, left])
    ring, following = np.arange(count), (np.arange(count) + 1) % count
    faces = [[ring, following, following + count], [ring, following + count, ring + count]]
    return Mesh(
        np.column_stack([flat, np.full(2 * count, height)]),
        np.tile([0.0, 0.0, 1.0], (2 * count, 1)),
        flat * [1, -1] / tile_m,
        np.concatenate([np.stack(each, 1) for each in faces]),
    )


def wall(line_N2: Array, bottom: float, top: float | Array, tile_m: float | None = None) -> Mesh:
    """An upright ribbon along a line, its front to the right of the line's direction.

    The texture repeats every `tile_m` metres, or spans the ribbon's height once and its length eight times.
    """
    line = np.asarray(line_N2, float)
    step = np.diff(line, axis=0)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(step, axis=1))])
    tops: Array = np.broadcast_to(top, len(line))
    parts = []
    u: Array
    low: Array
    high: Array
    for i, (dx, dy) in enumerate(step):
        a, b = line[i], line[i + 1]
        if tile_m is None:
            u, low, high = length[i : i + 2] / length[-1] * 8, np.ones(2), np.zeros(2)
        else:
            u, low, high = length[i : i + 2] / tile_m, np.full(2, -bottom / tile_m), -tops[i : i + 2] / tile_m
        normal = np.array([dy, -dx, 0]) / max(np.hypot(dx, dy), 1e-9)
        parts.append(
            Mesh(
                np.array([[*a, bottom], [*b, bottom], [*b, tops[i + 1]], [*a, tops[i]]]),
                np.tile(normal, (4, 1)),
                np.array([[u[0], low[0]], [u[1], low[1]], [u[1], high[1]], [u[0], high[0]]]),
                np.array([[0, 1, 2], [0, 2, 3]]),
            )
        )
    return join(*parts)


def gable(x0: float, x1: float, y0: float, y1: float, eaves: float, ridge: float, tile_m: float = 2.0) -> Mesh:
    """A pitched roof over a rectangle, ridge along x, closed at its ends and underneath."""
    middle = (y0 + y1) / 2
    u, v = (x1 - x0) / tile_m, np.hypot(middle - y0, ridge - eaves) / tile_m
    uv = np.array([[0, v], [u, v], [u, 0], [0, 0]])
    south = quad(np.array([[x0, y0, eaves], [x1, y0, eaves], [x1, middle, ridge], [x0, middle, ridge]]), uv)
    north = quad(np.array([[x1, y1, eaves], [x0, y1, eaves], [x0, middle, ridge], [x1, middle, ridge]]), uv)
    below = quad(np.array([[x0, y1, eaves], [x1, y1, eaves], [x1, y0, eaves], [x0, y0, eaves]]), np.zeros((4, 2)))
    ends = []
    for x, left, right in ((x0, y1, y0), (x1, y0, y1)):
        corners = np.array([[x, left, eaves], [x, right, eaves], [x, middle, ridge]])
        normal = np.tile([np.sign(x - (x0 + x1) / 2), 0, 0], (3, 1))
        ends.append(Mesh(corners, normal, np.zeros((3, 2)), np.array([[0, 1, 2]])))
    return join(south, north, below, *ends)


def crown(rng: np.random.Generator, roughness: float, tile: float = 3.0) -> Mesh:
    """A unit ball with bumps, for foliage."""
    rows, columns = 13, 22
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    bumps = sum(np.cos(unit @ rng.normal(0, 3.2, 3) + rng.uniform(0, 6)) for _ in range(5))
    point = (unit * (1 + roughness * np.asarray(bumps)[..., None] / 2)).reshape(-1, 3)
    index = np.arange(rows * (columns + 1)).reshape(rows, columns + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1)[:].reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    corner = point[faces]
    # The two caps have triangles without area, which MuJoCo refuses.
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    texcoord = np.stack([azimuth / (2 * np.pi) * tile, polar / np.pi * tile / 2], -1).reshape(-1, 2)
    return Mesh(point, unit.reshape(-1, 3), texcoord, faces[area > 1e-6])


def extrude(profile_N2: Array, width: float) -> Mesh:
    """A side view (x, z), counter-clockwise seen from the right-hand side (-y), drawn out to a width along y."""
    profile = np.asarray(profile_N2, float)
    count, centre = len(profile), np.asarray(profile, float).mean(0)
    fan = np.vstack([profile, centre])
    ring = np.arange(count)
    spokes = np.column_stack([np.full(count, count), ring, (ring + 1) % count])
    flat = np.zeros((count + 1, 2))
    right = Mesh(np.column_stack([fan[:, 0], np.full(count + 1, -width / 2), fan[:, 1]]),
                 np.tile([0.0, -1, 0], (count + 1, 1)), flat, spokes)  # fmt: skip
    left = Mesh(right.vertex_V3 * [1, -1, 1], -right.normal_V3, flat, spokes[:, ::-1])
    sides = []
    for a, b in zip(profile, np.roll(profile, -1, 0), strict=True):
        corners = [[a[0], -width / 2, a[1]], [a[0], width / 2, a[1]], [b[0], width / 2, b[1]], [b[0], -width / 2, b[1]]]
        sides.append(quad(np.array(corners), np.zeros((4, 2))))
    return join(right, left, *sides)
