"""What a benchmark's report is made from: bootstrap, sentences, tables, records, pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from vlocnetpp.benchmark import BenchmarkError, Settings, figures, published, run
from vlocnetpp.benchmark.figures import (
    distance_bins,
    median_by_distance,
    plot_error_bars,
    plot_error_by_distance,
    plot_shares,
)
from vlocnetpp.benchmark.paper_figures import FIGURE_2, figure_2, figure_3
from vlocnetpp.benchmark.paper_tables import paper_tables
from vlocnetpp.benchmark.record import Errors, Record, read_errors, read_record, write_record
from vlocnetpp.benchmark.result_tables import localization_table, marked
from vlocnetpp.benchmark.rows import Row, join, spread
from vlocnetpp.benchmark.sentences import costs, duels, winners
from vlocnetpp.benchmark.significance import compare_medians
from vlocnetpp.data import DataError
from vlocnetpp.network.registry import entry

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
    assert "Best median position: **ORB and PnP**, which needs no network" in said
    assert "The best of those trained here is stl_pose" in said
    assert "against retrieval: in metres better: stl_pose" in said
    assert "against ORB and PnP: in metres worse: stl_pose, pose_single" in said
    assert "poor" not in said, "the best of a kind is the rival"
    assert "nearest" not in said, "what looks at the truth never wins"
    trained = "\n".join(winners(rows[3:], []))
    assert "**stl_pose**, which was trained here" in trained and "The best without a network is retrieval" in trained
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


def segmenting(name: str, ious: dict[str, float | None], mean: float) -> Row:
    """A row of one run that segments."""
    metrics = {"segmentation": {"mean_iou": mean, "iou": ious}}
    return Row(name, "method", "", False, [Record(name, "method", metrics=metrics)])


def test_the_papers_tables_have_its_methods_as_printed_and_as_measured():
    drift = {"frames": 3, "translation_percent": 7.5, "rotation_deg_per_m": 2.25}
    odometry = Row("deepvo", "method", "", False, [Record("deepvo", "method", metrics={"odometry": drift})])
    rows = [row("vlocnet", [[0.1, 0.2, 0.3]]), row("ours", [[0.1]]), odometry]
    rows.append(segmenting("segnet", {"Wall": 0.5, "Floor": None}, 0.5))
    found = {table.title.partition(":")[0]: table for table in paper_tables(rows, "redkitchen", ("Wall", "Floor"))}
    assert list(found) == ["Table I", "Table II", "Table III", "Table IV", "Table V"]
    first = found["Table I"]
    assert first.columns == ("", "PoseNet2", "NNnet", "VLocNet", "VLocNet++ STL")
    printed, measured = first.rows
    assert list(printed) == [
        "printed (7-Scenes RedKitchen, table I)",
        *("0.23 m, 5.35 deg", "0.24 m, 8.03 deg", "0.039 m, 2.2 deg", "0.025 m, 2.27 deg"),
    ]
    assert list(measured) == ["measured here (redkitchen)", "-", "-", "0.200 m, 2.00 deg", "-"]
    assert found["Table II"].columns[1:4] == ("PoseNet", "Bayesian PoseNet", "SVS-Pose")
    assert found["Table III"].rows[1][2] == "7.50 %, 2.25 deg/m"
    assert found["Table IV"].rows[0][1:] == ["0.41 %, 0.053 deg/m", "0.33 %, 0.052 deg/m", "0.35 %, 0.049 deg/m",
                                             "0.15 %, 0.04 deg/m", "0.12 %, 0.024 deg/m"]  # fmt: skip
    ours, theirs = (table for table in paper_tables(rows[3:], "x", ("Wall", "Floor")))
    assert ours.rows == [["SegNet", "50.0", "-", "50.0"]]
    assert [len(cells) for cells in theirs.rows] == [len(theirs.columns)] * 7
    assert theirs.rows[4][0] == "DeepLab v2" and theirs.rows[4][-2:] == ["67.54", "75.04"]
    assert paper_tables([row("ours", [[0.1]])], "x", ()) == []


def test_the_printed_means_of_table_v_against_those_of_their_classes():
    """As the report says: some are the mean of the nine classes, DeepLab's is their sum over ten, two are neither."""
    sums = {name: sum(values[:-1]) for name, values in published.TABLE_V.items()}
    means = {name: values[-1] for name, values in published.TABLE_V.items()}
    whole = [name for name in sums if abs(sums[name] / 9 - means[name]) < 0.02]
    assert whole == ["segnet", "upnet", "parsenet", "mtl"]
    assert sums["deeplab_v2"] / 10 == pytest.approx(means["deeplab_v2"], abs=0.01)
    assert sums["fcn8s"] == pytest.approx(sums["adapnet"], abs=0.03) and means["fcn8s"] != means["adapnet"]


@pytest.mark.parametrize("name", sorted(set(published.TABLE_V) - {"mtl"}))
def test_the_networks_of_table_v_name_its_figures(name):
    said = dict(entry(name).published)
    assert said["DeepLoc, mean IoU"].startswith(f"{published.TABLE_V[name][-1]:.2f} %")
    pairs = zip(published.CLASSES, published.TABLE_V[name], strict=False)
    assert said["DeepLoc, IoU by class"] == ", ".join(f"{each} {value:.2f}" for each, value in pairs) + " %"


def test_the_share_of_brachmann_and_rother_follows_from_section_iv_b():
    """VLocNet++ STL improves over them by 20.3 %."""
    share = published.RECALL["dsacpp"]
    assert share == pytest.approx(published.RECALL["stl_pose"] - 20.3)
    assert dict(entry("dsacpp").published)["7-Scenes, within 5 cm and 5 deg"] == f"{share} %"
    assert {"dsac", "dsacpp"} <= set(FIGURE_2) & set(published.HEADINGS)


def test_the_numbers_of_figure_3_follow_from_the_text():
    """Section IV-C: 13.51 % and 23.32 % below STL, 36 % and 53.87 % below input concatenation."""
    stl, concat, mtl = (published.FIGURE_3[name] for name in ("stl_pose", "mtl_input_concat", "mtl"))
    assert stl == published.TABLE_II["stl_pose"]
    for i, (of_stl, of_concat) in enumerate(((0.1351, 0.36), (0.2332, 0.5387))):
        assert mtl[i] == pytest.approx(stl[i] * (1 - of_stl), abs=0.005)
        assert mtl[i] == pytest.approx(concat[i] * (1 - of_concat), abs=0.005)


def test_rows_join_seeds_and_say_how_many_failed():
    records = [(Record("a", "method", 0, metrics={}), None), (Record("a", "method", 1, failed="NaN"), None)]
    (joined,) = join([*records, (Record("b", "peer", failed="x"), None)])
    assert joined.name == "a" and len(joined.records) == 1
    assert joined.label == marked(joined) == "a (1 of 2 seeds)"
    assert join(records[:1])[0].label == "a"


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


def test_shares_keep_trained_methods_beside_many_peers(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    many = [row(f"peer {i}", [rng.gamma(2, 0.01, 20)], "peer") for i in range(8)]
    many += [row(f"net {i}", [rng.gamma(2, 0.1 + i, 20)]) for i in range(5)]
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    plot_shares(tmp_path / "shares.png", many, "t")
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert len(labels) == 7
    assert [label for label in labels if "net" in label] == ["net 0", "net 1", "net 2"]


def test_the_papers_figures_are_drawn_where_there_are_rows(tmp_path):
    failing = row("ORB + depth map + PnP", [[math.inf] * 3], "peer")
    variants = [row("stl_pose", [[0.3, 0.4, 0.6]]), row("mtl", [[0.2, 0.3, 0.5]])]
    assert figure_2(tmp_path / "2.png", [failing, *variants], "redkitchen")
    assert figure_3(tmp_path / "3.png", variants, "redkitchen")
    assert cv2.imread(str(tmp_path / "2.png")).shape[1] > 1000 and cv2.imread(str(tmp_path / "3.png")) is not None
    assert not figure_2(tmp_path / "none.png", [row("mean pose", [[0.3]], "peer")], "t")
    assert not figure_3(tmp_path / "none.png", variants[:1], "t")
    assert not (tmp_path / "none.png").exists()
    assert figure_2(tmp_path / "unanswered.png", [failing], "t"), "a bar that says so"


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


def test_a_benchmark_never_touches_the_files_of_others_and_is_replaced_only_when_asked(tmp_path):
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(BenchmarkError, match=r"holds report\.md of something else"):
        run.check_settings(tmp_path, Settings(), "digest")
    run.begin_anew(tmp_path)
    assert (tmp_path / "report.md").read_text() == "mine", "no benchmark is here to be replaced"
    out = tmp_path / "out"
    out.mkdir()
    run.check_settings(out, Settings(), "digest")
    for name in ("notes.txt", "report.md"):
        (out / name).write_text("x")
    (out / "results/test").mkdir(parents=True)
    run.check_settings(out, Settings(), "digest")
    with run.alone(out), pytest.raises(BenchmarkError, match="another benchmark is running here"):
        run.begin_anew(out)
    run.begin_anew(out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
