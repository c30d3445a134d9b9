"""A model's answers as files: a CSV row for each frame, and trajectories. No ground truth is needed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence as Listing
from pathlib import Path

import numpy as np

from vlocnetpp.data import Frame, Sequence
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.metrics import pose_errors
from vlocnetpp.poses import Floats, accumulate, relative, rotation_angle
from vlocnetpp.reporting.files import write_text
from vlocnetpp.reporting.trajectory_files import write_tum

CONVENTIONS = (
    "poses: camera (optical: x right, y down, z forward) in the frame '{frame}', metres; angles in degrees; "
    "quaternions Hamilton, w x y z in .csv, x y z w in .tum; stamps in nanoseconds in .csv, seconds "
    "in .tum; nothing is aligned"
)
"""Header of all files of an evaluation."""
HEADER = (
    "pose: camera (optical: x right, y down, z forward) in the frame '{frame}', metres, unit quaternion w x y z",
    "sigma: calibrated 68 % bound of the pose's error; jump: the motion between two poses against the odometry's",
    "error: against the ground truth, not aligned; cells are empty where there is nothing to say",
)
COLUMNS = (
    "frame", "stamp_ns", "x_m", "y_m", "z_m", "qw", "qx", "qy", "qz", "sigma_m", "sigma_deg", "jump_m", "jump_deg",
    "latency_ms", "error_m", "error_deg",
)  # fmt: skip


def jumps(answers: Streamed) -> tuple[Floats, Floats]:
    """Difference between the motion of consecutive poses and the odometry: (N,) metres and degrees, NaN where there is
    none.
    """
    metres, degrees = np.full((2, len(answers.pose_N7)), np.nan)
    now = np.flatnonzero(answers.valid_N)
    difference = relative(relative(answers.pose_N7[now - 1], answers.pose_N7[now]), answers.relative_N7[now])
    metres[now] = np.linalg.norm(difference[:, :3], axis=1)
    degrees[now] = np.degrees(rotation_angle(difference[:, 3:]))
    return metres, degrees


def write_answers(path: Path, frames: Listing[Frame], answers: Streamed, map_frame: str) -> None:
    """A CSV with a row for each frame, after comment lines that say frame, order and units.

    Raises DataError if it cannot be written.
    """
    errors = np.full((len(frames), 2), np.nan)
    posed = np.array([frame.pose_7 is not None for frame in frames], bool)
    if posed.any():
        truth = np.array([frame.pose_7 for frame in frames if frame.pose_7 is not None])
        errors[posed] = np.stack(pose_errors(answers.pose_N7[posed], truth), axis=1)
    numbers = np.column_stack(
        [
            answers.pose_N7, answers.sigma_N2[:, 0], np.degrees(answers.sigma_N2[:, 1]), *jumps(answers),
            answers.latency_ms_N, errors,
        ]
    )  # fmt: skip
    text = io.StringIO()
    text.writelines(f"# {line.format(frame=map_frame)}\n" for line in HEADER)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for frame, row in zip(frames, numbers, strict=True):
        cells = ["" if np.isnan(value) else f"{value:.9g}" for value in row]
        writer.writerow([frame.name, frame.stamp_ns, *cells])
    write_text(path, text.getvalue())


def write_odometry(out: Path, sequences: Listing[Sequence], answers: Streamed) -> list[Path]:
    """A TUM file of accumulated odometry for each sequence that has a motion; nothing for models without odometry.

    Raises DataError if a file cannot be written.
    """
    written, start = [], 0
    for sequence in sequences:
        rows = slice(start, start := start + len(sequence.frames))
        if not answers.valid_N[rows].any():
            continue
        path = out / f"odometry-{sequence.name.replace('/', '_')}.tum"
        stamps = [frame.stamp_ns for frame in sequence.frames]
        note = f"odometry of sequence '{sequence.name}', added up from its cold start: its first frame is the origin"
        write_tum(path, stamps, accumulate(answers.relative_N7[rows], answers.valid_N[rows]), "odom", note)
        written.append(path)
    return written
