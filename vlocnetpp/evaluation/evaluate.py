"""An exported model over the frames of a split, streamed as on the robot, beside the baselines on the same frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from vlocnetpp.data import VOID, DataError, Dataset, Frame
from vlocnetpp.evaluation.figures import plot_trajectory
from vlocnetpp.evaluation.files import write_json
from vlocnetpp.evaluation.mask_sheet import Row, plot_masks
from vlocnetpp.evaluation.metrics import (
    calibration_metrics,
    confusion,
    latency_metrics,
    localization_metrics,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.evaluation.peers import PEERS
from vlocnetpp.evaluation.report import write_report
from vlocnetpp.evaluation.tables import Table
from vlocnetpp.evaluation.trajectory_files import write_tum
from vlocnetpp.progress import track
from vlocnetpp.runtime import Localizer, Model

SHEET_ROWS = 4
"""Frames in the picture of masks, spread over the split."""


def evaluate(model: Model, dataset: Dataset, split: str, out: Path) -> tuple[dict[str, Any], list[Table]]:
    """Stream every sequence of a split through the model and write metrics, trajectories, picture and report.

    Returns the metrics and the tables beside which they are printed.
    Raises DataError where the split has nothing to compare with.
    """
    frames = dataset.frames(split)
    posed = np.array([frame.pose_7 is not None for frame in frames])
    if not posed.any() and not any(frame.mask_path for frame in frames):
        raise DataError(f"{dataset.root}: split '{split}' has neither poses nor masks to compare with")
    names = [name for name, _ in model.metadata.classes]
    labelled = any(frame.mask_path for frame in frames) and "segmentation" in model.metadata.tasks
    if labelled and [each.name for each in dataset.classes] != names:
        raise DataError(f"{dataset.root}: its classes are not those of {model.path.name} ({', '.join(names)})")
    # A sequence's own borders say where the past ends; a slow or thinned recording is still one sequence.
    localizer = Localizer(model, max_gap_s=float("inf"))
    reads_depth = model.metadata.network.get("depth") == "sensor"
    height, width = frames[0].image().shape[:2]
    localizer.warm_up(height, width)
    poses, motions, sigmas = np.full((len(frames), 7), np.nan), np.full((len(frames), 7), np.nan), []
    truth = np.array([frame.pose_7 if frame.pose_7 is not None else [0, 0, 0, 1, 0, 0, 0] for frame in frames], float)
    valid = np.zeros(len(frames), bool)
    matrix = np.zeros((len(names), len(names)), np.int64)
    milliseconds = []
    shown = set(np.linspace(0, len(frames) - 1, SHEET_ROWS + 2)[1:-1].astype(int).tolist())
    sheet: list[Row] = []
    starts = set(np.cumsum([0, *(len(s.frames) for s in dataset.sequences(split))]).tolist())
    for i, frame in enumerate(track(frames, f"evaluating {split}")):
        if i in starts:
            localizer.reset("new sequence")
        pixels = frame.image()
        depth = frame.depth() if reads_depth else None
        began = time.perf_counter()
        estimate = localizer.localize(pixels, frame.K_33, frame.stamp_ns, depth_HW=depth)
        milliseconds.append((time.perf_counter() - began) * 1e3)
        if estimate.pose_7 is not None and estimate.sigma_2 is not None:
            poses[i] = estimate.pose_7
            sigmas.append(estimate.sigma_2)
        if estimate.relative_7 is not None and posed[i] and posed[i - 1]:
            motions[i], valid[i] = estimate.relative_7, True
        if estimate.mask_hw is None:
            continue
        mask, answer = frame.mask(), localizer.full_mask(estimate)
        if i in shown:
            sheet.append((pixels, answer, mask))
        if mask is not None:
            # What the network's crop leaves out is not scored.
            seen = answer != VOID
            matrix += confusion(np.where(seen, answer, 0), np.where(seen, mask, VOID), len(names))
    metrics: dict[str, Any] = {}
    if "localization" in model.metadata.tasks and posed.any():
        metrics["localization"] = localization_metrics(poses[posed], truth[posed])
        metres, degrees = pose_errors(poses[posed], truth[posed])
        errors = np.stack((metres, np.radians(degrees)), axis=1)
        metrics["calibration"] = calibration_metrics(np.array(sigmas)[posed], errors)
    if valid.any():
        metrics["odometry"] = odometry_metrics(motions, truth, valid)
    if matrix.sum():
        metrics["segmentation"] = segmentation_metrics(matrix, names)
    metrics["latency_ms"] = latency_metrics(milliseconds)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", metrics)
    pictures = {}
    tables = []
    if "localization" in metrics:
        stamps = np.array([frame.stamp_ns for frame in frames])
        map_frame = model.metadata.map_frame
        write_tum(out / "estimate.tum", stamps[posed], poses[posed], map_frame, "estimated camera poses")
        write_tum(out / "ground_truth.tum", stamps[posed], truth[posed], map_frame, "true camera poses")
        plot_trajectory(out / "trajectory.png", truth[posed], poses[posed], f"{dataset.root.resolve().name}, {split}")
        pictures["Ground truth and estimates from above"] = out / "trajectory.png"
        tables.append(peer_table(dataset, split, metrics["localization"], model.metadata.preset))
    data = f"{dataset.root.resolve().name}, {split}"
    if sheet:
        plot_masks(out / "masks.png", sheet, model.metadata.classes)
        pictures["Frames and their masks"] = out / "masks.png"
    notes = [f"model: {model.path.name}, preset {model.metadata.preset}", f"data: {data}"]
    write_report(out, f"{model.path.name} on {data}", metrics, tables, pictures, notes)
    return metrics, tables


def peer_table(dataset: Dataset, split: str, ours: dict[str, Any], name: str) -> Table:
    """Our figures beside the baselines', on the same frames."""
    rows = [_row(name, ours)]
    test = [frame for frame in dataset.frames(split) if frame.pose_7 is not None]
    if "train" in dataset.splits and split != "train":
        train = [frame for frame in dataset.frames("train") if frame.pose_7 is not None]
        for peer in PEERS:
            name = f"{peer.name} (oracle)" if peer.oracle else peer.name
            rows.append(_row(name, localization_metrics(peer.estimate(train, test), _truth(test))))
    columns = ("method", "median m", "median deg", "within 5 cm 5 deg", "within 25 cm 5 deg")
    return Table("Localization beside the baselines", columns, rows)


def _truth(frames: list[Frame]) -> np.ndarray:
    return np.array([frame.pose_7 for frame in frames])


def _row(name: str, metrics: dict[str, Any]) -> list[Any]:
    return [
        name,
        f"{metrics['median_translation_m']:.3f}",
        f"{metrics['median_rotation_deg']:.2f}",
        f"{100 * metrics['recall_5cm_5deg']:.1f} %",
        f"{100 * metrics['recall_25cm_5deg']:.1f} %",
    ]
