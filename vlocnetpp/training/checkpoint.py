"""Files that a run can be continued and exported from; written whole, read without a pickle."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

FORMAT = 1


class CheckpointError(ValueError):
    """A run or a checkpoint cannot be read; the message names the file and the reason in one line."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data; an interrupted write leaves the last checkpoint as it was."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with `weights_only`, so that nothing in it can run. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; has this run been trained?")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read ({str(error).strip().splitlines()[0]})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is not a checkpoint of this version of vlocnetpp")
    return content
