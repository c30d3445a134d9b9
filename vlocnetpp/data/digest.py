"""A digest of a dataset's content."""

from __future__ import annotations

import hashlib

from vlocnetpp.data.frames import Dataset


def dataset_digest(dataset: Dataset) -> str:
    """sha256 in hex over the frames' metadata, without reading a pixel, so it takes seconds for any dataset.

    Covers classes, map frame and, frame by frame in order: split, sequence, name, stamp, pose, K, the unit of depth
    and the sizes in bytes of the image, depth and mask files. Two datasets that differ in one of these differ in the
    digest; an image edited to the very same size in bytes does not show. Where the folder lies does not matter.
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
                add(
                    frame.name,
                    frame.stamp_ns,
                    pose,
                    frame.K_33.tolist(),
                    sizes,
                    frame.void_from,
                    frame.depth_units_per_m,
                )
    return digest.hexdigest()
