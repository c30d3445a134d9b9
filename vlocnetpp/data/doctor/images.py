"""Images that are missing, black, white, blurred or repeated, and implausible depth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from vlocnetpp.data.doctor.findings import Finding, Severity, listing
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame

MANY = 0.2
"""A finding on more than this share of the frames is an error instead of a warning."""
STALLED = 2
"""Repeats in a row that make a stalled camera; single repeats occur where the camera is slower than the recorder."""
FROZEN = 10
"""The same of images that hardly change: a few in a row are what a robot sees that drives towards a bare wall."""
UNCHANGED = 0.05
"""An image hardly changes if its grey values change by less than this share of their slope times the expected motion.
Down a long corridor the share is an eighth, elsewhere mostly a third or more."""
FLICKER = 0.15
"""Grey levels, averaged over patches, by which compression may change a picture of a camera that hangs."""


def check_files(study: Study) -> Iterator[Finding]:
    """Files that do not decode, layers of another size, frames that lack what others have."""
    for kind in ("image", "depth", "mask", "size"):
        found = [
            (examined.frame.name, why) for examined in study.frames for which, why in examined.problems if which == kind
        ]
        if found:
            more = f" ({len(found)} such frames)" if len(found) > 1 else ""
            yield Finding("error", kind, listing([name for name, _ in found]), found[0][1] + more)
    sizes: dict[tuple[int, int], list[str]] = {}
    for examined in study.frames:
        if examined.size != (0, 0):
            sizes.setdefault(examined.size, []).append(examined.frame.name)
    if len(sizes) > 1:
        text = ", ".join(f"{len(names)} of {width} x {height}" for (height, width), names in sizes.items())
        yield Finding("warning", "size", listing(min(sizes.values(), key=len)), f"images of different sizes: {text}")
    for layer in ("pose_7", "depth_path", "mask_path"):
        given = [examined for examined in study.frames if not (layer == "pose_7" and examined.set_aside)]
        without = [examined.frame.name for examined in given if getattr(examined.frame, layer) is None]
        if 0 < len(without) < len(study.frames):
            text = f"{len(without)} of {len(study.frames)} frames have no {layer.split('_')[0]}"
            yield Finding("warning", "missing", listing(without), text)


def check_light(study: Study) -> Iterator[Finding]:
    """Black, overexposed and blurred images."""
    frames = [examined for examined in study.frames if examined.thumbnail is not None]
    black = [examined for examined in frames if examined.brightness < 10 and examined.brightest < 25]
    white = [examined for examined in frames if examined.white > 0.5]
    blurred = [examined for sequence in study.sequences for examined in _blurred(sequence) if examined not in black]
    texts = {"black": "almost black", "overexposed": "more than half white", "blur": "far less sharp than their like"}
    for (kind, text), found in zip(texts.items(), (black, white, blurred), strict=True):
        if found:
            severity: Severity = "error" if len(found) > MANY * len(frames) and kind != "blur" else "warning"
            names = listing([examined.frame.name for examined in found])
            sure = 0.7 if kind == "blur" else 0.95
            yield Finding(severity, kind, names, f"{len(found)} of {len(frames)} images are {text}", sure)


def check_repeats(study: Study) -> Iterator[Finding]:
    """Images that are the one before, pixel for pixel, or hardly change although the pose says they must."""
    repeated: list[str] = []
    moved, frozen, steps, longest, longest_frozen = 0, [], 0, 0, 0
    for sequence in study.sequences:
        row = still = 0
        for before, examined in pairwise(sequence):
            if before.thumbnail is None or examined.thumbnail is None or before.size != examined.size:
                continue
            steps += 1
            expected = _expected_move(before, examined)
            row = row + 1 if examined.digest == before.digest else 0
            longest = max(longest, row)
            change = float(np.abs(examined.thumbnail - before.thumbnail).mean())
            slope = max(float(np.abs(np.diff(before.thumbnail, axis=axis)).mean()) for axis in (0, 1))
            expected_change = expected * before.thumbnail.shape[1] * slope
            alike = change < 0.5
            unchanged = alike and expected > 0.03
            unchanged &= change < max(UNCHANGED * expected_change, FLICKER if expected_change > 1.0 else 0.0)
            if not alike or row:
                still = 0
            still += unchanged and not row  # a slow stretch between does not count and does not end it
            longest_frozen = max(longest_frozen, still)
            if row:
                repeated.append(examined.frame.name)
                moved += expected > 0.002
            elif unchanged:
                frozen.append(examined.frame.name)
    if repeated:
        stalled = longest >= STALLED or len(repeated) > MANY * steps
        text = f"{len(repeated)} of {steps} images are the one before, pixel for pixel, at most {longest} in a row"
        text += f"; the pose moves in {moved}"
        yield Finding("error" if stalled else "warning", "duplicates", listing(repeated), text)
    if frozen:
        text = f"{len(frozen)} of {steps} images hardly change although their pose moves, "
        text += f"at most {longest_frozen} in a row; before a bare wall that is right"
        stalled = longest_frozen >= FROZEN or len(frozen) > MANY * steps
        yield Finding("error" if stalled else "warning", "duplicates", listing(frozen), text, 0.9)


def check_depth(study: Study) -> Iterator[Finding]:
    """Coverage and range of the depth images."""
    deep = [examined for examined in study.frames if np.isfinite(examined.depth_known)]
    if not deep:
        return
    known = float(np.median([examined.depth_known for examined in deep]))
    metres = float(np.nanmedian([examined.depth_m for examined in deep])) if known > 0 else np.nan
    text = f"median over {len(deep)} frames: {known:.0%} of the pixels known, {metres:.3g} m away"
    if known < 0.2:
        yield Finding("error" if known < 0.01 else "warning", "depth", "depth", text)
    elif not 0.1 < metres < 200:
        yield Finding("warning", "depth", "depth", text, 0.8)
    else:
        yield Finding("info", "evidence", "depth", text)


def _blurred(sequence: list[ExaminedFrame]) -> list[ExaminedFrame]:
    """Frames with less than a fifth of the sharpness around them; what all frames share is the scene, not blur."""
    sequence = [examined for examined in sequence if examined.thumbnail is not None]
    sharp = np.array([examined.sharpness for examined in sequence])
    if len(sharp) < 7:
        return []
    around = [np.nanmedian(sharp[max(i - 7, 0) : i + 8]) for i in range(len(sharp))]
    return [examined for examined, value, usual in zip(sequence, sharp, around, strict=True) if value < 0.2 * usual]


def _expected_move(before: ExaminedFrame, examined: ExaminedFrame) -> float:
    """About how far points should move in the image by the poses, share of the width; 0 where a pose is unknown."""
    a, b = before.frame.pose_7, examined.frame.pose_7
    if a is None or b is None:
        return 0.0
    angle = 2 * float(np.arccos(min(abs(float(a[3:] @ b[3:])), 1.0)))
    metres = before.depth_m if np.isfinite(before.depth_m) else 5.0
    return float(examined.frame.K_33[0, 0]) / examined.size[1] * (angle + float(np.linalg.norm(b[:3] - a[:3])) / metres)
