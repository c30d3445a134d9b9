"""Which layout a folder has, and one digest for what is in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlocnetpp.data import camvid, folder, seven_scenes
from vlocnetpp.data.frames import DataError, Dataset

LAYOUTS = {"folder": folder, "seven_scenes": seven_scenes, "camvid": camvid}
"""Every reader by name: a module with `recognizes(root) -> bool` and `read(root) -> Dataset`."""


def open_dataset(root: Path, layout: str | None = None) -> Dataset:
    """Read a dataset's index; pixels load on demand.

    layout: a name in `LAYOUTS`, or None to recognize it from the folder.
    Raises DataError in one line if the folder is missing, of no known layout, or malformed.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: {'is not a folder' if root.exists() else 'does not exist'}")
    if layout is None:
        found = [name for name, reader in LAYOUTS.items() if reader.recognizes(root)]
        if len(found) != 1:
            reason = f"could be {' or '.join(found)}" if found else "is of no known layout"
            raise DataError(f"{root}: {reason}; name one of {', '.join(LAYOUTS)}")
        layout = found[0]
    if layout not in LAYOUTS:
        raise DataError(f"{root}: no layout '{layout}', there is {', '.join(LAYOUTS)}")
    dataset = LAYOUTS[layout].read(root)
    if not any(sequence.frames for sequences in dataset.splits.values() for sequence in sequences):
        raise DataError(f"{root}: has no frame")
    return dataset


def dataset_digest(dataset: Dataset) -> str:
    """sha256 in hex over what the frames are, without reading a pixel, so it takes seconds for any dataset.

    Covers classes, map frame and, frame by frame in order: split, sequence, name, stamp, pose, K and the sizes in
    bytes of the image, depth and mask files. Two datasets that differ in one of these differ in the digest; an image
    edited to the very same size in bytes does not show. Where the folder lies does not matter.
    """
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        digest.update(repr(values).encode())

    add(dataset.map_frame, [(each.name, each.color) for each in dataset.classes])
    for split in sorted(dataset.splits):
        for sequence in dataset.splits[split]:
            add(split, sequence.name, len(sequence.frames))
            for frame in sequence.frames:
                pose = None if frame.pose_7 is None else frame.pose_7.tolist()
                files = (frame.image_path, frame.depth_path, frame.mask_path)
                sizes = [None if path is None else path.stat().st_size for path in files]
                add(frame.name, frame.stamp_ns, pose, frame.K_33.tolist(), sizes, frame.void_from)
    return digest.hexdigest()
