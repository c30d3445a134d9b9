"""Published figures, shown beside ours in a column of their own: they are of other data and other hardware.

All are from the tables of the paper (Radwan, Valada, Burgard: VLocNet++, RA-L 2018), but for MapNet (Brahmbhatt et al.,
CVPR 2018, average over 7-Scenes). No public code has reproduced the paper's own rows, so they are a reference only.
Table V prints the same classes for FCN-8s and AdapNet beside different means; these two cannot be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SEVEN_SCENES = ("Chess", "Fire", "Heads", "Office", "Pumpkin", "RedKitchen", "Stairs", "Average")
TABLE_I = {
    "posenet2": (
        (0.13, 4.48), (0.27, 11.3), (0.17, 13.0), (0.19, 5.55),
        (0.26, 4.75), (0.23, 5.35), (0.35, 12.4), (0.23, 8.12),
    ),
    "nnnet": (
        (0.13, 6.46), (0.26, 12.72), (0.14, 12.34), (0.21, 7.35),
        (0.24, 6.35), (0.24, 8.03), (0.27, 11.82), (0.21, 9.30),
    ),
    "vlocnet": (
        (0.036, 1.71), (0.039, 5.34), (0.046, 6.64), (0.039, 1.95),
        (0.037, 2.28), (0.039, 2.20), (0.097, 6.48), (0.048, 3.80),
    ),
    "stl_pose": (
        (0.023, 1.44), (0.018, 1.39), (0.016, 0.99), (0.024, 1.14),
        (0.024, 1.45), (0.025, 2.27), (0.021, 1.08), (0.022, 1.39),
    ),
}  # fmt: skip
"""Median localization error on 7-Scenes, metres and degrees."""
TABLE_II = {
    "posenet": (2.42, 3.66),
    "bayesian_posenet": (2.24, 4.31),
    "svs_pose": (1.61, 3.52),
    "vlocnet": (0.68, 3.43),
    "stl_pose": (0.37, 1.93),
}
"""The same on DeepLoc."""
TABLE_III = {
    "lbo": (
        (1.69, 1.13), (3.56, 1.42), (14.43, 2.39), (3.12, 1.92),
        (3.12, 1.60), (3.71, 1.47), (3.64, 2.62), (4.75, 1.79),
    ),
    "deepvo": (
        (2.10, 1.15), (5.08, 1.56), (13.91, 2.44), (4.49, 1.74),
        (3.91, 1.61), (3.98, 1.50), (5.99, 1.66), (5.64, 1.67),
    ),
    "cnnbspp": (
        (1.38, 1.12), (2.08, 1.76), (3.89, 2.70), (1.98, 1.52),
        (1.29, 1.62), (1.53, 1.62), (2.34, 1.86), (2.07, 1.74),
    ),
    "vlocnet": (
        (1.14, 0.75), (1.81, 1.92), (1.82, 2.28), (1.71, 1.09),
        (1.26, 1.11), (1.46, 1.28), (1.28, 1.17), (1.51, 1.45),
    ),
    "stl_odometry": (
        (0.99, 0.66), (0.99, 0.78), (0.58, 1.59), (1.32, 1.01),
        (1.16, 0.98), (1.26, 1.52), (1.55, 1.10), (1.12, 1.09),
    ),
}  # fmt: skip
"""Odometry on 7-Scenes, % and deg/m."""
TABLE_IV = {
    "lbo": (0.41, 0.053),
    "deepvo": (0.33, 0.052),
    "cnnbspp": (0.35, 0.049),
    "vlocnet": (0.15, 0.040),
    "stl_odometry": (0.12, 0.024),
}
"""The same on DeepLoc."""
TABLE_V = {"fcn8s": 69.53, "adapnet": 78.59, "mtl": 80.44}
"""Mean IoU on DeepLoc, %; `adapnet` is the paper's."""
MAPNET = (0.21, 7.8)
FORWARD_MS = {"mtl": 79.0}
"""Section IV-B, on an NVIDIA Titan X."""


class Published(NamedTuple):
    """Figures beside a table of ours."""

    where: str
    """What they were measured on, for the heading of the column."""
    values: Mapping[str, tuple[float, float] | float]
    """By our name of the method."""


def localization(dataset: str) -> Published:
    """Median error, metres and degrees, on the paper's dataset that is nearest to one of this name."""
    if "deeploc" in dataset.lower():
        return Published("DeepLoc, table II", TABLE_II)
    scene = _scene(dataset)
    values = {name: row[SEVEN_SCENES.index(scene)] for name, row in TABLE_I.items()}
    if scene == "Average":
        values["mapnet"] = MAPNET
    return Published(f"7-Scenes {_words(scene)}, table I", values)


def odometry(dataset: str) -> Published:
    """Drift, % and deg/m, on the paper's dataset that is nearest to one of this name."""
    if "deeploc" in dataset.lower():
        return Published("DeepLoc, table IV", TABLE_IV)
    scene = _scene(dataset)
    values = {name: row[SEVEN_SCENES.index(scene)] for name, row in TABLE_III.items()}
    return Published(f"7-Scenes {_words(scene)}, table III", values)


def segmentation() -> Published:
    """Mean IoU in percent on DeepLoc, the only dataset with masks in the paper."""
    return Published("DeepLoc, table V", TABLE_V)


def _scene(dataset: str) -> str:
    """The scene of 7-Scenes that a dataset's folder is named after, or their average."""
    return next((scene for scene in SEVEN_SCENES if scene.lower() in dataset.lower().replace("_", "")), "Average")


def _words(scene: str) -> str:
    return "average" if scene == "Average" else scene
