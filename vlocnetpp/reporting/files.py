"""Result files appear whole or not at all, and JSON stays valid JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlocnetpp.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Missing folders are made. The name keeps the suffix, for libraries that choose the format by it. Raises DataError if
    the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text. Raises DataError if the file cannot be written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image, (H, W) or (H, W, 3) BGR as OpenCV has it. Raises DataError if the file cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented; NaN and infinity, which JSON does not have, become null.

    numpy numbers and arrays, paths and mappings are converted. Raises DataError if the file cannot be written and
    TypeError for a type that JSON lacks.
    """
    write_text(path, json.dumps(json_ready(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def json_ready(value: Any) -> Any:
    """Plain JSON types, with null where a number is not finite."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return str(value) if isinstance(value, Path) else value
