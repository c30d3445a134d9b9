"""DSAC++ (Brachmann & Rother, 2018): DSAC's network with a score that is not learned, trained in three steps."""

from __future__ import annotations

from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.dsac import COMMON, SOFT_INLIERS, Dsac, DsacSettings

ENTRIES = (
    Entry(
        "dsacpp",
        Dsac,
        DsacSettings,
        "Scene coordinates and hypotheses, chosen by soft inliers; learned from poses, and from depth where there is",
        papers=(
            Paper(
                "Learning Less is More - 6D Camera Localization via 3D Surface Regression",
                "Brachmann, Rother",
                2018,
                "CVPR",
            ),
        ),
        preset={"score": SOFT_INLIERS, "depth_in_training": False},
        loss={"localization": "dsac"},
        published=(("7-Scenes, within 5 cm and 5 deg", "76.1 %"),),
        departures=(
            "Coordinates from the common trunk's Res3, not from a VGG-like network of its own",
            "With depth, cells whose depth is unknown begin at a constant one too; in the paper all or none do",
            "The reprojection error counts by its likelihood under the predicted uncertainty, not by its L1 norm",
            "The entropy of the choice is kept at three quarters of the largest, the paper's 6 of 8 bits",
            *COMMON,
        ),
    ),
)
