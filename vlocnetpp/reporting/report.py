"""A result as a page: the figures with units, how each was made, tables and pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlocnetpp.reporting.files import write_text
from vlocnetpp.reporting.tables import Table, format_cell, markdown_table

MOTION = {
    "translation_percent": "drift of accumulated relative motions over segments, in parts of the travelled length",
    "rotation_deg_per_m": "the same for the angle",
    "rpe_translation_m": "error of one frame's relative motion, root mean square",
    "rpe_rotation_deg": "the same for the angle",
    "frames": "frames with a previous frame, so with a relative motion",
    "segments": "segments that fitted into uninterrupted runs, one from each frame for each length",
    "segment_lengths_m": "lengths of the segments along the ground-truth path; the longest true path chose them",
}
BOUNDS = {
    "frames": "frames with an estimate, a bound and a ground-truth pose",
    "mean_sigma_m": "mean of the predicted 68 % bounds; of two calibrated models the smaller is sharper",
    "mean_sigma_deg": "the same for the angle",
    "median_sigma_m": "half of the bounds are smaller",
    "median_sigma_deg": "the same for the angle",
    "error_over_sigma": "mean error by mean bound; far above 1 is overconfident",
    "within_1_sigma": "share of errors inside the bound",
    "within_2_sigma": "share of errors inside twice the bound",
    "within_3_sigma": "share of errors inside three times the bound",
    "expected_1_sigma": "what a calibrated model has inside the bound",
    "expected_2_sigma": "what it has inside twice the bound, with the errors that training assumes (Laplace)",
    "expected_3_sigma": "what it has inside three times the bound",
    "rank_correlation": "Spearman's; 1: the bounds order the frames by their error, 0: they say nothing",
    "sparsification_error": "what is lost by dropping frames by their bound, not their error; 0 is perfect (AUSE)",
}
HOW = {
    "localization": {
        "frames": "frames with a ground-truth pose that were put in",
        "failed": "of them, frames without an estimate; each counts as infinitely wrong",
        "median_translation_m": "half of all frames are nearer to the ground truth than this; nothing is aligned first",
        "median_rotation_deg": "the same for the angle between estimated and true orientation",
        "mean_translation_m": "mean over all frames; inf as soon as one frame has no estimate",
        "mean_rotation_deg": "the same for the angle",
        "p95_translation_m": "95 % of all frames are nearer than this",
        "p95_rotation_deg": "the same for the angle",
        "recall_5cm_5deg": "share of all frames within 5 cm and 5 degrees",
        "recall_25cm_5deg": "share of all frames within 25 cm and 5 degrees",
    },
    "answered_images_alone": {
        "frames": "of the frames above, those with an estimate",
        "median_translation_m": "half of these are nearer; not the result, which counts the others too",
        "median_rotation_deg": "the same for the angle",
    },
    "odometry": MOTION,
    "motion_between_poses": MOTION,
    "calibration": BOUNDS,
    "motion_calibration": BOUNDS,
    "limits": {
        "frames": "frames with an estimate and a ground-truth pose",
        "beyond": "of them, beyond the limits in the model file: the robot's gate would withhold them",
        "inside_median_translation_m": "half of the poses within the limits are nearer to the ground truth",
        "inside_median_rotation_deg": "the same for the angle",
        "inside_p95_translation_m": "95 % of them are nearer",
        "beyond_median_translation_m": "half of the poses beyond the limits are nearer to the ground truth",
        "beyond_median_rotation_deg": "the same for the angle",
        "beyond_p95_translation_m": "95 % of them are nearer",
        "scale_for_95": "limits so many times as large (the node's gate_scale) would let 95 % of all pass",
    },
    "segmentation": {
        "mean_iou": "mean over the classes that occur in the truth or the prediction; unlabelled pixels do not count",
    },
    "answers": {
        "frames": "frames that were put in",
        "failed": "of them, frames without a pose",
    },
    "uncertainty": {
        "median_sigma_m": "the calibrated 68 % bound of the error that the model expects, half of all frames are below",
        "p95_sigma_m": "95 % of all frames are below",
        "median_sigma_deg": "the same for the orientation",
        "p95_sigma_deg": "the same for the orientation",
        "largest_sigma_m": "no frame is above",
        "largest_sigma_deg": "the same for the orientation",
    },
    "pose_against_odometry": {
        "median_jump_m": "the motion between two poses against the odometry's, half of all frames are below",
        "p95_jump_m": "95 % of all frames are below",
        "median_jump_deg": "the same for the turn",
        "p95_jump_deg": "the same for the turn",
        "largest_jump_m": "no frame is above",
        "largest_jump_deg": "the same for the turn",
    },
    "latency_ms": {
        "p50": "half of the frames are faster",
        "p95": "95 % of the frames are faster",
        "p99": "99 % of the frames are faster",
    },
}
"""Explanation of each figure of `metrics.json`, by section; the report prints it beside the figure."""

COLUMNS = ("figure", "value", "unit", "how it was made")
_SUFFIX_UNITS = {
    "_deg_per_m": "deg/m",
    "_percent": "%",
    "_bytes": "bytes",
    "_ms": "ms",
    "_hz": "Hz",
    "_deg": "deg",
    "_m": "m",
    "_s": "s",
}


def write_report(
    out: Path,
    title: str,
    metrics: Mapping[str, Any],
    tables: Iterable[Table] = (),
    pictures: Mapping[str, Path] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write `out/report.md` and return its path.

    `metrics` is what `metrics.json` holds: each section becomes a table of figure, value, unit and how it was made;
    sections without an explanation are shown without one. `pictures` maps captions to image files, linked
    relative to `out`. `notes` become a list under the title: command, model, data, machine.
    Raises DataError if the file cannot be written.
    """
    out = Path(out)
    parts = [f"# {title}"]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    for caption, picture in (pictures or {}).items():
        link = Path(os.path.relpath(picture, out)).as_posix().replace(" ", "%20")
        parts.append(f"![{caption}]({link})")
    for table in tables:
        parts += [f"## {table.title}", markdown_table(table.columns, table.rows)]
    plain = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    sections: dict[str, Mapping[str, Any]] = {"Figures": plain} if plain else {}
    sections |= {name: value for name, value in metrics.items() if isinstance(value, Mapping)}
    for name, section in sections.items():
        parts += [f"## {_words(name)}", *_section(name, section)]
    path = out / "report.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def metric_rows(name: str, section: Mapping[str, Any]) -> list[list[str]]:
    """Rows of (figure, value, unit, how it was made) for one section of the metrics, without its nested sections."""
    rows = []
    for key, value in section.items():
        if isinstance(value, Mapping):
            continue
        unit = "ms" if name == "latency_ms" else next((u for end, u in _SUFFIX_UNITS.items() if key.endswith(end)), "")
        if key.startswith(("recall_", "within_", "expected_")) or key == "mean_iou":
            value, unit = (None if value is None or math.isnan(value) else 100.0 * value), "%"
        rows.append([_words(key, unit), _value(value), unit, HOW.get(name, {}).get(key, "")])
    return rows


def nested_tables(name: str, section: Mapping[str, Any]) -> list[Table]:
    """The sections inside a section: figures with units where the report explains them, else names and values."""
    tables = []
    for key, nested in section.items():
        if not isinstance(nested, Mapping) or not nested:
            continue
        if set(nested) <= set(HOW.get(name, {})):
            tables.append(Table(_words(key), COLUMNS, metric_rows(name, nested)))
        else:
            tables.append(Table(_words(key), ("", "value"), [[k, _value(v)] for k, v in nested.items()]))
    return tables


def _section(name: str, section: Mapping[str, Any]) -> list[str]:
    rows = metric_rows(name, section)
    # A section without explanations needs no column for them.
    width = 4 if any(row[3] for row in rows) else 3
    parts = [markdown_table(COLUMNS[:width], [row[:width] for row in rows])] if rows else []
    for table in nested_tables(name, section):
        parts += [f"### {table.title}", markdown_table(table.columns, table.rows)]
    return parts


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(format_cell(item) for item in value) or "-"
    return format_cell(value)


def _words(key: str, unit: str = "") -> str:
    """`median_translation_m` -> median translation; the unit has its own column."""
    for end, known in _SUFFIX_UNITS.items():
        if known == unit and key.endswith(end):
            key = key[: -len(end)]
            break
    return {"rpe": "RPE", "iou": "IoU"}.get(key, key.replace("_", " ").replace("rpe ", "RPE ").replace("iou", "IoU"))
