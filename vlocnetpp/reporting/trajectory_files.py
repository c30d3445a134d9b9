"""Trajectories as TUM text files, which evo, rpg_trajectory_evaluation and most SLAM tools read."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlocnetpp.errors import DataError
from vlocnetpp.poses import as_poses, checked_pose
from vlocnetpp.reporting.files import write_text

SECOND_NS = 10**9


def write_tum(path: Path, stamps_ns: ArrayLike, poses_N7: ArrayLike, frame: str, note: str = "") -> None:
    """Write `stamp x y z qx qy qz qw` lines, one for each pose; rows of NaN (no estimate) are left out.

    Stamps keep their nanoseconds. The header explains the numbers in comments: frame, order, units and `note`.
    Raises DataError if the lengths differ, a stamp is negative or the file cannot be written.
    """
    stamps = np.asarray(stamps_ns, dtype=np.int64).reshape(-1)
    poses = as_poses(poses_N7, str(path))
    if len(stamps) != len(poses):
        raise DataError(f"{path}: {len(stamps)} stamps for {len(poses)} poses")
    if (stamps < 0).any():
        raise DataError(f"{path}: stamp {stamps.min()} ns is negative")
    lines = [
        "# timestamp[s] x[m] y[m] z[m] qx qy qz qw",
        f"# pose of the camera (optical: x right, y down, z forward) in the frame '{frame}', Hamilton unit quaternion",
        *(f"# {line}" for line in note.splitlines()),
    ]
    for stamp, (x, y, z, qw, qx, qy, qz) in zip(stamps.tolist(), poses.tolist(), strict=True):
        if not math.isnan(x):
            seconds, nanoseconds = divmod(stamp, SECOND_NS)
            numbers = " ".join(f"{value:.9f}" for value in (x, y, z, qx, qy, qz, qw))
            lines.append(f"{seconds}.{nanoseconds:09d} {numbers}")
    write_text(path, "\n".join(lines) + "\n")


def read_tum(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a TUM trajectory: stamps (N,) in nanoseconds and poses (N, 7) as x, y, z, qw, qx, qy, qz with w >= 0.

    Raises DataError, naming the line, if the file cannot be read or a line is not eight numbers with a unit quaternion.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    stamps, poses = [], []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 8:
            raise DataError(f"{where}: a TUM line has 8 numbers (timestamp x y z qx qy qz qw), this one {len(words)}")
        try:
            # Through decimals: a float has no room for the nanoseconds of today's date.
            stamp = int(Decimal(words[0]) * SECOND_NS)
            x, y, z, qx, qy, qz, qw = map(float, words[1:])
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise DataError(f"{where}: '{line.strip()}' is not eight numbers") from error
        stamps.append(stamp)
        poses.append(checked_pose((x, y, z, qw, qx, qy, qz), where))
    return np.array(stamps, dtype=np.int64), np.array(poses, dtype=np.float64).reshape(-1, 7)
