"""The report of a benchmark on several splits: tables of methods by splits, a picture, then a table for each split.

Maps are built and networks trained once; each split tests them under another condition (docs/rendered-suite.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlocnetpp.benchmark import result_tables as tables
from vlocnetpp.benchmark.plan import Skipped
from vlocnetpp.benchmark.report import (
    COST,
    About,
    Result,
    chapter,
    distances,
    facts,
    markdown_report,
    picture,
    write_files,
)
from vlocnetpp.benchmark.rows import Row, join, spread
from vlocnetpp.benchmark.sentences import RIVALS, Duel, as_json, costs, duels, nearest
from vlocnetpp.benchmark.suite_figure import plot_error_by_split
from vlocnetpp.reporting.tables import Table, format_cell

Rows = Mapping[str, Sequence[Row]]
"""The rows of each split, in the order of the splits."""


class Figure(NamedTuple):
    """A figure that has a table of methods by splits."""

    title: str
    section: str
    key: str
    scale: float = 1.0


FIGURES = (
    Figure("Median position error [m]", "localization", "median_translation_m"),
    Figure("Median rotation error [deg]", "localization", "median_rotation_deg"),
    Figure("Frames within 25 cm and 5 deg [%]", "localization", "recall_25cm_5deg", 100),
    Figure("Drift of the odometry [%]", "odometry", "translation_percent"),
    Figure("Mean IoU [%]", "segmentation", "mean_iou", 100),
)

BOUNDS = (
    ("median bound [m]", "translation", "median_sigma_m", 1),
    ("errors within it [%]", "translation", "within_1_sigma", 100),
    ("median bound [deg]", "rotation", "median_sigma_deg", 1),
    ("rotations within it [%]", "rotation", "within_1_sigma", 100),
)
"""Rows of the table of the uncertainty: name, kind of error, figure of `calibration`, factor."""


def write_suite(out: Path, results: Mapping[str, Sequence[Result]], skipped: Sequence[Skipped], about: About) -> None:
    """Write report.md, report.html, benchmark.json and figures/. Raises DataError where they cannot be written.

    Args:
        results: of each split, in the order of the report, every job that was judged on it.
    """
    rows: Rows = {split: join([(record, errors) for _, record, errors in found]) for split, found in results.items()}
    found_duels = {split: duels(found) for split, found in rows.items()}
    once = list({row.name: row for found in rows.values() for row in found}.values())
    chapters = [
        (splits_table(rows, about), SPLITS),
        *((figure_table(rows, figure), "") for figure in FIGURES),
        (duel_table(found_duels), DUELS),
        (uncertainty_table(rows), UNCERTAINTY),
        *((localization_table(found, f"{about.name}, {split}"), "") for split, found in rows.items()),
        (tables.cost_table(once), COST),
    ]
    chapters = [(table, words) for table, words in chapters if table.rows]
    best = {split: nearest(found) for split, found in rows.items()}
    sentences = [f"{split}: nearest in the median is {said}" for split, said in best.items() if said]
    sentences += costs(rows[about.splits[0]])
    failed = {job.key: record.failed for found in results.values() for job, record, _ in found if record.failed}
    localizing: Rows = {split: [row for row in found if row.errors] for split, found in rows.items()}
    body: list[str] = []
    if any(localizing.values()):
        file = out / "figures" / "error_by_split.png"
        plot_error_by_split(file, localizing, about.name)
        body.append(picture(CAPTION, file))
    for table, words in chapters:
        body += chapter(table, words)
    title = f"Benchmark on {about.name}, {len(about.splits)} splits"
    notes = facts([result for found in results.values() for result in found], about)
    without = [*skipped, *(Skipped(key, reason) for key, reason in failed.items())]
    text = markdown_report(title, notes, sentences, body, once, without)
    of_rows = [
        {"split": split, "key": job.key, **asdict(record)}
        for split, found in results.items()
        for job, record, _ in found
    ]
    comparisons = [{"split": split, **as_json(duel)} for split, found in found_duels.items() for duel in found]
    content = {"rows": of_rows, "comparisons": comparisons, "says": sentences}
    write_files(out, title, text, about, {"splits": list(about.splits)}, content, skipped, chapters)


def splits_table(rows: Rows, about: About) -> Table:
    """Content of each split, and its distance to the training frames."""
    cells = []
    for split in rows:
        sequences = about.dataset.sequences(split)
        found_N2 = distances(about.dataset, split)
        medians = np.median(found_N2, axis=0) if len(found_N2) else (np.nan, np.nan)
        frames = sum(len(sequence.frames) for sequence in sequences)
        cells.append([split, len(sequences), frames, *(float(each) for each in medians)])
    columns = ("split", "sequences", "frames", "to the nearest training pose, median [m]", "median [deg]")
    return Table("The splits", columns, cells)


def localization_table(rows: Sequence[Row], name: str) -> Table:
    """The table of one split without the published figures, which are of test recordings like the training's."""
    table = tables.localization_table(rows, name)
    return Table(table.title, table.columns[:-1], [cells[:-1] for cells in table.rows])


def figure_table(rows: Rows, figure: Figure) -> Table:
    """Methods by splits; without rows where no method has the figure."""
    found: dict[str, dict[str, str]] = {}
    for split, of_split in rows.items():
        for row in of_split:
            values = row.values(figure.section, figure.key)
            if values:
                found.setdefault(tables.marked(row), {})[split] = spread(values, figure.scale)
    return Table(figure.title, ("method", *rows), _by_split({(name,): cells for name, cells in found.items()}, rows))


def duel_table(duels_by_split: Mapping[str, Sequence[Duel]]) -> Table:
    """Each trained method against the best peer of each kind, by split: difference of the medians, and the verdict."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for split, of_split in duels_by_split.items():
        for duel in of_split:
            kind = next(word for word in RIVALS if word in duel.rival)
            sign = "+" if duel.metres.difference > 0 else ""
            text = f"{sign}{format_cell(duel.metres.difference)} {duel.metres.verdict}"
            found.setdefault((duel.method, f"best {kind}"), {})[split] = text
    return Table("Paired bootstrap", ("method", "against", *duels_by_split), _by_split(found, duels_by_split))


def uncertainty_table(rows: Rows) -> Table:
    """The predicted bounds of each network by split, and the share of errors within them."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for split, of_split in rows.items():
        for row in of_split:
            known = [record.metrics["calibration"] for record in row.records if "calibration" in record.metrics]
            for name, error, figure, scale in BOUNDS if known else ():
                values = [math.nan if each[error][figure] is None else each[error][figure] for each in known]
                found.setdefault((tables.marked(row), name), {})[split] = spread(values, scale)
    return Table("Uncertainty", ("method", "figure", *rows), _by_split(found, rows))


def _by_split(found: Mapping[tuple[str, ...], Mapping[str, str]], splits: Collection[str]) -> list[list[str]]:
    return [[*names, *(cells.get(split, "-") for split in splits)] for names, cells in found.items()]


UNCERTAINTY = (
    "The bound that a network gives with its pose; of a calibrated one 68 % of the errors lie within it. A larger "
    "bound where the errors are larger is what a robot can withhold a pose by."
)
CAPTION = (
    "Median error (mark) with quartiles (bar) by split; an arrow: half of the frames have no answer; dashes: the "
    "nearest training pose"
)
SPLITS = (
    "Maps were built and networks trained once, on the training frames; then asked about every split. Nothing is "
    "aligned; a frame without an answer counts as infinitely wrong. Rows in italics look at the ground truth of the "
    "frames they are judged on: bounds, not methods. Nearest is meant in metres plus 0.01 m a degree."
)
DUELS = (
    "Difference of the median position errors on the same frames in metres (method minus the best retrieval or PnP on "
    "that split; negative: the method is nearer), and the verdict of a paired bootstrap over frames at 95 %."
)
