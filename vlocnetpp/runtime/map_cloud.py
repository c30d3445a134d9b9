"""The map's point cloud that a model file may carry, for visualization.

An extra file of the archive, `map_cloud`: in NumPy's .npy format, a structured array (N,) of `POINT`.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.runtime.archive import ModelFileError

MAP_CLOUD_NAME = "map_cloud"
CLOUD_FILE_NAME = "map_cloud.npy"
"""In the folder of a run, from which the exporter takes it."""
POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
"""Position in the map frame, metres, and colour."""
MOST_POINTS = 1_000_000


def cloud_to_bytes(points: NDArray[np.void]) -> bytes:
    """The bytes of the record. Raises ValueError for another type, too many points, or positions that are not
    finite.
    """
    if points.dtype != POINT or points.ndim != 1 or len(points) > MOST_POINTS:
        raise ValueError(f"a map cloud is up to {MOST_POINTS} points of {POINT}, not {points.shape} of {points.dtype}")
    if not np.isfinite(points["xyz"]).all():
        raise ValueError("a map cloud has a position that is not finite")
    written = io.BytesIO()
    np.save(written, points, allow_pickle=False)
    return written.getvalue()


def read_map_cloud(path: str | Path) -> NDArray[np.void] | None:
    """(N,) of `POINT` from a model file, None where it carries none. Raises ModelFileError where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{MAP_CLOUD_NAME}")]
            if not names:
                return None
            if archive.getinfo(names[0]).file_size > MOST_POINTS * POINT.itemsize + 4096:
                raise ModelFileError(f"{path}: its {MAP_CLOUD_NAME} has more than {MOST_POINTS} points")
            points = np.load(io.BytesIO(archive.read(names[0])), allow_pickle=False)
            cloud_to_bytes(points)
            return np.asarray(points)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: its {MAP_CLOUD_NAME} cannot be read: {str(error)[:200]}") from error
