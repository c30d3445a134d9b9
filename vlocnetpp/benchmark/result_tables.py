"""All rows of a run in tables, one for each task, with the published figures in a column of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vlocnetpp.benchmark import published
from vlocnetpp.benchmark.paper_tables import class_ious, mean_iou
from vlocnetpp.benchmark.rows import Row, spread
from vlocnetpp.reporting.tables import Table

MULTITASK = ("stl_pose", "mtl_input_concat", "mtl_mid_concat", "mtl_shared", "mtl_no_warp", "mtl_no_fusion", "mtl")
"""The variants of the paper's Fig. 3 and of its ablations."""
ELSEWHERE = "published ({where}; other data and hardware)"


def localization_table(rows: Sequence[Row], dataset: str) -> Table:
    """Median errors, and frames within two bounds."""
    theirs = published.localization(dataset)
    cells = []
    for row in rows:
        if not row.values("localization", "frames"):
            continue
        failed = row.mean("localization", "failed") / max(row.mean("localization", "frames"), 1.0)
        cells.append(
            [
                marked(row),
                spread(row.values("localization", "median_translation_m")),
                spread(row.values("localization", "median_rotation_deg")),
                spread(row.values("localization", "recall_5cm_5deg"), 100),
                spread(row.values("localization", "recall_25cm_5deg"), 100),
                f"{100 * failed:.0f}",
                _pair(theirs.values.get(row.name), "m", "deg"),
            ]
        )
    columns = (
        "method",
        "median [m]",
        "median [deg]",
        "within 5 cm 5 deg [%]",
        "within 25 cm 5 deg [%]",
        "no answer [%]",
    )
    return Table(f"Localization of {dataset}", (*columns, ELSEWHERE.format(where=theirs.where)), cells)


def odometry_table(rows: Sequence[Row], dataset: str) -> Table:
    """Drift, and the error of one frame's motion."""
    theirs = published.odometry(dataset)
    cells = [
        [
            marked(row),
            spread(row.values("odometry", "translation_percent")),
            spread(row.values("odometry", "rotation_deg_per_m")),
            spread(row.values("odometry", "rpe_translation_m")),
            spread(row.values("odometry", "rpe_rotation_deg")),
            _pair(theirs.values.get(row.name), "%", "deg/m"),
        ]
        for row in rows
        if row.values("odometry", "frames")
    ]
    columns = ("method", "drift [%]", "drift [deg/m]", "RPE a frame [m]", "RPE a frame [deg]")
    return Table(f"Odometry of {dataset}", (*columns, ELSEWHERE.format(where=theirs.where)), cells)


def segmentation_table(rows: Sequence[Row], classes: Sequence[str]) -> Table:
    """Intersection over union of each class in percent, and their mean."""
    theirs = published.segmentation()
    cells = []
    for row in rows:
        if row.values("segmentation", "mean_iou"):
            value = theirs.values.get(row.name)
            own = [mean_iou(row), *class_ious(row, classes)]
            cells.append([marked(row), *own, "-" if value is None else f"{value:.1f}"])
    columns = ("method", "mean IoU [%]", *classes, ELSEWHERE.format(where=theirs.where))
    return Table("Segmentation, IoU in percent", columns, cells)


def multitask_table(rows: Sequence[Row]) -> Table:
    """The variants of Fig. 3, each beside `mtl`."""
    mine = {row.name: row for row in rows if row.values("localization", "frames")}
    figures = (("localization", "median_translation_m"), ("localization", "median_rotation_deg"))
    cells = []
    for name in MULTITASK:
        if name not in mine or "mtl" not in mine:
            continue
        row = mine[name]
        changes = [_change(row.mean(*figure), mine["mtl"].mean(*figure)) for figure in figures]
        medians = [spread(row.values(*figure)) for figure in figures]
        iou = [100 * value for value in row.values("segmentation", "mean_iou")]
        drift = row.values("odometry", "rpe_translation_m")
        cells.append([name, *medians, *changes, spread(iou), spread(drift)])
    columns = ("network", "median [m]", "median [deg]", "[m] against mtl", "[deg] against mtl", "mean IoU [%]")
    return Table("Multitask variants (Fig. 3)", (*columns, "RPE a frame [m]"), cells if len(cells) > 1 else [])


def cost_table(rows: Sequence[Row]) -> Table:
    """Cost of each row: training or map building, size and latency; without rows that use the ground truth."""
    cells = []
    for row in (each for each in rows if not each.greyed):
        sizes = [record.size_bytes / 1e6 for record in row.records if record.size_bytes is not None]
        steps = [record.steps for record in row.records if record.steps is not None]
        seconds = [record.training_s for record in row.records if record.training_s is not None]
        times = [row.values("latency_ms", percent) for percent in ("p50", "p95")]
        theirs = published.FORWARD_MS.get(row.name)
        cells.append(
            [
                marked(row),
                "network" if row.learned else "map",
                spread(sizes),
                spread(seconds),
                f"{np.mean(steps):.0f}" if steps else "-",
                *(spread(each) for each in times),
                "-" if theirs is None else f"{theirs:g}",
            ]
        )
    columns = ("method", "what is carried", "size [MB]", "training or mapping [s]", "steps", "p50 [ms]", "p95 [ms]")
    return Table("Cost", (*columns, "published [ms] (Titan X, section IV-B; other hardware)"), cells)


def marked(row: Row) -> str:
    """The name, in italics where the row looks at the ground truth; the page greys such rows."""
    return f"*{row.label} (looks at the truth)*" if row.greyed else row.label


def _pair(values: tuple[float, float] | float | None, first: str, second: str) -> str:
    return f"{values[0]:g} {first}, {values[1]:g} {second}" if isinstance(values, tuple) else "-"


def _change(value: float, base: float) -> str:
    if not (math.isfinite(value) and math.isfinite(base) and base > 0):
        return "-"
    return f"{100 * (value / base - 1):+.0f} %" if value != base else "0 %"
