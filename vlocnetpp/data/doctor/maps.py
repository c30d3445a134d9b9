"""Whether the drives are in one map: images of one drive are located among those of the others, and the answer is
compared with the stored pose. For drives in one map the two are alike; otherwise the transform between them is the same
for all images of the drive, and joins it to the map.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlocnetpp.data.doctor.findings import Finding
from vlocnetpp.data.doctor.locate import Located, Map
from vlocnetpp.data.doctor.matches import Floats, match_frames
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.layouts.recognize import recognizing
from vlocnetpp.poses import compose, inverse, relative, rotate, rotation_angle, weighted_mean
from vlocnetpp.progress import track

MOST_DRIVES = 24
"""Of more, so many are compared, evenly spread."""
QUERIES = 24
"""Images of a drive that are located."""
ENOUGH = 6
"""So many images at one transform decide; a single one may be a mistake of the matching."""
MEANT_M, MEANT_DEG = 0.7, 0.7
"""Poses nearer than this share of what separates matched frames of a drive must show the same."""
MOVED_SHARE, MOVED_DEG = 0.15, 10.0
"""A transform that moves the cameras by less than this share of the distance to the points, and turns them by less than
this, is the noise of the poses."""
SCALE_EXTENT = 0.1
"""Pairs of cameras that are this share of the distance to the points apart say how the scales differ."""
SAME_SCALE = 0.05
"""Scales that differ by less are called equal: the noise of the located cameras."""


@dataclass(frozen=True)
class Joint:
    """A similarity that takes a drive's poses into the map: `scale` times the position, then `pose_7`."""

    pose_7: Floats
    scale: float
    images: int
    """How many agree on it."""
    error: float
    """Median distance between located and transformed cameras."""

    def apply(self, pose_7: Floats) -> Floats:
        """A pose of the drive (7,) -> in the map."""
        scaled = np.concatenate((self.scale * pose_7[:3], pose_7[3:]))
        return compose(self.pose_7[None], scaled[None])[0]

    def __str__(self) -> str:
        x, y, z, *quaternion = self.pose_7
        angle = np.degrees(rotation_angle(self.pose_7[None, 3:]))[0]
        text = f"x {x:.3f} y {y:.3f} z {z:.3f} m, turned by {angle:.1f} deg (w x y z"
        text += "".join(f" {value:.4f}" for value in quaternion) + ")"
        return text if self.scale == 1 else f"{text}, after positions times {self.scale:.4f}"


@dataclass
class Drive:
    """A sequence, and what was found about its map."""

    frames: list[ExaminedFrame]
    """Those with a pose and an image."""
    located: list[Located]
    tried: int = 0
    in_map: bool = False
    joint: Joint | None = None

    @property
    def name(self) -> str:
        """Of the sequence."""
        return self.frames[0].sequence


def check_maps(study: Study) -> Iterator[Finding]:
    """One finding for each drive that is in another map, and one for all that are in the first drive's."""
    if not study.explained or study.reading is not study.stored:
        return  # the poses themselves are in doubt
    drives = compare_drives(study)
    if len(drives) < 2:
        return
    if skipped := len(_drives(study)) - len(drives):
        text = f"{skipped} of {skipped + len(drives)} drives were not compared, to end in time"
        yield Finding("warning", "cannot-tell", "maps", text, 0.0)
    root = study.dataset.root
    for drive in drives[1:]:
        if drive.joint is not None:
            moved = [relative(each.stored_7[None], each.found_7[None])[0] for each in drive.located]
            metres = np.median(np.linalg.norm([pose[:3] for pose in moved], axis=1))
            degrees = np.median(np.degrees(rotation_angle(np.array(moved)[:, 3:])))
            text = (
                f"{drive.joint.images} of {drive.tried} images of {drive.name} show what other drives show, "
                f"{metres:.2f} m and {degrees:.1f} deg from their poses: it is in another map than {drives[0].name}. "
                f"To join it, move its poses by {drive.joint}; cameras are then {drive.joint.error:.2g} m apart"
            )
            layout = "" if recognizing(root) == [study.dataset.layout] else f" --layout {study.dataset.layout}"
            remedy = f"vlocnetpp data align {root} {drive.name}{layout} --out NEW"
            yield Finding("error", "maps", drive.name, text, drive.joint.images / max(len(drive.located), 1), remedy)
        elif not drive.in_map and not drive.located:
            yield _strangers(study, drive, drives)
        elif not drive.in_map:
            text = f"{len(drive.located)} of {drive.tried} images were found in other drives, too few to compare maps"
            yield Finding("info", "cannot-tell", drive.name, text, 0.0)
    same = [drive for drive in drives[1:] if drive.in_map]
    if same:
        located = [each for drive in same for each in drive.located]
        apart = np.median([np.linalg.norm(each.found_7[:3] - each.stored_7[:3]) for each in located])
        names = ", ".join(drive.name for drive in same)
        text = f"{len(located)} images of {names} were located in other drives, {apart:.2g} m from their poses (median)"
        yield Finding("info", "evidence", "maps", text)


def compare_drives(study: Study, wanted: Collection[str] = ()) -> list[Drive]:
    """Locate images of each drive in those known to be in the first one's map; a drive with too few is tried again when
    the map has grown.

    Args:
        wanted: names of drives that are compared in any case; of the others, so many that `MOST_DRIVES` are.
    """
    drives = _drives(study)
    others = [drive for drive in drives if drive.name not in wanted]
    if len(drives) > MOST_DRIVES:
        spread = np.linspace(0, len(others) - 1, max(MOST_DRIVES - len(wanted), 1)).astype(int)
        kept = {id(others[i]) for i in spread} if others else set()
        drives = [drive for drive in drives if drive.name in wanted or id(drive) in kept]
    if len(drives) < 2:
        return drives
    drives[0].in_map = True
    waiting = drives[1:]
    queries = sum(min(len(drive.frames), QUERIES) for drive in waiting)
    steps = iter(track(range(queries), "locating images of each drive in the others"))
    grown = True
    while grown and waiting:
        grown = False
        for drive in waiting:
            _examine(drive, Map(study, [each.frames for each in drives if each.in_map]), steps)
            grown |= drive.in_map
        waiting = [drive for drive in waiting if not drive.in_map and drive.joint is None]
    for _ in steps:  # images that did not have to be looked at
        pass
    return drives


def _examine(drive: Drive, known: Map, steps: Iterator[int]) -> None:
    drive.located, drive.tried = [], 0
    # Neighbours show the same: from far to near, so that few images decide.
    order = np.linspace(0, len(drive.frames) - 1, min(len(drive.frames), QUERIES)).astype(int)
    for i in np.concatenate([order[start::4] for start in range(4)]):
        drive.tried += 1
        next(steps, None)
        if (found := known.locate(drive.frames[i])) is not None:
            drive.located.append(found)
        stay = sum(each.agrees(each.stored_7) for each in drive.located)
        if stay >= ENOUGH and stay > len(drive.located) / 2:
            drive.in_map = True
            return
    joint = join(drive.located)
    if joint is not None and joint.images > 2 * sum(each.agrees(each.stored_7) for each in drive.located):
        stored_N7 = np.array([each.stored_7 for each in drive.located])
        moved_N7 = relative(stored_N7, np.array([joint.apply(pose_7) for pose_7 in stored_N7]))
        metres = float(np.median(np.linalg.norm(moved_N7[:, :3], axis=1)))
        degrees = float(np.degrees(np.median(rotation_angle(moved_N7[:, 3:]))))
        if metres > MOVED_SHARE * np.median([each.distance for each in drive.located]) or degrees > MOVED_DEG:
            drive.joint = joint
        else:
            drive.in_map = True


def join(located: Sequence[Located]) -> Joint | None:
    """The transform on which most located images agree; None where fewer than `ENOUGH`, or than half of all, do."""
    if len(located) < ENOUGH:
        return None
    best: list[Located] = []
    for i, each in enumerate(located):
        partner = located[(i + len(located) // 2) % len(located)]
        for scale in {1.0, _scale([each, partner], 1)}:
            guess = _fit([each], scale)
            kept = [other for other in located if other.agrees(guess.apply(other.stored_7))]
            if len(kept) > len(best):
                best = kept
    if len(best) < ENOUGH or len(best) < len(located) / 2:
        return None
    return _fit(best, _scale(best, ENOUGH))


def _scale(located: Sequence[Located], least: int) -> float:
    """Distances between located cameras over the stored ones, the median; 1 with too few that are far enough apart."""
    stored_N3 = np.array([each.stored_7[:3] for each in located])
    found_N3 = np.array([each.found_7[:3] for each in located])
    pairs = np.triu_indices(len(located), 1)
    stored, found = (np.linalg.norm(p[:, None] - p[None], axis=2)[pairs] for p in (stored_N3, found_N3))
    far = found > SCALE_EXTENT * np.median([each.distance for each in located])
    if far.sum() < least:
        return 1.0
    scale = float(np.median(found[far] / np.maximum(stored[far], 1e-9)))
    return 1.0 if abs(np.log(scale)) < SAME_SCALE else scale


def _fit(located: Sequence[Located], scale: float) -> Joint:
    stored_N7 = np.array([np.concatenate((scale * each.stored_7[:3], each.stored_7[3:])) for each in located])
    found_N7 = np.array([each.found_7 for each in located])
    turn_4 = weighted_mean(compose(found_N7, inverse(stored_N7)))[3:]
    shift_3 = np.median(found_N7[:, :3] - rotate(np.tile(turn_4, (len(located), 1)), stored_N7[:, :3]), axis=0)
    pose_7 = np.concatenate((shift_3, turn_4))
    moved_N7 = compose(np.tile(pose_7, (len(located), 1)), stored_N7)
    error = float(np.median(np.linalg.norm(moved_N7[:, :3] - found_N7[:, :3], axis=1)))
    return Joint(pose_7, scale, len(located), error)


def _strangers(study: Study, drive: Drive, drives: Sequence[Drive]) -> Finding:
    """A drive of which no image was found: an error where its poses say that it sees the same as another drive."""
    known = Map(study, [each.frames for each in drives if each.in_map])
    usual_m, usual_deg = study.usual_motion
    near, matched, control = 0, 0, 0
    for i in np.unique(np.linspace(0, len(drive.frames) - 1, 4 * QUERIES).astype(int)):
        query = drive.frames[i]
        pose = np.asarray(query.frame.pose_7)
        metres = np.linalg.norm(known.poses_N7[:, :3] - pose[:3], axis=1)
        degrees = np.degrees(2 * np.arccos(np.minimum(np.abs(known.poses_N7[:, 3:] @ pose[3:]), 1.0)))
        which = int(np.argmin(metres / usual_m + degrees / usual_deg))
        if metres[which] > MEANT_M * usual_m or degrees[which] > MEANT_DEG * usual_deg or near == QUERIES:
            continue
        near += 1
        other = known.frames[which]
        matched += match_frames(other.frame, query.frame) is not None
        frames, place = known.place[id(other)]
        step = study.usual_gap if place + study.usual_gap < len(frames) else -study.usual_gap
        control += match_frames(other.frame, frames[max(place + step, 0)].frame) is not None
    if near >= ENOUGH and control > near / 2 and matched <= 0.1 * near:
        text = (
            f"{near} images of {drive.name} have a pose where other drives see the same, but {near - matched} of them "
            f"have nothing in common with the image there: it is in another map than {drives[0].name}, or elsewhere"
        )
        remedy = "put each place in a dataset of its own; drives of one place need one map, and see some of the same"
        return Finding("error", "maps", drive.name, text, 0.8, remedy)
    text = f"none of {drive.tried} images of {drive.name} shows what other drives show, so that maps cannot be compared"
    return Finding("warning", "cannot-tell", drive.name, text, 0.0)


def _drives(study: Study) -> list[Drive]:
    """The sequences with enough posed images, training ones first."""
    drives = []
    for split in sorted(study.splits, key=lambda split: split != "train"):
        for sequence in study.splits[split]:
            frames = [each for each in sequence if each.frame.pose_7 is not None and each.thumbnail is not None]
            if len(frames) >= ENOUGH:
                drives.append(Drive(frames, []))
    return drives
