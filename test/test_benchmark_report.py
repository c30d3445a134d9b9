"""What a benchmark's report is made from: bootstrap, sentences, tables, records, pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from vlocnetpp.benchmark import BenchmarkError, Settings, published, run
from vlocnetpp.benchmark.figures import (
    distance_bins,
    median_by_distance,
    plot_error_bars,
    plot_error_by_distance,
    plot_shares,
)
from vlocnetpp.benchmark.paper_tables import localization_table
from vlocnetpp.benchmark.record import Errors, Record, read_errors, read_record, write_record
from vlocnetpp.benchmark.rows import Row, join, spread
from vlocnetpp.benchmark.sentences import costs, duels, winners
from vlocnetpp.benchmark.significance import compare_medians
from vlocnetpp.data import DataError

# --- what the figures say -------------------------------------------------------------------------------------------


def row(name: str, metres: list[list[float]], kind: str = "method", greyed: bool = False) -> Row:
    """A row of one run for each list of errors; degrees are ten times the metres."""
    records, errors = [], []
    for run_metres in metres:
        m = np.array(run_metres, float)
        names = [f"f{i}" for i in range(len(m))]
        scores = {"frames": len(m), "failed": int(np.isinf(m).sum()), "median_translation_m": float(np.median(m))}
        scores |= {"median_rotation_deg": float(np.median(10 * m)), "recall_5cm_5deg": float(np.mean(m <= 0.05))}
        metrics = {"localization": {**scores, "recall_25cm_5deg": 0.5}, "latency_ms": {"p50": 7.0}}
        records.append(Record(name, kind, metrics=metrics, size_bytes=3_000_000))
        errors.append(Errors(names, m, 10 * m, np.ones(len(m))))
    return Row(name, kind, "", greyed, records, errors)


def test_the_bootstrap_against_a_plain_restatement_and_known_cases():
    rng = np.random.default_rng(1)
    a, b = rng.gamma(2, 0.1, 60), rng.gamma(2, 0.12, 60)
    found = compare_medians([a], b)
    draws = rng.integers(0, 60, (4000, 60))
    low, high = np.percentile(np.median(a[draws], axis=1) - np.median(b[draws], axis=1), [2.5, 97.5])
    assert found.difference == np.median(a) - np.median(b)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert compare_medians([a], b) == found, "the same frames give the same interval"
    better = compare_medians([a, a + 0.02], a + 1.0)
    assert better.verdict == "better" and better.difference == pytest.approx(-0.99)
    assert compare_medians([a + 1.0], a).verdict == "worse"
    assert compare_medians([a], a).verdict == "not separable"


def test_the_bootstrap_where_frames_have_no_estimate():
    a, missing = np.full(20, 0.1), np.full(20, math.inf)
    assert compare_medians([a], missing) == (-math.inf, -math.inf, -math.inf)
    assert compare_medians([a], missing).verdict == "better"
    assert compare_medians([missing], missing).verdict == "not separable"
    some = np.where(np.arange(20) < 5, math.inf, 0.05)
    assert compare_medians([a], some).difference == pytest.approx(0.05)
    assert compare_medians([[0.1]], [0.2]).verdict == "not separable", "one frame says nothing"
    for wrong in ([[], []], [[0.1], [0.1, 0.2]]):
        with pytest.raises(DataError, match="frame by frame"):
            compare_medians([wrong[0]], wrong[1])


def test_the_sentences_say_who_wins_even_where_it_was_not_trained():
    rng = np.random.default_rng(0)
    base = rng.gamma(3, 0.03, 50)
    rows = [
        row("nearest training pose", [base / 100], "peer", greyed=True),
        row("ORB and PnP", [base / 4], "peer"),
        row("poor retrieval", [base * 9], "peer"),
        row("retrieval", [base * 2], "peer"),
        row("stl_pose", [base, base * 1.1]),
        row("pose_single", [base * 2.02]),
    ]
    found = duels(rows)
    said = "\n".join(winners(rows, found))
    assert "Best median position: **ORB and PnP**, which needs no training" in said
    assert "The best of those trained here is stl_pose" in said
    assert "against retrieval: in metres better: stl_pose" in said
    assert "against ORB and PnP: in metres worse: stl_pose, pose_single" in said
    assert "poor" not in said, "the best of a kind is the rival"
    assert "nearest" not in said, "what looks at the truth never wins"
    trained = "\n".join(winners(rows[3:], []))
    assert "**stl_pose**, which was trained here" in trained and "The best without training is retrieval" in trained
    assert winners([], []) == [] and costs([]) == []
    (said,) = costs(rows)
    cost = "answers in 7.00 ms (p50) and carries 3.00 MB"
    assert said == f"stl_pose {cost}; ORB and PnP {cost}."


def test_tables_have_mean_and_spread_and_the_published_figures_apart():
    table = localization_table(
        [row("stl_pose", [[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]]), row("x", [[math.inf] * 3])], "redkitchen"
    )
    assert table.columns[-1] == "published (7-Scenes RedKitchen, table I; other data and hardware)"
    assert list(table.rows[0][:3]) == ["stl_pose", "0.300 (0.200-0.400)", "3.00 (2.00-4.00)"]
    assert table.rows[0][-1] == "0.025 m, 2.27 deg"
    assert list(table.rows[1][1:3]) == ["inf", "inf"] and table.rows[1][5] == "100" and table.rows[1][-1] == "-"
    assert published.localization("deeploc").values["vlocnet"] == (0.68, 3.43)
    assert published.odometry("some room").where == "7-Scenes average, table III"
    assert spread([]) == "-" and spread([0.5], 100) == "50.0"


def test_rows_join_seeds_and_leave_out_what_failed():
    records = [(Record("a", "method", 0, metrics={}), None), (Record("a", "method", 1, failed="NaN"), None)]
    (joined,) = join([*records, (Record("b", "peer", failed="x"), None)])
    assert joined.name == "a" and len(joined.records) == 1


# --- files and pictures ---------------------------------------------------------------------------------------------


def test_records_come_back_as_they_were_and_damage_is_named(tmp_path):
    record = Record("a", "peer", metrics={"localization": {"mean_translation_m": math.inf, "frames": 2}}, note="n")
    errors = Errors(["s/1", "s/2"], np.array([0.5, math.inf]), np.array([1.0, math.inf]), np.array([3.0, 4.0]))
    write_record(tmp_path, "a", record, errors)
    assert read_record(tmp_path, "a") == record
    back = read_errors(tmp_path, "a")
    assert back.frames == errors.frames and back.metres_N.tolist() == [0.5, math.inf]
    assert read_record(tmp_path, "absent") is None
    (tmp_path / "a.json").write_text('{"version": 1, "name"')
    with pytest.raises(DataError, match=r"a\.json: is not a result of a benchmark; delete it"):
        read_record(tmp_path, "a")
    (tmp_path / "a.json").write_text('{"version": 99}')
    with pytest.raises(DataError, match="another version"):
        read_record(tmp_path, "a")
    (tmp_path / "a.csv").write_text("frame,x\n1\n")
    with pytest.raises(DataError, match=r"a\.csv: cannot be read"):
        read_errors(tmp_path, "a")


def test_medians_over_bins_of_distance():
    distance = np.linspace(0.1, 0.6, 60)
    edges = distance_bins(distance)
    assert len(edges) == 7
    found = median_by_distance(row("a", [distance * 2]), distance, edges)
    assert found == pytest.approx([2 * np.median(part) for part in np.split(distance, 6)], rel=0.02)
    assert len(distance_bins(np.zeros(30))) == 2, "all frames at one distance are one bin"


@pytest.mark.parametrize("frames", [1, 60])
def test_degenerate_pictures(tmp_path, frames):
    distance = np.linspace(0, 1, frames)
    rows = [row("all failed", [np.full(frames, math.inf)], "peer"), row("exact", [np.zeros(frames)] * 2)]
    rows.append(row("usual", [np.linspace(0.1, 1, frames)], "peer", greyed=frames == 60))
    plot_error_bars(tmp_path / "bars.png", rows, "t")
    plot_error_by_distance(tmp_path / "distance.png", rows, distance, "t")
    plot_shares(tmp_path / "shares.png", rows, "t")
    for path in tmp_path.iterdir():
        assert cv2.imread(str(path)) is not None
    with pytest.raises(DataError, match="no method to draw"):
        plot_error_bars(tmp_path / "none.png", [], "t")


def test_a_second_benchmark_in_the_folder_is_refused_and_the_next_is_not(tmp_path):
    run.check_settings(tmp_path, Settings(), "digest")
    refused = pytest.raises(BenchmarkError, match="another benchmark is running here")
    with run.alone(tmp_path), refused, run.alone(tmp_path):
        raise AssertionError("both hold the folder")
    with run.alone(tmp_path):
        pass


def test_a_damaged_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(BenchmarkError, match=r"settings\.json: cannot be read"):
        run.check_settings(tmp_path, Settings(), "digest")
