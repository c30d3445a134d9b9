"""A model over images without labels: its answers, its uncertainty, and whether poses and odometry agree."""

from __future__ import annotations

from collections.abc import Sequence as Listing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Dataset, Frame
from vlocnetpp.encodings import VOID
from vlocnetpp.errors import DataError
from vlocnetpp.evaluation.answers import CONVENTIONS, jumps, write_answers, write_odometry
from vlocnetpp.evaluation.path_figure import plot_path
from vlocnetpp.evaluation.stream import Streamed, stream
from vlocnetpp.evaluation.video import write_video
from vlocnetpp.metrics import latency_metrics, percentile
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.files import write_json, write_png
from vlocnetpp.reporting.mask_sheet import colored
from vlocnetpp.reporting.report import write_report
from vlocnetpp.reporting.trajectory_files import write_tum
from vlocnetpp.runtime import Model


def evaluate_unlabelled(model: Model, dataset: Dataset, split: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Stream a split and write the answers; labels are not used.

    Returns the figures that `metrics.json` holds, and lines that say what was written.
    Raises DataError without a frame, where one cannot be read, or where a file cannot be written.
    """
    frames = [replace(frame, pose_7=None) for frame in dataset.frames(split)]
    if not frames:
        raise DataError(f"{dataset.root}: split '{split}' has no frame")
    map_frame, classes = model.metadata.map_frame, model.metadata.classes
    masks: list[Path | None] = [None] * len(frames)

    def keep(i: int, frame: Frame, image_HW3: NDArray[np.uint8], answer_HW: NDArray[np.uint8]) -> None:
        masks[i] = path = out / "masks" / f"{i:06d}.png"
        write_png(path, answer_HW)
        write_png(out / "masks" / "color" / path.name, colored(answer_HW, classes)[:, :, ::-1])

    answers = stream(model, dataset, split, keep)
    metrics = figures_of(answers, model.metadata.tasks)
    data = f"{dataset.root.resolve().name}, {split}"
    about = {"model": model.path.name, "data": data, "conventions": CONVENTIONS.format(frame=map_frame)}
    write_json(out / "metrics.json", {"about": about, **metrics})
    write_answers(out / "answers.csv", frames, answers, map_frame)
    pictures: dict[str, Path] = {}
    if np.isfinite(answers.pose_N7).any():
        stamps = np.array([frame.stamp_ns for frame in frames])
        write_tum(out / "estimate.tum", stamps, answers.pose_N7, map_frame, "estimated camera poses")
        starts = np.cumsum([0, *(len(sequence.frames) for sequence in dataset.sequences(split))])[:-1]
        plot_path(out / "path.png", stamps, answers, data, starts)
        pictures["Estimated path, and how sure the model was"] = out / "path.png"
    write_odometry(out, dataset.sequences(split), answers)
    filmed = write_video(out / "video.mp4", frames, answers, masks, classes, out / "sheet.png")
    pictures["Frames, their masks and the way so far"] = out / "sheet.png"
    notes = [
        f"model: {model.path.name}, preset {model.metadata.preset}",
        f"data: {data}; no label was looked at",
        about["conventions"],
        "each frame's numbers: answers.csv",
        "film: video.mp4" if filmed else "no film: OpenCV has no MPEG-4 encoder here; see sheet.png",
    ]
    if "segmentation" in model.metadata.tasks:
        notes.append(
            f"masks/NNNNNN.png: class ids of frame NNNNNN, counted from 0 as in answers.csv, {VOID} where the network "
            "did not look; masks/color: the same in colours"
        )
    write_report(out, f"{model.path.name} without ground truth", metrics, (), pictures, notes)
    return metrics, notes


def figures_of(answers: Streamed, tasks: Listing[str]) -> dict[str, Any]:
    """The sections of `metrics.json` that need no labels."""
    metrics: dict[str, Any] = {}
    known = np.asarray(np.isfinite(answers.pose_N7)).all(axis=1).reshape(-1)
    metrics["answers"] = {"frames": len(known)}
    if "localization" in tasks:
        metrics["answers"]["failed"] = int((~known).sum())
    sigma_m, sigma_deg = answers.sigma_N2[known, 0], np.degrees(answers.sigma_N2[known, 1])
    if known.any():
        metrics["uncertainty"] = _distribution("sigma", sigma_m, sigma_deg)
    metres, degrees = jumps(answers)
    if np.isfinite(metres).any():
        metrics["pose_against_odometry"] = _distribution("jump", metres, degrees)
    metrics["latency_ms"] = latency_metrics(answers.latency_ms_N)
    return metrics


def _distribution(what: str, metres: Floats, degrees: Floats) -> dict[str, float]:
    return {
        f"{name}_{what}_{unit}": percentile(values[np.isfinite(values)], percent)
        for name, percent in (("median", 50), ("p95", 95), ("largest", 100))
        for unit, values in (("m", metres), ("deg", degrees))
    }
