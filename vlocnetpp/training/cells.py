"""The cells of all training images, computed once and kept in a memory-mapped file, from which single ones are drawn.

With a frozen front the features of an image never change. So the images, each also in several augmentations and new
views, go through the front once, and a head then learns from thousands of cells of all images in every step instead of
a few whole images: ACE (Brachmann, Cavallari & Prisacariu, 2023).

A buffer is a folder named by a digest of what it was built from, beside the caches of decoded frames and, like those,
removed when all together grow too large. It is written image by image; a build that was killed continues after its last
complete part, one that a signal stopped where it was, and only a complete buffer gets its final name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.data.cache import locked, make_room
from vlocnetpp.data.frames import DataError
from vlocnetpp.geometry import rotate
from vlocnetpp.network.blocks.cell_coordinates import cell_rays
from vlocnetpp.progress import track
from vlocnetpp.training.interrupt import Interrupted

TRIANGULATED, MEASURED = 1.0, 2.0
"""Where the place of a cell is known from, as it is stored; 0 where it is not known."""
FORMAT = 3
"""Raised when the same settings give other cells, also by other constants of the triangulation."""
INDEX_NAME = "index.json"
BATCH = 16
"""Images that go through the front together."""
FLUSHED = 16
"""Batches between the points at which a killed build can be continued."""
LARGEST_BYTES = 8 * 2**30
"""Largest size of one buffer; with more cells than fit, each image keeps an equal random share."""
FEWEST_CELLS = 64
"""Smallest number of cells of an image; where not even these fit, the buffer is refused."""


@dataclass(frozen=True)
class View:
    """One image as the front sees it: a training image in one of its augmentations."""

    image_3HW: Tensor
    """RGB 0..255."""
    K_33: Tensor
    pose_7: Tensor
    """Camera-to-world."""
    depth_HW: Tensor
    """Metres, 0 where unknown."""
    seen_HW: Tensor
    """bool: the pixels that the original image has; the others were filled at the border and are not trained on."""
    measured: bool = True
    """Whether the depth is of a depth camera; else of triangulated keypoints."""


@dataclass(frozen=True)
class Cells:
    """Drawn cells; the first dimension of every field."""

    features_NC: Tensor
    """Standardized features, float16 as they are stored."""
    point_N3: Tensor
    """Where in the map the cell is, metres; 0 where not known."""
    known_N: Tensor
    """Whether it is known, from a depth image or a triangulated keypoint."""
    measured_N: Tensor
    """Whether it is known from a depth image."""
    ray_N3: Tensor
    """Unit vector in the camera through the middle of the cell."""
    pose_N7: Tensor
    """Camera-to-world."""
    pooled_NC: Tensor
    """Mean features of the cell's image."""


class CellBuffer:
    """Cells of many views in memory-mapped arrays of equal length. Made by `open_cells`."""

    def __init__(self, arrays: dict[str, NDArray]) -> None:
        # The memory maps are read-only; PyTorch warns of that, but nothing here writes.
        self._features_NC = torch.from_numpy(arrays["features"])
        self._place_N4 = torch.from_numpy(arrays["place"])
        self._ray_N3 = torch.from_numpy(arrays["ray"])
        self._view_N = torch.from_numpy(arrays["view"])
        self._pose_V7 = torch.from_numpy(arrays["pose"])
        self._pooled_VC = torch.from_numpy(arrays["pooled"])

    def __len__(self) -> int:
        return len(self._view_N)

    @property
    def views(self) -> int:
        """Images, each augmentation counted."""
        return len(self._pose_V7)

    def draw(self, count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Cells:
        """Cells drawn with replacement from all images alike."""
        index_N = torch.randint(len(self), (count,), generator=generator)
        return self.take(index_N, device)

    def take(self, index_N: Tensor, device: torch.device | str = "cpu") -> Cells:
        """The cells of given numbers."""
        place_N4 = self._place_N4.index_select(0, index_N)
        view_N = self._view_N.index_select(0, index_N).long()
        fields = (
            self._features_NC.index_select(0, index_N),
            place_N4[:, :3],
            place_N4[:, 3] > 0,
            place_N4[:, 3] == MEASURED,
            self._ray_N3.index_select(0, index_N),
            self._pose_V7.index_select(0, view_N),
            self._pooled_VC.index_select(0, view_N),
        )
        return Cells(*(field.to(device, non_blocking=True) for field in fields))

    def places(self, most: int = 100_000) -> Tensor:
        """(N, 3) known points of about so many cells, evenly taken; the cameras' positions where none is known."""
        known_N4 = self._place_N4[:: max(1, len(self) // most)]
        points_N3 = known_N4[known_N4[:, 3] > 0][:, :3]
        return points_N3 if len(points_N3) >= 2 else self._pose_V7[:, :3]

    def pooled(self) -> Tensor:
        """(V, C) mean features of every view."""
        return self._pooled_VC


def open_cells(
    folder: Path,
    views: int,
    view: Callable[[int], View],
    columns: Callable[[Tensor], Tensor],
    channels: int,
    stride: int,
    shape: tuple[int, int],
    settings: Sequence[object],
    largest_bytes: int = LARGEST_BYTES,
) -> CellBuffer:
    """The buffer of these views, built in `folder` if it is not there.

    Args:
        views: number of images, augmentations counted.
        view: makes the i-th image; must give the same each time, since a killed build is continued in its middle.
        columns: the frozen front with its standardization: images (B, 3, H, W) to features (B, C, H/stride, W/stride).
        channels: of the features.
        shape: height and width of the images.
        settings: everything that decides what `view` and `columns` answer, such as digests of data and weights and the
            augmentation; its `repr` names the buffer.
        largest_bytes: of the files together.

    Raises:
        DataError: the buffer cannot be written or is too small for the images, in one line.
    """
    kept, count = _share(views, _cells_an_image(stride, shape), channels, largest_bytes)
    name = _name(views, channels, stride, shape, kept, settings)
    layers: dict[str, tuple[tuple[int, ...], type]] = {
        "features": ((count, channels), np.float16),
        "place": ((count, 4), np.float32),
        "ray": ((count, 3), np.float32),
        "view": ((count,), np.int32),
        "pose": ((views, 7), np.float32),
        "pooled": ((views, channels), np.float32),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name / INDEX_NAME).is_file():
            with locked(folder / f".{name}.lock"):
                # Another process may have built it while this one waited.
                if not (folder / name / INDEX_NAME).is_file():
                    _build(folder, name, layers, views, view, columns, stride, kept)
        return CellBuffer(_open(folder / name, layers))
    except OSError as error:
        gigabytes = sum(_bytes(layer) for layer in layers.values()) / 1e9
        reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise DataError(
            f"{folder}: cannot hold the buffer of cells of {gigabytes:.1f} GB: {reason}; free some, or choose "
            "another folder with --data.cache FOLDER, and continue with --resume"
        ) from error


def is_built(
    folder: Path,
    views: int,
    channels: int,
    stride: int,
    shape: tuple[int, int],
    settings: Sequence[object],
) -> bool:
    """Whether `open_cells` with these arguments finds its buffer complete."""
    kept, _ = _share(views, _cells_an_image(stride, shape), channels, LARGEST_BYTES)
    return (folder / _name(views, channels, stride, shape, kept, settings) / INDEX_NAME).is_file()


def _name(views: int, channels: int, stride: int, shape: tuple[int, int], kept: int, settings: Sequence[object]) -> str:
    built_from = (FORMAT, views, channels, stride, shape, kept, tuple(settings))
    return hashlib.sha256(repr(built_from).encode()).hexdigest()[:32]


def _share(views: int, cells: int, channels: int, largest_bytes: int) -> tuple[int, int]:
    """Cells that each view keeps, and of all views together. Raises DataError where too few fit."""
    kept = _kept(views, cells, channels, largest_bytes)
    if kept < min(cells, FEWEST_CELLS):
        raise DataError(
            f"the buffer of cells may take {largest_bytes / 1e9:.1f} GB, in which {views} images would keep "
            f"{max(kept, 0)} of their {cells} cells each; allow more, or take fewer augmentations or images"
        )
    return kept, kept * views


def fits(views: int, channels: int, stride: int, shape: tuple[int, int]) -> bool:
    """Whether a buffer of so many images keeps enough of the cells of each; the arguments as in `open_cells`."""
    cells = _cells_an_image(stride, shape)
    return _kept(views, cells, channels, LARGEST_BYTES) >= min(cells, FEWEST_CELLS)


def _kept(views: int, cells: int, channels: int, largest_bytes: int) -> int:
    return min(cells, (largest_bytes // views - channels * 4 - 7 * 4) // _cell_bytes(channels))


def largest_size(views: int, channels: int, stride: int, shape: tuple[int, int]) -> int:
    """Bytes of a buffer at most, arguments as in `open_cells`; images whose borders were filled keep fewer cells."""
    return min(views * (_cells_an_image(stride, shape) * _cell_bytes(channels) + channels * 4 + 7 * 4), LARGEST_BYTES)


def _cells_an_image(stride: int, shape: tuple[int, int]) -> int:
    """Of an image of this height and width."""
    return (shape[0] // stride) * (shape[1] // stride)


def _cell_bytes(channels: int) -> int:
    return channels * 2 + 4 * 4 + 3 * 4 + 4


def _bytes(layer: tuple[tuple[int, ...], type]) -> int:
    shape, kind = layer
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def _open(path: Path, layers: dict[str, tuple[tuple[int, ...], type]]) -> dict[str, NDArray]:
    """Map a complete buffer, copy on write, so that no reader can change its files."""
    used = json.loads((path / INDEX_NAME).read_text())["cells"]
    arrays: dict[str, NDArray] = {}
    for layer, (shape, kind) in layers.items():
        file = path / f"{layer}.bin"
        if file.stat().st_size != _bytes((shape, kind)):
            raise DataError(f"{file}: is damaged; delete {path}, and the buffer is built again")
        array = np.memmap(file, kind, "c", shape=shape)
        arrays[layer] = np.asarray(array if layer in ("pose", "pooled") else array[:used])
    with suppress(OSError):  # a buffer that others own can be read, but not marked as used
        os.utime(path)
    return arrays


def _build(
    folder: Path,
    name: str,
    layers: dict[str, tuple[tuple[int, ...], type]],
    views: int,
    view: Callable[[int], View],
    columns: Callable[[Tensor], Tensor],
    stride: int,
    kept: int,
) -> None:
    """Write a buffer under a temporary name, continuing an earlier build that was killed, and rename it."""
    partial = folder / f".{name}.partial"
    progress = partial / "progress.json"
    done = used = 0
    if progress.is_file():
        done, used = (json.loads(progress.read_text())[key] for key in ("views", "cells"))
    else:
        shutil.rmtree(partial, ignore_errors=True)
        make_room(folder, sum(_bytes(layer) for layer in layers.values()))
        partial.mkdir()
        try:
            for layer, size in layers.items():
                with (partial / f"{layer}.bin").open("wb") as file:
                    # Written through a memory map, where a full disk would end the process by a signal.
                    os.posix_fallocate(file.fileno(), 0, _bytes(size))
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    arrays: dict[str, np.memmap] = {
        layer: np.memmap(partial / f"{layer}.bin", kind, "r+", shape=shape) for layer, (shape, kind) in layers.items()
    }
    reached = {"views": done, "cells": used}
    starts = range(done, views, BATCH)
    try:
        for number, start in enumerate(track(starts, "computing the features of all images", len(starts))):
            stop = min(start + BATCH, views)
            made = [view(i) for i in range(start, stop)]
            features_BCHW = columns(torch.stack([each.image_3HW.float() for each in made])).float()
            for i, each, features_CHW in zip(range(start, stop), made, features_BCHW, strict=True):
                arrays["pose"][i] = each.pose_7.numpy()
                arrays["pooled"][i] = features_CHW.mean(dim=(1, 2)).numpy()
                columns_of = _cells_of(each, features_CHW, stride, kept, i)
                rows = len(columns_of["view"])
                for layer, values in columns_of.items():
                    arrays[layer][used : used + rows] = values
                used += rows
            reached = {"views": stop, "cells": used}
            if (number + 1) % FLUSHED == 0:
                _flush(arrays)
                _write(progress, reached)
    except Interrupted:
        _flush(arrays)
        _write(progress, reached)
        raise
    if used == 0:
        raise DataError("no cell of any image can be learned from: no image has a pose")
    _flush(arrays)
    del arrays
    _write(partial / INDEX_NAME, {"format": FORMAT, "cells": used, "views": views})
    progress.unlink(missing_ok=True)
    partial.rename(folder / name)


def _flush(arrays: dict[str, np.memmap]) -> None:
    for array in arrays.values():
        array.flush()


def _write(path: Path, values: dict[str, int]) -> None:
    """Write whole or not at all."""
    beside = path.with_suffix(".new")
    with beside.open("w") as file:
        file.write(json.dumps(values))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _cells_of(view: View, features_CHW: Tensor, stride: int, kept: int, number: int) -> dict[str, NDArray]:
    """The arrays' rows of one view: its seen cells, or a random share of them, the same in every build."""
    height, width = view.depth_HW.shape
    middle = slice(stride // 2, None, stride)
    ray_N3 = cell_rays(view.K_33[None], height // stride, width // stride, stride)[0]
    z_N = view.depth_HW[middle, middle].flatten().to(ray_N3.dtype)
    points_N3 = rotate(view.pose_7[3:], ray_N3 * (z_N / ray_N3[:, 2])[:, None]) + view.pose_7[:3]
    known_N = z_N > 0
    origin_N = known_N * (MEASURED if view.measured else TRIANGULATED)
    place_N4 = torch.cat((points_N3 * known_N[:, None], origin_N[:, None]), dim=1)
    index = torch.nonzero(view.seen_HW[middle, middle].flatten())[:, 0]
    if len(index) > kept:
        index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(number))[:kept]]
    return {
        "features": features_CHW.flatten(1).t()[index].half().numpy(),
        "place": place_N4[index].float().numpy(),
        "ray": ray_N3[index].float().numpy(),
        "view": np.full(len(index), number, np.int32),
    }
