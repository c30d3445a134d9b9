"""The examination: a list of checks, run on one study of the dataset."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlocnetpp.data.doctor import conventions, images, maps, masks, placing, splits, times
from vlocnetpp.data.doctor.findings import SEVERITIES, Finding
from vlocnetpp.data.doctor.locate import SPREAD
from vlocnetpp.data.doctor.maps import MOST_DRIVES, QUERIES
from vlocnetpp.data.doctor.matches import features_of
from vlocnetpp.data.doctor.placing import MOST_LINKS
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import MOST_FRAMES, ExaminedFrame, examine_frame, survey
from vlocnetpp.data.frames import DataError, Dataset, StampError
from vlocnetpp.data.layouts.recognize import LAYOUTS, open_dataset, recognizing
from vlocnetpp.data.poses import NoPoseError, PoseError
from vlocnetpp.progress import duration

CHECKS: tuple[Callable[[Study], Iterable[Finding]], ...] = (
    images.check_files,
    images.check_light,
    images.check_repeats,
    images.check_depth,
    times.check_stamps,
    times.check_speed,
    times.check_order,
    conventions.check_convention,
    conventions.check_calibration,
    conventions.check_offset,
    placing.check_placing,
    maps.check_maps,
    masks.check_masks,
    splits.check_overlap,
    splits.check_distance,
)
"""In the order of the report among findings of one severity."""
SAMPLED = 8
"""Frames that are read and searched for points to tell how long all take."""
MATCHING_S, PAIR_S = 0.004, 0.04
"""Seconds to match two frames and to test the poses on a pair, on a core of 2020."""


@dataclass(frozen=True)
class Report:
    """What was found, the worst first."""

    root: Path
    findings: tuple[Finding, ...]
    study: Study | None
    """None where the dataset could not be read."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values for doctor.json."""
        return {
            "root": self.root,
            "layout": self.study.dataset.layout if self.study else None,
            "frames": {split: sum(map(len, frames)) for split, frames in self.study.splits.items()}
            if self.study
            else {},
            "pairs": len(self.study.pairs) if self.study else 0,
            "seed": self.study.seed if self.study else None,
            "errors": self.errors,
            "findings": [
                {
                    "severity": finding.severity,
                    "check": finding.kind,
                    "where": finding.where,
                    "what": finding.what,
                    "confidence": round(finding.confidence, 3),
                    "do": finding.do,
                }
                for finding in self.findings
            ],
        }


def examine(root: Path, layout: str | None = None, pairs: int = 60, seed: int = 0) -> Report:
    """Look at a dataset and say what is wrong with it; the same seed gives the same report.

    A file that a reader refuses is a finding. Raises DataError if there is no such folder or layout at all.
    """
    root = Path(root)
    try:
        dataset = open_dataset(root, layout)
    except DataError as error:
        named = layout in LAYOUTS if layout else len(recognizing(root)) == 1
        if not root.is_dir() or not named:
            raise
        kinds = {NoPoseError: "lost", PoseError: "rotation", StampError: "stamps"}
        kind = next((name for kind, name in kinds.items() if isinstance(error, kind)), "reading")
        where, _, what = str(error).partition(": ")
        return Report(root, (Finding("error", kind, where, what or str(error)),), None)
    study = study_of(dataset, pairs, seed)
    found = [Finding("warning", "noted", "layout", note) for note in dataset.notes]
    unread = sum(not examined.read for examined in study.frames)
    if unread:
        text = f"{unread} of {len(study.frames)} images were not looked at, to end in time; their poses and stamps were"
        found.append(Finding("info", "cannot-tell", "images", text, 0.0))
    found += [finding for check in CHECKS for finding in check(study)]
    return Report(root, tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))), study)


def study_of(dataset: Dataset, pairs: int, seed: int) -> Study:
    """Read a dataset's images and draw the pairs of frames that test its poses; says ahead how long that takes."""
    print(
        f"{dataset.root}: the examination takes about {duration(expected_s(dataset, pairs))}",
        file=sys.stderr,
        flush=True,
    )
    study = Study(dataset, survey(dataset), pairs, seed)
    study.set_wild_poses_aside()
    study.choose_pairs()
    return study


def expected_s(dataset: Dataset, pairs: int) -> float:
    """Seconds that an examination takes, from the time that a few frames take."""
    every = [frame for sequences in dataset.splits.values() for sequence in sequences for frame in sequence.frames]
    if not every:
        return 0.0
    sample = [every[i] for i in np.linspace(0, len(every) - 1, min(SAMPLED, len(every))).astype(int)]
    began = time.monotonic()
    for frame in sample:
        examine_frame(ExaminedFrame(frame, "", ""))
    read_s = (time.monotonic() - began) / len(sample)
    posed = [frame for frame in every if frame.pose_7 is not None]
    if not posed:
        return min(len(every), MOST_FRAMES) * read_s
    began = time.monotonic()
    for frame in sample:
        features_of(frame)
    points_s = (time.monotonic() - began) / len(sample)
    drives = min(sum(map(len, dataset.splits.values())), MOST_DRIVES)
    looked_at = min(len(posed), MOST_LINKS) + 3 * pairs + (drives > 1) * drives * (QUERIES + SPREAD) / 2
    matched = 2 * min(len(posed), MOST_LINKS) + 3 * pairs + (drives - 1) * QUERIES * SPREAD / 2
    return min(len(every), MOST_FRAMES) * read_s + looked_at * points_s + matched * MATCHING_S + pairs * PAIR_S
