"""One command, every peer and method, the same frames: the plan, the rows, and that a stop loses nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from wall_dataset import write_wall

from vlocnetpp.benchmark import BenchmarkError, Settings, run
from vlocnetpp.benchmark.make import Shared, make
from vlocnetpp.benchmark.methods import methods, needs, read_method
from vlocnetpp.benchmark.plan import Job, configuration, plan
from vlocnetpp.benchmark.record import read_errors, read_record
from vlocnetpp.benchmark.report import LEAK_PROBE
from vlocnetpp.cli import main
from vlocnetpp.cli.benchmark import setting
from vlocnetpp.data import open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.network import configure
from vlocnetpp.peers import ODOMETRY_PEERS, PEERS, Peer, PeerMap
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
    coordinates = config.preset in ("stl_coordinates", "dsac", "dsacpp")
    check_stages(config, configure(config.preset, config.width, **config.network))
    if config.preset != "robot":  # which is run as it is shipped
        assert (config.width, config.network["height"], config.network["width_px"]) == (0.25, 128, 160)
        assert config.batch * config.data.clip_length in ((16,) if coordinates else (63, 64))
        assert config.augment.brightness == 0.2
    assert method.greyed == config.leak_probe == (name == LEAK_PROBE)
    wanted = {"odometry": {"pose"}, "segmentation": {"mask"}, "localization": {"pose"}}[method.section]
    if name in ("stl_coordinates", "dsac", "posenet2", "svs_pose"):  # labels, the reprojection loss, new views
        wanted = {"pose", "depth"}
    if config.preset.startswith("mtl"):
        wanted = {"pose", "mask"} | ({"depth"} if config.stages[0].tasks == ("depth",) else set())
    assert set(needs(method)) == wanted


@pytest.mark.parametrize("name", methods("config/ablation"))
def test_each_ablation_is_the_flagship_but_for_one_part(name):
    whole, method = (methods("config/ablation")[each] for each in ("whole", name))
    config = build_config(method.train, {"budget": "1m", "data.root": "lab"}, name)
    network = configure(config.preset, config.width, **config.network)
    if "tasks" not in config.network:  # else stages that train none of them are left out once the data is known
        check_stages(config, network)
    flat, other = leaves(whole.train), leaves(method.train)
    differing = [key for key in {**flat, **other} if flat.get(key) != other.get(key)]
    assert len(differing) == {"whole": 0, "new_views": 2}.get(name, 1), differing
    assert method.train["preset"] == "robot"


def test_new_views_need_depth():
    found = methods("config/ablation")
    assert needs(found["new_views"]) == ("pose", "depth") and needs(found["whole"]) == ("pose",)


def leaves(settings, path=""):
    """Every value of nested settings by its path."""
    if not isinstance(settings, dict | list):
        return {path: settings}
    parts = settings.items() if isinstance(settings, dict) else enumerate(settings)
    return {key: value for name, part in parts for key, value in leaves(part, f"{path}.{name}").items()}


def test_methods_of_another_folder_alone_are_planned(wall):
    settings = Settings(budget="1s", seeds=1, methods_in="config/ablation", peers=False)
    planned = plan(open_dataset(wall), settings)
    assert [job.name for job in planned.jobs] == list(methods("config/ablation"))
    with pytest.raises(BenchmarkError, match="'mtl' is not one of whole, random_front"):
        plan(open_dataset(wall), replace(settings, methods=("mtl",)))
    with pytest.raises(ConfigError, match=r"config/none: is no folder of methods; there are config/benchmark and"):
        methods("config/none")


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


def test_peers_are_given_the_colour_camera_and_judged_at_the_recorded_one(wall, tmp_path):
    """A peer that repeats the pose that it is given is exact, wherever the depth camera is."""
    words = ["data.depth_camera.focal=1.1143", "data.depth_camera.offset_m=[-0.0255, 0, 0]"]
    settings = Settings(budget="1s", overrides=dict(setting(word) for word in words))
    dataset, given = open_dataset(wall), []

    def build(train_frames):
        given.extend(train_frames)
        return PeerMap(lambda frame, image_HW3, depth_HW: frame.pose_7, 0)

    job = Job(Peer("repeats the truth", build, "", oracle=True), None, ("test",), None)
    record, errors = make(job, Shared(dataset, settings, tmp_path), "")("test")
    assert record.metrics["localization"]["frames"] == len(errors.metres_N) == 10
    assert errors.metres_N.max() < 1e-9 and errors.degrees_N.max() < 1e-5
    stored = dataset.frames("train")
    assert len(given) == len(stored)
    for frame, recorded in zip(given, stored, strict=True):
        assert frame.K_33[0, 0] == pytest.approx(recorded.K_33[0, 0] / 1.1143)
        assert frame.depth_camera.offset_m == (-0.0255, 0.0, 0.0)
        assert np.linalg.norm(frame.pose_7[:3] - recorded.pose_7[:3]) == pytest.approx(0.0255)


def test_a_depth_camera_that_only_one_method_would_get_is_refused(wall, tmp_path):
    plain = {"section": "localization", "order": 1, "note": "mine", "train": {"preset": "stl_pose"}}
    for folder, train in (("plain", {}), ("beside", {"data": {"depth_camera": {"focal": 1.1}}})):
        (tmp_path / folder).mkdir()
        mine = plain | {"train": plain["train"] | train}
        (tmp_path / folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    settings = Settings(budget="1s", seeds=1, methods_in=str(tmp_path / "plain"))
    assert "mine" in [job.name for job in plan(open_dataset(wall), settings).jobs]
    settings = replace(settings, methods_in=str(tmp_path / "beside"))
    with pytest.raises(BenchmarkError, match=r"mine: its file sets data\.depth_camera, which peers would not get"):
        plan(open_dataset(wall), settings)
    assert plan(open_dataset(wall), replace(settings, peers=False)).jobs


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
        without = left_out.get("direct alignment, depth camera")
        assert without == ("the frames of 'test' have no depth" if missing == "depth" else None)
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
    assert [Path(each).stem for each in pictures[-2:]] == ["paper_figure_2", "paper_figure_3"]
    assert len(pictures) == 5
    for picture in pictures:
        assert cv2.imread(str(done / picture)).shape[1] > 1000
    assert str(done) not in text.split("\n- data:")[1], "no place of this machine but in the command"


def test_the_page_is_whole_and_needs_no_other_file(done):
    page = Page()
    text = (done / "report.html").read_text()
    page.feed(text)
    page.close()
    assert not page.open
    assert len(page.fetched) == 5 and all(each.startswith("data:image/png;base64,") for each in page.fetched)
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
    assert "than its file has now" not in (done / "report.md").read_text()


def test_rows_of_a_method_that_has_changed_since_are_named(wall, done, tmp_path):
    again = shutil.copytree(done, tmp_path / "again")
    row = again / "results" / "test" / "stl_pose-seed0.json"
    row.write_text(row.read_text().replace('"weight_decay": 0.0001', '"weight_decay": 0.5'))
    assert main(command(wall, again, "--methods", "stl_pose,mtl")) == 0
    said = "- stl_pose: was trained with other settings than its file has now (weight_decay); `--replace` begins anew"
    assert said in (again / "report.md").read_text().splitlines()


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
