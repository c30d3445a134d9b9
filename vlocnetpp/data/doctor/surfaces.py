"""Depth against depth: the surface one frame measures, moved by the poses, must lie on what another frame measures.

It depends on neither light nor colour, so it measures the K of the depth images and the unit of the translations.
Colour images have a K of their own where depth is not registered to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlocnetpp.data.doctor.hypotheses import point_errors
from vlocnetpp.data.doctor.matches import Floats, Pair

POINTS = 800
"""Of each depth image, about, on a regular grid."""
CAP = 0.1
"""A depth off by more than a tenth counts as a tenth: it is another surface."""
FOLDS = 4
FIRST_FOCALS = (0.8, 0.9, 1.0, 1.1, 1.25)


@dataclass(frozen=True)
class Fit:
    """Factors that make the poses explain the measurements best."""

    focal: float
    """What fx and fy are to be multiplied by."""
    focal_spread: float
    """Standard error of log(focal), from fits to parts of the pairs."""
    scale: float
    """What the stored translations are to be multiplied by; 1 where it cannot be seen."""
    scale_spread: float
    focal_gain: float
    """How many times larger the error is with the focal length as stored."""
    scale_gain: float


class Surfaces:
    """Depth of both frames of a pair, read once, sampled on a grid."""

    def __init__(self, pair: Pair) -> None:
        first, second = pair.first.depth(), pair.second.depth()
        assert first is not None and second is not None
        self.K_33 = pair.first.K_33
        self.depths = (first, second)
        step = max(1, round((first.size / POINTS) ** 0.5))
        self.samples = []
        for depth in self.depths:
            v, u = (
                axis.ravel() for axis in np.mgrid[step // 2 : depth.shape[0] : step, step // 2 : depth.shape[1] : step]
            )
            known = depth[v, u] > 0
            self.samples.append((u[known], v[known], depth[v, u][known]))

    def errors(self, T_44: Floats, scale: float = 1.0, focal: float = 1.0) -> Floats:
        """(M,) relative differences of depth, both ways, of points seen in both; at most `CAP`.

        T_44 moves points of the first camera into the second.
        """
        fx, fy = self.K_33[0, 0] * focal, self.K_33[1, 1] * focal
        cx, cy = self.K_33[:2, 2]
        R, t = T_44[:3, :3], T_44[:3, 3] * scale
        found = []
        for (u, v, z), depth, forth in zip(self.samples, self.depths[::-1], (True, False), strict=True):
            points = np.column_stack([(u - cx) / fx * z, (v - cy) / fy * z, z])
            moved = points @ R.T + t if forth else (points - t) @ R
            moved = moved[moved[:, 2] > 0.01]
            column = np.rint(moved[:, 0] / moved[:, 2] * fx + cx)
            row = np.rint(moved[:, 1] / moved[:, 2] * fy + cy)
            inside = (column >= 0) & (row >= 0) & (column < depth.shape[1]) & (row < depth.shape[0])
            measured = depth[row[inside].astype(int), column[inside].astype(int)]
            expected = moved[inside, 2][measured > 0]
            found.append(np.abs(measured[measured > 0] - expected) / expected)
        return np.minimum(np.concatenate(found), CAP)


def fit_surfaces(surfaces: Sequence[Surfaces], motions: Sequence[Floats], scale: float) -> Fit:
    """Scale and focal length together by depth against depth; `scale` is a first guess, tried beside the usual ones."""

    def error(rows: Sequence[int], logs: Floats) -> float:
        parts = [surfaces[i].errors(motions[i], float(np.exp(logs[0])), float(np.exp(logs[1]))) for i in rows]
        # Too few points in common would make a wrong motion look perfect.
        return float(np.mean([part.mean() if len(part) > POINTS / 10 else CAP for part in parts]))

    scales = sorted({max(scale, 1e-3), *(10.0**power for power in range(-3, 4))})
    return _fit(error, len(surfaces), np.array([(np.log(s), np.log(f)) for s in scales for f in FIRST_FOCALS]))


def fit_lines(pairs: Sequence[Pair], motions: Sequence[Floats]) -> Fit:
    """The focal length of the colour images by epipolar lines; depth plays no part and scale is not seen."""
    blind = [replace(pair, z1_N=np.full_like(pair.z1_N, np.nan)) for pair in pairs]

    def error(rows: Sequence[int], logs: Floats) -> float:
        focal = float(np.exp(logs[1]))
        return float(np.mean([np.minimum(point_errors(blind[i], motions[i], 1.0, focal), 0.02).mean() for i in rows]))

    return _fit(error, len(blind), np.array([(0.0, np.log(f)) for f in FIRST_FOCALS]), free=(1,))


def _fit(
    error: Callable[[Sequence[int], Floats], float], pairs: int, first_K2: Floats, free: tuple[int, ...] = (0, 1)
) -> Fit:
    """Minimize over the logarithms of (scale, focal), from the best of the first guesses.

    The spread comes from parts of the pairs fitted alone. free: which of the two are fitted.
    """
    from scipy.optimize import minimize

    columns = list(free)

    def best(rows: Sequence[int], start: Floats) -> Floats:
        def at(logs: Floats) -> Floats:
            whole = start.copy()
            whole[columns] = logs
            return whole

        simplex = start[columns] + np.vstack([np.zeros(len(columns)), 0.06 * np.eye(len(columns))])
        options = {"initial_simplex": simplex, "xatol": 0.004, "fatol": 1e-5, "maxfev": 40}
        found = minimize(lambda logs: error(rows, at(logs)), start[columns], method="Nelder-Mead", options=options)
        return at(found.x)

    every = range(pairs)
    coarse = every[:: max(1, pairs // 12)]
    found = best(every, min(first_K2, key=lambda logs: error(coarse, logs)))
    folds = np.array([best(every[fold::FOLDS], found) for fold in range(FOLDS)])
    spread = folds.std(axis=0, ddof=1) / FOLDS**0.5
    least = max(error(every, found), 1e-9)
    return Fit(
        focal=float(np.exp(found[1])),
        focal_spread=float(spread[1]),
        focal_gain=error(every, found * [1, 0]) / least,
        scale=float(np.exp(found[0])),
        scale_spread=float(spread[0]),
        scale_gain=error(every, found * [0, 1]) / least,
    )
