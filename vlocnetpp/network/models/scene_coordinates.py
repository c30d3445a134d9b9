"""The regressed pose refined by scene coordinates: beyond the paper, whose pooling discards where in the image things
are.

The network is that of VLocNet++ with a head of its own on localization's Res3 and a solver behind it.
"""

from __future__ import annotations

from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.vlocnetpp import VLocNetPlusPlus, VLocNetPlusPlusSettings
from vlocnetpp.network.models.vlocnetpp_presets import MTL, PAPER

PAPERS = (
    Paper("Scene Coordinate Regression Forests for Camera Relocalization in RGB-D Images", "Shotton et al.", 2013,
          "CVPR"),
    Paper("Visual Camera Re-Localization from RGB and RGB-D Images Using DSAC", "Brachmann, Rother", 2021, "TPAMI"),
)  # fmt: skip
DEPARTURES = (
    "A convolutional head on the shared trunk stands for the forest, least squares with a kernel for RANSAC",
    "The solver begins at the regressed pose, which also answers where the coordinates do not agree",
    "Learned from depth images and from views rendered by them; the solver is not trained through",
)
ENTRIES = (
    Entry(
        "stl_coordinates",
        VLocNetPlusPlus,
        VLocNetPlusPlusSettings,
        "Where in the map each part of the image lies, by which the pose is solved; depth in training alone",
        papers=PAPERS,
        preset={"tasks": ("localization",), "past": "none", "coordinates": "res3"},
        published=(
            ("7-Scenes, DSAC* from RGB, median", "0.026 m, 0.86 deg"),
            ("7-Scenes, DSAC* from RGB, within 5 cm and 5 deg", "82.9 %"),
        ),
        departures=DEPARTURES,
    ),
    Entry(
        "mtl_coordinates",
        VLocNetPlusPlus,
        VLocNetPlusPlusSettings,
        "`mtl` whose pose is solved from scene coordinates",
        papers=(PAPER, *PAPERS),
        preset={**MTL, "coordinates": "res3"},
        departures=DEPARTURES,
    ),
)
