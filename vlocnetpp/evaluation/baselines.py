"""The baselines that a dataset allows, on the same frames as the model, and what the comparison means in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vlocnetpp.data import Dataset
from vlocnetpp.data.registration import REGISTERED, DepthCameraConfig
from vlocnetpp.evaluation.score import true_poses
from vlocnetpp.metrics import localization_metrics
from vlocnetpp.peers import MEAN_POSE, NEAREST_TRAINING_POSE, ORB_PNP, THUMBNAIL_RETRIEVAL, Peer, run_peer
from vlocnetpp.peers.colour_camera import of_colour_camera, recorded_poses
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.tables import Table

MOST_MAPPED, MOST_LOCATED = 600, 60
"""Training and test frames, evenly spread, of a baseline that takes a tenth of a second a frame: a minute at most."""
ALIKE = 1.15
"""Two errors within this factor are called equal."""
USELESS = 0.9
"""A model that misses more than this share of the mean pose's error has learned nothing."""


class Baseline(NamedTuple):
    """A peer's figures, and the model's on the same frames."""

    peer: Peer
    figures: dict[str, Any]
    ours: dict[str, Any]
    frames: int
    """Test frames that it was asked for."""

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.peer.name} (oracle)" if self.peer.oracle else self.peer.name


def run_baselines(
    dataset: Dataset,
    split: str,
    pose_N7: Floats,
    camera: DepthCameraConfig = REGISTERED,
    most_located: int = MOST_LOCATED,
) -> list[Baseline]:
    """Each peer that the training split allows, on the posed frames of another split.

    Args:
        pose_N7: the model's answers to all frames of the split.
        camera: the depth camera that the model was trained with. ORB with the depth map gets depth registered by it,
            as the network did.
        most_located: frames that ORB with the depth map locates.

    Returns:
        Nothing where there is no training split or it is the one that is judged.
    """
    if "train" not in dataset.splits or split == "train":
        return []
    train = [frame for frame in dataset.frames("train") if frame.pose_7 is not None]
    frames = dataset.frames(split)
    posed, truth_N7 = true_poses(frames)
    which = np.flatnonzero(posed)
    if not train:
        return []
    found = []
    for peer in (MEAN_POSE, THUMBNAIL_RETRIEVAL, ORB_PNP, NEAREST_TRAINING_POSE):
        known, asked, given = train, which, REGISTERED
        if peer is ORB_PNP:
            given = camera
            known = _spread([frame for frame in train if frame.depth_path is not None], MOST_MAPPED)
            asked = np.array(_spread(which.tolist(), most_located), int)
        if not known:
            continue
        answers = run_peer(
            peer,
            [of_colour_camera(frame, given) for frame in known],
            [of_colour_camera(frames[i], given) for i in asked],
        )
        answers_M7 = recorded_poses(answers.pose_N7, given)
        found.append(
            Baseline(
                peer,
                localization_metrics(answers_M7, truth_N7[asked]),
                localization_metrics(pose_N7[asked], truth_N7[asked]),
                len(asked),
            )
        )
    return found


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).astype(int)]


def baseline_table(name: str, ours: Mapping[str, Any], baselines: Sequence[Baseline]) -> Table:
    """The model's figures beside the baselines'."""
    rows = [_row(name, ours["frames"], ours)]
    rows += [_row(each.name, each.frames, each.figures) for each in baselines]
    if all(each.peer is not ORB_PNP for each in baselines):
        rows.append([ORB_PNP.name, "-", "needs depth", *("-",) * 3])
    columns = ("method", "frames", "median m", "median deg", "within 5 cm 5 deg", "within 25 cm 5 deg")
    return Table("Localization beside the baselines", columns, rows)


def _row(name: str, frames: int, metrics: Mapping[str, Any]) -> list[Any]:
    return [
        name,
        frames,
        f"{metrics['median_translation_m']:.3f}",
        f"{metrics['median_rotation_deg']:.2f}",
        f"{100 * metrics['recall_5cm_5deg']:.1f} %",
        f"{100 * metrics['recall_25cm_5deg']:.1f} %",
    ]


def verdict(metrics: Mapping[str, Any], baselines: Sequence[Baseline]) -> str:
    """The result in one or two sentences, with the figures; what to do where it is a bad one."""
    said = []
    if "localization" in metrics:
        figures = metrics["localization"]
        median_m, median_deg = figures["median_translation_m"], figures["median_rotation_deg"]
        if not np.isfinite(median_m):
            said.append(f"{figures['failed']} of {figures['frames']} images got no pose")
        else:
            said.append(f"pose {median_m:.3f} m, {median_deg:.1f} deg (median of {figures['frames']} images)")
        said[0] += f": {compared(baselines)}" if baselines else ""
    if "odometry" in metrics:
        figures = metrics["odometry"]
        said.append(f"odometry {figures['rpe_translation_m']:.4f} m, {figures['rpe_rotation_deg']:.2f} deg an image")
    if "segmentation" in metrics:
        said.append(f"masks {100 * metrics['segmentation']['mean_iou']:.0f} % mean IoU")
    return "; ".join(said)


def compared(baselines: Sequence[Baseline]) -> str:
    """How near the model's poses are beside the baselines'; a useless model is told from the mean pose first."""
    mean = next(each for each in baselines if each.peer is MEAN_POSE)
    others = sorted(
        (each for each in baselines if not each.peer.oracle), key=lambda each: each.figures["median_translation_m"]
    )
    if not mean.ours["median_translation_m"] < USELESS * mean.figures["median_translation_m"]:
        text = f"no better than always answering the {_named(mean)}"
        if others[0] is not mean:
            text += f", where {others[0].peer.name} has {others[0].figures['median_translation_m']:.3f} m"
        return f"{text}: train longer, or see docs/troubleshooting.md"
    farther = next((each for each in others if _factor(each) > ALIKE), None)
    near = [each for each in others if _factor(each) <= ALIKE]
    said = [f"{_factor(farther):.1f} times nearer than {_named(farther)}"] if farther else []
    if near and _factor(near[0]) > 1 / ALIKE:
        said.append(f"as near as {_named(near[0])}")
    elif near:
        factor = _factor(near[0])
        times = f"{1 / factor:.1f} times " if factor > 0 else ""
        said.append(f"{times}farther off than {_named(near[0])}")
    advice = ": train longer, or see docs/choosing.md" if not farther or farther.peer is MEAN_POSE else ""
    return ", ".join(said) + advice


def _factor(baseline: Baseline) -> float:
    """How many times nearer the model is."""
    return float(baseline.figures["median_translation_m"] / max(baseline.ours["median_translation_m"], 1e-9))


def _named(baseline: Baseline) -> str:
    metres, degrees = baseline.figures["median_translation_m"], baseline.figures["median_rotation_deg"]
    return f"{baseline.peer.name} ({metres:.3f} m, {degrees:.1f} deg)"
