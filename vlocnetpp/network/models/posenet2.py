"""PoseNet2 (Kendall & Cipolla, 2017): PoseNet's network, refined by the reprojection error of the points it sees."""

from __future__ import annotations

from vlocnetpp.network.contract import Entry
from vlocnetpp.network.models.posenet import GEOMETRIC, SCALE, SIGN, TRUNK, PoseNet, PoseNetSettings

ENTRIES = (
    Entry(
        "posenet2",
        PoseNet,
        PoseNetSettings,
        "The network of `pose_single`, trained with learned weights first, then by the reprojection error alone",
        papers=(GEOMETRIC,),
        preset={"depth_in_training": True},
        loss={"localization": "reprojection"},
        published=(("7-Scenes, mean of medians", "0.23 m, 8.12 deg"), ("7-Scenes RedKitchen", "0.23 m, 5.35 deg")),
        departures=(
            TRUNK,
            SIGN,
            SCALE,
            "The points are the cells of the depth image, not those of a reconstruction",
            "An error of e focal lengths costs e / (1 + e), or points near a wrongly predicted camera would dominate",
        ),
    ),
)
