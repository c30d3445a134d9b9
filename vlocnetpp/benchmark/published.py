"""Published figures, shown beside ours and apart from them: they are of other data and other hardware.

All are from the tables of the paper (Radwan, Valada, Burgard: VLocNet++, RA-L 2018), but for MapNet (Brahmbhatt et al.,
CVPR 2018, average over 7-Scenes). No public code has reproduced the paper's own rows, so they are a reference only.
Tables are keyed by our names of the methods.
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
CLASSES = ("Sky", "Road", "Sidewalk", "Grass", "Vegetation", "Building", "Poles", "Dynamic", "Other")
"""Of table V."""
TABLE_V = {
    "fcn8s": (94.65, 98.98, 64.97, 82.14, 84.47, 87.68, 45.78, 66.39, 47.27, 69.53),
    "segnet": (93.42, 98.57, 54.43, 78.79, 81.63, 84.38, 18.37, 51.57, 33.29, 66.05),
    "upnet": (95.07, 98.05, 63.34, 81.56, 84.79, 88.22, 31.75, 68.32, 45.21, 72.92),
    "parsenet": (92.85, 98.94, 62.87, 81.61, 82.74, 86.28, 27.35, 65.44, 45.12, 71.47),
    "deeplab_v2": (93.39, 98.66, 76.81, 84.64, 88.54, 93.07, 20.72, 66.84, 52.70, 67.54),
    "adapnet": (94.65, 98.98, 64.97, 82.14, 84.48, 87.68, 45.78, 66.40, 47.27, 78.59),
    "mtl": (95.84, 98.99, 80.85, 88.15, 91.28, 94.72, 45.79, 69.83, 58.59, 80.44),
}
"""IoU of each class and their mean on DeepLoc, %, as printed."""
RECALL = {"dsacpp": 76.1, "stl_pose": 96.4, "mtl": 99.2}
"""Frames within 5 cm and 5 deg on 7-Scenes, %: the numbers of Fig. 2 that section IV-B writes out. That of `dsacpp` is
20.3 below `stl_pose`."""
FIGURE_3 = {"stl_pose": (0.37, 1.93), "mtl_input_concat": (0.50, 3.21), "mtl": (0.32, 1.48)}
"""Metres and degrees on DeepLoc. The figure prints no numbers: that of `stl_pose` is from table II, the others follow
from section IV-C, where `mtl` is 13.51 % and 23.32 % below `stl_pose`, 36 % and 53.87 % below `mtl_input_concat`."""
HEADINGS = {
    "posenet": "PoseNet",
    "bayesian_posenet": "Bayesian PoseNet",
    "svs_pose": "SVS-Pose",
    "posenet2": "PoseNet2",
    "dsac": "DSAC",
    "dsacpp": "Brachmann and Rother",
    "nnnet": "NNnet",
    "vlocnet": "VLocNet",
    "stl_pose": "VLocNet++ STL",
    "lbo": "LBO",
    "deepvo": "DeepVO",
    "cnnbspp": "cnnBspp",
    "stl_odometry": "VLocNet++",
    "fcn8s": "FCN-8s",
    "segnet": "SegNet",
    "upnet": "UpNet",
    "parsenet": "ParseNet",
    "deeplab_v2": "DeepLab v2",
    "adapnet": "AdapNet",
    "mtl_input_concat": "MTL-input-conc",
    "mtl_mid_concat": "MTL-mid-conc",
    "mtl_shared": "MTL-shared",
    "mtl": "VLocNet++ MTL",
}
"""The paper's name of a method by ours."""
MAPNET = (0.21, 7.8)
FORWARD_MS = {"dsacpp": 200.0, "mtl": 79.0}
"""Section IV-B, on an NVIDIA Titan X; that of `dsacpp` on a consumer grade GPU."""


class Published(NamedTuple):
    """Figures beside a table of ours."""

    where: str
    """What they were measured on, for the heading of the column."""
    values: Mapping[str, tuple[float, float] | float]
    """By our name of the method."""


def localization(dataset: str) -> Published:
    """Median error, metres and degrees, on the paper's dataset that is nearest to one of this name."""
    if is_deeploc(dataset):
        return table_ii()
    found = table_i(dataset)
    return found._replace(values={**found.values, "mapnet": MAPNET}) if scene(dataset) == "Average" else found


def odometry(dataset: str) -> Published:
    """Drift, % and deg/m, on the paper's dataset that is nearest to one of this name."""
    return table_iv() if is_deeploc(dataset) else table_iii(dataset)


def table_i(dataset: str) -> Published:
    """Median localization error on the scene of 7-Scenes that a dataset is named after, or on average."""
    return _of_scene("table I", TABLE_I, dataset)


def table_ii() -> Published:
    """Median localization error on DeepLoc."""
    return Published("DeepLoc, table II", TABLE_II)


def table_iii(dataset: str) -> Published:
    """Drift on the scene of 7-Scenes that a dataset is named after, or on average."""
    return _of_scene("table III", TABLE_III, dataset)


def table_iv() -> Published:
    """Drift on DeepLoc."""
    return Published("DeepLoc, table IV", TABLE_IV)


def segmentation() -> Published:
    """Mean IoU in percent on DeepLoc, the only dataset with masks in the paper."""
    return Published("DeepLoc, table V", {name: values[-1] for name, values in TABLE_V.items()})


def is_deeploc(dataset: str) -> bool:
    """Whether a dataset's folder is named after DeepLoc."""
    return "deeploc" in dataset.lower()


def scene(dataset: str) -> str:
    """The scene of 7-Scenes that a dataset's folder is named after, or their average."""
    return next((scene for scene in SEVEN_SCENES if scene.lower() in dataset.lower().replace("_", "")), "Average")


def _of_scene(table: str, rows: Mapping[str, tuple[tuple[float, float], ...]], dataset: str) -> Published:
    name = scene(dataset)
    values = {method: row[SEVEN_SCENES.index(name)] for method, row in rows.items()}
    return Published(f"7-Scenes {'average' if name == 'Average' else name}, {table}", values)
