"""Whether the drives are in one map: images of one drive are located among those of the others, and the answer is
compared with the stored pose.

Points of the other drives get their places from depth images or, where there are none, by triangulation between
neighbours. A camera located from them (PnP) says where the map has it. For drives in one map that is the stored pose;
otherwise the transform between the two is the same for all images of the drive, and joins it to the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.doctor.findings import Finding
from vlocnetpp.data.doctor.matches import Floats, count_matches, match_frames
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.frames import Frame
from vlocnetpp.data.poses import pose_from_matrix
from vlocnetpp.poses import compose, inverse, relative, rotate, rotation_angle, weighted_mean
from vlocnetpp.progress import track

MOST_DRIVES = 24
"""Of more, so many are compared, evenly spread."""
QUERIES = 24
"""Images of a drive that are located."""
ENOUGH = 6
"""So many images at one transform decide; a single one may be a mistake of the matching."""
SPREAD, BY_LOOKS, BY_POSE = 48, 4, 2
"""Images of the map that a query is compared with: evenly spread, most alike as thumbnails, nearest by pose."""
VERIFIED = 3
"""Of them, those with most points in common are used to locate it."""
WITHIN_PX = (9.0, 6.0, 3.0)
"""Rounds of least squares: distance of a point from where the camera sees it, in images of 400 px. The wider set leads
out of the wrong one of two places from which a wall looks nearly the same."""
LEAST_INLIERS = 14
OFF = 0.08
"""A pose agrees with an image if its points lie this near to where that pose sees them, median, share of the width. Not
the distance from the located pose decides: a wall looks nearly the same from two places."""
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
class Located:
    """An image of a drive, located in the map of other drives."""

    stored_7: Floats
    found_7: Floats
    distance: float
    """Median distance of its points, in the map's unit."""
    points_N3: Floats
    """In the map."""
    x_N2: Floats
    """Where the image shows them, pixels."""
    K_33: Floats
    width: int

    def agrees(self, pose_7: Floats) -> bool:
        """Whether the points lie where a camera at this pose sees them."""
        turned_N3 = rotate(np.tile(inverse(pose_7[None])[0, 3:], (len(self.points_N3), 1)), self.points_N3 - pose_7[:3])
        pixel_N3 = turned_N3 @ self.K_33.T
        before_N = pixel_N3[:, 2] > 1e-6
        off_N = np.full(len(before_N), float(self.width))
        off_N[before_N] = np.linalg.norm(pixel_N3[before_N, :2] / pixel_N3[before_N, 2:] - self.x_N2[before_N], axis=1)
        return float(np.median(off_N)) < OFF * self.width


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


@dataclass
class Map:
    """Frames of drives in one map, as a place to locate others in."""

    study: Study
    drives: list[Drive]

    @cached_property
    def frames(self) -> list[ExaminedFrame]:
        """Of all its drives."""
        return [examined for drive in self.drives for examined in drive.frames]

    @cached_property
    def poses_N7(self) -> Floats:
        """Of `frames`."""
        return np.array([examined.frame.pose_7 for examined in self.frames])

    @cached_property
    def looks_ND(self) -> Floats:
        """Thumbnails of `frames` of mean 0 and length 1."""
        return np.array([_look(examined) for examined in self.frames])

    @cached_property
    def spread(self) -> list[int]:
        """Numbers of frames evenly spread over all drives."""
        return np.unique(np.linspace(0, len(self.frames) - 1, SPREAD).astype(int)).tolist()

    @cached_property
    def _place(self) -> dict[int, tuple[list[ExaminedFrame], int]]:
        return {id(each): (drive.frames, i) for drive in self.drives for i, each in enumerate(drive.frames)}

    def locate(self, query: ExaminedFrame) -> Located | None:
        """Locate an image by points in common with the map; its stored pose only adds candidates."""
        pose = np.asarray(query.frame.pose_7)
        alike = np.argsort(-(self.looks_ND @ _look(query)))[:BY_LOOKS]
        metres = np.linalg.norm(self.poses_N7[:, :3] - pose[:3], axis=1)
        degrees = np.degrees(2 * np.arccos(np.minimum(np.abs(self.poses_N7[:, 3:] @ pose[3:]), 1.0)))
        near = np.argsort(metres + 0.01 * degrees)[:BY_POSE]
        candidates = sorted({*self.spread, *alike.tolist(), *near.tolist()})
        counts = [count_matches(self.frames[i].frame, query.frame) for i in candidates]
        points: list[Floats] = [np.empty((0, 3))]
        pixels: list[Floats] = [np.empty((0, 2))]
        distances: list[Floats] = [np.empty(0)]
        width = 0
        for order in np.argsort(-np.array(counts), kind="stable")[:VERIFIED]:
            known = self.frames[candidates[order]]
            pair = match_frames(known.frame, query.frame)
            if pair is None:
                continue
            z_N = pair.z1_N / self._depth_factor if pair.has_depth else self._triangulated(known, pair.x1_N2)
            deep = np.isfinite(z_N) & (z_N > 0)
            points.append(_lift(known.frame, pair.x1_N2[deep], z_N[deep], self._K(known.frame)))
            pixels.append(pair.x2_N2[deep])
            distances.append(z_N[deep])
            width = pair.width
        points_N3, x_N2, K_33 = np.concatenate(points), np.concatenate(pixels), self._K(query.frame)
        solved = _solve(points_N3, x_N2, K_33, max(width / 400, 0.7))
        if solved is None:
            return None
        inlier, pose_7 = solved
        distance = float(np.median(np.concatenate(distances)[inlier]))
        return Located(pose, pose_7, distance, points_N3[inlier], x_N2[inlier], K_33, width)

    def _triangulated(self, known: ExaminedFrame, x_N2: Floats) -> Floats:
        """Depths at points of a frame from its neighbours, NaN where none shows them from clearly elsewhere."""
        frames, place = self._place[id(known)]
        z_N = np.full(len(x_N2), np.nan)
        row = {tuple(x): i for i, x in enumerate(x_N2.tolist())}
        gap = self.study.usual_gap
        for step in (gap, -gap, 2 * gap, -2 * gap):
            if not 0 <= place + step < len(frames):
                continue
            pair = match_frames(known.frame, frames[place + step].frame)
            if pair is None:
                continue
            z_M = _triangulate(pair.first, pair.second, pair.x1_N2, pair.x2_N2, self._K(pair.first))
            for x, z in zip(pair.x1_N2.tolist(), z_M.tolist(), strict=True):
                if (i := row.get(tuple(x))) is not None and np.isnan(z_N[i]):
                    z_N[i] = z
        return z_N

    def _K(self, frame: Frame) -> Floats:
        """K with the focal length that fits the data, where it was found to be wrong."""
        fit = self.study.by_depth
        K = frame.K_33.copy()
        K[[0, 1], [0, 1]] *= fit.focal if fit is not None and abs(np.log(fit.focal)) > 0.04 else 1.0
        return K

    @cached_property
    def _depth_factor(self) -> float:
        """The unit of the depth images in that of the poses, where they were found to differ."""
        fit = self.study.by_depth
        return fit.scale if fit is not None and abs(np.log(fit.scale)) > 0.04 else 1.0


def check_maps(study: Study) -> Iterator[Finding]:
    """One finding for each drive that is in another map, and one for all that are in the first drive's."""
    if not study.explained or study.reading is not study.stored:
        return  # the poses themselves are in doubt
    drives = compare_drives(study)
    if len(drives) < 2:
        return
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
            remedy = f"vlocnetpp data align {root} {drive.name} --out NEW"
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


def compare_drives(study: Study) -> list[Drive]:
    """Locate images of each drive in those known to be in the first one's map; a drive with too few is tried again when
    the map has grown.
    """
    drives = _drives(study)
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
            _examine(drive, Map(study, [each for each in drives if each.in_map]), steps)
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
    known = Map(study, [each for each in drives if each.in_map])
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
        frames, place = known._place[id(other)]
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
    if len(drives) <= MOST_DRIVES:
        return drives
    return [drives[i] for i in np.unique(np.linspace(0, len(drives) - 1, MOST_DRIVES).astype(int))]


def _look(examined: ExaminedFrame) -> Floats:
    assert examined.thumbnail is not None
    grey = examined.thumbnail.ravel().astype(np.float64)
    grey -= grey.mean()
    return grey / max(float(np.linalg.norm(grey)), 1e-9)


def _lift(frame: Frame, x_N2: Floats, z_N: Floats, K_33: Floats) -> Floats:
    """Points (N, 3) in the map of pixels and their depths."""
    rays_N3 = np.hstack([x_N2, np.ones((len(x_N2), 1))]) @ np.linalg.inv(K_33).T
    pose = np.asarray(frame.pose_7)
    return rotate(np.tile(pose[3:], (len(x_N2), 1)), rays_N3 * z_N[:, None]) + pose[:3]


def _solve(points_N3: Floats, x_N2: Floats, K_33: Floats, unit_px: float) -> tuple[NDArray[np.intp], Floats] | None:
    """Places of the inliers, and camera-to-world pose, from points and their pixels; None with too few inliers."""
    if len(points_N3) < LEAST_INLIERS:
        return None
    cv2.setRNGSeed(0)
    solved, turn, shift, _ = cv2.solvePnPRansac(
        points_N3, x_N2, K_33, None, iterationsCount=500, reprojectionError=WITHIN_PX[-1] * unit_px,
        flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not solved:
        return None
    for within in WITHIN_PX:
        off_N = np.linalg.norm(cv2.projectPoints(points_N3, turn, shift, K_33, None)[0][:, 0] - x_N2, axis=1)
        inlier = np.flatnonzero(off_N < within * unit_px)
        if len(inlier) < LEAST_INLIERS:
            return None
        turn, shift = cv2.solvePnPRefineLM(points_N3[inlier], x_N2[inlier], K_33, None, turn, shift)
    rotation = cv2.Rodrigues(turn)[0].T
    T_44 = np.eye(4)
    T_44[:3, :3], T_44[:3, 3] = rotation, -rotation @ shift[:, 0]
    return inlier, pose_from_matrix(T_44, "PnP")


def _triangulate(first: Frame, second: Frame, x1_N2: Floats, x2_N2: Floats, K_33: Floats) -> Floats:
    """Depths in the first camera; NaN behind a camera, off by more than 2 px, or seen under less than one degree."""
    motion_7 = relative(np.asarray(second.pose_7)[None], np.asarray(first.pose_7)[None])[0]
    R = rotate(np.tile(motion_7[3:], (3, 1)), np.eye(3)).T
    ray1_N3, ray2_N3 = (np.hstack([x, np.ones((len(x), 1))]) @ np.linalg.inv(K_33).T for x in (x1_N2, x2_N2))
    turned_N3 = ray1_N3 @ R.T
    # z1 * turned + t = z2 * ray2, in the least squares.
    A_N32 = np.stack([turned_N3, -ray2_N3], axis=2)
    normal_N22 = A_N32.transpose(0, 2, 1) @ A_N32
    right_N2 = -np.einsum("nij,i->nj", A_N32, motion_7[:3])
    determinant = np.linalg.det(normal_N22)
    z_N2 = np.full((len(x1_N2), 2), np.nan)
    solvable = determinant > 1e-12
    z_N2[solvable] = np.linalg.solve(normal_N22[solvable], right_N2[solvable][..., None])[..., 0]
    seen_N3 = z_N2[:, :1] * turned_N3 + motion_7[:3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixel_N3 = seen_N3 @ K_33.T
        off_N = np.linalg.norm(pixel_N3[:, :2] / pixel_N3[:, 2:] - x2_N2, axis=1)
        cosine_N = (
            (turned_N3 * ray2_N3).sum(axis=1) / np.linalg.norm(turned_N3, axis=1) / np.linalg.norm(ray2_N3, axis=1)
        )
        good = (z_N2 > 0).all(axis=1) & (off_N < 2.0) & (cosine_N < np.cos(np.radians(1.0)))
    return np.where(good, z_N2[:, 0], np.nan)
