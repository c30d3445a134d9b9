"""Time and order: stamps, gaps, jumps of the pose, and sequences that are in no order at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlocnetpp.data.doctor.findings import Finding, Severity, listing
from vlocnetpp.data.doctor.matches import Floats
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.doctor.wild import JUMP, SHORTEST, local_median

METRES_PER_RADIAN = 0.57
"""0.01 m for a degree: the weight of a rotation where translations and rotations are added."""
LEAST_JUMP = {"m": 0.05, "deg": 3.0}
IMPOSSIBLE = 1000.0
"""Times the usual motion."""
LEAST_USUAL = {"m": 0.001, "deg": 0.1}
"""A robot that stands moves by the noise of its localization."""
FASTEST_M_S = 60.0
SHUFFLES = 100
NO_ORDER = 0.8
"""Above this ratio to a random order, consecutive frames are not neighbours."""


def check_stamps(study: Study) -> Iterator[Finding]:
    """Pauses within a sequence. Stamps that do not increase are refused when a dataset is opened."""
    for sequence in study.sequences:
        seconds = np.diff([examined.frame.stamp_ns for examined in sequence]) * 1e-9
        if not len(seconds):
            continue
        usual = float(np.median(seconds))
        pauses = np.flatnonzero((seconds > 5 * usual) & (seconds > 0.5)) + 1
        if len(pauses):
            names = listing([sequence[i].frame.name for i in pauses])
            text = f"{len(pauses)} pauses of up to {seconds.max():.3g} s in {sequence[0].sequence}, usual {usual:.3g} s"
            yield Finding("warning", "gap", names, text)


def check_speed(study: Study) -> Iterator[Finding]:
    """Steps and turns far beyond those around them, and speeds that no vehicle has."""
    for sequence in study.sequences:
        wild = [each for each in study.wild if each.examined in sequence]
        if wild:
            worst = max(wild, key=lambda each: each.metres)
            text = f"{len(wild)} poses up to {worst.metres:.3g} m" if len(wild) > 1 else f"1 pose {worst.metres:.3g} m"
            text += f" beside the way of {sequence[0].sequence}, usual step {worst.usual_m:.3g} m; set aside elsewhere"
            names = listing([each.examined.frame.name for each in wild], 6)
            yield Finding(_severity(worst.metres, worst.usual_m, "m"), "speed", names, text, 0.95)
    fastest, where = 0.0, ""
    for sequence in study.sequences:
        metres, radians, seconds, at = _steps(sequence)
        if len(metres) < SHORTEST:
            continue
        for values, unit in ((metres, "m"), (np.degrees(radians), "deg")):
            usual = local_median(values)
            jumps = np.flatnonzero((values > JUMP * usual) & (values > LEAST_JUMP[unit]))
            if len(jumps):
                names = listing([sequence[at[i]].frame.name for i in jumps])
                text = f"{len(jumps)} jumps of up to {values[jumps].max():.3g} {unit} in {sequence[0].sequence}, "
                text += f"usual {np.median(values):.3g} {unit}"
                yield Finding(_severity(values[jumps].max(), float(np.median(values)), unit), "speed", names, text, 0.9)
        known = seconds > 0
        speed = float(np.median(metres[known] / seconds[known])) if known.any() else 0.0
        if speed > fastest:
            fastest, where = speed, sequence[0].sequence
    if fastest > FASTEST_M_S:
        text = f"{fastest:.3g} m/s in the median: are these metres?"
        yield Finding("warning", "speed", where, text, 0.8, "bring the positions of the poses to metres")


def check_order(study: Study) -> Iterator[Finding]:
    """Sequences whose neighbours are no more alike, in image or pose, than frames drawn at random."""
    random = np.random.default_rng(study.seed)
    for sequence in study.sequences:
        frames = [examined for examined in sequence if examined.thumbnail is not None]
        if len(frames) < SHORTEST:
            continue
        seen = _compare(np.stack([_levelled(examined) for examined in frames]), random)
        posed = [examined for examined in frames if examined.frame.pose_7 is not None]
        placed = _compare(_spots(posed), random) if len(posed) >= SHORTEST else None
        ratios = {"images": seen, "poses": placed}
        loose = {name: ratio for name, ratio in ratios.items() if ratio is not None and ratio >= NO_ORDER}
        # Fast drives change the whole image from frame to frame: images alone accuse only where poses contradict them.
        if not loose or ("poses" not in loose and placed is not None and (study.explained or study.delay is not None)):
            continue
        ordered = [name for name, ratio in ratios.items() if ratio is not None and ratio < NO_ORDER]
        ratio: float = max(loose.values())
        only = f", the {ordered[0]} are in order" if ordered else ""
        text = f"the {' and '.join(loose)} of neighbours are {ratio:.0%} as far apart as in a random order"
        sure = float(np.clip((ratio - 0.5) * 2, 0.5, 0.99))
        yield Finding("error", "order", sequence[0].sequence, f"{text} of the {len(frames)} frames{only}", sure)


def _severity(jump: float, usual: float, unit: str) -> Severity:
    """An error above a thousand times the usual motion, else a warning."""
    return "error" if jump > IMPOSSIBLE * max(usual, LEAST_USUAL[unit]) else "warning"


def _steps(sequence: list[ExaminedFrame]) -> tuple[Floats, Floats, Floats, list[int]]:
    """Metres, radians and seconds from each frame with a pose to the next, and the place of the latter."""
    at = [i for i, examined in enumerate(sequence) if examined.frame.pose_7 is not None]
    pose = np.array([sequence[i].frame.pose_7 for i in at], np.float64).reshape(-1, 7)
    metres = np.linalg.norm(np.diff(pose[:, :3], axis=0), axis=1)
    radians = 2 * np.arccos(np.minimum(np.abs((pose[1:, 3:] * pose[:-1, 3:]).sum(axis=1)), 1.0))
    seconds = np.diff([sequence[i].frame.stamp_ns for i in at]) * 1e-9
    return metres, radians, seconds, at[1:]


def _levelled(examined: ExaminedFrame) -> Floats:
    """The thumbnail without its brightness, so that light does not count as a change of place."""
    assert examined.thumbnail is not None
    small = examined.thumbnail.astype(np.float64).ravel()
    return (small - small.mean()) / max(float(small.std()), 1e-6)


def _spots(frames: list[ExaminedFrame]) -> Floats:
    """Poses as points whose distances join metres and turns: (N, 9)."""
    spots = []
    for examined in frames:
        assert examined.frame.pose_7 is not None
        x, y, z, w, i, j, k = examined.frame.pose_7
        # Two axes of the rotation: their distance grows with the angle, whatever the sign of the quaternion.
        right = np.array([1 - 2 * (j * j + k * k), 2 * (i * j + w * k), 2 * (i * k - w * j)])
        ahead = np.array([2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j)])
        spots.append([x, y, z, *(METRES_PER_RADIAN * right), *(METRES_PER_RADIAN * ahead)])
    return np.array(spots)


def _compare(points_ND: Floats, random: np.random.Generator) -> float | None:
    """Median distance of neighbours over that in random orders: 0 in order, 1 in none; None where nothing moves."""

    def usual_step(order: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(np.diff(points_ND[order], axis=0), axis=1)))

    given = usual_step(np.arange(len(points_ND)))
    shuffled = np.array([usual_step(random.permutation(len(points_ND))) for _ in range(SHUFFLES)])
    if shuffled.mean() < 1e-6:
        return None
    return given / float(shuffled.mean())
