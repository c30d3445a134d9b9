"""One benchmark on several splits: what is learned once is asked about each of them, and nothing is done twice."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from wall_dataset import write_wall

from vlocnetpp.benchmark import BenchmarkError, Settings, make, run
from vlocnetpp.benchmark.plan import judged, plan
from vlocnetpp.benchmark.record import Errors, Record, read_errors
from vlocnetpp.benchmark.rows import Row
from vlocnetpp.benchmark.sentences import duels
from vlocnetpp.benchmark.suite_figure import best_names, plot_error_by_split
from vlocnetpp.benchmark.suite_report import FIGURES, duel_table, figure_table
from vlocnetpp.cli import main
from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.peers import PEERS

SETTINGS = ["width=0.0625", "network.height=64", "network.width_px=64", "batch=4", "validations=1", "epochs=1"]


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> Path:
    splits = {"train": 8, "val": 3, "test": 4, "lane": 3}
    return write_wall(tmp_path_factory.mktemp("data") / "wall", splits)


def command(root: Path, out: Path, split: str) -> list[str]:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    usual = ["--methods", "stl_coordinates", "--seeds", "1", "--sections", "localization", "--device", "cpu"]
    return ["benchmark", str(root), "--out", str(out), "--split", split, *usual, *words]


@pytest.fixture(scope="module")
def done(wall, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "done"
    assert main(command(wall, out, "test")) == 0
    return out


@pytest.fixture(scope="module")
def both(wall, done) -> Path:
    """The same folder after a second call for all splits, in which no network may be trained."""
    kept = {path: path.read_bytes() for path in (done / "results" / "test").iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "train", lambda *_, **__: pytest.fail("was trained again for another split"))
        assert main(command(wall, done, "all")) == 0
    for path, content in kept.items():
        assert path.read_bytes() == content, "a finished row was made again"
    return done


def test_a_split_that_is_added_is_judged_by_the_networks_that_are_there(wall, both):
    names = [frame.name for frame in open_dataset(wall).frames("lane")]
    assert read_errors(both / "results" / "lane", "stl_coordinates-seed0").frames == names
    data = json.loads((both / "benchmark.json").read_text())
    assert data["dataset"]["splits"] == ["test", "lane"]
    rows = [row for row in data["rows"] if row["key"] == "stl_coordinates-seed0"]
    assert [row["split"] for row in rows] == ["test", "lane"]
    assert rows[0]["steps"] == rows[1]["steps"] > 0 and rows[0]["size_bytes"] == rows[1]["size_bytes"]
    assert [row["metrics"]["localization"]["frames"] for row in rows] == [8, 6]


def test_what_is_missing_of_one_split_is_made_for_that_split_alone(wall, both, monkeypatch):
    (both / "results" / "lane" / "mean-pose.json").unlink()
    made, original = [], run.make

    def watch(job, *more):
        judge = original(job, *more)
        return lambda split: made.append((job.name, split)) or judge(split)

    monkeypatch.setattr(run, "make", watch)
    assert main(command(wall, both, "all")) == 0
    assert made == [("mean pose", "lane")]


def test_the_report_has_methods_by_splits_and_a_table_for_each_split(both):
    text = (both / "report.md").read_text()
    data = json.loads((both / "benchmark.json").read_text())
    tables = {table["title"]: table for table in data["tables"]}
    medians = {(row["split"], row["name"]): row["metrics"]["localization"] for row in data["rows"]}
    table = tables["Median position error [m]"]
    assert table["columns"] == ["method", "test", "lane"] and len(table["rows"]) == len(PEERS) + 1
    cells = next(cells for cells in table["rows"] if cells[0] == "stl_coordinates")
    for cell, split in zip(cells[1:], ("test", "lane"), strict=True):
        assert float(cell) == pytest.approx(medians[split, "stl_coordinates"]["median_translation_m"], rel=0.01)
        assert f"## Localization of wall, {split}" in text
    assert [cells[:3] for cells in tables["The splits"]["rows"]] == [["test", 2, 8], ["lane", 2, 6]]
    for words in (
        "8 in 'test', 6 in 'lane'",
        "*nearest training pose (looks at the truth)*",
        "by which the pose is ref",
    ):
        assert words in text
    names = [cells[:2] for cells in tables["Uncertainty"]["rows"]]
    assert names[0] == ["stl_coordinates", "median bound [m]"] and len(names) == 4
    bounds = [
        row["metrics"]["calibration"]["translation"]["median_sigma_m"]
        for row in data["rows"]
        if row["kind"] == "method"
    ]
    assert [float(cell) for cell in tables["Uncertainty"]["rows"][0][2:]] == pytest.approx(bounds, rel=0.01)
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert cv2.imread(str(both / picture)).shape[1] > 1000
    page = (both / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1 and "error_by_split.png" not in page


def test_one_split_has_the_report_of_one_again_without_making_anything(wall, both, monkeypatch):
    monkeypatch.setattr(run, "make", lambda *_: pytest.fail("a finished row was made again"))
    assert main(command(wall, both, "lane")) == 0
    assert (both / "report.md").read_text().startswith("# Benchmark on wall, lane\n")
    assert json.loads((both / "benchmark.json").read_text())["dataset"]["split"] == "lane"


def test_all_is_every_split_but_those_that_choices_are_made_by(wall):
    dataset = open_dataset(wall)
    assert judged(dataset, ("all",)) == ("test", "lane")
    assert judged(dataset, ("val", "lane", "val")) == ("val", "lane")
    with pytest.raises(DataError, match="no split 'reverse'"):
        judged(dataset, ("test", "reverse"))
    bare = replace(dataset, splits={name: dataset.splits[name] for name in ("train", "val")})
    with pytest.raises(BenchmarkError, match="no split but train, val"):
        judged(bare, ("all",))


def test_a_row_is_judged_on_the_splits_that_have_its_labels(wall):
    dataset = open_dataset(wall)
    blind = tuple(
        replace(each, frames=tuple(replace(frame, mask_path=None) for frame in each.frames))
        for each in dataset.splits["lane"]
    )
    dataset = replace(dataset, splits={**dataset.splits, "lane": blind})
    planned = plan(dataset, Settings(budget="1s", seeds=1, splits=("all",)))
    splits = {job.name: job.splits for job in planned.jobs}
    assert splits["stl_segmentation"] == ("test",) and splits["mtl"] == ("test", "lane")
    assert [(each.name, each.reason) for each in planned.skipped][:1] == [
        ("adapnet", "the frames of 'lane' have no mask to judge by")
    ]


def test_a_peer_that_reads_depth_is_not_judged_on_a_split_without(wall):
    dataset = open_dataset(wall)
    bare = tuple(
        replace(each, frames=tuple(replace(frame, depth_path=None) for frame in each.frames))
        for each in dataset.splits["lane"]
    )
    planned = plan(replace(dataset, splits={**dataset.splits, "lane": bare}), Settings("1s", 1, splits=("all",)))
    splits = {job.name: job.splits for job in planned.jobs}
    assert splits["SCoRe forest"] == ("test",) and splits["ORB + depth map + PnP"] == ("test", "lane")
    assert ("SCoRe forest", "the frames of 'lane' have no depth") in [tuple(each) for each in planned.skipped]


# --- tables and the picture -----------------------------------------------------------------------------------------


def row(name: str, metres: list[float], kind: str = "method", greyed: bool = False) -> Row:
    m = np.array(metres, float)
    figures = {"median_translation_m": float(np.median(m)), "frames": len(m)}
    errors = Errors([str(i) for i in range(len(m))], m, 10 * m, np.ones(len(m)))
    return Row(name, kind, "", greyed, [Record(name, kind, metrics={"localization": figures})], [errors])


def test_tables_of_methods_by_splits():
    far, near = [1.0, 1.1, 1.2] * 10, [0.1, 0.2, 0.3] * 10
    rows = {
        "test": [row("poor retrieval", [9.0] * 30, "peer"), row("retrieval", near, "peer"), row("net", far)],
        "lane": [row("retrieval", far, "peer"), row("PnP", [math.inf] * 30, "peer"), row("net", near)],
    }
    table = figure_table(rows, FIGURES[0])
    assert table.columns == ("method", "test", "lane")
    assert table.rows == [
        ["poor retrieval", "9.00", "-"],
        ["retrieval", "0.200", "1.10"],
        ["net", "1.10", "0.200"],
        ["PnP", "-", "inf"],
    ]
    assert not figure_table(rows, FIGURES[-1]).rows
    assert duel_table({split: duels(found) for split, found in rows.items()}).rows == [
        ["net", "best retrieval", "+0.900 worse", "-0.900 better"],
        ["net", "best PnP", "-", "-inf better"],
    ]


def test_of_many_methods_the_best_on_all_splits_are_drawn_in_the_order_of_the_tables():
    test = [row(f"m{i}", [float(9 - i)]) for i in range(9)]
    lane = [row(f"m{i}", [float(i == 4)]) for i in range(9)]
    assert best_names({"test": test}) == [f"m{i}" for i in range(2, 9)]
    assert best_names({"test": [row("truth", [0.1], greyed=True), *test[:2]]}) == ["m0", "m1"]
    assert "m4" not in best_names({"a": lane, "b": lane, "test": test})


@pytest.mark.parametrize("splits", [1, 7])
def test_degenerate_pictures_of_splits(tmp_path, splits):
    rows = [row("all failed", [math.inf] * 3, "peer"), row("exact", [0.0]), row("truth", [0.5, 1], "peer", greyed=True)]
    plot_error_by_split(tmp_path / "picture.png", {f"split_{i}": rows for i in range(splits)}, "t")
    assert cv2.imread(str(tmp_path / "picture.png")) is not None
    with pytest.raises(DataError, match="no method to draw"):
        plot_error_by_split(tmp_path / "none.png", {"test": []}, "t")
