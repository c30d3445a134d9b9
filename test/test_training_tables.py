"""What a training prints while it runs."""

from __future__ import annotations

from vlocnetpp.step import TASKS
from vlocnetpp.training.curves import draw_curves
from vlocnetpp.training.tables import ValidationTable, progress_line


def test_the_line_of_progress_begins_with_what_a_reader_understands():
    line = progress_line("coordinates", 2, 3, {"cells": -1.9, "off_ray_m": 0.033, "distance_m": 0.0477})
    assert line == "coordinates (2 of 3): points 0.048 m off, 0.033 m beside their rays"
    cut = f"12 min left, {line}"[: 80 - 8 - 4 - 7 - 3]
    assert "points 0.048 m off" in cut, "of 80 columns, beside bar, share and clock"
    assert progress_line("streams", 3, 3, {"own": 0.05, "seg": 0.04, "x": 1.2}) == (
        "streams (3 of 3): position 1.200, masks 0.040, own 0.050"
    )
    assert progress_line("coordinates", 1, 1, {"cells": -1.9}) == "coordinates (1 of 1): cells -1.900"


def test_the_table_of_validations_fits_a_terminal_of_80_columns():
    table = ValidationTable(TASKS)
    metrics = {
        "localization": {"median_translation_m": 0.0312, "median_rotation_deg": 123.45},
        "odometry": {"rpe_translation_m": 0.0072, "rpe_rotation_deg": 0.25},
    }
    head, row = table.lines("coordinates", 1234567, metrics, True)
    assert len(head) < 80 and len(row) < 80
    assert row.split() == ["coordinate", "1234567", "0.031", "123.45", "0.0072", "0.250", "-", "*"]
    assert len(table.lines("streams", 1, metrics, False)) == 1, "one heading"


def test_the_curves_begin_with_the_errors_of_held_out_frames(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: drawn.append(figure) or path.write_bytes(b"png"))
    empty = {"stage": "a", "total_s": 0.0, "learning_rate": 1e-3, "loss_x": None, "val_median_translation_m": None}
    rows = [
        empty | {"total_s": 60.0, "loss_x": 2.0},
        empty | {"total_s": 120.0, "loss_x": 1.0, "val_median_translation_m": 0.5},
        empty | {"stage": "b", "total_s": 300.0, "learning_rate": 1e-4, "val_median_translation_m": 0.0625},
    ]
    draw_curves(rows, [], tmp_path / "curves.png")
    axes = drawn[0].axes
    assert [axis.get_title() for axis in axes] == ["held-out frames, position, median: 0.062 m", "learning rate"]
    (curve,) = axes[0].lines
    assert curve.get_xydata().tolist() == [[2.0, 0.5], [5.0, 0.0625]]
    assert axes[0].get_yscale() == "log" and axes[0].get_xlabel() == "minutes of training"
    draw_curves([empty], [], tmp_path / "nothing.png")
    assert len(drawn) == 1, "a log without a value is not drawn"
