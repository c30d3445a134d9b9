"""Arrays of decoded frames, memory-mapped from a cache that is built once.

A cache is a folder named by a digest of what it was built from, so that a changed file or setting means another cache
and nothing has to be invalidated. It appears by one rename, so that processes that build the same one do not disturb
each other. A cache may be deleted at any time: processes that have it open keep reading, and the next one builds it
again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError, Frame
from vlocnetpp.progress import track

FORMAT = 1
INDEX_NAME = "index.json"
LARGEST_BYTES = 32 * 2**30
"""Limit for all caches of a folder together; the least recently used ones are removed first, sooner on a full disk."""
ABANDONED_S = 24 * 3600.0
"""An unfinished cache older than this belongs to a process that was killed."""
SLOW_BYTES = 2 * 2**30
"""Progress is shown while a larger array is checked."""
CHUNK = 256
"""Frames that are decoded ahead of the writing."""
_OURS = re.compile(r"(?P<hidden>\.?)[0-9a-f]{32}(\..*)?")
Layers = Mapping[str, tuple[tuple[int, ...], type]]
"""By name: shape of one frame's array, and its type."""
Prepare = Callable[[Frame], Mapping[str, NDArray]]


def cache_folder(setting: str) -> Path | None:
    """Where caches lie: a folder, `none` for keeping frames in memory instead, or by default the user's own cache."""
    if setting == "none":
        return None
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(setting).expanduser() if setting else Path(home) / "vlocnetpp"


def frame_arrays(
    frames: list[Frame], layers: Layers, prepare: Prepare, settings: object, folder: Path | None, description: str
) -> dict[str, NDArray]:
    """One array (N, ...) for each layer, with the results of `prepare` for every frame.

    Args:
        prepare: decodes a frame; called in several threads.
        settings: everything besides the frames that decides the result of `prepare`; its `repr` is part of the digest.
        folder: of all caches; None keeps the arrays in memory.
        description: of the progress.

    Returns:
        Arrays that may be written to; what is written stays in this process.

    Raises:
        DataError: a frame cannot be read, or the cache cannot be written, in one line.
    """
    if folder is None:
        return _in_memory(frames, layers, prepare, description)
    name = _digest(frames, layers, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = _sound(folder / name, name, layers, len(frames), description)
        if arrays is None:
            with locked(folder / f".{name}.lock"):
                # Another process may have built it while this one waited.
                arrays = _sound(folder / name, name, layers, len(frames), description)
                if arrays is None:
                    make_room(folder, len(frames) * _frame_bytes(layers))
                    _build(folder, name, frames, layers, prepare, description)
                    arrays = _open(folder / name, name, layers, len(frames), description)
        return arrays
    except OSError as error:
        gigabytes = len(frames) * _frame_bytes(layers) / 1e9
        reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise DataError(
            f"{folder}: cannot hold the cache of {gigabytes:.2f} GB: {reason}; "
            "choose another folder with --data.cache FOLDER, or --data.cache none to keep frames in memory"
        ) from error


def _digest(frames: list[Frame], layers: Layers, settings: object) -> str:
    """What a cache is named by: every frame's files with their sizes and times, the layers, the settings."""
    digest = hashlib.sha256(repr((FORMAT, sys.byteorder, sorted(layers.items(), key=str), settings)).encode())
    wanted = [("image", "image_path"), ("depth", "depth_path"), ("mask", "mask_path")]
    names = [attribute for layer, attribute in wanted if layer in layers]
    for frame in frames:
        files = []
        for path in (getattr(frame, attribute) for attribute in names):
            try:
                state = path.stat() if path is not None else None
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from error
            files.append(state and (str(path.resolve()), state.st_size, state.st_mtime_ns))
        digest.update(repr((frame.name, frame.void_from, frame.depth_units_per_m, files)).encode())
    return digest.hexdigest()[:32]


def _prepared(frames: list[Frame], prepare: Prepare, description: str) -> Iterator[Mapping[str, NDArray]]:
    """The results of `prepare` in order, computed on all cores a chunk ahead."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    remaining = iter(frames)

    def made() -> Iterator[Mapping[str, NDArray]]:
        while chunk := list(islice(remaining, CHUNK)):
            yield from pool.map(prepare, chunk)

    try:
        yield from track(made(), description, len(frames))
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops early does not wait for a chunk


def _in_memory(frames: list[Frame], layers: Layers, prepare: Prepare, description: str) -> dict[str, NDArray]:
    arrays: dict[str, NDArray] = {name: np.empty((len(frames), *shape), kind) for name, (shape, kind) in layers.items()}
    for i, values in enumerate(_prepared(frames, prepare, description)):
        for name, array in arrays.items():
            array[i] = values[name]
    return arrays


def _build(folder: Path, name: str, frames: list[Frame], layers: Layers, prepare: Prepare, description: str) -> None:
    """Write a cache under a temporary name and rename it; if another process was faster, its cache is kept."""
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        sums = dict.fromkeys(layers, 0)
        files = {layer: (partial / f"{layer}.npy").open("wb") for layer in layers}
        try:
            for layer, (shape, kind) in layers.items():
                header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (len(frames), *shape)}
                np.lib.format.write_array_header_1_0(files[layer], header)
            for values in _prepared(frames, prepare, description):
                for layer, (_, kind) in layers.items():
                    data = np.ascontiguousarray(values[layer], kind).data
                    sums[layer] = zlib.crc32(data, sums[layer])
                    files[layer].write(data)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        finally:
            for file in files.values():
                file.close()
        (partial / INDEX_NAME).write_text(json.dumps({"format": FORMAT, "name": name, "crc32": sums}))
        try:
            partial.rename(folder / name)
        except OSError:
            if not (folder / name / INDEX_NAME).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sound(path: Path, name: str, layers: Layers, count: int, description: str) -> dict[str, NDArray] | None:
    """The arrays of a cache; None where it is missing or damaged. A damaged one is reported and removed."""
    if not path.exists():
        return None
    try:
        return _open(path, name, layers, count, description)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        print(f"{description}: the cache {path} is damaged ({error}) and built again", file=sys.stderr, flush=True)
        _remove(path)
        return None


def _open(path: Path, name: str, layers: Layers, count: int, description: str) -> dict[str, NDArray]:
    """Map a cache. Raises ValueError, KeyError, TypeError or FileNotFoundError if it is damaged."""
    index = json.loads((path / INDEX_NAME).read_text())
    if (index["format"], index["name"]) != (FORMAT, name):
        raise ValueError(f"{INDEX_NAME} is of another cache")
    arrays: dict[str, NDArray] = {}
    for layer, (shape, kind) in layers.items():
        file = path / f"{layer}.npy"
        # Copy on write: no reader can change the file.
        array = np.asarray(np.lib.format.open_memmap(file, mode="c"))
        if array.shape != (count, *shape) or array.dtype != kind:
            raise ValueError(f"{file.name} has another shape")
        found, starts = 0, range(0, count, CHUNK)
        large = array.nbytes > SLOW_BYTES
        for start in track(starts, f"{description}: checking the cache's {layer}", len(starts)) if large else starts:
            found = zlib.crc32(array[start : start + CHUNK].data, found)
        if found != index["crc32"][layer]:
            raise ValueError(f"{file.name} does not have the checksum that was written")
        arrays[layer] = array
    with suppress(OSError):  # a cache that others own can be read, but not marked as used
        os.utime(path)
    return arrays


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock. The system frees it when its process ends, however that happens."""
    with path.open("w") as lock:
        with suppress(OSError):  # a file system without locks: at worst two processes build the same, and one wins
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _frame_bytes(layers: Layers) -> int:
    return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in layers.values())


def room(folder: Path) -> int:
    """Bytes that a new cache may take in a folder, at most: what its disk has free, and what others hold there, those
    being made too, since one of them may be the new one begun before."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    held = 0
    if existing == folder:
        begun = [path for path in _ours(folder, hidden=True) if path.is_dir()]
        with suppress(FileNotFoundError):  # another process removes
            held = sum(file.stat().st_size for path in begun for file in path.iterdir() if file.is_file())
        held += sum(size for _, _, size in _complete(folder))
    return shutil.disk_usage(existing).free + held


def make_room(folder: Path, needed: int) -> None:
    """Remove what killed processes left behind, and the caches used longest ago while all together are too large or the
    disk has no room for another one. Raises OSError where that does not help."""
    for path in _ours(folder, hidden=True):
        with suppress(FileNotFoundError):  # another process removes, too
            if _age_s(path) > ABANDONED_S:
                _remove(path)
    caches = _complete(folder)
    held = sum(size for _, _, size in caches)
    if needed > shutil.disk_usage(folder).free + held:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for _, path, size in sorted(caches, reverse=True):
        if needed + held <= LARGEST_BYTES and needed <= shutil.disk_usage(folder).free:
            break
        _remove(path)
        held -= size
    if needed > shutil.disk_usage(folder).free:  # a cache that another process reads leaves the disk when that ends
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _complete(folder: Path) -> list[tuple[float, Path, int]]:
    """The complete caches of a folder: seconds since their last use, path, bytes."""
    caches = []
    for path in _ours(folder, hidden=False):
        with suppress(FileNotFoundError):  # another process removes
            if (path / INDEX_NAME).is_file():
                caches.append((_age_s(path), path, sum(file.stat().st_size for file in path.iterdir())))
    return caches


def _ours(folder: Path, hidden: bool) -> list[Path]:
    """The folders of caches, complete or, hidden, being made. A folder that the user chose may hold anything else."""
    named = [(path, _OURS.fullmatch(path.name)) for path in folder.iterdir()]
    return [path for path, kind in named if kind is not None and bool(kind["hidden"]) == hidden]


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _remove(path: Path) -> None:
    """Rename a cache, so that nobody reads half of it, then delete it."""
    doomed = Path(tempfile.mkdtemp(prefix=f".{path.name.strip('.')}.", dir=path.parent))
    try:
        path.rename(doomed / "removed")
    except FileNotFoundError:  # another process was faster
        pass
    finally:
        shutil.rmtree(doomed, ignore_errors=True)
