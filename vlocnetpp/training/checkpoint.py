"""Checkpoints, from which a run is continued and exported; written atomically, checked by checksums, read without a
pickle."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

FORMAT = 1


class CheckpointError(ValueError):
    """A run or a checkpoint cannot be read; the message names the file and the reason in one line."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data; on any error the last checkpoint is kept.

    Raises CheckpointError where there is no room or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        # torch's writer hides the reason of a failed write in a RuntimeError.
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) else str(error).strip().splitlines()[0]
        kept = "the checkpoint before it is whole" if path.exists() else "nothing is left of it"
        raise CheckpointError(f"{path}: cannot be written ({reason}); {kept}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with `weights_only`, so that nothing in it can run. Raises CheckpointError.

    Every record is checked against its checksum: a damaged file is refused.
    """
    if not path.parent.is_dir():
        raise CheckpointError(f"{path.parent}: no such folder of a run; it is the --out of train")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; has this run been trained?")
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: is damaged (checksum of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: cannot be read ({str(error).strip().splitlines()[0]})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is not a checkpoint of this version of vlocnetpp")
    return content
