"""The methods that a benchmark trains, as data: each a complete training configuration, all under the same budget.

Fair by time: every method has the whole budget for all that it must learn, a multitask network for its four kinds of
answer together, and 64 frames in each step, but for scene coordinates: they need many small steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlocnetpp.network import configure


@dataclass(frozen=True)
class Method:
    """A row of the benchmark that is trained."""

    name: str
    section: str
    """localization, odometry or segmentation: what it is run for; it is shown wherever it has an answer."""
    train: dict[str, Any]
    """Settings of `TrainConfig`, but for the place of the data, budget, seed and device."""
    note: str
    greyed: bool = False
    """Looks at the ground truth."""


COMMON: dict[str, Any] = {
    "width": "tiny",
    "network": {"height": 128, "width_px": 160, "resize": "whole"},
    "augment": {"brightness": 0.2, "contrast": 0.2, "colour": 0.1, "noise": 2.0},
    "batch": 32,
}
"""Clips of two frames; the input is the same for all, so that the rows of a table see the same pixels."""
SINGLE: dict[str, Any] = {"batch": 64, "data": {"clip_length": 1}}
"""For networks that see one image: as many frames in a step, no two of them neighbours."""
TRIPLES: dict[str, Any] = {"batch": 21, "data": {"clip_length": 3, "max_skip": 10}}
"""MapNet's clips: three frames, up to ten frames apart (Brahmbhatt et al., 2018, section 4)."""
LONGER: dict[str, Any] = {"batch": 16, "data": {"clip_length": 4}}
"""For `vlocnet`, fed or not: the first frame of a clip has no past, so that of pairs half would teach nothing of it."""
COORDINATES: dict[str, Any] = {
    "batch": 16,
    "data": {"clip_length": 1},
    "channels_last": True,
    "augment": {
        **COMMON["augment"],
        "geometric": {"probability": 0.5, "rotation_deg": 10, "scale": 0.2, "translation": 0.1},
        "views": {"probability": 0.6, "translation_m": 0.2, "rotation_deg": 12},
    },
}
"""As config/train/robot.yaml."""
TASKS = ["localization", "odometry", "segmentation"]


def _stage(name: str, tasks: list[str], share: float, rate: float = 1e-3, consistency: bool = False) -> dict[str, Any]:
    return {"name": name, "tasks": tasks, "share": share, "learning_rate": rate, "consistency": consistency}


def _alone(name: str, task: str, consistency: bool = False) -> list[dict[str, Any]]:
    return [_stage(name, [task], 1.0, consistency=consistency)]


def _consistent(tasks: list[str]) -> list[dict[str, Any]]:
    """As config/train/pose.yaml: poses first, then with the relative motion of eq. 1."""
    return [_stage("pose", tasks, 0.8), _stage("consistent", tasks, 0.2, 2e-4, True)]


def _multitask(depth: bool) -> list[dict[str, Any]]:
    """As config/train/tiny.yaml: single tasks first, then all together; the depth of the warping before."""
    first = [_stage("depth", ["depth"], 0.05)] if depth else []
    singles = [_stage("pose", TASKS[:1], 0.25), _stage("odometry", TASKS[1:2], 0.1)]
    singles.append(_stage("segmentation", TASKS[2:], 0.15))
    return [*first, *singles, _stage("joint", TASKS, 0.3, 5e-4), _stage("consistent", TASKS, 0.15, 2e-4, True)]


def _method(
    preset: str, section: str, stages: list[dict[str, Any]], note: str, name: str = "", greyed: bool = False,
    **settings: Any,
) -> Method:  # fmt: skip
    return Method(name or preset, section, {**COMMON, "preset": preset, "stages": stages, **settings}, note, greyed)


_POSES, _CLASSES = "localization", "segmentation"
METHODS = {
    method.name: method
    for method in (
        _method("pose_single", _POSES, _alone("pose", _POSES), "one image, no past: PoseNet with learned weights",
                **SINGLE),
        _method("mapnet", _POSES, _alone("pose", _POSES, True), "the same network with MapNet's loss, relative "
                "motions between frames of a clip", **TRIPLES),
        _method("vlocnet", _POSES, _consistent(TASKS[:2]), "VLocNet (2018): sees its own last pose",
                **LONGER),
        _method("vlocnet", _POSES, _consistent(TASKS[:2]), "VLocNet fed the true pose of the frame before, in training "
                "and here: no method, no robot has it", "vlocnet_leak_probe", greyed=True, leak_probe=True, **LONGER),
        _method("stl_pose", _POSES, _consistent(TASKS[:1]), "the paper's single-task pose network"),
        _method("stl_coordinates", _POSES, [_stage("pose", TASKS[:1], 1.0, 1.5e-3)], "beyond the paper: where each "
                "part of the image lies, by which the pose is refined; learns from the depth of the training frames "
                "and from views re-rendered by it, and answers without depth", **COORDINATES),
        _method("stl_odometry", "odometry", _alone("odometry", "odometry"), "the paper's odometry network"),
        _method("adapnet", _CLASSES, _alone("segmentation", _CLASSES), "AdapNet after its paper", **SINGLE),
        _method("stl_segmentation", _CLASSES, _alone("segmentation", _CLASSES), "the multitask network's segmentation "
                "stream: AdapNet's encoder, pre-activated, under a decoder without norms", **SINGLE),
        _method("fcn8s", _CLASSES, _alone("segmentation", _CLASSES), "FCN-8s on the common trunk", **SINGLE),
        _method("mtl", _POSES, _multitask(True), "the paper's multitask network"),
        _method("mtl_input_concat", _POSES, _multitask(False), "the mask as a fourth channel of the image"),
        _method("mtl_mid_concat", _POSES, _multitask(True), "segmentation's Res5c beside localization's Res4f"),
        _method("mtl_shared", _POSES, _multitask(True), "one encoder for localization and segmentation"),
        _method("mtl_no_warp", _POSES, _multitask(False), "without the warped features of the frame before"),
        _method("mtl_no_fusion", _POSES, _multitask(True), "concatenation instead of adaptive fusion"),
    )
}  # fmt: skip
"""In the order of a benchmark's tables."""


def needs(method: Method) -> tuple[str, ...]:
    """Which of pose, mask and depth the training frames of a method must have."""
    return configure(method.train["preset"], "tiny").traits.labels
