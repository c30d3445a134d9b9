"""Images located in the map of other drives, by points that they have in common.

Points of the other drives get their places from depth images or, where there are none, by triangulation between
neighbours. A camera located from them (PnP) says where the map has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlocnetpp.data.doctor.matches import Floats, count_matches, match_frames
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.frames import Frame
from vlocnetpp.data.pnp import INLIER_PX, solve_pnp
from vlocnetpp.poses import inverse, relative, rotate, transform

SPREAD, BY_LOOKS, BY_POSE = 48, 4, 2
"""Images of the map that a query is compared with: evenly spread, most alike as thumbnails, nearest by pose."""
VERIFIED = 3
"""Of them, those with most points in common are used to locate it."""
LEAST_INLIERS = 14
OFF = 0.08
"""A pose agrees with an image if its points lie this near to where that pose sees them, median, share of the width. Not
the distance from the located pose decides: a wall looks nearly the same from two places."""


@dataclass(frozen=True)
class Located:
    """An image of a drive, located in the map of other drives."""

    stored_7: Floats
    found_7: Floats
    distance: float
    """Median distance of its points, in the map's unit."""
    points_N3: Floats
    """In the map."""
    x_N2: Floats
    """Where the image shows them, pixels."""
    K_33: Floats
    width: int

    def agrees(self, pose_7: Floats) -> bool:
        """Whether the points lie where a camera at this pose sees them."""
        pixel_N3 = transform(inverse(pose_7[None])[0], self.points_N3) @ self.K_33.T
        before_N = pixel_N3[:, 2] > 1e-6
        off_N = np.full(len(before_N), float(self.width))
        off_N[before_N] = np.linalg.norm(pixel_N3[before_N, :2] / pixel_N3[before_N, 2:] - self.x_N2[before_N], axis=1)
        return float(np.median(off_N)) < OFF * self.width


@dataclass
class Map:
    """Frames of drives in one map, as a place to locate others in."""

    study: Study
    drives: Sequence[Sequence[ExaminedFrame]]

    @cached_property
    def frames(self) -> list[ExaminedFrame]:
        """Of all its drives."""
        return [examined for drive in self.drives for examined in drive]

    @cached_property
    def poses_N7(self) -> Floats:
        """Of `frames`."""
        return np.array([examined.frame.pose_7 for examined in self.frames])

    @cached_property
    def looks_ND(self) -> Floats:
        """Thumbnails of `frames` of mean 0 and length 1."""
        return np.array([_look(examined) for examined in self.frames])

    @cached_property
    def spread(self) -> list[int]:
        """Numbers of frames evenly spread over all drives."""
        return np.unique(np.linspace(0, len(self.frames) - 1, SPREAD).astype(int)).tolist()

    @cached_property
    def place(self) -> dict[int, tuple[Sequence[ExaminedFrame], int]]:
        """By the id of a frame: its drive, and its number there."""
        return {id(each): (drive, i) for drive in self.drives for i, each in enumerate(drive)}

    def locate(self, query: ExaminedFrame) -> Located | None:
        """Locate an image by points in common with the map; its stored pose only adds candidates."""
        pose = np.asarray(query.frame.pose_7)
        alike = np.argsort(-(self.looks_ND @ _look(query)))[:BY_LOOKS]
        metres = np.linalg.norm(self.poses_N7[:, :3] - pose[:3], axis=1)
        degrees = np.degrees(2 * np.arccos(np.minimum(np.abs(self.poses_N7[:, 3:] @ pose[3:]), 1.0)))
        near = np.argsort(metres + 0.01 * degrees)[:BY_POSE]
        candidates = sorted({*self.spread, *alike.tolist(), *near.tolist()})
        counts = [count_matches(self.frames[i].frame, query.frame) for i in candidates]
        points: list[Floats] = [np.empty((0, 3))]
        pixels: list[Floats] = [np.empty((0, 2))]
        distances: list[Floats] = [np.empty(0)]
        width = 0
        for order in np.argsort(-np.array(counts), kind="stable")[:VERIFIED]:
            known = self.frames[candidates[order]]
            pair = match_frames(known.frame, query.frame)
            if pair is None:
                continue
            z_N = pair.z1_N / self._depth_factor if pair.has_depth else self._triangulated(known, pair.x1_N2)
            deep = np.isfinite(z_N) & (z_N > 0)
            points.append(_lift(known.frame, pair.x1_N2[deep], z_N[deep], self._K(known.frame)))
            pixels.append(pair.x2_N2[deep])
            distances.append(z_N[deep])
            width = pair.width
        points_N3, x_N2, K_33 = np.concatenate(points), np.concatenate(pixels), self._K(query.frame)
        solved = solve_pnp(points_N3, x_N2, K_33, LEAST_INLIERS, INLIER_PX * max(width / 400, 0.7))
        if solved is None:
            return None
        pose_7, inlier = solved
        distance = float(np.median(np.concatenate(distances)[inlier]))
        return Located(pose, pose_7, distance, points_N3[inlier], x_N2[inlier], K_33, width)

    def _triangulated(self, known: ExaminedFrame, x_N2: Floats) -> Floats:
        """Depths at points of a frame from its neighbours, NaN where none shows them from clearly elsewhere."""
        frames, place = self.place[id(known)]
        z_N = np.full(len(x_N2), np.nan)
        row = {tuple(x): i for i, x in enumerate(x_N2.tolist())}
        gap = self.study.usual_gap
        for step in (gap, -gap, 2 * gap, -2 * gap):
            if not 0 <= place + step < len(frames):
                continue
            pair = match_frames(known.frame, frames[place + step].frame)
            if pair is None:
                continue
            z_M = _triangulate(pair.first, pair.second, pair.x1_N2, pair.x2_N2, self._K(pair.first))
            for x, z in zip(pair.x1_N2.tolist(), z_M.tolist(), strict=True):
                if (i := row.get(tuple(x))) is not None and np.isnan(z_N[i]):
                    z_N[i] = z
        return z_N

    def _K(self, frame: Frame) -> Floats:
        """K with the focal length that fits the data, where it was found to be wrong."""
        fit = self.study.by_depth
        K = frame.K_33.copy()
        K[[0, 1], [0, 1]] *= fit.focal if fit is not None and abs(np.log(fit.focal)) > 0.04 else 1.0
        return K

    @cached_property
    def _depth_factor(self) -> float:
        """The unit of the depth images in that of the poses, where they were found to differ."""
        fit = self.study.by_depth
        return fit.scale if fit is not None and abs(np.log(fit.scale)) > 0.04 else 1.0


def _look(examined: ExaminedFrame) -> Floats:
    assert examined.thumbnail is not None
    grey = examined.thumbnail.ravel().astype(np.float64)
    grey -= grey.mean()
    return grey / max(float(np.linalg.norm(grey)), 1e-9)


def _lift(frame: Frame, x_N2: Floats, z_N: Floats, K_33: Floats) -> Floats:
    """Points (N, 3) in the map of pixels and their depths."""
    rays_N3 = np.hstack([x_N2, np.ones((len(x_N2), 1))]) @ np.linalg.inv(K_33).T
    return transform(np.asarray(frame.pose_7), rays_N3 * z_N[:, None])


def _triangulate(first: Frame, second: Frame, x1_N2: Floats, x2_N2: Floats, K_33: Floats) -> Floats:
    """Depths in the first camera; NaN behind a camera, off by more than 2 px, or seen under less than one degree."""
    motion_7 = relative(np.asarray(second.pose_7)[None], np.asarray(first.pose_7)[None])[0]
    R = rotate(np.tile(motion_7[3:], (3, 1)), np.eye(3)).T
    ray1_N3, ray2_N3 = (np.hstack([x, np.ones((len(x), 1))]) @ np.linalg.inv(K_33).T for x in (x1_N2, x2_N2))
    turned_N3 = ray1_N3 @ R.T
    # z1 * turned + t = z2 * ray2, in the least squares.
    A_N32 = np.stack([turned_N3, -ray2_N3], axis=2)
    normal_N22 = A_N32.transpose(0, 2, 1) @ A_N32
    right_N2 = -np.einsum("nij,i->nj", A_N32, motion_7[:3])
    determinant = np.linalg.det(normal_N22)
    z_N2 = np.full((len(x1_N2), 2), np.nan)
    solvable = determinant > 1e-12
    z_N2[solvable] = np.linalg.solve(normal_N22[solvable], right_N2[solvable][..., None])[..., 0]
    seen_N3 = z_N2[:, :1] * turned_N3 + motion_7[:3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixel_N3 = seen_N3 @ K_33.T
        off_N = np.linalg.norm(pixel_N3[:, :2] / pixel_N3[:, 2:] - x2_N2, axis=1)
        cosine_N = (
            (turned_N3 * ray2_N3).sum(axis=1) / np.linalg.norm(turned_N3, axis=1) / np.linalg.norm(ray2_N3, axis=1)
        )
        good = (z_N2 > 0).all(axis=1) & (off_N < 2.0) & (cosine_N < np.cos(np.radians(1.0)))
    return np.where(good, z_N2[:, 0], np.nan)
