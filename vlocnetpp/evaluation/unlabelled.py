"""A model over images of which nothing is known: what it says, how sure it is, and whether it contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import VOID, Dataset, Frame
from vlocnetpp.evaluation.answers import jumps, write_answers, write_odometry
from vlocnetpp.evaluation.files import replacing, write_json
from vlocnetpp.evaluation.mask_sheet import Row, plot_masks
from vlocnetpp.evaluation.metrics import latency_metrics, percentile
from vlocnetpp.evaluation.path_figure import plot_path
from vlocnetpp.evaluation.report import write_report
from vlocnetpp.evaluation.stream import Streamed, stream
from vlocnetpp.evaluation.trajectory_files import write_tum
from vlocnetpp.evaluation.video import write_video
from vlocnetpp.runtime import Model

SHEET_ROWS = 6
"""Frames in the contact sheet, spread over the split."""


def look(model: Model, dataset: Dataset, split: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Stream a split and write what was answered; labels, where there are any, are not looked at.

    Returns the figures that `metrics.json` holds, and lines that say what was written.
    Raises DataError where a frame cannot be read or a file not be written.
    """
    frames = [replace(frame, pose_7=None) for frame in dataset.frames(split)]
    masks: list[Path | None] = [None] * len(frames)
    shown = set(np.linspace(0, len(frames) - 1, SHEET_ROWS + 2)[1:-1].astype(int).tolist())
    sheet: list[Row] = []

    def keep(i: int, frame: Frame, image_HW3: NDArray[np.uint8], answer_HW: NDArray[np.uint8]) -> None:
        masks[i] = path = out / "masks" / f"{i:06d}.png"
        with replacing(path) as partial:
            partial.write_bytes(cv2.imencode(".png", answer_HW)[1].tobytes())
        if i in shown:
            sheet.append((image_HW3, answer_HW, None))

    answers = stream(model, dataset, split, keep)
    map_frame, classes = model.metadata.map_frame, model.metadata.classes
    metrics = figures_of(answers)
    write_json(out / "metrics.json", metrics)
    write_answers(out / "answers.csv", frames, answers, map_frame)
    pictures: dict[str, Path] = {}
    if np.isfinite(answers.pose_N7).any():
        stamps = np.array([frame.stamp_ns for frame in frames])
        write_tum(out / "estimate.tum", stamps, answers.pose_N7, map_frame, "estimated camera poses")
        title = f"{dataset.root.resolve().name}, {split}"
        plot_path(out / "path.png", stamps, answers, title)
        pictures["Estimated path, and how sure the model was"] = out / "path.png"
    write_odometry(out, dataset.sequences(split), answers)
    if sheet:
        plot_masks(out / "masks.png", sheet, classes)
        pictures["Frames and their masks"] = out / "masks.png"
    notes = [
        f"model: {model.path.name}, preset {model.metadata.preset}",
        f"data: {dataset.root.resolve().name}, {split}; no label was looked at",
        f"each frame's numbers: answers.csv; masks/NNNNNN.png: class ids of frame NNNNNN, {VOID} where it did not look",
    ]
    if write_video(out / "video.mp4", frames, answers.pose_N7, masks, classes):
        notes.append("film: video.mp4")
    else:
        notes.append("no film: OpenCV has no MPEG-4 encoder here")
    write_report(out, f"{model.path.name} without ground truth", metrics, (), pictures, notes)
    return metrics, notes


def figures_of(answers: Streamed) -> dict[str, Any]:
    """The sections of `metrics.json` for which nothing need be known."""
    metrics: dict[str, Any] = {}
    known = np.asarray(np.isfinite(answers.pose_N7)).all(axis=1).reshape(-1)
    if known.any():
        sigma_m, sigma_deg = answers.sigma_N2[known, 0], np.degrees(answers.sigma_N2[known, 1])
        metrics["answers"] = {"frames": len(known), "failed": int((~known).sum())}
        metrics["uncertainty"] = {
            f"{name}_{unit}": percentile(values, percent)
            for unit, values in (("m", sigma_m), ("deg", sigma_deg))
            for name, percent in (("median_sigma", 50), ("p95_sigma", 95))
        }
        metres, degrees = jumps(answers)
        if np.isfinite(metres).any():
            metrics["pose_against_odometry"] = {
                f"{name}_jump_{unit}": percentile(values[np.isfinite(values)], percent)
                for unit, values in (("m", metres), ("deg", degrees))
                for name, percent in (("median", 50), ("p95", 95))
            }
    metrics["latency_ms"] = latency_metrics(answers.latency_ms_N)
    return metrics
