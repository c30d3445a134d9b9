"""One command, every peer and method, the same frames: the plan, the rows, what a stop loses (nothing), the report."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import signal
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from wall_dataset import write_wall

from vlocnetpp.benchmark import BenchmarkError, Settings, published, run
from vlocnetpp.benchmark.figures import (
    distance_bins,
    median_by_distance,
    plot_error_bars,
    plot_error_by_distance,
    plot_shares,
)
from vlocnetpp.benchmark.methods import methods, needs, read_method
from vlocnetpp.benchmark.paper_tables import localization_table
from vlocnetpp.benchmark.plan import configuration, plan
from vlocnetpp.benchmark.record import Errors, Record, read_errors, read_record, write_record
from vlocnetpp.benchmark.report import LEAK_PROBE
from vlocnetpp.benchmark.rows import Row, join, spread
from vlocnetpp.benchmark.sentences import costs, duels, winners
from vlocnetpp.benchmark.significance import compare_medians
from vlocnetpp.cli import main
from vlocnetpp.cli.benchmark import setting
from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.network import configure
from vlocnetpp.peers import ODOMETRY_PEERS, PEERS
from vlocnetpp.training import loop as training_loop
from vlocnetpp.training.config import build_config
from vlocnetpp.training.schedule import check_stages

TINY = ["width=0.0625", "network.height=64", "network.width_px=64", "batch=4", "validations=1", "epochs=1"]


def command(root: Path, out: Path, *more: str) -> list[str]:
    """A benchmark of trainings of a few steps each; of `stl_pose` from one seed where `more` says nothing else."""
    usual = {"--methods": "stl_pose", "--seeds": "1", "--device": "cpu"}
    words = [word for name, value in usual.items() if name not in more for word in (name, value)]
    words += [word for setting in TINY for word in ("--set", setting)]
    return ["benchmark", str(root), "--out", str(out), *words, *more]


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 8, "test": 5})


@pytest.fixture(scope="module")
def done(wall, tmp_path_factory) -> Path:
    """A benchmark that was not disturbed, with a method of one task and one of all."""
    out = tmp_path_factory.mktemp("benchmark") / "done"
    assert main(command(wall, out, "--methods", "stl_pose,mtl")) == 0
    return out


# --- methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", methods())
def test_each_method_is_a_whole_configuration(name):
    """Equal but for what the method is; what it needs is what its network learns from."""
    method = methods()[name]
    config = build_config(method.train, {"budget": "1m", "data.root": "lab"}, name)
    coordinates = config.preset == "stl_coordinates"
    check_stages(config, configure(config.preset, config.width, **config.network))
    assert (config.width, config.network["height"], config.network["width_px"]) == (0.25, 128, 160)
    assert (
        config.batch * config.data.clip_length in ((16,) if coordinates else (63, 64))
        and config.augment.brightness == 0.2
    )
    assert method.greyed == config.leak_probe == (name == LEAK_PROBE)
    wanted = {"odometry": {"pose"}, "segmentation": {"mask"}, "localization": {"pose"}}[method.section]
    if coordinates:
        wanted = {"pose", "depth"}
    if config.preset.startswith("mtl"):
        wanted = {"pose", "mask"} | ({"depth"} if config.stages[0].tasks == ("depth",) else set())
    assert set(needs(method)) == wanted


def test_a_wrong_method_is_refused_by_file_and_key(tmp_path):
    path = tmp_path / "mine.yaml"
    whole = {"section": "odometry", "order": 1, "note": "mine", "train": {"preset": "stl_odometry"}}
    for change, message in (
        ({"sektion": "odometry"}, "'sektion' is not a setting, did you mean 'section'"),
        ({"section": "odometri"}, "did you mean 'odometry'"),
        ({"train": {"base": "none.yaml"}}, "none.yaml: cannot be read"),
        ({"train": 3}, "train: must be a section"),
    ):
        path.write_text(yaml.safe_dump(whole | change))
        with pytest.raises(ConfigError, match=message) as error:
            read_method(path)
        assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    path.write_text(yaml.safe_dump({key: value for key, value in whole.items() if key != "note"}))
    with pytest.raises(ConfigError, match=r"mine\.yaml: note: is missing"):
        read_method(path)
    path.write_text(yaml.safe_dump(whole))
    assert (read_method(path).name, read_method(path).train) == ("mine", {"preset": "stl_odometry"})


def test_a_depth_camera_beside_the_colour_camera_can_be_set_for_every_row(wall):
    words = ["data.depth_camera.focal=1.1143", "data.depth_camera.offset_m=[-0.0255, 0, 0]"]
    settings = Settings(budget="1s", overrides=dict(setting(word) for word in words))
    for method in methods().values():
        camera = configuration(method, 0, open_dataset(wall), settings).data.depth_camera
        assert (camera.focal, camera.offset_m) == (1.1143, (-0.0255, 0.0, 0.0))


# --- plan -----------------------------------------------------------------------------------------------------------


def test_the_plan_has_a_row_for_everything_the_labels_allow_and_a_reason_for_the_rest(wall, tmp_path):
    whole = plan(open_dataset(wall), Settings(budget="1s", seeds=2))
    names = [job.name for job in whole.jobs]
    assert not whole.skipped
    for peer in (*PEERS, *ODOMETRY_PEERS):
        assert names.count(peer.name) == 1
    assert {"pose_single", "vlocnet", "stl_pose", "stl_odometry", "stl_segmentation", "mtl"} <= set(methods())
    for method in methods():
        assert names.count(method) == 2
    assert len({job.key for job in whole.jobs}) == len(whole.jobs), "every row has files of its own"
    for missing in ("mask", "depth"):
        bare = write_wall(
            tmp_path / missing, {"train": 3, "test": 3}, depth=missing != "depth", masks=missing != "mask"
        )
        made = plan(open_dataset(bare), Settings(budget="1s", seeds=1))
        left_out = {each.name: each.reason for each in made.skipped}
        assert f"no {missing}" in left_out["mtl"]
        assert ("stl_coordinates" in left_out) == (missing == "depth")
        assert ("stl_segmentation" in left_out) == (missing == "mask")
        assert {"stl_pose", "mean pose"} <= {job.name for job in made.jobs}
        assert not {job.name for job in made.jobs} & set(left_out)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--methods", "stl_pos"], "did you mean 'stl_pose'"),
        (["--sections", "odometri"], "did you mean 'odometry'"),
        (["--split", "train"], "not judged on the frames that they learned from"),
        (["--split", "tset"], "no split 'tset'"),
        (["--split", "test,train"], "not judged on the frames that they learned from"),
        (["--split", "all,test"], "'all' stands alone"),
        (["--split", ","], "names no split"),
        (["--budget-per-model", "10"], "budget '10' is not a time"),
        (["--budget-per-model", "1s", "--set", "epochs=1"], "give one of them"),
        (["--set", "bacth=1", "--plan"], "did you mean 'batch'"),
        (["--set", "network.height=100", "--plan"], "multiples of 32"),
        (["--width", "wide"], "--width: 'wide'"),
        (["--methods", "none", "--sections", "segmentation"], "nothing can be run"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2_and_writes_nothing(wall, tmp_path, capsys, words, reason):
    assert main(["benchmark", str(wall), "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_plan_alone_writes_nothing(wall, tmp_path, capsys):
    words = ["benchmark", str(wall), "--out", str(tmp_path / "out"), "--budget-per-model", "1m", "--seeds", "2"]
    assert main([*words, "--methods", "stl_pose", "--sections", "localization", "--plan"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"stl_pose +method +1 +about 2 min +to do", said)
    assert f"{len(PEERS) + 2} of {len(PEERS) + 2} rows to run, about " in said
    assert not (tmp_path / "out").exists()


# --- a whole benchmark ----------------------------------------------------------------------------------------------


def test_every_row_has_its_figures_and_its_errors_frame_by_frame(wall, done):
    data = json.loads((done / "benchmark.json").read_text())
    assert data["version"] == 1
    rows = {row["key"]: row for row in data["rows"]}
    assert len(rows) == len(PEERS) + len(ODOMETRY_PEERS) + 2
    for key in ("stl_pose-seed0", "mtl-seed0"):
        found = rows[key]
        model = done / "runs" / key / "model.ts"
        assert found["size_bytes"] == model.stat().st_size and found["training_s"] > 0
        assert found["settings"]["seed"] == 0 and found["settings"]["epochs"] == 1.0
        assert found["metrics"]["localization"]["frames"] == 10 and found["metrics"]["latency_ms"]["p50"] > 0
    assert set(rows["mtl-seed0"]["metrics"]["segmentation"]["iou"]) == {"Sky", "Road", "Building"}
    assert rows["mtl-seed0"]["metrics"]["odometry"]["frames"] == 8
    assert "odometry" not in rows["stl_pose-seed0"]["metrics"]
    lines = (done / "results" / "test" / "mtl-seed0.csv").read_text().splitlines()
    assert "metres, degrees" in lines[0] and lines[2].startswith("frame,translation_error_m,rotation_error_deg")
    table = list(csv.reader(lines[3:]))
    assert [cells[0] for cells in table] == [frame.name for frame in open_dataset(wall).frames("test")]
    median = np.median([float(cells[1]) for cells in table])
    assert median == pytest.approx(rows["mtl-seed0"]["metrics"]["localization"]["median_translation_m"], 1e-4)


class Page(HTMLParser):
    """What a browser would fetch, and the greyed rows."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.greyed = 0

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.fetched += [found[name] for name in ("src", "href") if name in found]
        self.greyed += tag == "tr" and found.get("class") == "greyed"
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_names_every_row_its_units_and_what_looks_at_the_truth(done):
    text = (done / "report.md").read_text()
    for name in [peer.name for peer in (*PEERS, *ODOMETRY_PEERS)] + ["stl_pose", "mtl"]:
        assert re.search(rf"^\| \*?{re.escape(name)}", text, re.MULTILINE), name
    for peer in (*PEERS, *ODOMETRY_PEERS):
        assert peer.oracle == (f"*{peer.name} (looks at the truth)*" in text)
    for words in (
        "median [m]", "drift [%]", "mean IoU [%]", "p95 [ms]", "size [MB]", "other data and hardware", "table I)",
        "Best median position: **", "vlocnetpp", "OpenCV", "digest of the data", "Paired bootstrap", "95 %",
    ):  # fmt: skip
        assert words in text.replace("table I;", "table I)"), words
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 3
    for picture in pictures:
        assert cv2.imread(str(done / picture)).shape[1] > 1000
    assert str(done) not in text.split("\n- data:")[1], "no place of this machine but in the command"


def test_the_page_is_whole_and_needs_no_other_file(done):
    page = Page()
    text = (done / "report.html").read_text()
    page.feed(text)
    page.close()
    assert not page.open
    assert len(page.fetched) == 3 and all(each.startswith("data:image/png;base64,") for each in page.fetched)
    oracles = sum(peer.oracle for peer in PEERS)
    assert page.greyed >= oracles + sum(peer.oracle for peer in ODOMETRY_PEERS)
    assert "nearest training pose" in text and "url(" not in text


# --- stopped and gone on --------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_done_again(wall, done, monkeypatch):
    result = done / "results" / "test" / "stl_pose-seed0.json"
    before = result.read_bytes()
    monkeypatch.setattr(run, "make", lambda *_: pytest.fail("a finished row was made again"))
    (done / "report.md").unlink()
    assert main(command(wall, done, "--methods", "stl_pose,mtl")) == 0
    assert (done / "report.md").exists()
    assert result.read_bytes() == before


def test_a_benchmark_that_was_stopped_between_and_during_trainings_ends_as_one_that_was_not(
    wall, done, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    agree, make_row = training_loop.agree, run.make
    stops = ["once"]

    def stop_in_training(state, counts):
        if state.config.seed == 1 and state.state.progress.step == 2 and stops:
            stops.clear()
            signal.raise_signal(signal.SIGTERM)
        return agree(state, counts)

    def stop_between(job, *more):
        if job.key == "stl_pose-seed0" and not (out / "interrupted").exists():
            (out / "interrupted").touch()
            raise KeyboardInterrupt
        return make_row(job, *more)

    monkeypatch.setattr(training_loop, "agree", stop_in_training)
    monkeypatch.setattr(run, "make", stop_between)
    assert main(command(wall, out, "--seeds", "2")) == 130
    results = out / "results" / "test"
    assert read_record(results, "mean-pose") is not None
    assert main(command(wall, out, "--seeds", "2")) == 128 + signal.SIGTERM
    assert read_record(results, "stl_pose-seed0") is not None
    assert read_record(results, "stl_pose-seed1") is None
    assert not (out / "report.md").exists()
    assert main(command(wall, out, "--seeds", "2")) == 0
    ours, undisturbed = (read_errors(folder / "results" / "test", "stl_pose-seed0") for folder in (out, done))
    np.testing.assert_array_equal(ours.metres_N, undisturbed.metres_N)
    assert (out / "report.html").exists()


def test_other_settings_or_data_are_refused_in_the_same_folder(wall, done, tmp_path, capsys):
    def refused(words: list[str]) -> str:
        assert main(words) == 2
        return capsys.readouterr().err

    assert "was begun with --set" in refused(command(wall, done, "--set", "batch=2"))
    assert "was begun with --budget-per-model unset, not 3s" in refused(
        ["benchmark", str(wall), "--out", str(done), "--budget-per-model", "3s"]
    )
    other = write_wall(tmp_path / "other", {"train": 4, "test": 3})
    assert "was begun on other data" in refused(command(other, done))
    (tmp_path / "foreign" / "runs").mkdir(parents=True)
    assert "of something else" in refused(command(wall, tmp_path / "foreign"))
    again = shutil.copytree(done, tmp_path / "again")
    (again / "results" / "test" / "stl_pose-seed0.json").unlink()
    config = again / "runs" / "stl_pose-seed0" / "config.yaml"
    config.write_text(config.read_text().replace("weight_decay: 0.0001", "weight_decay: 0.5"))
    assert "was trained with other settings (weight_decay)" in refused(command(wall, again))


def test_a_training_that_breaks_is_a_row_that_says_so_and_the_rest_goes_on(wall, tmp_path, capsys):
    stages = "stages=[{name: pose, tasks: [localization], learning_rate: 1.0e+30}]"
    words = command(wall, tmp_path, "--methods", "stl_pose", "--sections", "localization", "--set", stages)
    assert main(words) == 1
    assert "stl_pose-seed0: no result" in capsys.readouterr().out
    text = (tmp_path / "report.md").read_text()
    assert re.search(r"- stl_pose-seed0: .*(not finite|diverged)", text)
    assert "| mean pose" in text and "| stl_pose" not in text
    assert main(words) == 1, "a row that failed is not tried again"


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
    run.begin(tmp_path, Settings(), "digest")
    refused = pytest.raises(BenchmarkError, match="another benchmark is running here")
    with run.alone(tmp_path), refused, run.alone(tmp_path):
        raise AssertionError("both hold the folder")
    with run.alone(tmp_path):
        pass


def test_a_damaged_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "settings.json").write_text("[")
    with pytest.raises(BenchmarkError, match=r"settings\.json: cannot be read"):
        run.begin(tmp_path, Settings(), "digest")
