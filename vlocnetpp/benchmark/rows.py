"""The rows of the tables: the runs of one method, one for each seed, combined."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from vlocnetpp.benchmark.record import Errors, Record
from vlocnetpp.poses import Floats
from vlocnetpp.reporting.tables import format_cell


@dataclass(frozen=True)
class Row:
    """A peer, or all runs of a method that ended well."""

    name: str
    kind: str
    note: str
    greyed: bool
    records: list[Record]
    errors: list[Errors] = field(default_factory=list)
    """Of each record, where it localizes."""
    failed: int = 0
    """Runs beside these that ended without a result."""

    @property
    def label(self) -> str:
        """The name, and how many runs its figures are of where others failed."""
        ended = len(self.records)
        return f"{self.name} ({ended} of {ended + self.failed} seeds)" if self.failed else self.name

    @property
    def learned(self) -> bool:
        """Whether it was trained here."""
        return self.kind == "method"

    def values(self, section: str, figure: str) -> list[float]:
        """A figure of each run that has it. Null in a file stands for NaN."""
        found = [record.metrics[section].get(figure) for record in self.records if section in record.metrics]
        return [math.nan if value is None else float(value) for value in found]

    def mean(self, section: str, figure: str) -> float:
        """The mean of a figure over the runs; NaN without any."""
        values = self.values(section, figure)
        return float(np.mean(values)) if values else math.nan

    def pooled(self) -> tuple[Floats, Floats]:
        """Errors of all runs together, metres and degrees."""
        if not self.errors:
            return np.empty(0), np.empty(0)
        return (
            np.concatenate([each.metres_N for each in self.errors]),
            np.concatenate([each.degrees_N for each in self.errors]),
        )


def join(records: list[tuple[Record, Errors | None]]) -> list[Row]:
    """One row for each name, in the order of the first; runs that failed are counted, figures are of the others."""
    rows: dict[str, Row] = {}
    failed = Counter(record.name for record, _ in records if record.failed)
    for record, errors in records:
        if record.failed:
            continue
        row = rows.setdefault(
            record.name, Row(record.name, record.kind, record.note, record.greyed, [], failed=failed[record.name])
        )
        row.records.append(record)
        if errors is not None:
            row.errors.append(errors)
    return list(rows.values())


def spread(values: list[float], scale: float = 1.0) -> str:
    """Mean and, of several values, the smallest and the largest: `0.12 (0.11-0.14)`."""
    if not values:
        return "-"
    scaled = [scale * value for value in values]
    mean, low, high = (format_cell(float(value)) for value in (np.mean(scaled), min(scaled), max(scaled)))
    return mean if low == high or not np.isfinite(scaled).all() else f"{mean} ({low}-{high})"
