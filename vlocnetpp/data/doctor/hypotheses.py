"""Which reading of the stored poses explains the images: hypotheses on conventions, scale and focal length.

Every hypothesis turns a stored pose into a camera-to-world pose of an optical frame. For a pair of frames it then
predicts where points of one image lie in the other: exactly where a point has a depth, on a line where it has none.
The distance from there to where the point was found decides. It does not depend on light, and it is the same for a
thousand hypotheses as for one, because the points are found once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from vlocnetpp.data.doctor.matches import Floats, Pair

CAP = 0.25
"""Errors are clipped at this share of the image width, e.g. for points behind the camera."""

EXPLAINED = 0.03
"""A pair is explained if its points lie this near to where they should, share of the image width."""

LONGEST_STEP = 5.0
"""In medians of the translations; a longer one gets no more weight."""

QUATERNIONS = {
    "": (0, 1, 2, 3),
    "the quaternions are x, y, z, w but were read as w, x, y, z": (3, 0, 1, 2),
    "the quaternions are w, x, y, z but were read as x, y, z, w": (1, 2, 3, 0),
}
"""What is wrong -> where w, x, y, z really stand among the four numbers that were read as w, x, y, z."""
FORMS = {
    "": "stored",
    "the poses are world-to-camera, not camera-to-world": "inverse",
    "the rotations are world-to-camera, the positions those of the camera": "rotation",
    "the translations are world-to-camera, the rotations camera-to-world": "translation",
}
_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Axes of an optical frame as columns in a body frame (REP-103)."""
AXES = {
    "": np.eye(3),
    "the poses are those of a body (x forward, y left, z up), not of the optical frame": _BODY,
    "the poses were turned from a body to an optical frame though they were optical": _BODY.T,
    "the camera looks along -z with y up (OpenGL, Blender)": np.diag([1.0, -1.0, -1.0]),
    "the poses are left-handed (one axis is mirrored)": np.diag([1.0, -1.0, 1.0]),
}


@dataclass(frozen=True)
class Hypothesis:
    """One reading of the stored poses; an empty text means the library's own convention."""

    quaternion: str = ""
    form: str = ""
    axes: str = ""

    @property
    def departures(self) -> tuple[str, ...]:
        """What is wrong with the stored poses if this reading is right, as text."""
        return tuple(text for text in (self.quaternion, self.form, self.axes) if text)

    def camera_to_world(self, pose_7: Floats) -> Floats:
        """(4, 4) camera-to-world of the optical frame, from a stored pose read this way."""
        w, x, y, z = pose_7[3:][list(QUATERNIONS[self.quaternion])]
        R = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        t = pose_7[:3]
        form = FORMS[self.form]
        if form in ("inverse", "translation"):
            t = -R.T @ t if form == "inverse" else -R @ t
        if form in ("inverse", "rotation"):
            R = R.T
        axes = AXES[self.axes]
        if np.linalg.det(axes) < 0:
            R, t = axes @ R, axes @ t
        T_44 = np.eye(4)
        T_44[:3, :3], T_44[:3, 3] = R @ axes, t
        return T_44


STORED = Hypothesis()
ALL = tuple(Hypothesis(*parts) for parts in product(QUATERNIONS, FORMS, AXES))


@dataclass(frozen=True)
class Verdict:
    """How well one hypothesis explains the pairs."""

    hypothesis: Hypothesis
    scale: float
    """What the stored translations must be multiplied by to fit the depth; 1 without depth."""
    errors_P: Floats
    """For each pair the median distance of its points from where they should be, share of the image width."""

    @property
    def error(self) -> float:
        """Median over the pairs, share of the image width."""
        return float(np.median(self.errors_P))

    @property
    def explained(self) -> float:
        """Share of the pairs whose points lie about where they should."""
        return float((self.errors_P < EXPLAINED).mean())


def motion(pair: Pair, hypothesis: Hypothesis = STORED) -> Floats:
    """(4, 4) transform of points of the first camera into the second, translation in stored units."""
    assert pair.first.pose_7 is not None and pair.second.pose_7 is not None
    return between(pair.first.pose_7, pair.second.pose_7, hypothesis)


def between(first_7: Floats, second_7: Floats, hypothesis: Hypothesis) -> Floats:
    """(4, 4) transform of points of the camera at one stored pose into the camera at another."""
    first, second = hypothesis.camera_to_world(first_7), hypothesis.camera_to_world(second_7)
    return np.asarray(np.linalg.solve(second, first), np.float64)


def point_errors(pair: Pair, T_44: Floats, scale: float = 1.0, focal: float = 1.0) -> Floats:
    """(N,) distance of each point from where the motion says it should be, share of the image width, at most `CAP`.

    focal: what fx and fy are multiplied by first.
    """
    K = pair.first.K_33 * np.array([[focal, 1, 1], [1, focal, 1], [1, 1, 1]])
    R, t = T_44[:3, :3], T_44[:3, 3] * scale
    rays1, rays2 = _rays(pair.x1_N2, K), _rays(pair.x2_N2, K)
    if pair.has_both_depths:
        forth = _project(rays1 * pair.z1_N[:, None] @ R.T + t, K) - pair.x2_N2
        back = _project((rays2 * pair.z2_N[:, None] - t) @ R, K) - pair.x1_N2
        distance = np.stack([np.linalg.norm(forth, axis=1), np.linalg.norm(back, axis=1)])
        distance = distance[:, np.isfinite(pair.z1_N) & np.isfinite(pair.z2_N)].ravel()
    elif np.linalg.norm(t) < 1e-9:
        distance = np.linalg.norm(_project(rays1 @ R.T, K) - pair.x2_N2, axis=1)
    else:
        distance = _sampson(rays1, rays2, R, t, K)
    return np.minimum(np.nan_to_num(distance / pair.width, nan=CAP, posinf=CAP), CAP)


def judge(pairs: Sequence[Pair], hypotheses: Iterable[Hypothesis] = ALL) -> list[Verdict]:
    """Every hypothesis on every pair, the best first. Without depth the scale stays 1, epipolar lines know none."""
    verdicts = []
    for hypothesis in hypotheses:
        motions = [motion(pair, hypothesis) for pair in pairs]
        scale = fit_scale(pairs, motions)
        errors = np.array([np.median(point_errors(p, T, scale)) for p, T in zip(pairs, motions, strict=True)])
        verdicts.append(Verdict(hypothesis, scale, errors))
    return sorted(verdicts, key=lambda verdict: (verdict.error, len(verdict.hypothesis.departures)))


def fit_scale(pairs: Sequence[Pair], motions: Sequence[Floats], focal: float = 1.0) -> float:
    """What all translations must be multiplied by so that points with depth move as they do; 1 without any depth.

    Each point in its second image gives one equation, x2 x (R X1 + s t) = 0, linear in s; the weighted median over all
    points of all pairs is robust to outliers.
    """
    scales, weights = [np.ones(0)], [np.ones(0)]
    lengths = [float(np.linalg.norm(T[:3, 3])) for T in motions]
    longest = LONGEST_STEP * float(np.median(lengths)) if lengths else 0.0
    for pair, T in zip(pairs, motions, strict=True):
        if pair.has_depth and np.linalg.norm(T[:3, 3]) > 0:
            K = pair.first.K_33 * np.array([[focal, 1, 1], [1, focal, 1], [1, 1, 1]])
            turned = (_rays(pair.x1_N2, K) * pair.z1_N[:, None]) @ T[:3, :3].T
            rays2 = _rays(pair.x2_N2, K)
            still, moved = np.cross(rays2, turned), np.cross(rays2, T[:3, 3])
            power = (moved**2).sum(axis=1)
            known = np.isfinite(pair.z1_N) & (power > 0)
            scales.append(-(still * moved).sum(axis=1)[known] / power[known])
            # Weights count pixels alike near and far and in any unit of the translation, but they are bounded: a pose
            # that is a hundred metres off must not outweigh all others.
            length = float(np.linalg.norm(T[:3, 3]))
            weights.append(np.sqrt(power[known]) / pair.z1_N[known] * min(1.0, longest / length))
    scale, weight = np.concatenate(scales), np.concatenate(weights)
    if not len(scale):
        return 1.0
    order = np.argsort(scale)
    total = np.cumsum(weight[order])
    return max(float(scale[order][np.searchsorted(total, total[-1] / 2)]), 0.0)


def _rays(x_N2: Floats, K_33: Floats) -> Floats:
    """(N, 3) directions with z = 1 of pixels."""
    return np.column_stack([(x_N2 - K_33[:2, 2]) / (K_33[0, 0], K_33[1, 1]), np.ones(len(x_N2))])


def _project(points_N3: Floats, K_33: Floats) -> Floats:
    """(N, 2) pixels; not finite for points that are not before the camera."""
    z = np.where(points_N3[:, 2:] > 1e-6, points_N3[:, 2:], np.nan)
    return points_N3[:, :2] / z * (K_33[0, 0], K_33[1, 1]) + K_33[:2, 2]


def _sampson(rays1_N3: Floats, rays2_N3: Floats, R_33: Floats, t_3: Floats, K_33: Floats) -> Floats:
    """(N,) first-order distance from the epipolar lines in pixels; not finite where a point lies behind a camera."""
    x, y, z = t_3 / np.linalg.norm(t_3)
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ R_33
    line2, line1 = rays1_N3 @ E.T, rays2_N3 @ E
    slope = (line1[:, :2] ** 2).sum(axis=1) + (line2[:, :2] ** 2).sum(axis=1)
    distance = np.abs((rays2_N3 * line2).sum(axis=1)) / np.sqrt(np.maximum(slope, 1e-18)) * K_33[0, 0]
    # Twice the triangulated depths (up to a positive factor): both must be positive.
    turned = rays1_N3 @ R_33.T
    across = np.cross(turned, rays2_N3)
    before1 = (np.cross(rays2_N3, t_3) * across).sum(axis=1)
    before2 = (np.cross(turned, t_3) * across).sum(axis=1)
    parallax = np.linalg.norm(across, axis=1) / (np.linalg.norm(turned, axis=1) * np.linalg.norm(rays2_N3, axis=1))
    behind = (parallax > 0.01) & ((before1 < 0) | (before2 < 0))
    return np.where(behind, np.inf, distance)
