"""Moves drives into the map of the others: a copy of a dataset, with the transform that `maps` found."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from vlocnetpp.data.doctor.examine import study_of
from vlocnetpp.data.doctor.maps import Joint, compare_drives
from vlocnetpp.data.frames import DataError, Dataset, Frame
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.layouts.recognize import open_dataset
from vlocnetpp.data.layouts.unstamped import distinct
from vlocnetpp.errors import nearest
from vlocnetpp.progress import track


def align(root: Path, layout: str | None, names: Collection[str], out: Path, pairs: int, seed: int) -> dict[str, Joint]:
    """Write a copy of a dataset to `out`, which must not exist, with the named sequences in the first one's map.

    Returns the transform of each. Raises DataError where a sequence does not exist, is in that map already, or shows
    too little of what the others show.
    """
    dataset = open_dataset(Path(root), layout)
    known = [sequence.name for sequences in dataset.splits.values() for sequence in sequences]
    for name in names:
        if name not in known:
            raise DataError(f"{root}: has no sequence '{name}'{nearest(name, known)}")
    writer = FolderWriter(out, dataset.classes, dataset.map_frame)  # before the measuring: it refuses what exists
    study = study_of(dataset, pairs, seed)
    if not study.explained or study.reading is not study.stored:
        raise DataError(f"{root}: its poses do not explain its images; see vlocnetpp data doctor {root}")
    drives = compare_drives(study, names)
    joints: dict[str, Joint] = {}
    for name in names:
        drive = next((each for each in drives if each.name == name), None)
        if drive is None or (drive.joint is None and not drive.in_map):
            found = (
                f"{len(drive.located)} of {drive.tried} images were" if drive else "its frames are too few, none was"
            )
            raise DataError(f"{root}: {name}: {found} found in the other drives, which is too little for a transform")
        if drive.joint is None:
            raise DataError(f"{root}: {name} is in the map of {drives[0].name} already")
        joints[name] = drive.joint
    write_moved(dataset, joints, writer)
    return joints


def write_moved(dataset: Dataset, joints: dict[str, Joint], writer: FolderWriter) -> None:
    """Copy a dataset with the poses of some sequences moved; images stay as they are, byte for byte."""
    frames = [
        (split, sequence.name, frame)
        for split, sequences in dataset.splits.items()
        for sequence in sequences
        for frame in sequence.frames
    ]
    names = distinct(list(dict.fromkeys(name for _, name, _ in frames)), _plain)
    with writer:
        for split, name, frame in track(frames, "writing the moved dataset"):
            pose = frame.pose_7
            if pose is not None and name in joints:
                pose = joints[name].apply(pose)
            encoded = _encoded(frame)
            writer.add(
                names[name], split, frame.stamp_ns, None if encoded else frame.image(), frame.K_33, pose, frame.depth(),
                frame.mask(), encoded=encoded,
            )  # fmt: skip


def _plain(name: str) -> str:
    """A name that `FolderWriter` takes."""
    return re.sub(r"^(?![A-Za-z0-9_])", "_", re.sub(r"[^A-Za-z0-9._-]", "-", name))


def _encoded(frame: Frame) -> bytes | None:
    """The bytes of a JPEG or PNG; None for other formats, which are encoded anew."""
    if frame.image_path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        return None
    try:
        return frame.image_path.read_bytes()
    except OSError as error:
        raise DataError(f"{frame.image_path}: cannot be read: {error.strerror}") from error
