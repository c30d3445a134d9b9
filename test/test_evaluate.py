"""Evaluation without ground truth, and the files of numbers that every evaluation leaves."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from random_models import CLASSES, K_33, export_random
from wall_dataset import write_wall

from vlocnetpp.cli import main
from vlocnetpp.data import Frame, Sequence, open_dataset
from vlocnetpp.evaluation.answers import COLUMNS, jumps
from vlocnetpp.evaluation.evaluate import motion_between_poses
from vlocnetpp.evaluation.limits import limit_metrics, limits_sentence
from vlocnetpp.evaluation.score import score
from vlocnetpp.evaluation.stream import Streamed
from vlocnetpp.evaluation.unlabelled import figures_of
from vlocnetpp.evaluation.video import CAPTION, HEIGHT, write_video
from vlocnetpp.poses import accumulate
from vlocnetpp.reporting.trajectory_files import read_tum

FRAMES = 5
PAGE = (ROOT / "docs/evaluation.md").read_text()
TASKS = ("localization", "odometry", "segmentation")


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
    of_a_longer_run = out / "masks" / "color" / f"{FRAMES:06d}.png"
    of_a_longer_run.parent.mkdir(parents=True)
    of_a_longer_run.touch()
    assert (
        main(["evaluate", str(place / "any.ts"), str(place / data), "--no-labels", "--out", str(out), "--replace"]) == 0
    )
    assert not of_a_longer_run.exists()
    assert "median sigma" in capsys.readouterr().out
    stamps, poses = read_tum(out / "estimate.tum")
    assert poses.shape == (FRAMES, 7)
    assert (np.diff(stamps) > 0).all()
    rows = rows_of(out / "answers.csv")
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == FRAMES
    assert all(row["error_m"] == "" and row["x_m"] and float(row["sigma_m"]) > 0 for row in rows)
    assert (rows[0]["jump_m"], rows[1]["jump_m"] != "") == ("", True)
    ids = cv2.imread(str(out / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED)
    height, width = ids.shape
    color = cv2.imread(str(out / "masks" / "color" / "000000.png"))[:, :, ::-1]
    np.testing.assert_array_equal(color, np.array([rgb for _, rgb in CLASSES])[ids])
    assert (height, width) == cv2.imread(str(next((place / "images").glob("*.jpg")))).shape[:2]
    video = cv2.VideoCapture(str(out / "video.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert list(out.glob("odometry-*.tum"))
    assert {path.name for path in out.glob("*.png")} == {"sheet.png", "path.png"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["answers"] == {"frames": FRAMES, "failed": 0}
    assert metrics["uncertainty"]["median_sigma_m"] > 0
    assert "localization" not in metrics
    assert "metres; angles in degrees" in metrics["about"]["conventions"]

    for path in out.iterdir():
        assert f"`{'odometry-SEQUENCE.tum' if path.suffix == '.tum' and 'odometry' in path.name else path.name}" in PAGE


def test_labels_are_asked_for_where_there_are_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(place / "any.ts"), str(place / "images"), "--out", str(place / "none")]) == 2
    assert "neither poses nor masks to compare with; look at it with --no-labels" in capsys.readouterr().err
    assert not (place / "none").exists()


def test_a_folder_of_images_alone_is_told_what_it_needs(place: Path, tmp_path: Path, capsys) -> None:
    image = next((place / "images").glob("*.jpg"))
    for name in ("img10.jpg", "img9.JPG", "img2.jpeg"):
        shutil.copy(image, tmp_path / name)
    out = place / "alone"
    words = ["evaluate", str(place / "any.ts"), str(tmp_path), "--no-labels", "--out", str(out)]
    assert main(words) == 2
    assert "put camera-intrinsics.txt beside them, K as 3 x 3 numbers" in capsys.readouterr().err
    assert not out.exists()
    shutil.copy(place / "images" / "camera-intrinsics.txt", tmp_path)
    assert [frame.name for frame in open_dataset(tmp_path).frames("test")] == ["img2.jpeg", "img9.JPG", "img10.jpg"]


def test_masks_alone_without_labels(place: Path, capsys) -> None:
    out = place / "masks_alone"
    model = export_random(place / "masks.ts", "stl_segmentation")
    assert main(["evaluate", str(model), str(place / "images"), "--no-labels", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "answers.csv", "masks", "metrics.json", "report.md", "sheet.png", "video.mp4"}  # fmt: skip
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"{out}: sheet.png, video.mp4, report.md, metrics.json, answers.csv, masks"
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"about", "answers", "latency_ms"}
    assert metrics["answers"] == {"frames": FRAMES}


def nothing_answered(frames: int) -> Streamed:
    poses = np.full((frames, 7), np.nan)
    return Streamed(poses, poses.copy(), np.zeros(frames, bool), np.full((frames, 2), np.nan), np.ones(frames))


def score_of(answers: Streamed, truth: list) -> dict:
    frames = [Frame(str(i), i, Path("none.png"), K_33, pose) for i, pose in enumerate(truth)]
    return score(frames, answers, TASKS, np.zeros((2, 2), np.int64), ("a", "b"))


def test_a_split_of_one_frame() -> None:
    here = np.array([0.0, 0, 0, 1, 0, 0, 0])
    answers = Streamed(here[None] + [3.0, 4, 0, 0, 0, 0, 0], here[None], np.array([False]), np.ones((1, 2)), np.ones(1))
    scored = score_of(answers, [here])
    assert set(scored) == {"localization", "calibration", "latency_ms"}  # nothing moved, and no pixel is labelled
    assert scored["localization"]["median_translation_m"] == scored["localization"]["p95_translation_m"] == 5.0
    assert scored["calibration"]["translation"]["error_over_sigma"] == 5.0
    assert scored["calibration"]["rotation"]["mean_sigma_deg"] == pytest.approx(np.degrees(1.0))


def test_a_split_in_which_all_failed() -> None:
    scored = score_of(nothing_answered(3), [np.array([x, 0, 0, 1, 0, 0, 0]) for x in (0.0, 1.0, 2.0)])
    assert scored["localization"]["failed"] == scored["localization"]["frames"] == 3
    assert scored["localization"]["median_rotation_deg"] == scored["localization"]["mean_translation_m"] == np.inf
    assert scored["localization"]["recall_25cm_5deg"] == 0.0
    assert scored["calibration"]["translation"]["frames"] == 0
    assert np.isnan(scored["calibration"]["rotation"]["within_3_sigma"])
    assert "odometry" not in scored


def test_a_truth_for_a_part_of_the_frames() -> None:
    here = np.array([0.0, 0, 0, 1, 0, 0, 0])
    many = np.tile(here, (4, 1))
    answers = Streamed(many, many, np.array([False, True, True, True]), np.ones((4, 2)), np.ones(4))
    scored = score_of(answers, [here, None, here, here])
    assert scored["localization"]["frames"] == 3
    assert scored["odometry"]["frames"] == 1  # only between the last two are both ends known
    assert scored["odometry"]["segment_lengths_m"] == []
    assert scored["odometry"]["rpe_translation_m"] == 0.0
    assert np.isnan(scored["odometry"]["translation_percent"])
    assert "motion_calibration" not in scored, "no bounds of motions"
    bounds = np.full((4, 2), np.nan)
    bounds[3] = (0.5, np.radians(2.0))
    calibration = score_of(answers._replace(motion_sigma_N2=bounds), [here, None, here, here])["motion_calibration"]
    assert calibration["translation"]["frames"] == calibration["rotation"]["frames"] == 1
    assert calibration["translation"]["mean_sigma_m"] == 0.5
    assert calibration["rotation"]["mean_sigma_deg"] == pytest.approx(2.0)


def test_poses_beyond_the_limits_of_the_file_are_scored_apart() -> None:
    truth = np.tile([0.0, 0, 0, 1, 0, 0, 0], (40, 1))
    answered = truth.copy()
    answered[:, 0] = 0.02
    answered[:4, 0] = 0.3
    answered[39] = np.nan
    sigma = np.tile([0.05, 0.01], (40, 1))
    sigma[:3, 0] = 0.12
    novelty = np.ones(40)
    novelty[3] = 3.6
    answers = Streamed(answered, truth, np.zeros(40, bool), sigma, np.ones(40), None, novelty)
    limits = {"uncertainty_m": 0.1, "uncertainty_rad": 0.02, "novelty": 2.0, "drift": 0.1}
    posed = np.ones(40, bool)
    posed[38] = False
    found = limit_metrics(answers, truth, posed, limits)
    assert (found["frames"], found["beyond"]) == (38, 4)
    assert found["inside_median_translation_m"] == pytest.approx(0.02)
    assert found["beyond_median_translation_m"] == pytest.approx(0.3)
    said = limits_sentence(found)
    assert said.startswith("the robot's gate: 4 of 38 poses are beyond the limits of the file and would be withheld")
    assert "off by 0.300 m, 0.0 deg" in said and "the others by 0.020 m" in said
    scale = float(re.search(r"gate_scale:=([\d.]+) lets 95 % pass", said)[1])
    again = limit_metrics(answers, truth, posed, {name: scale * limit for name, limit in limits.items()})
    assert again["beyond"] <= 0.05 * 38

    wide = limit_metrics(answers, truth, posed, {name: 10 * limit for name, limit in limits.items()})
    assert limits_sentence(wide) == "the robot's gate: all 38 poses are within the limits of the file"
    assert "gate_scale" not in limits_sentence(limit_metrics(answers, truth, posed, {"novelty": 2.0})), "1 of 38"
    assert limit_metrics(answers, truth, posed, {}) == limit_metrics(answers, truth, posed, {"drift": 0.1}) == {}
    assert limit_metrics(nothing_answered(40), truth, posed, {"uncertainty_m": 0.1}) == {}


@pytest.mark.parametrize("frames", [5, 10, 39, 59, 99])
def test_the_proposed_scale_lets_as_many_pass_as_it_says(frames: int) -> None:
    truth = np.tile([0.0, 0, 0, 1, 0, 0, 0], (frames, 1))
    sigma = np.column_stack((np.linspace(0.01, 0.05, frames), np.full(frames, 0.01)))
    beyond = frames // 20 + 1
    sigma[-beyond:, 0] = np.linspace(0.12, 0.19, beyond)
    answers = Streamed(truth, truth, np.zeros(frames, bool), sigma, np.ones(frames))
    posed = np.ones(frames, bool)
    found = limit_metrics(answers, truth, posed, {"uncertainty_m": 0.1})
    scale = float(re.search(r"gate_scale:=([\d.]+) lets 95 % pass", limits_sentence(found))[1])
    assert scale > 1
    assert limit_metrics(answers, truth, posed, {"uncertainty_m": 0.1 * scale})["beyond"] <= 0.05 * frames
    assert "gate_scale" not in limits_sentence(limit_metrics(answers, truth, posed, {"uncertainty_m": 1e-4}))


def test_the_motion_between_poses_leaves_out_borders_and_counts_failures() -> None:
    def sequence(name: str, positions: list[float]) -> Sequence:
        poses = [np.array([x, 0, 0, 1, 0, 0, 0]) for x in positions]
        return Sequence(name, tuple(Frame(str(i), i, Path("none.png"), K_33, pose) for i, pose in enumerate(poses)))

    sequences = [sequence("a", [0.0, 1.0, 2.0]), sequence("b", [50.0, 51.0])]
    off = np.array([[x + 7.0, 3.0, 0, 1, 0, 0, 0] for x in (0.0, 1.0, 2.0, 50.0, 51.0)])
    found = motion_between_poses(sequences, off)
    assert found["frames"] == 3 and found["rpe_translation_m"] == 0.0  # everywhere off by as much, and no border counts
    off[1] = np.nan
    assert motion_between_poses(sequences, off)["rpe_translation_m"] == np.inf


def test_all_frames_failed_is_said_and_drawn(place: Path, tmp_path: Path) -> None:
    answers = nothing_answered(FRAMES)
    figures = figures_of(answers, ("localization", "odometry"))
    assert figures == {
        "answers": {"frames": FRAMES, "failed": FRAMES},
        "latency_ms": {"p50": 1.0, "p95": 1.0, "p99": 1.0},
    }
    frames = open_dataset(place / "images").frames("test")
    assert write_video(tmp_path / "v.mp4", frames, answers, [None] * FRAMES, (), tmp_path / "sheet.png")
    assert cv2.VideoCapture(str(tmp_path / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def test_without_an_encoder_the_sheet_stays(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_has = cv2.VideoWriter.fourcc(*"ZZZZ")
    monkeypatch.setattr(cv2.VideoWriter, "fourcc", lambda *_: nobody_has)
    frames = open_dataset(place / "images").frames("test")
    sheet = tmp_path / "sheet.png"
    assert not write_video(tmp_path / "v.mp4", frames, nothing_answered(FRAMES), [None] * FRAMES, (), sheet)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    height, width = frames[0].image().shape[:2]
    rows = (FRAMES + 1) // 2
    assert cv2.imread(str(sheet)).shape[:2] == (rows * (HEIGHT + CAPTION), 2 * round(HEIGHT * width / height))


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
