"""The examination: a list of checks, run on one study of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlocnetpp.data.doctor import conventions, images, masks, placing, splits, times
from vlocnetpp.data.doctor.findings import SEVERITIES, Finding
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import survey
from vlocnetpp.data.frames import DataError
from vlocnetpp.data.layouts.recognize import LAYOUTS, open_dataset
from vlocnetpp.data.poses import NoPoseError, PoseError

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
    masks.check_masks,
    splits.check_overlap,
    splits.check_distance,
)
"""In the order of the report among findings of one severity."""


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
        named = layout in LAYOUTS if layout else sum(reader.recognizes(root) for reader in LAYOUTS.values()) == 1
        if not root.is_dir() or not named:
            raise
        kinds = {NoPoseError: "lost", PoseError: "rotation"}
        kind = next((name for kind, name in kinds.items() if isinstance(error, kind)), "reading")
        where, _, what = str(error).partition(": ")
        return Report(root, (Finding("error", kind, where, what or str(error)),), None)
    study = Study(dataset, survey(dataset), pairs, seed)
    study.set_wild_poses_aside()
    study.choose_pairs()
    found = [Finding("warning", "noted", "layout", note) for note in dataset.notes]
    found += [finding for check in CHECKS for finding in check(study)]
    return Report(root, tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))), study)
