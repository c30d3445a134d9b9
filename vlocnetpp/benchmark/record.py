"""What is kept of one row of the benchmark: a JSON file with its figures and a CSV file with its errors frame by frame.

Both are written whole, the JSON last: where it is, the row is done and never repeated.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlocnetpp.errors import DataError
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.files import replacing, write_json

VERSION = 1
COLUMNS = ("frame", "translation_error_m", "rotation_error_deg", "latency_ms")
HEADER = (
    "# {name}: errors of global poses, not aligned: metres, degrees; inf where there is no estimate; latency in ms",
    "# frames of the split that have a ground-truth pose, in its order",
)


@dataclass(frozen=True)
class Record:
    """One row: a peer, or a method trained from one seed."""

    name: str
    kind: str
    """`peer`, `odometry peer` or `method`."""
    seed: int | None = None
    note: str = ""
    greyed: bool = False
    """Uses the ground truth: shown, never ranked."""
    failed: str = ""
    """Why there is no result; empty where there is one."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """As in `metrics.json`: localization, odometry, segmentation, latency_ms, each where the row answers it."""
    size_bytes: int | None = None
    """Size of what a robot carries: the map of a peer, the model file of a method."""
    training_s: float | None = None
    """Of the steps of a method, or of building a peer's map."""
    steps: int | None = None
    """Of the training of a method, within its budget."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The training configuration of a method."""
    source_revision: str = ""
    machine: str = ""
    load: float = 0.0
    """Load average of the machine over the last minute of the row; this benchmark itself counts as one process."""


@dataclass(frozen=True)
class Errors:
    """Errors of global poses, frame by frame."""

    frames: list[str]
    metres_N: Floats
    degrees_N: Floats
    latency_ms_N: Floats


def write_record(folder: Path, key: str, record: Record, errors: Errors | None) -> None:
    """Write a row's files. Raises DataError."""
    if errors is not None:
        with replacing(folder / f"{key}.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            file.writelines(line.format(name=key) + "\n" for line in HEADER)
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            numbers = (errors.metres_N, errors.degrees_N, errors.latency_ms_N)
            writer.writerows(
                [name, *(f"{value:.6g}" for value in row)] for name, *row in zip(errors.frames, *numbers, strict=True)
            )
    write_json(folder / f"{key}.json", {"version": VERSION, **_keep_infinity(dataclasses.asdict(record))})


def read_record(folder: Path, key: str) -> Record | None:
    """The row that was written before, or None. Raises DataError for one that is damaged or of another version."""
    path = folder / f"{key}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("version") != VERSION:
            raise DataError(f"{path}: was written by another version of vlocnetpp; begin in another folder")
        return Record(**_with_infinity(data))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is not a result of a benchmark; delete it to make it again") from error


def read_errors(folder: Path, key: str) -> Errors:
    """The errors beside a row. Raises DataError."""
    path = folder / f"{key}.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(line for line in file if not line.startswith("#")))
        columns = list(zip(*rows[1:], strict=True)) if len(rows) > 1 else [(), (), (), ()]
        frames, *numbers = columns
        return Errors(list(frames), *(np.array(column, np.float64) for column in numbers))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read; delete {key}.json beside it to make both again") from error


INFINITY = "inf"


def _keep_infinity(value: Any) -> Any:
    """Infinity as text: JSON has none, and the tables distinguish it from a missing value."""
    if isinstance(value, float) and math.isinf(value):
        return INFINITY
    if isinstance(value, dict):
        return {key: _keep_infinity(item) for key, item in value.items()}
    return [_keep_infinity(item) for item in value] if isinstance(value, list | tuple) else value


def _with_infinity(value: Any) -> Any:
    if value == INFINITY:
        return math.inf
    if isinstance(value, dict):
        return {key: _with_infinity(item) for key, item in value.items()}
    return [_with_infinity(item) for item in value] if isinstance(value, list) else value
