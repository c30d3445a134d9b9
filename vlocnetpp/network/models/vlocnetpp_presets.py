"""The networks of the VLocNet++ paper and its ablations: settings of one network, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlocnetpp.network.contract import Entry, Paper
from vlocnetpp.network.models.vlocnetpp import VLocNetPlusPlus, VLocNetPlusPlusSettings

PAPER = Paper(
    "VLocNet++: Deep Multitask Learning for Semantic Visual Localization and Odometry",
    "Radwan, Valada, Burgard",
    2018,
    "RA-L",
)
TIED = "Odometry's streams are tied and share the front with localization, so that the previous frame costs nothing"
FEATURES = "Localization sees features of the previous frame, never a pose"
RATES = "Dilation rates are halved where a tap would lie outside of the map at every pixel"
NO_NORM = "The decoder's skip and deconvolutions have no norms; `adapnet` has them"
FUSION_START = "Fusions start as their first input"
MTL: dict[str, Any] = {"semantics": "fuse", "warp": ("4f", "5c"), "depth": "network"}
NO_WARP: dict[str, Any] = {"warp": (), "depth": "none"}


def _entry(
    name: str,
    summary: str,
    preset: Mapping[str, Any],
    departures: tuple[str, ...],
    published: tuple[tuple[str, str], ...] = (),
) -> Entry:
    return Entry(
        name,
        VLocNetPlusPlus,
        VLocNetPlusPlusSettings,
        summary,
        papers=(PAPER,),
        preset=preset,
        published=published,
        departures=departures,
    )


_ALL = (FEATURES, TIED, RATES, NO_NORM, FUSION_START)
ENTRIES = (
    _entry(
        "stl_pose",
        "The single-task pose network: the previous frame's Res5a is fused into the current one",
        {"tasks": ("localization",)},
        (FEATURES, FUSION_START),
        (("7-Scenes, mean of medians", "0.022 m, 1.39 deg"), ("DeepLoc", "0.37 m, 1.93 deg")),
    ),
    _entry(
        "stl_odometry",
        "The single-task odometry network",
        {"tasks": ("odometry",), "past": "none"},
        (TIED,),
        (("7-Scenes, odometry", "1.12 %, 1.09 deg/m"), ("DeepLoc, odometry", "0.12 %, 0.024 deg/m")),
    ),
    _entry(
        "stl_segmentation",
        "The segmentation stream alone: AdapNet's encoder, pre-activated, under a decoder without norms",
        {"tasks": ("segmentation",), "past": "none"},
        (RATES, NO_NORM),
    ),
    _entry(
        "mtl",
        "The multitask network: semantics fused into localization, segmentation fused with its warped past",
        MTL,
        _ALL,
        (
            ("7-Scenes, within 5 cm and 5 deg", "99.2 %"),
            ("DeepLoc, mean IoU", "80.44 %"),
            ("a step on a Titan X", "79 ms"),
        ),
    ),
    _entry(
        "mtl_input_concat",
        "Ablation: the mask as a fourth channel of the image",
        {**NO_WARP, "semantics": "input"},
        (*_ALL, "Without warping, which needs odometry before the mask"),
    ),
    _entry(
        "mtl_mid_concat",
        "Ablation: segmentation's Res5c beside localization's Res4f",
        {**MTL, "semantics": "concat"},
        _ALL,
    ),
    _entry(
        "mtl_shared",
        "Ablation: one encoder for localization and segmentation up to Res4",
        {**MTL, "semantics": "shared"},
        _ALL,
    ),
    _entry("mtl_no_warp", "Ablation: without the warped features of the frame before", {**MTL, **NO_WARP}, _ALL),
    _entry("mtl_no_fusion", "Ablation: concatenation instead of adaptive fusion", {**MTL, "fusion": "concat"}, _ALL),
)
