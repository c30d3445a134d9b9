"""Recordings of a straight drive with one thing out of order, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bag_recorder import MS, START, K, Recorder, rgb

from vlocnetpp.data import BagSummary, open_dataset

STEP = 100 * MS
STRAIGHT = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])


def drive(
    path: Path,
    kind: str = "mcap",
    images: int = 8,
    poses: str = "Odometry",
    lost: dict[int, float] | None = None,
    unready: int = 0,
    static: bool = True,
    cover: bool = True,
) -> None:
    """Images at 10 Hz, the pose of image i at x = i metres; poses before the first and after the last unless `cover`.

    lost: place of a pose -> what its quaternion is multiplied by (0 or NaN). unready: so many camera_info of zeros.
    """
    recorder = Recorder(path, kind)
    if static:
        recorder.tf(START, "base", "cam_optical", STRAIGHT, "/tf_static")
    for index in range(-1 if cover else 0, images + 1 if cover else images):
        stamp, scale = START + index * STEP, (lost or {}).get(index, 1.0)
        pose = np.array([index, 0, 0, scale, 0, 0, 0], np.float64)
        if poses == "tf":
            recorder.tf(stamp, "map", "base", pose)
        else:
            recorder.pose(stamp, float(index) if np.isfinite(scale) else np.nan, kind=poses, scale=scale)
        if 0 <= index < images:
            recorder.info(stamp, K_33=0 * K if index < unready else K)
            recorder.image(stamp, rgb(index), "rgb8")
    recorder.writer.close()


def xs(folder: Path) -> list[float]:
    """x of every frame of the split train, metres."""
    return [round(float(f.pose_7[0]), 9) for f in open_dataset(folder).frames("train") if f.pose_7 is not None]


def edit_metadata(bag: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((bag / "metadata.yaml").read_text())
    change(content["rosbag2_bagfile_information"])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(content))


def notes_with(summary: BagSummary, words: str) -> list[str]:
    return [note for note in summary.notes if words in note]
