"""MapNet (Brahmbhatt et al., 2018): PoseNet's network, trained on relative motions within a clip as well."""

from __future__ import annotations

from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.posenet import TRUNK, PoseNet, PoseNetSettings

ENTRIES = (
    Entry(
        "mapnet",
        PoseNet,
        PoseNetSettings,
        "The network of `pose_single` under MapNet's loss: L1 of position and log quaternion, absolute and relative",
        papers=(
            Paper(
                "Geometry-Aware Learning of Maps for Camera Localization",
                "Brahmbhatt, Gu, Kim, Hays, Kautz",
                2018,
                "CVPR",
            ),
        ),
        loss={"localization": "mapnet"},
        published=(("7-Scenes, mean of medians", "0.21 m, 7.8 deg"),),
        departures=(
            TRUNK.replace("GoogLeNet", "ResNet-34"),
            "The network answers a quaternion; the loss compares its logarithm",
            "Neither MapNet+ (visual odometry, GPS) nor pose graph optimization at test time",
        ),
    ),
)
