"""An exported model over the frames of a split, streamed as on the robot, beside the baselines on the same frames."""

from __future__ import annotations

from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Dataset, Frame, Sequence
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.evaluation.answers import CONVENTIONS, write_answers, write_odometry
from vlocnetpp.evaluation.baselines import Baseline, baseline_table, run_baselines, verdict
from vlocnetpp.evaluation.limits import limit_metrics, limits_sentence
from vlocnetpp.evaluation.score import check_labels, mask_confusion, score, true_poses
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.metrics import odometry_metrics
from vlocnetpp.poses import Floats, relative
from vlocnetpp.reporting.figures import plot_trajectory
from vlocnetpp.reporting.files import write_json
from vlocnetpp.reporting.mask_sheet import Row, plot_masks
from vlocnetpp.reporting.report import write_report
from vlocnetpp.reporting.tables import Table
from vlocnetpp.reporting.trajectory_files import write_tum
from vlocnetpp.runtime import Metadata, Model

SHEET_ROWS = 4
"""Frames in the picture of masks, spread over the split."""


class Result(NamedTuple):
    """What an evaluation found."""

    verdict: str
    """In words and figures, one line."""
    metrics: dict[str, Any]
    tables: list[Table]
    """The model beside the baselines."""
    gate: str = ""
    """What the limits in the model file would withhold, one line; empty where it has none."""


def evaluate(model: Model, dataset: Dataset, split: str, out: Path, baselines: bool = True) -> Result:
    """Stream every sequence of a split through the model and write metrics, trajectories, picture and report.

    `baselines`: whether peers answer the same frames. Raises DataError where the split has no labels to compare with.
    """
    frames = dataset.frames(split)
    check_labels(model, dataset, split)
    names = [name for name, _ in model.metadata.classes]
    matrix = np.zeros((len(names), len(names)), np.int64)
    shown = set(np.linspace(0, len(frames) - 1, SHEET_ROWS + 2)[1:-1].astype(int).tolist())
    sheet: list[Row] = []

    def look(i: int, frame: Frame, pixels_HW3: NDArray[np.uint8], answer_HW: NDArray[np.uint8]) -> None:
        nonlocal matrix
        truth = frame.mask()
        if i in shown:
            sheet.append((pixels_HW3, answer_HW, truth))
        if truth is not None:
            matrix += mask_confusion(answer_HW, truth, len(names))

    answers = stream(model, dataset, split, look)
    gate = ""
    metrics = score(frames, answers, model.metadata.tasks, matrix, names)
    if "localization" in metrics:
        metrics["motion_between_poses"] = motion_between_poses(dataset.sequences(split), answers.pose_N7)
        posed, truth = true_poses(frames)
        if limits := limit_metrics(answers, truth, posed, model.metadata.limits):
            metrics["limits"] = limits
            gate = limits_sentence(limits)
    out.mkdir(parents=True, exist_ok=True)
    data = f"{dataset.root.resolve().name}, {split}"
    about = {"model": model.path.name, "data": data, "arithmetic": model.arithmetic}
    about["conventions"] = CONVENTIONS.format(frame=model.metadata.map_frame)
    write_json(out / "metrics.json", {"about": about, **metrics})
    write_answers(out / "answers.csv", frames, answers, model.metadata.map_frame)
    write_odometry(out, dataset.sequences(split), answers)
    pictures = {}
    tables, beside = [], list[Baseline]()
    if "localization" in metrics:
        stamps = np.array([frame.stamp_ns for frame in frames])
        map_frame = model.metadata.map_frame
        estimated = answers.pose_N7[posed]
        write_tum(out / "estimate.tum", stamps[posed], estimated, map_frame, "estimated camera poses")
        write_tum(out / "ground_truth.tum", stamps[posed], truth[posed], map_frame, "true camera poses")
        plot_trajectory(out / "trajectory.png", truth[posed], estimated, data)
        pictures["Ground truth and estimates from above"] = out / "trajectory.png"
        camera = depth_camera(model.metadata)
        beside = run_baselines(dataset, split, answers.pose_N7, camera) if baselines else []
        tables.append(baseline_table(model.metadata.preset, metrics["localization"], beside))
    if sheet:
        plot_masks(out / "masks.png", sheet, model.metadata.classes)
        pictures["Frames and their masks"] = out / "masks.png"
    said = verdict(metrics, beside)
    notes = [
        f"result: {said}",
        *([gate] if gate else []),
        f"model: {model.path.name}, preset {model.metadata.preset}, run in {model.arithmetic}",
        f"data: {data}",
        about["conventions"],
    ]
    write_report(out, f"{model.path.name} on {data}", metrics, tables, pictures, notes)
    return Result(said, metrics, tables, gate)


def depth_camera(metadata: Metadata) -> DepthCameraConfig:
    """The depth camera of the recordings that a model was trained on, `data.depth_camera` of its training."""
    scene = metadata.network.get("scene", {})
    return DepthCameraConfig(1.0 / scene.get("focal_correction", 1.0), tuple(scene.get("recorded_camera", (0, 0, 0))))


def motion_between_poses(sequences: Several[Sequence], pose_N7: Floats) -> dict[str, Any]:
    """The motions between the global poses of consecutive frames, scored as odometry: a measure of how smooth the poses
    are, and a reference for the odometry of the same model.
    """
    posed, truth = true_poses([frame for sequence in sequences for frame in sequence.frames])
    follows = np.concatenate([np.arange(len(sequence.frames)) > 0 for sequence in sequences])
    motion = np.full_like(pose_N7, np.nan)
    motion[1:] = relative(pose_N7[:-1], pose_N7[1:])
    return odometry_metrics(motion, truth, follows & posed & np.roll(posed, 1))
