"""Tables I to V of the paper in their shape: its methods, as printed and as measured in this run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlocnetpp.benchmark import published
from vlocnetpp.benchmark.published import CLASSES, HEADINGS, TABLE_V, Published
from vlocnetpp.benchmark.rows import Row, spread
from vlocnetpp.reporting.tables import Table


class Pair(NamedTuple):
    """Two figures in each cell of a table."""

    section: str
    """Of the metrics."""
    keys: tuple[str, str]
    units: tuple[str, str]


ERRORS = Pair("localization", ("median_translation_m", "median_rotation_deg"), ("m", "deg"))
DRIFTS = Pair("odometry", ("translation_percent", "rotation_deg_per_m"), ("%", "deg/m"))


def paper_tables(rows: Sequence[Row], dataset: str, classes: Sequence[str]) -> list[Table]:
    """The tables of which this run has measured a method, in the paper's order."""
    of_7_scenes, of_deeploc = "Median localization error on 7-Scenes", "Median localization error on DeepLoc"
    tables = [
        _pairs(f"Table I: {of_7_scenes}", published.table_i(dataset), rows, dataset, ERRORS),
        _pairs(f"Table II: {of_deeploc}", published.table_ii(), rows, dataset, ERRORS),
        _pairs("Table III: visual odometry on 7-Scenes", published.table_iii(dataset), rows, dataset, DRIFTS),
        _pairs("Table IV: visual odometry on DeepLoc", published.table_iv(), rows, dataset, DRIFTS),
        *table_v(rows, dataset, classes),
    ]
    return [table for table in tables if table.rows]


def _pairs(title: str, theirs: Published, rows: Sequence[Row], dataset: str, pair: Pair) -> Table:
    """A column for each of the paper's methods; a row as printed, one as measured. Without rows if none is measured."""
    known = {row.name: row for row in rows if row.values(pair.section, "frames")}
    columns = ("", *(HEADINGS[name] for name in theirs.values))
    if not known.keys() & theirs.values.keys():
        return Table(title, columns, [])
    printed = [_printed(value, pair.units) for value in theirs.values.values()]
    measured = [_measured(known[name], pair) if name in known else "-" for name in theirs.values]
    return Table(title, columns, [[f"printed ({theirs.where})", *printed], [f"measured here ({dataset})", *measured]])


def _printed(value: tuple[float, float] | float, units: tuple[str, str]) -> str:
    assert isinstance(value, tuple)
    return f"{value[0]:g} {units[0]}, {value[1]:g} {units[1]}"


def _measured(row: Row, pair: Pair) -> str:
    return ", ".join(
        f"{spread(row.values(pair.section, key))} {unit}" for key, unit in zip(pair.keys, pair.units, strict=True)
    )


def table_v(rows: Sequence[Row], dataset: str, classes: Sequence[str]) -> list[Table]:
    """IoU of each class: as measured with the dataset's classes, and as printed with the mean of what is printed."""
    known = {row.name: row for row in rows if "segmentation" in row.records[0].metrics}
    names = [name for name in TABLE_V if name in known]
    if not names:
        return []
    measured = [[HEADINGS[name], *class_ious(known[name], classes), mean_iou(known[name])] for name in names]
    printed = [
        [HEADINGS[name], *(f"{value:.2f}" for value in values), f"{np.mean(values[:-1]):.2f}"]
        for name, values in TABLE_V.items()
    ]
    title = "Table V: semantic segmentation, IoU in percent"
    return [
        Table(f"{title}, measured here ({dataset})", ("approach", *classes, "mean IoU"), measured),
        Table(
            f"{title}, printed (DeepLoc)",
            ("approach", *CLASSES, "mean IoU, as printed", "mean of the printed classes"),
            printed,
        ),
    ]


def class_ious(row: Row, classes: Sequence[str]) -> list[str]:
    """IoU of each class in percent, the mean over the seeds; `-` for a class that does not occur."""
    of_runs = [record.metrics["segmentation"]["iou"] for record in row.records if "segmentation" in record.metrics]
    known = [[100 * run[name] for run in of_runs if run.get(name) is not None] for name in classes]
    return [f"{np.mean(values):.1f}" if values else "-" for values in known]


def mean_iou(row: Row) -> str:
    """Mean IoU in percent with its spread over the seeds."""
    return spread(row.values("segmentation", "mean_iou"), 100)
