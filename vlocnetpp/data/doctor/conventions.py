"""Checks of the conventions of poses, the unit of length and K: the reading that explains the images best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlocnetpp.data.doctor.findings import KINDS, Finding, Severity
from vlocnetpp.data.doctor.hypotheses import AXES, EXPLAINED, Hypothesis
from vlocnetpp.data.doctor.study import LEAST_PAIRS, Study
from vlocnetpp.data.doctor.surfaces import Fit

FOCAL_WARNING, FOCAL_ERROR = 0.04, 0.06
"""Relative error of the focal length."""
SCALE_WARNING, SCALE_ERROR = 0.08, 0.15
LEAST_GAIN = 1.05
"""A factor counts only if the error without it is so many times larger: the minimum of a flat error curve is
arbitrary."""
USUAL_SCALES = {
    0.001: "millimetres against metres", 0.01: "centimetres against metres", 0.1: "decimetres against metres",
    0.0254: "inches against metres", 0.3048: "feet against metres", 1000.0: "metres against millimetres",
    100.0: "metres against centimetres", 10.0: "a factor of ten", 5.0: "depth in 1/5000 m read as 1/1000 m",
    0.2: "depth in 1/1000 m read as 1/5000 m", 39.37: "metres against inches", 3.281: "metres against feet",
}  # fmt: skip

OF_BODY = Hypothesis(axes=next(text for text in AXES if text.startswith("the poses are those of a body")))
BODY_REMEDY = (
    "convert the recording again with vlocnetpp data from-bag --pose-frame FRAME, the frame that the poses are of "
    "(base_link, zed_camera_link); for other data, turn the poses to optical axes (x right, y down, z forward)"
)


def check_convention(study: Study) -> Iterator[Finding]:
    """Direction of the poses, axes, quaternion order: every reading is tested on every pair."""
    if not any(examined.frame.pose_7 is not None for examined in study.frames):
        yield Finding("info", "cannot-tell", "poses", "there are none: only images and masks were looked at", 0.0)
        return
    if not study.verdicts:
        text = f"only {len(study.pairs)} of {study.tried} pairs of frames see enough in common from different places"
        text += f" (needed {LEAST_PAIRS}): convention, scale and K are unchecked"
        yield Finding("warning", "cannot-tell", "poses", text, 0.0)
        return
    reading, stored, pixels = study.reading, study.stored, study.pairs[0].width
    measured = f"on {len(study.pairs)} pairs"
    if reading is not stored:
        won = float((reading.errors_P < stored.errors_P).mean())
        yield Finding(
            "error", "convention", "poses",
            f"{' and '.join(reading.hypothesis.departures)}: points then lie {reading.error * pixels:.2g} px from "
            f"where poses put them, as stored {stored.error * pixels:.3g} px ({measured})",
            won * (1 - reading.error / stored.error), BODY_REMEDY if reading.hypothesis == OF_BODY else "",
        )  # fmt: skip
        return
    text = f"as stored, points lie {stored.error * pixels:.2g} px from where poses put them {measured}"
    rival = next(verdict for verdict in study.verdicts if verdict is not stored)
    text += f"; under the best other reading ({', '.join(rival.hypothesis.departures)}) {rival.error * pixels:.2g} px"
    if study.explained:
        clear = float((stored.errors_P < rival.errors_P).mean())
        yield Finding("info", "evidence", "poses", text, clear)
    elif study.delay is None:
        yield Finding("error", "unexplained", "poses", text, 0.8)


def check_calibration(study: Study) -> Iterator[Finding]:
    """Unit of the translations against depth, and the focal length, by depth against depth and by epipolar lines."""
    yield from _principal_point(study)
    if not _measurable(study):
        return
    if study.by_depth is not None:
        yield from _scale(study.by_depth, len(study.surfaces), study)
    if study.delay is None:
        yield from _focal(_measured(study), len(study.pairs), has_depth=bool(study.surfaces))


def focal_is_wrong(study: Study) -> bool:
    """Whether K is off, so that an image may not fit its pose for this reason alone."""
    if not _measurable(study) or study.delay is not None:
        return False
    measured = _measured(study)
    wrong = _against_K(measured)
    return bool(wrong) and not _is_registration(measured, wrong)


def _is_registration(measured: dict[str, Fit], wrong: set[str]) -> bool:
    """Whether depth agrees with K: then it is the colour camera that K is not of."""
    return "depth" in measured and "depth" not in wrong


def _measurable(study: Study) -> bool:
    """Whether the poses explain the images in any reading; else there is nothing to measure with."""
    return bool(study.verdicts) and float((study.reading.errors_P < 2 * EXPLAINED).mean()) >= 0.5


def check_offset(study: Study) -> Iterator[Finding]:
    """Test images against the poses of the frames before and after."""
    delay = study.delay
    if delay is not None:
        frames = (
            f"{abs(delay.frames)} frame{'s' * (abs(delay.frames) > 1)} {'later' if delay.frames > 0 else 'earlier'}"
        )
        text = f"images fit the poses {frames} better, with {delay.gain:.0%} of the error, on {delay.won:.0%} of "
        text += f"{delay.pairs} pairs; the focal length cannot be judged before that is mended"
        yield Finding("error", "offset", "poses", text, delay.won * (1 - delay.gain))


def _principal_point(study: Study) -> Iterator[Finding]:
    seen = set()
    for examined in study.frames:
        K, (height, width) = examined.frame.K_33, examined.size
        key = (width, height, *K.ravel())
        if not width or key in seen:
            continue
        seen.add(key)
        across, down = 2 * K[0, 2] / (width - 1), 2 * K[1, 2] / (height - 1)
        if abs(across - 1) < 0.25 and abs(down - 1) < 0.25:
            continue
        same = abs(across / down - 1) < 0.15
        guess = f"; K is that of an image about {across:.2g} times as large" if same else ""
        yield Finding(
            "error", "intrinsics", examined.frame.name,
            f"the centre is at {K[0, 2]:.4g}, {K[1, 2]:.4g} px in an image of {width} x {height}{guess}", 0.95,
        )  # fmt: skip


def _scale(fit: Fit, pairs: int, study: Study) -> Iterator[Finding]:
    off = abs(float(np.log(fit.scale)))
    # A pose in the wrong unit is off by a factor of 1000: then only the spread decides.
    sure = _sure(off, fit.scale_spread)
    if off < np.log1p(SCALE_WARNING) or sure < 0.3 or fit.scale_gain < LEAST_GAIN:
        yield Finding(
            "info", "evidence", "scale",
            f"depth wants translations times {fit.scale:.3f} (+- {fit.scale_spread:.1%}) on {pairs} pairs",
            1 - min(off, 1),
        )  # fmt: skip
        return
    usual = min(USUAL_SCALES, key=lambda factor: abs(np.log(factor / fit.scale)))
    name = f": {USUAL_SCALES[usual]}" if abs(np.log(usual / fit.scale)) < 0.1 else ""
    severity: Severity = "error" if off > np.log1p(SCALE_ERROR) else "warning"
    yield Finding(
        severity, "scale", "poses and depth",
        f"translations must be multiplied by {fit.scale:.4g} (+- {fit.scale_spread:.1%}) to fit the depth{name}; "
        f"{_likelier(study)} ({pairs} pairs)", sure,
    )  # fmt: skip


def _sure(off: float, spread: float) -> float:
    """0..1: how far a factor is beyond twice its spread."""
    return float(np.clip(1 - 2 * spread / max(off, 1e-9), 0, 1))


def _likelier(study: Study) -> str:
    """Which of poses and depth is more likely wrong, by typical distances from camera to scene."""
    depths = [examined.depth_m for examined in study.frames if np.isfinite(examined.depth_m)]
    median = float(np.median(depths))
    if 0.3 < median < 60:
        return f"the depth, {median:.2g} m in the median, is plausible, so look at the poses first"
    return f"the depth, {median:.3g} m in the median, is implausible, so look at the depth first"


def _measured(study: Study) -> dict[str, Fit]:
    """The focal length by depth and by the colour images, where they can tell it."""
    fits = {"depth": study.by_depth, "colour": study.by_lines}
    return {name: fit for name, fit in fits.items() if fit is not None and fit.focal_spread < 0.03}


def _off(fit: Fit) -> float:
    return abs(float(np.log(fit.focal)))


def _against_K(measured: dict[str, Fit]) -> set[str]:
    """Which of them contradict K."""
    return {
        name
        for name, fit in measured.items()
        if _off(fit) > FOCAL_WARNING and _sure(_off(fit), fit.focal_spread) > 0 and fit.focal_gain > LEAST_GAIN
    }


def _remedy(by_lines: Fit) -> str:
    return (
        f"{KINDS['intrinsics'].do}; where you cannot have that, append --network.focal_correction {by_lines.focal:.3f} "
        "to the command of the training: the model file then corrects K wherever it runs"
    )


def _focal(measured: dict[str, Fit], pairs: int, has_depth: bool) -> Iterator[Finding]:
    if not measured:
        text = f"the focal length cannot be told from {pairs} pairs: too little rotation or too few points"
        yield Finding("warning", "cannot-tell", "intrinsics", text, 0.0)
        return
    said = ", ".join(f"{name} {fit.focal:.3f} (+- {fit.focal_spread:.1%})" for name, fit in measured.items())
    sure = {name: _sure(_off(fit), fit.focal_spread) for name, fit in measured.items()}
    wrong = _against_K(measured)
    text = f"best factor of the focal length: {said}, on {pairs} pairs"
    if not wrong:
        yield Finding("info", "evidence", "intrinsics", text, 1 - max(map(_off, measured.values())))
    elif _is_registration(measured, wrong):
        share = 1 / measured["colour"].focal
        remedy = (
            f"register depth to colour where it is recorded, or train with --data.depth_camera.focal {share:.3f} "
            "--data.depth_camera.offset_m '[x, y, z]': the place of the depth camera in the optical frame of the "
            "colour camera (metres; x right, y down, z forward), '[-0.0255, 0, 0]' for a Kinect v1. Without offset_m "
            "the depth stays beside the colour by offset x focal length / distance: of a Kinect v1 13 of 640 pixels at "
            "1 m, 4 at 3 m"
        )
        yield Finding("warning", "registration", "intrinsics", text, sure["colour"], remedy)
    else:
        # Depth, where there is any, is the better evidence: it depends on neither light nor registration.
        witness = "depth" if "depth" in wrong else "colour"
        severity: Severity = "error" if _off(measured[witness]) > FOCAL_ERROR else "warning"
        remedy = "" if has_depth else _remedy(measured[witness])
        yield Finding(severity, "intrinsics", "K", text, sure[witness], remedy)
