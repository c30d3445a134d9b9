"""SVS-Pose (Naseer & Burgard, 2017): pose regression that also learns from views which no camera has taken."""

from __future__ import annotations

from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.posenet import SCALE, SIGN, TRUNK, PoseNet, PoseNetSettings

ENTRIES = (
    Entry(
        "svs_pose",
        PoseNet,
        PoseNetSettings,
        "PoseNet's network, trained on new views as well, re-rendered from the depth of the training frames",
        papers=(
            Paper(
                "Deep Regression for Monocular Camera-based 6-DoF Global Localization in Outdoor Environments",
                "Naseer, Burgard",
                2017,
                "IROS",
            ),
        ),
        preset={"depth_in_training": True},
        published=(("DeepLoc", "1.61 m, 3.52 deg"),),
        departures=(
            TRUNK.replace("GoogLeNet", "VGG-16"),
            "What is the paper's here is pose augmentation; the head is PoseNet's",
            "Views are drawn anew for every batch (`augment.views`), not rendered once",
            "Position and rotation are weighted by learned scalars",
            SIGN,
            SCALE,
        ),
    ),
)
