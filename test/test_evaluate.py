"""Evaluation without ground truth, and the files of numbers that every evaluation leaves."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from random_models import export_random
from wall_dataset import write_wall

from vlocnetpp.cli import main
from vlocnetpp.evaluation.answers import COLUMNS, jumps
from vlocnetpp.evaluation.poses import accumulate
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.evaluation.trajectory_files import read_tum

FRAMES = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled dataset, the same images alone, and a model of every task with random weights."""
    place = tmp_path_factory.mktemp("evaluate")
    write_wall(place / "wall", {"train": 4, "test": FRAMES}, sequences=1)
    images = place / "images"
    images.mkdir()
    for image in sorted((place / "wall").glob("test*/image/*")):
        shutil.copy(image, images)
    row = next(csv.DictReader(next((place / "wall").glob("test*/frames.csv")).open()))
    fx, fy, cx, cy = (row[name] for name in ("fx_px", "fy_px", "cx_px", "cy_px"))
    (images / "camera-intrinsics.txt").write_text(f"{fx} 0 {cx}\n0 {fy} {cy}\n0 0 1\n")
    export_random(place / "any.ts")
    return place


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines()
    assert [line[0] for line in lines[:4]] == ["#", "#", "#", "f"]
    return list(csv.DictReader(lines[3:]))


@pytest.mark.parametrize("data", ["wall", "images"])
def test_without_labels(place: Path, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / f"out_{data}"
    assert main(["evaluate", str(place / "any.ts"), str(place / data), "--no-labels", "--out", str(out)]) == 0
    assert "median sigma" in capsys.readouterr().out
    stamps, poses = read_tum(out / "estimate.tum")
    assert poses.shape == (FRAMES, 7)
    assert (np.diff(stamps) > 0).all()
    rows = rows_of(out / "answers.csv")
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == FRAMES
    assert all(row["error_m"] == "" and row["x_m"] and float(row["sigma_m"]) > 0 for row in rows)
    assert (rows[0]["jump_m"], rows[1]["jump_m"] != "") == ("", True)
    height, width = cv2.imread(str(out / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED).shape
    assert (height, width) == cv2.imread(str(next((place / "images").glob("*.jpg")))).shape[:2]
    video = cv2.VideoCapture(str(out / "video.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert list(out.glob("odometry-*.tum"))
    assert {path.name for path in out.glob("*.png")} == {"masks.png", "path.png"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["answers"] == {"frames": FRAMES, "failed": 0}
    assert metrics["uncertainty"]["median_sigma_m"] > 0
    assert "localization" not in metrics


def test_labels_are_asked_for_where_there_are_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(place / "any.ts"), str(place / "images"), "--out", str(place / "none")]) == 2
    assert "neither poses nor masks to compare with; look at it with --no-labels" in capsys.readouterr().err
    assert not (place / "none").exists()


def test_with_labels_the_same_table_has_errors(place: Path) -> None:
    out = place / "labelled"
    assert main(["evaluate", str(place / "any.ts"), str(place / "wall"), "--out", str(out)]) == 0
    errors = [float(row["error_m"]) for row in rows_of(out / "answers.csv")]
    median = json.loads((out / "metrics.json").read_text())["localization"]["median_translation_m"]
    assert np.median(errors) == pytest.approx(median, abs=1e-6)
    assert list(out.glob("odometry-*.tum"))


def test_odometry_adds_up_from_each_cold_start() -> None:
    step = [1.0, 0, 0, np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]  # one metre ahead, then a quarter turn left
    added = accumulate(np.array([step] * 5), np.array([False, True, True, False, True]))
    np.testing.assert_allclose(added[:, :2], [[0, 0], [1, 0], [1, 1], [0, 0], [1, 0]], atol=1e-12)


def test_a_jump_is_the_pose_against_the_odometry() -> None:
    here = np.array([[0.0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0], [5, 0, 0, 1, 0, 0, 0]])
    step = np.array([[1.0, 0, 0, 1, 0, 0, 0]] * 3)
    metres, degrees = jumps(Streamed(here, step, np.array([False, True, True]), np.ones((3, 2)), np.ones(3)))
    np.testing.assert_allclose(metres, [np.nan, 0, 3])
    np.testing.assert_allclose(degrees, [np.nan, 0, 0], atol=1e-9)
