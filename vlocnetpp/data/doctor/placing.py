"""Single frames against the poses of their neighbours: swapped images, poses that belong to other frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlocnetpp.data.doctor.conventions import focal_is_wrong
from vlocnetpp.data.doctor.findings import Finding, Severity, listing
from vlocnetpp.data.doctor.hypotheses import motion, point_errors
from vlocnetpp.data.doctor.matches import Pair, features_of, match_frames
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.frames import Frame
from vlocnetpp.poses import relative, rotation_angle
from vlocnetpp.progress import track

AFTER_K = (
    "mend K first (intrinsics), then look again; where the training corrects K, leave these frames in: "
    "beside a wrong K an image may not fit the right pose"
)
MOST_LINKS = 4000
"""More frames are subsampled evenly: one wrong frame in a thousand does not spoil a training."""
OFF = 0.06
"""A link is contradicted if its points lie this far from where the poses put them, as a share of the width, and ..."""
OFF_TIMES = 4.0
"""... so many times the usual error."""
LEAST_FEATURES = 60
MOST_EXCHANGES = 12
FRAMES_OF_A_BROKEN_SEQUENCE = 0.3


@dataclass(frozen=True)
class Link:
    """Two positions in a sequence and whether image and pose agree between them; None = unknown."""

    first: int
    second: int
    agrees: bool | None


def check_placing(study: Study) -> Iterator[Finding]:
    """Check each sequence for frames all of whose links contradict their poses."""
    if not study.explained:
        return
    gap = study.usual_gap
    wanted = [
        (sequence, first, first + step)
        for sequence in study.sequences
        for first in range(len(sequence))
        for step in sorted({gap, max(gap // 2, 1)})
        if first + step < len(sequence)
    ]
    wanted = wanted[:: 1 + len(wanted) // MOST_LINKS]
    blamed = focal_is_wrong(study)
    remedy = AFTER_K if blamed else ""
    links: dict[int, list[Link]] = {}
    for sequence, first, second in track(wanted, "images against poses"):
        agrees = _agrees(study, sequence[first], sequence[second])
        links.setdefault(id(sequence), []).append(Link(first, second, agrees))
    strangers: list[tuple[list[ExaminedFrame], int]] = []
    for sequence in study.sequences:
        wrong = misplaced(links.get(id(sequence), []))
        if len(wrong) > FRAMES_OF_A_BROKEN_SEQUENCE * len(sequence):
            text = f"the images of {len(wrong)} of {len(sequence)} frames do not fit their poses"
            yield Finding("warning" if blamed else "error", "placing", sequence[0].sequence, text, 0.9, remedy)
        else:
            strangers += [(sequence, i) for i in wrong]
    if not strangers:
        said = [link.agrees for each in links.values() for link in each]
        text = f"{said.count(True)} of {len(said)} pairs of frames agree with the poses, {said.count(False)} do not"
        yield Finding("info", "evidence", "frames", f"{text}, the rest share too little")
        return
    names = [sequence[i].frame.name for sequence, i in strangers]
    exchanged = _exchanges(study, strangers, gap)
    hint = "; exchanged: " + listing([f"{a} with {b}" for a, b in exchanged]) if exchanged else ""
    text = f"{len(names)} of {len(study.frames)} images do not fit the pose they have, their neighbours' do{hint}"
    severity: Severity = "error" if len(names) > 1 and not blamed else "warning"
    yield Finding(severity, "placing", listing(names, 6), text, 0.95 if exchanged else 0.8, remedy)


def misplaced(links: Sequence[Link]) -> list[int]:
    """The smallest set of frames that explains all contradicted links, found greedily. A frame is included only if most
    of its links are contradicted: a single one proves nothing.
    """
    rest, found = list(links), list[int]()
    while True:
        bad: dict[int, int] = {}
        known: dict[int, int] = {}
        for link in rest:
            for place in (link.first, link.second):
                known[place] = known.get(place, 0) + (link.agrees is not None)
                bad[place] = bad.get(place, 0) + (link.agrees is False)
        worst = max(bad, key=lambda place: (bad[place] / max(known[place], 1), bad[place], -place), default=None)
        if worst is None or bad[worst] < 2 or bad[worst] <= known[worst] / 2:
            return sorted(found)
        found.append(worst)
        rest = [link for link in rest if worst not in (link.first, link.second)]


def _agrees(study: Study, first: ExaminedFrame, second: ExaminedFrame) -> bool | None:
    if first.frame.pose_7 is None or second.frame.pose_7 is None:
        return None
    pair = match_frames(first.frame, second.frame)
    if pair is not None:
        return _fits(study, pair)
    # No common point: a contradiction where the poses are as near as those of pairs that have plenty.
    usable = [features_of(examined.frame) for examined in (first, second)]
    if any(each is None or len(each.x_N2) < LEAST_FEATURES for each in usable):
        return None
    return None if _apart(study, first.frame, second.frame) > 0.7 else False


def _fits(study: Study, pair: Pair) -> bool | None:
    best = study.reading
    error = float(np.median(point_errors(pair, motion(pair, best.hypothesis), best.scale)))
    if error > max(OFF, OFF_TIMES * best.error):
        return False
    return True if error < max(OFF, OFF_TIMES * best.error) / 2 else None


def _apart(study: Study, first: Frame, second: Frame) -> float:
    """How far apart the poses are, compared with pairs that have points in common: 1 = as the median of them."""
    motion_17 = relative(np.asarray(first.pose_7)[None], np.asarray(second.pose_7)[None])
    usual_m, usual_deg = study.usual_motion
    degrees = float(np.degrees(rotation_angle(motion_17[:, 3:]))[0])
    return max(float(np.linalg.norm(motion_17[0, :3])) / usual_m, degrees / usual_deg)


def _exchanges(study: Study, strangers: list[tuple[list[ExaminedFrame], int]], gap: int) -> list[tuple[str, str]]:
    """Which of the misplaced frames fit each other's pose."""
    if len(strangers) > MOST_EXCHANGES:
        return []
    places = {(id(sequence), i) for sequence, i in strangers}

    def fits(image: ExaminedFrame, sequence: list[ExaminedFrame], place: int) -> bool:
        """The image of one frame with the pose at another place, beside the neighbours of that place."""
        moved = replace(image.frame, pose_7=sequence[place].frame.pose_7)
        answers: list[bool] = []
        for step in (-gap, -max(gap // 2, 1), max(gap // 2, 1), gap):
            if 0 <= place + step < len(sequence) and (id(sequence), place + step) not in places:
                pair = match_frames(moved, sequence[place + step].frame)
                answers.append(pair is not None and _fits(study, pair) is True)
        return len(answers) > 0 and sum(answers) > len(answers) / 2

    found = []
    for n, (sequence, i) in enumerate(strangers):
        for other, k in strangers[n + 1 :]:
            if fits(sequence[i], other, k) and fits(other[k], sequence, i):
                found.append((sequence[i].frame.name, other[k].frame.name))
    return found
