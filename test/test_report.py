"""Tables, reports and JSON as people and programs read them."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from vlocnetpp.data.frames import DataError
from vlocnetpp.metrics import latency_metrics, localization_metrics, odometry_metrics, segmentation_metrics
from vlocnetpp.metrics.calibration import calibration_metrics
from vlocnetpp.reporting import Table, print_table, write_json, write_report
from vlocnetpp.reporting.files import replacing
from vlocnetpp.reporting.report import HOW, nested_tables
from vlocnetpp.reporting.tables import format_cell, markdown_table, plain_table

HERE = [0.0, 0, 0, 1, 0, 0, 0]


def all_metrics() -> dict:
    return {
        "localization": localization_metrics([HERE, [math.nan] * 7], [HERE, HERE]),
        "odometry": odometry_metrics([HERE] * 3, [[x, 0, 0, 1, 0, 0, 0] for x in range(3)], [False, True, True]),
        "calibration": calibration_metrics([[0.1, 2.0], [0.2, 3.0]], [[0.05, 1.0], [0.3, 2.0]]),
        "segmentation": segmentation_metrics(np.diag([3, 0]), ["floor", "wall"]),
        "latency_ms": latency_metrics([1.0, 2.0, 3.0]),
        "frames": {"received": 3, "processed": 2, "dropped": 1},
    }


def test_every_figure_is_explained():
    for name, section in all_metrics().items():
        for key, value in section.items():
            if name != "frames" and not isinstance(value, dict):
                assert HOW[name][key], f"{name}.{key}"


def test_figures_of_calibration_are_explained_and_have_units():
    for section in all_metrics()["calibration"].values():
        assert all(HOW["calibration"][key] for key in section)
    translation, rotation = nested_tables("calibration", all_metrics()["calibration"])
    assert ["mean sigma", "0.150", "m"] in [row[:3] for row in translation.rows]
    assert ["mean sigma", "2.50", "deg"] in [row[:3] for row in rotation.rows]
    assert ["within 1 sigma", "50.0", "%"] in [row[:3] for row in translation.rows]
    assert ["expected 2 sigma", "89.8", "%"] in [row[:3] for row in rotation.rows]


def test_report(tmp_path):
    out = tmp_path / "out"
    table = Table("Beside the baselines", ["method", "median"], [["ours", 0.5], ["mean | pose", math.nan]])
    path = write_report(out, "Lab", all_metrics(), [table], {"seen from above": out / "my run.png"}, ["model lab.ts"])
    text = path.read_text()
    assert path == out / "report.md"
    assert text.startswith("# Lab\n\n- model lab.ts\n\n![seen from above](my%20run.png)\n\n## Beside the baselines\n")
    assert "| mean \\| pose | - |" in text
    assert "| median translation | inf | m | half of all frames are nearer" in text
    assert "| recall 5cm 5deg | 50.0 | % |" in text
    assert "| translation | 100 | % | drift" in text
    assert "| rotation | 0 | deg/m |" in text
    assert "| segment lengths | 1.00, 2.00 | m |" in text
    assert "### IoU\n\n|  | value |" in text
    assert "| wall | - |" in text
    assert "| p50 | 2.00 | ms |" in text
    assert "## frames\n\n| figure | value | unit |\n|---|---|---|\n| received | 3 |  |" in text
    assert "nan" not in text


def test_json_is_valid_whatever_the_figures(tmp_path):
    path = tmp_path / "metrics.json"
    value = {
        "a": np.float32(0.5),
        "b": math.inf,
        "c": [math.nan, np.int64(3)],
        "d": np.array([1.0, -math.inf]),
        "e": path,
    }
    write_json(path, value)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"a": 0.5, "b": None, "c": [None, 3], "d": [1.0, None], "e": str(path)}
    write_json(path, all_metrics())
    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read["localization"]["median_translation_m"] is None
    assert read["localization"]["failed"] == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"good": 1})
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})

    def killed_half_way() -> None:
        with replacing(path) as partial:
            partial.write_text("half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_half_way()
    assert json.loads(path.read_text()) == {"good": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.json"]


def test_unwritable_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"metrics\.json: cannot be written: "):
        write_json(tmp_path / "file" / "metrics.json", {})
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(DataError, match="cannot be written: Is a directory"):
        write_json(tmp_path / "metrics.json", {})


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "inf"),
        (True, "yes"),
        (7, "7"),
        (0.0, "0"),
        (0.12345, "0.123"),
        (0.000123, "0.000123"),
        (12.345, "12.3"),
        (123456.7, "123457"),
        (np.float32(1.5), "1.50"),
        (1e-12, "0.000000"),
        ("text", "text"),
    ],
)
def test_cells(cell, text):
    assert format_cell(cell) == text


def test_plain_table():
    text = plain_table("Peers", ["method", "m", "note"], [["ours", 0.5, "a"], ["mean pose", None, "bcd"]])
    assert text.splitlines() == [
        "Peers",
        "----------------------",
        "method         m  note",
        "ours       0.500  a",
        "mean pose      -  bcd",
    ]
    assert plain_table("No rows", ["a"], []).splitlines() == ["No rows", "-------", "a"]


def test_markdown_table():
    assert markdown_table(["a", "b"], [["x", 1]]) == "| a | b |\n|---|---:|\n| x | 1 |"


def test_a_pipe_gets_plain_text_and_a_terminal_gets_rich(capsys, monkeypatch):
    print_table("Peers", ["method", "median"], [["[best] ours", 0.5]])
    assert capsys.readouterr().out == plain_table("Peers", ["method", "median"], [["[best] ours", 0.5]]) + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table("Peers", ["method", "median"], [["[best] ours", 0.5]])
    out = capsys.readouterr().out
    assert "[best] ours" in out
    assert "┃" in out
