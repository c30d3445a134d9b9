"""Metric multi-dimensional scaling of a network's penultimate features (paper, Fig. 4).

Metric MDS places points so that their distances match those of the features as well as two or three dimensions allow.
It preserves the global shape and uses neither poses nor time.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlocnetpp.data import Frame
from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.files import replacing

LEAST_FRAMES = 4
"""Any three points lie in a plane: with fewer frames than this an embedding is meaningless."""
ITERATIONS = 300


def require_sklearn() -> None:
    """Raise ExplainError where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ExplainError("an embedding needs scikit-learn; pip install '.[report]' in the checkout")


class Embedding(NamedTuple):
    """Features embedded in two and three dimensions, and how well these preserve their distances."""

    points_N2: Floats
    points_N3: Floats
    """In units of the features' distance, centred, and rotated or mirrored onto the true positions, which changes no
    distance."""
    stress_2: float
    stress_3: float
    """Kruskal's stress-1, sqrt(sum (d - d')^2 / sum d^2) over all pairs: 0 keeps every distance, below 0.1 is good."""
    rank_position: float
    """Spearman's rank correlation, over all pairs of frames, of the features' distance with that of the true positions:
    1 where farther apart in the room always is farther apart in the features. NaN where nothing varies."""
    rank_rotation: float
    """The same with the angle between the true rotations."""


def embed(features_NC: Floats, pose_N7: Floats, plane: tuple[int, int]) -> Embedding:
    """Embed the features (N, C) of frames with the true poses (N, 7); equal input gives equal output.

    plane: the two axes of the map onto which the flat embedding is turned.
    Raises ExplainError for fewer frames than `LEAST_FRAMES`.
    """
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    if len(features_NC) < LEAST_FRAMES:
        raise ExplainError(
            f"an embedding needs at least {LEAST_FRAMES} frames with poses, there are {len(features_NC)}"
        )
    distances = pdist(features_NC)
    flat, stress_2 = scale(features_NC, distances, 2)
    solid, stress_3 = scale(features_NC, distances, 3)
    position = pose_N7[:, :3]
    upper = np.triu_indices(len(pose_N7), 1)
    angles = 2 * np.arccos(np.abs(pose_N7[:, 3:] @ pose_N7[:, 3:].T).clip(0, 1))[upper]

    def rank(other: Floats) -> float:
        # Rounding errors must not be ranked where nothing varies: a robot that stands still, a network with a constant
        # output.
        if min(np.ptp(distances), np.ptp(other)) < 1e-9:
            return float("nan")
        return float(spearmanr(distances, other).statistic)

    return Embedding(
        turned(flat, position[:, list(plane)]),
        turned(solid, position),
        stress_2,
        stress_3,
        rank(pdist(position)),
        rank(angles),
    )


def scale(features_NC: Floats, distances: Floats, dimensions: int) -> tuple[Floats, float]:
    """Metric MDS by SMACOF (de Leeuw, 1977) from the principal components on: points (N, dimensions) and stress-1.

    distances: of all pairs, in the order of `scipy.spatial.distance.pdist`.
    """
    from scipy.spatial.distance import pdist, squareform
    from sklearn.manifold import smacof

    centred = features_NC - features_NC.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    start = np.zeros((len(features_NC), dimensions))
    kept = min(dimensions, len(s))
    start[:, :kept] = u[:, :kept] * s[:kept]
    total = float(np.sum(distances**2))
    if total == 0:
        return start, float("nan")
    points = smacof(
        squareform(distances), n_components=dimensions, init=start, n_init=1, max_iter=ITERATIONS, eps=1e-7,
        random_state=0, normalized_stress=False,
    )[0]  # fmt: skip
    return points, float(np.sqrt(np.sum((pdist(points) - distances) ** 2) / total))


def turned(points_ND: Floats, onto_ND: Floats) -> Floats:
    """Points moved to the origin, and turned or mirrored, not stretched, to lie as `onto_ND` does."""
    from scipy.linalg import orthogonal_procrustes

    centred = points_ND - points_ND.mean(axis=0)
    turn, _ = orthogonal_procrustes(centred, onto_ND - onto_ND.mean(axis=0))
    return np.asarray(centred @ turn, np.float64)


def write_embedding(
    path: Path, embeddings: Mapping[str, Embedding], frames: Sequence[Frame], pose_N7: Floats, map_frame: str
) -> None:
    """One row for each model and frame, as CSV under a header in comments. Raises DataError if it cannot be written."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        file.write(
            f"# metric MDS of penultimate features; position: camera in the frame '{map_frame}', metres; stamp: ns\n"
            "# mds2, mds3: two and three dimensions, units of the features' distance, turned onto the positions\n"
        )
        for name, each in embeddings.items():
            file.write(
                f"# {name}: stress-1 {each.stress_2:.4f} (2D) {each.stress_3:.4f} (3D); Spearman rank correlation of "
                f"feature distance with position {each.rank_position:.4f}, with rotation {each.rank_rotation:.4f}\n"
            )
        writer = csv.writer(file)
        mds = ["mds2_1", "mds2_2", "mds3_1", "mds3_2", "mds3_3"]
        writer.writerow(["model", "frame", "stamp_ns", "x_m", "y_m", "z_m", *mds])
        for name, each in embeddings.items():
            for frame, *numbers in zip(frames, pose_N7[:, :3], each.points_N2, each.points_N3, strict=True):
                values = [f"{value:.6f}" for value in np.concatenate(numbers)]
                writer.writerow([name, frame.name, frame.stamp_ns, *values])
