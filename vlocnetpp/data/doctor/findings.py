"""What the doctor can find, as a table: each kind with its meaning and what to do about it. A test compares
`docs/doctor.md` with this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Kind:
    """One thing that can be found."""

    means: str
    do: str


KINDS = {
    "reading": Kind(
        "A file cannot be read, so the rest of the dataset could not be looked at.",
        "repair or remove the file that is named, then run the doctor again",
    ),
    "rotation": Kind(
        "A stored pose is not a rigid transform: scaled, sheared, mirrored, or not finite.",
        "divide the rotation by its scale or orthonormalize it where the poses are written; look for a unit mistake",
    ),
    "lost": Kind(
        "None of the stored poses is valid: they are NaN, zero or far from unit length.",
        "check the program that wrote them: the order of its columns, or a localization that never started",
    ),
    "noted": Kind(
        "The reader of this layout left something out or assumed it: invalid poses, a nominal K.",
        "nothing if it is few and as expected: what is unknown is left out of training",
    ),
    "image": Kind("Images are missing or do not decode.", "copy the files again, or take the frames out"),
    "missing": Kind(
        "Some frames lack a pose, a depth or a mask that other frames have.",
        "fine if intended: training skips what is missing; otherwise check the program that wrote them",
    ),
    "size": Kind(
        "Images of different sizes, or depth or masks that do not have the size of their image.",
        "resize depth and masks to their images (nearest neighbour), keep cameras in datasets of their own",
    ),
    "black": Kind("Images are almost black.", "take the frames out"),
    "overexposed": Kind("More than half of the pixels of an image are white.", "lower the exposure or take them out"),
    "blur": Kind("Images are far less sharp than those around them.", "take them out if there are many"),
    "duplicates": Kind(
        "Images are repeated: pixel for pixel the same as the one before, or unchanged although the pose moves.",
        "look at them: where a camera stalled, take them out (docs/doctor.md says how); of a standing robot, from-bag "
        "--min-translation 0.05 --min-rotation 3 drops them",
    ),
    "stamps": Kind("Stamps do not increase within a sequence.", "sort the frames, fix the clock"),
    "gap": Kind("Time jumps within a sequence.", "split the sequence there: odometry across a gap is meaningless"),
    "speed": Kind(
        "The pose jumps: a step far longer or a turn far wider than those around it.",
        "look at the frames in the picture; take them out or split the sequence if the localization jumped",
    ),
    "order": Kind(
        "Neighbours in a sequence are no more alike than frames drawn at random: it is not in the order of recording.",
        "sort the frames by the time they were taken; frame numbers may lack leading zeros",
    ),
    "placing": Kind(
        "The images of some frames do not fit their poses, while the dataset as a whole does: swapped or shifted.",
        "pair images and poses again by stamp, or take the frames out (docs/doctor.md says how)",
    ),
    "offset": Kind(
        "Images fit the pose of another frame better, the same few frames further for all of them.",
        "shift the poses against the images; look for a delay between camera and localization",
    ),
    "convention": Kind(
        "The poses follow another convention than assumed: direction, axes or quaternion order.",
        "convert the poses to camera-to-world, optical axes (x right, y down, z forward), w x y z",
    ),
    "unexplained": Kind(
        "The poses do not explain the images under any usual convention.",
        "see the other findings first; otherwise check K, the stamps and which frame the poses are of",
    ),
    "scale": Kind(
        "The stored translations and the depth do not have the same unit.",
        "bring both to metres (depth images: millimetres, or what the layout says)",
    ),
    "intrinsics": Kind(
        "K does not fit: the focal length explains the motion better at another value, or the centre is off.",
        "use the calibration of this camera at the resolution of these images",
    ),
    "registration": Kind(
        "K fits the depth images but not the colour images: depth is not registered to colour.",
        "register depth to colour where it is recorded, or train with `data.depth_camera`, as the finding says",
    ),
    "depth": Kind(
        "Depth images cannot be read, are mostly empty or hold unlikely distances.",
        "look at the unit and at the encoding; the project reads 16-bit, 0 = unknown",
    ),
    "mask": Kind(
        "Masks are missing or cannot be read as one id a pixel.",
        "write them as 8-bit images of one channel: class ids, 255 = unlabelled (docs/recordings.md)",
    ),
    "mask-ids": Kind("Masks contain ids that no class has.", "map the ids to 0 .. classes - 1 and 255 = unlabelled"),
    "mask-shift": Kind(
        "Masks fit the usual places of their classes better if all ids are moved by one.",
        "number classes from 0, with 255 for unlabelled; often 0 was taken for void",
    ),
    "mask-void": Kind("Masks are (almost) wholly unlabelled.", "look at the ids that the masks hold"),
    "classes": Kind(
        "Classes never occur in any mask, or only in the test split.",
        "fine for a rare class; a class that is not trained cannot be found",
    ),
    "overlap": Kind(
        "Test frames are also training frames: the same image, or the same pose with a near-equal image.",
        "split by recording, never by frame: a test on training images says nothing",
    ),
    "distance": Kind(
        "Distance of test poses to the nearest training pose: the bound for methods that only retrieve images.",
        "drive the mapping run where the robot will drive; expect no good pose far from it",
    ),
    "maps": Kind(
        "Two drives are in different maps: images show the same, the poses differ, or the other way round.",
        "move the drive into the map of the others, into a new folder: vlocnetpp data align ROOT SEQUENCE --out NEW",
    ),
    "evidence": Kind("What was measured and found in order.", "nothing"),
    "cannot-tell": Kind(
        "The data do not allow a check: too little motion, texture, depth or rotation.",
        "nothing, but this was not checked",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    severity: Severity
    kind: str
    """A key of `KINDS`."""
    where: str
    """Split, sequence, frame or file."""
    what: str
    """What was measured, in one line, with units."""
    confidence: float = 1.0
    """0..1; 1 for what was counted, less where a measurement decides."""

    remedy: str = ""
    """What to do about it, with the numbers that were found; empty: what `KINDS` says."""

    @property
    def do(self) -> str:
        """What to do about it."""
        return self.remedy or KINDS[self.kind].do


def listing(names: list[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
