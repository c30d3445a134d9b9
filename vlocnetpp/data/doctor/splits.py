"""Train against test: frames in both, and how far the test lies from what is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vlocnetpp.data.doctor.findings import Finding, Severity, listing
from vlocnetpp.data.doctor.matches import Floats
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame

METRES_PER_DEGREE = 0.01
"""Nearest means metres plus this for each degree, the balance of the usual 5 cm / 5 degrees."""
SAME_M, SAME_DEG = 1e-3, 0.1
TRAIN = "train"


def check_overlap(study: Study) -> Iterator[Finding]:
    """Images that are in the training split and in another: the same pixels, or the same pose and near-equal pixels."""
    train = _frames(study, TRAIN)
    known = {examined.digest: examined for examined in train if examined.digest}
    posed = [examined for examined in train if examined.frame.pose_7 is not None]
    for split in study.splits:
        if split == TRAIN:
            continue
        tested = _frames(study, split)
        same = [examined for examined in tested if examined.digest in known]
        if same:
            example = f"{same[0].frame.name} is {known[same[0].digest].frame.name}"
            text = f"{len(same)} of {len(tested)} images are training images, pixel for pixel; {example}"
            yield Finding("error", "overlap", split, text)
        rest = [examined for examined in tested if examined.digest not in known and examined.frame.pose_7 is not None]
        if rest and posed:
            metres, degrees, nearest = nearest_poses(_poses(posed), _poses(rest))
            near = [
                examined
                for examined, m, d, i in zip(rest, metres, degrees, nearest, strict=True)
                if m < SAME_M and d < SAME_DEG and _alike(examined, posed[i])
            ]
            if near:
                text = f"{len(near)} of {len(tested)} frames have pose and image of a training frame, nearly"
                severity: Severity = "error" if len(near) > 0.01 * len(tested) else "warning"
                yield Finding(severity, "overlap", listing([examined.frame.name for examined in near]), text, 0.9)


def check_distance(study: Study) -> Iterator[Finding]:
    """How far the poses of other splits are from the nearest training pose, always in the report."""
    posed = [examined for examined in _frames(study, TRAIN) if examined.frame.pose_7 is not None]
    for split in study.splits:
        tested = [examined for examined in _frames(study, split) if examined.frame.pose_7 is not None]
        if split == TRAIN or not tested or not posed:
            continue
        metres, degrees, _ = nearest_poses(_poses(posed), _poses(tested))
        extent = float(np.linalg.norm(np.ptp(_poses(posed)[:, :3], axis=0)))
        (m50, m90), (d50, d90) = (np.percentile(values, (50, 90)) for values in (metres, degrees))
        text = (
            f"nearest training pose: median {m50:.3f} m {d50:.1f} deg, 90 % within {m90:.2f} m and {d90:.1f} deg, "
            f"farthest {metres.max():.2f} m {degrees.max():.1f} deg; training reaches over {extent:.1f} m"
        )
        far = float(((metres > max(0.1 * extent, 0.5)) | (degrees > 45)).mean())
        if far > 0.5:
            text += (
                f"; {far:.0%} of the frames are farther than a tenth of that (at least 0.5 m) or turned by over 45 deg"
            )
        yield Finding("warning" if far > 0.5 else "info", "distance", split, text)


def nearest_poses(train_N7: Floats, test_M7: Floats) -> tuple[Floats, Floats, np.ndarray]:
    """For each test pose the nearest training pose: (M,) metres, (M,) degrees and (M,) its place."""
    metres, degrees, nearest = np.empty(len(test_M7)), np.empty(len(test_M7)), np.empty(len(test_M7), int)
    for row, pose in enumerate(test_M7):
        m = np.linalg.norm(train_N7[:, :3] - pose[:3], axis=1)
        d = np.degrees(2 * np.arccos(np.minimum(np.abs(train_N7[:, 3:] @ pose[3:]), 1.0)))
        nearest[row] = i = int(np.argmin(m + METRES_PER_DEGREE * d))
        metres[row], degrees[row] = m[i], d[i]
    return metres, degrees, nearest


def _frames(study: Study, split: str) -> list[ExaminedFrame]:
    return [examined for sequence in study.splits.get(split, []) for examined in sequence]


def _poses(frames: Sequence[ExaminedFrame]) -> Floats:
    return np.array([examined.frame.pose_7 for examined in frames], np.float64).reshape(-1, 7)


def _alike(a: ExaminedFrame, b: ExaminedFrame) -> bool:
    return a.thumbnail is not None and b.thumbnail is not None and float(np.abs(a.thumbnail - b.thumbnail).mean()) < 2.0
