"""What all checks share: the examined frames, and the pairs of frames on which poses are tested."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vlocnetpp.data.doctor.delay import Delay, find_delay
from vlocnetpp.data.doctor.hypotheses import STORED, Verdict, judge, motion
from vlocnetpp.data.doctor.matches import Floats, Pair, match_frames
from vlocnetpp.data.doctor.surfaces import CAP, Fit, Surfaces, fit_lines, fit_surfaces
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.doctor.wild import Wild, set_wild_poses_aside
from vlocnetpp.data.frames import Dataset
from vlocnetpp.poses import relative, rotation_angle
from vlocnetpp.progress import track

LEAST_PAIRS = 8
"""With fewer pairs nothing is decided."""
SMALLEST_MOVE, LARGEST_MOVE = 0.04, 0.3
"""Points of a pair must move by this share of the image width: below, every hypothesis fits; above, little overlap is
left."""
CLEARLY = 0.6
"""A reading wins clearly if its error is below this share of the other's."""
FARTHEST = 60
"""Frames between the two of a pair."""


@dataclass
class Study:
    """A dataset under examination."""

    dataset: Dataset
    splits: dict[str, list[list[ExaminedFrame]]]
    """For each split its sequences of frames."""
    wanted_pairs: int
    seed: int
    pairs: list[Pair] = field(default_factory=list)
    """Frames of one sequence, both with a pose, that see the same from clearly different places."""
    places: list[tuple[list[ExaminedFrame], int, int]] = field(default_factory=list)
    """Where each pair comes from: its sequence and the two places in it."""
    tried: int = 0
    wild: list[Wild] = field(default_factory=list)
    """Wild poses, which no check uses."""

    @property
    def sequences(self) -> list[list[ExaminedFrame]]:
        """Every sequence of every split."""
        return [sequence for sequences in self.splits.values() for sequence in sequences]

    @property
    def frames(self) -> list[ExaminedFrame]:
        """Every frame of every split."""
        return [examined for sequence in self.sequences for examined in sequence]

    def set_wild_poses_aside(self) -> None:
        """Exclude poses far off the path of their neighbours from everything that follows."""
        self.wild = [each for sequence in self.sequences for each in set_wild_poses_aside(sequence)]

    def choose_pairs(self) -> None:
        """Draw pairs at random from all sequences, by what the images show and never by what the poses say."""
        usable = [sequence for sequence in self.sequences if len(sequence) > 1]
        if not usable or not any(examined.frame.pose_7 is not None for examined in self.frames):
            return
        random = np.random.default_rng(self.seed)
        share = np.array([len(sequence) for sequence in usable], np.float64)
        share /= share.sum()
        for _ in track(range(4 * self.wanted_pairs), "matching pairs of frames"):
            sequence = usable[random.choice(len(usable), p=share)]
            # Log-uniform: slow and fast recordings both get pairs that moved enough.
            gap = int(np.exp(random.uniform(0, np.log(min(len(sequence) - 1, FARTHEST) + 1))))
            first = int(random.integers(len(sequence) - gap))
            if len(self.pairs) == self.wanted_pairs:
                continue
            a, b = sequence[first], sequence[first + gap]
            if a.frame.pose_7 is None or b.frame.pose_7 is None:
                continue
            self.tried += 1
            pair = match_frames(a.frame, b.frame)
            if pair is not None and SMALLEST_MOVE < pair.displacement < LARGEST_MOVE:
                self.pairs.append(pair)
                self.places.append((sequence, first, first + gap))

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Every reading of the poses on every pair, best first; empty where there are too few pairs."""
        return judge(self.pairs) if len(self.pairs) >= LEAST_PAIRS else []

    @cached_property
    def stored(self) -> Verdict:
        """The poses as the library read them."""
        return next(verdict for verdict in self.verdicts if verdict.hypothesis == STORED)

    @cached_property
    def reading(self) -> Verdict:
        """The reading that all other checks use: as stored, unless another one is clearly better by all evidence."""
        best = self.verdicts[0]
        clear = best.error < CLEARLY * self.stored.error and float((best.errors_P < self.stored.errors_P).mean()) > 0.7
        if not clear or best.explained < 0.5:
            return self.stored
        if len(self.surfaces) >= LEAST_PAIRS and self._surface_error(best) > CLEARLY * self._surface_error(self.stored):
            return self.stored
        return best

    @cached_property
    def explained(self) -> bool:
        """Whether this reading explains the dataset as a whole, so that single frames can be judged by it."""
        return bool(self.verdicts) and self.reading.explained > 0.5

    @cached_property
    def motions(self) -> list[Floats]:
        """The motion of each pair by that reading."""
        return [motion(pair, self.reading.hypothesis) for pair in self.pairs]

    @cached_property
    def surfaces(self) -> dict[int, Surfaces]:
        """The depth of those pairs that have it in both images, by their place among the pairs."""
        return {i: Surfaces(pair) for i, pair in enumerate(self.pairs) if pair.has_both_depths}

    @cached_property
    def by_depth(self) -> Fit | None:
        """Scale and focal length by depth against depth; None where too few pairs have a depth."""
        if len(self.surfaces) < LEAST_PAIRS:
            return None
        motions = [self.motions[i] for i in self.surfaces]
        return fit_surfaces(list(self.surfaces.values()), motions, self.reading.scale)

    @cached_property
    def by_lines(self) -> Fit:
        """Focal length of the colour images."""
        return fit_lines(self.pairs, self.motions)

    @cached_property
    def delay(self) -> Delay | None:
        """By how many frames images and poses are apart."""
        return find_delay(self.pairs, self.places, self.reading, self.by_lines.focal) if self.verdicts else None

    @cached_property
    def usual_gap(self) -> int:
        """So many frames apart, points move by about a tenth of the image."""
        speeds = [
            pair.displacement / (second - first)
            for pair, (_, first, second) in zip(self.pairs, self.places, strict=True)
        ]
        return int(np.clip(round(0.1 / float(np.median(speeds))), 1, 20))

    @cached_property
    def usual_motion(self) -> tuple[float, float]:
        """Metres and degrees between two frames of a pair, which have plenty in common: their medians."""
        motions_P7 = relative(
            np.array([pair.first.pose_7 for pair in self.pairs]), np.array([pair.second.pose_7 for pair in self.pairs])
        )
        metres = float(np.median(np.linalg.norm(motions_P7[:, :3], axis=1)))
        return max(metres, 1e-6), max(float(np.degrees(np.median(rotation_angle(motions_P7[:, 3:])))), 1e-3)

    def _surface_error(self, verdict: Verdict) -> float:
        errors = [
            surface.errors(motion(self.pairs[i], verdict.hypothesis), verdict.scale)
            for i, surface in self.surfaces.items()
        ]
        return float(np.median([each.mean() if len(each) else CAP for each in errors]))
