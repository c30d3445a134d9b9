"""A bag through the real node and back: what is written, what the scores say, and what is refused in one line."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from bag_recorder import MS, START, Recorder, rgb
from nav_msgs.msg import Odometry
from odd_drives import drive
from random_camera_models import random_model
from rclpy.serialization import serialize_message
from ros_peers import (
    CLASSES,
    FOCAL,
    HEIGHT,
    WIDTH,
    isolate,
    picture,
)
from scipy.spatial.transform import Rotation

from vlocnetpp.data import FolderWriter, LabelClass, iter_bag, open_dataset, write_bag
from vlocnetpp.data.bags.pose_source import FrameWishes, parse_extrinsics
from vlocnetpp.data.bags.to_bag import POSE_TOPIC
from vlocnetpp.errors import DataError
from vlocnetpp.poses import compose
from vlocnetpp.reporting import read_tum
from vlocnetpp.runtime import Metadata, read_metadata
from vlocnetpp_ros.latest import NEWER, Dropped
from vlocnetpp_ros.parameter_names import unknown_parameter
from vlocnetpp_ros.parameters import Parameters
from vlocnetpp_ros.replay import main
from vlocnetpp_ros.replay.command import UNGATED, _parameter
from vlocnetpp_ros.replay.recording import Recording, type_name
from vlocnetpp_ros.replay.score import Heard, findings, listen, too_slow, wrong_frame
from vlocnetpp_ros.replay.session import ANSWERS, with_advice
from vlocnetpp_ros.replay.source import survey
from vlocnetpp_ros.replay.withheld import PARAMETERS, in_words, limits_of
from vlocnetpp_ros.settings import DECLARATIONS, ParameterError

FRAMES = 8
GAP_NS = 5_000_000_000
START_NS = 1_700_000_000_123_456_789
K = np.array([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    isolate(folder)
    return folder


@pytest.fixture(scope="module")
def bag(folder: Path) -> Path:
    """Two sequences of a moving camera with poses and masks; the last frame has no ground truth."""
    rng = np.random.default_rng(0)
    with FolderWriter(folder / "set", tuple(LabelClass(*each) for each in CLASSES), map_frame="lab") as writer:
        for i in range(FRAMES):
            sequence = i * 2 // FRAMES
            x, y, z, w = Rotation.from_euler("y", 3.0 * i, degrees=True).as_quat()
            pose = None if i == FRAMES - 1 else np.array([0.02 * i, 0.0, 0.1, w, x, y, z])
            stamp = START_NS + sequence * GAP_NS + i * 33_333_333
            mask = rng.integers(0, len(CLASSES), (HEIGHT, WIDTH)).astype(np.uint8)
            writer.add(f"run-{sequence}", "test", stamp, picture(i), K, pose, None, mask)
    write_bag(open_dataset(folder / "set"), "test", folder / "bag", jpeg_quality=95)
    return folder / "bag"


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_model(folder / "random.ts")


@pytest.fixture(scope="module")
def result(folder: Path, bag: Path, model: Path) -> tuple[Path, str]:
    """The folder that the command made, and what it printed."""
    out = folder / "results" / "fast"
    command = [
        sys.executable,
        "-m",
        "vlocnetpp_ros.replay",
        str(model),
        str(bag),
        "--out",
        str(out),
        "--fast",
        "--no-gate",
    ]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_every_image_is_answered_and_counted(result: tuple[Path, str]) -> None:
    node = json.loads((result[0] / "metrics.json").read_text())["node"]
    assert node["published"] == node["received"] == node["processed"] == node["answered"] == FRAMES
    assert (node["lost"], node["dropped"], node["cold_starts"]) == (0, {}, 2)
    assert node["device"] == "cpu" and node["rate_hz"] > 0
    assert 0 < node["model_ms"]["p50"] <= node["latency_ms"]["p50"] <= node["latency_ms"]["p99"]


def test_the_metrics_follow_the_schema(result: tuple[Path, str]) -> None:
    metrics = json.loads((result[0] / "metrics.json").read_text())
    assert metrics["localization"]["frames"] == FRAMES - 1 and metrics["localization"]["failed"] == 0
    assert {"median_translation_m", "median_rotation_deg", "recall_5cm_5deg"} <= set(metrics["localization"])
    # Neither the first image of a sequence has a motion, nor is the one without ground truth scored.
    assert metrics["odometry"]["frames"] == FRAMES - 1 - 2
    for kind, unit in (("translation", "m"), ("rotation", "deg")):
        assert metrics["calibration"][kind]["frames"] == FRAMES - 1
        assert 0 <= metrics["calibration"][kind]["within_1_sigma"] <= 1
        assert metrics["calibration"][kind][f"median_sigma_{unit}"] > 0
    assert metrics["odometry"]["rpe_translation_m"] > 0
    assert metrics["segmentation"]["frames"] == FRAMES
    assert set(metrics["segmentation"]["iou"]) == {name for name, _ in CLASSES}
    assert 0 < metrics["latency_ms"]["p50"] <= metrics["latency_ms"]["p95"]


def test_the_scores_are_those_of_the_recorded_bag(result: tuple[Path, str], bag: Path) -> None:
    out, _ = result
    recorded = {each.header_stamp_ns(): each.message() for each in iter_bag(out / "bag", {"/localizer/pose"})}
    truth = {each.header_stamp_ns(): each.message() for each in iter_bag(bag, {POSE_TOPIC})}
    assert len(recorded) == FRAMES and set(truth) < set(recorded)
    errors = []
    for stamp, true in truth.items():
        a, b = recorded[stamp].pose.position, true.pose.position
        errors.append(np.linalg.norm([a.x - b.x, a.y - b.y, a.z - b.z]))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["localization"]["median_translation_m"] == pytest.approx(np.median(errors), abs=1e-9)
    counts = {}
    for each in iter_bag(out / "bag"):
        counts[each.topic] = counts.get(each.topic, 0) + 1
    assert counts.pop("/diagnostics") > 0
    topics = ("pose", "pose_with_covariance", "odometry", "semantic/mask")
    assert counts == {f"/localizer/{topic}": FRAMES for topic in topics}


def test_a_bag_that_was_played_in_a_loop_is_refused(bag: Path, tmp_path: Path) -> None:
    once = sorted(iter_bag(bag), key=lambda each: each.log_time_ns)
    recorder = Recorder(tmp_path / "loop")
    for at, each in enumerate([*once, *once]):
        recorder.write(each.topic, START + at * MS, each.message())
    recorder.writer.close()
    with pytest.raises(DataError, match="loop: images come again with stamps of before"):
        survey(tmp_path / "loop")


def test_trajectories_picture_and_report_are_there(result: tuple[Path, str], bag: Path) -> None:
    out, printed = result
    source = survey(bag)
    stamps, _ = read_tum(out / "estimate.tum")
    np.testing.assert_array_equal(stamps, source.stamps_ns)
    stamps, poses = read_tum(out / "ground_truth.tum")
    np.testing.assert_allclose(poses, source.truth_N7[:-1], atol=1e-8)
    assert len(read_tum(out / "odometry.tum")[0]) == FRAMES
    assert "'visual_odom'" in (out / "odometry.tum").read_text() and "'lab'" in (out / "estimate.tum").read_text()
    assert cv2.imread(str(out / "trajectory.png")).shape[0] > 200
    report = (out / "report.md").read_text()
    assert "--fast" in report and "trajectory.png" in report and "median translation" in report
    assert "8 = 8 + 0" in printed and "position error" in printed
    assert printed.splitlines()[-1].startswith(f"{out}: trajectory.png, report.md, metrics.json, estimate.tum, ")
    assert printed.splitlines()[-1].endswith(", bag, node.log, parameters.yaml")
    # Plain text in a pipe.
    assert "\x1b" not in printed


def test_in_real_time_images_may_drop_and_all_are_accounted_for(folder: Path, bag: Path, model: Path) -> None:
    out = folder / "paced"
    # The profile that the first test's process set is not inherited, so it is set here once more.
    assert (
        main([str(model), str(bag), "--out", str(out), "--rate", "50", "--device", "cpu", "--overlay", "--no-gate"])
        == 0
    )
    node = json.loads((out / "metrics.json").read_text())["node"]
    assert node["published"] == FRAMES
    assert node["received"] == node["processed"] + sum(node["dropped"].values()) == FRAMES - node["lost"]
    overlays = [each.header_stamp_ns() for each in iter_bag(out / "bag", {"/localizer/semantic/overlay"})]
    assert len(overlays) == node["processed"]


def test_a_model_that_never_localizes_is_scored_as_such(folder: Path, bag: Path, model: Path) -> None:
    """Random weights are too uncertain for the gate: every pose is withheld, and the rest is there."""
    out = folder / "gated"
    assert main([str(model), str(bag), "--out", str(out), "--fast", "--device", "cpu"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["node"]["withheld"] == {"uncertain": FRAMES}
    assert metrics["node"]["processed"] == FRAMES
    assert metrics["localization"]["failed"] == FRAMES - 1
    assert metrics["segmentation"]["frames"] == FRAMES
    assert not list(iter_bag(out / "bag", {"/localizer/pose"}))


def test_where_some_poses_are_withheld_the_limit_and_the_median_of_the_others_are_shown(
    folder: Path, bag: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first pose of each sequence has no odometry to disagree with."""
    out = folder / "partly"
    gate = ["--no-gate", "--parameter", "gate_disagreement:=0.0001"]
    assert main([str(model), str(bag), "--out", str(out), "--fast", "--device", "cpu", *gate]) == 0
    said, metrics = capsys.readouterr().out, json.loads((out / "metrics.json").read_text())
    alone, every = metrics["answered_images_alone"], metrics["localization"]
    assert 0 < alone["frames"] == every["frames"] - every["failed"] < every["frames"] / 2
    assert every["median_translation_m"] is None, "null: infinite"
    figures = f"{alone['median_translation_m']:.3f} m, {alone['median_rotation_deg']:.2f} deg"
    assert f"the other {alone['frames']} are {figures} off (median of these alone)" in said.splitlines()[0]
    assert f"not the result: median of the {alone['frames']} images with a pose alone" in said and "inf / inf" in said
    count = metrics["node"]["withheld"]["disagrees with odometry"]
    assert f"{count}: over 0.0001 bounds from where the odometry puts it" in said
    assert "each counts as infinitely wrong" in said


def test_a_typo_in_an_option_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["lab.ts", "tuesday", "--out", "x", "--pose-topics", "/pose"])
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and said.startswith("usage: replay")
    assert "--pose-topics, did you mean '--pose-topic'?" in said


@pytest.fixture
def broken_bag(bag: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(bag, tmp_path / "cut")
    storage = next((tmp_path / "cut").glob("*.mcap"))
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    return tmp_path / "cut"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{tmp}/none.ts", "{bag}"], "none.ts: no such file"),
        (["{tmp}/text.ts", "{bag}"], "text.ts: is not a model file, or it is truncated"),
        (["{model}", "{tmp}/none"], "none: does not exist"),
        (["{model}", "{cut}"], "cut"),
        (["{bag}", "{model}"], "bag: is a folder where a model file is expected"),
        (["{model}", "{model}"], "random.ts: is no bag"),
        (["{model}", "{bag}", "--image-topic", "/nowhere"], "/nowhere is not in the bag"),
        (["{model}", "{bag}", "--image-topic", POSE_TOPIC], "it must be sensor_msgs"),
        (["{model}", "{bag}", "--ground-truth", "/nowhere"], "/nowhere is not in the bag"),
        (["{model}", "{bag}", "--camera-info-topic", "/nowhere"], "/nowhere is not in the bag"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line_before_a_node_starts(
    arguments: list[str],
    says: str,
    bag: Path,
    broken_bag: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.ts").write_text("no model")
    places = {"tmp": tmp_path, "bag": bag, "cut": broken_bag, "model": model}
    before = sorted(tmp_path.iterdir())
    status = main([word.format(**places) for word in arguments] + ["--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert status == 2
    *progress, last = said.splitlines()
    assert last.startswith("replay: ") and says in last and all(line.startswith("surveying") for line in progress)
    assert sorted(tmp_path.iterdir()) == before


def test_an_earlier_result_is_replaced_only_when_asked_and_other_files_stay(
    result: tuple[Path, str], bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    words = [str(model), str(bag), "--out", str(out), "--fast", "--device", "cpu", "--parameter", "gate_novelty:=0.0"]
    # Every pose of a random network is withheld.
    assert main([*words, "--parameter", "gate_uncertainty_m:=0.000001"]) == 0
    said = capsys.readouterr().out
    assert f"no pose, all {FRAMES} were withheld" in said.splitlines()[0] and "--no-gate shows the poses" in said
    assert "nan" not in said and "rate 0.0" not in said
    assert (out / "trajectory.png").is_file()
    before = (out / "metrics.json").stat().st_mtime_ns
    assert main(words) == 2
    assert "--replace replaces it" in capsys.readouterr().err
    assert (out / "metrics.json").stat().st_mtime_ns == before
    assert main([*words, "--replace", "--no-gate"]) == 0
    assert (out / "metrics.json").stat().st_mtime_ns > before
    assert (out / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["gate_uncertanty_m", "no_such"])
def test_an_unknown_parameter_is_refused_by_the_command_and_by_the_node(
    name: str, bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(model), str(bag), "--out", str(tmp_path / "out"), "--parameter", f"{name}:=1.0"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"parameter '{name}' does not exist" in said and said.count("\n") == 1
    assert ("did you mean 'gate_uncertainty_m'?" in said) == (name == "gate_uncertanty_m")
    rclpy.init(args=["--ros-args", "-p", f"{name}:=1.0", "-p", "use_sim_time:=false", "-p", "model:=a.ts"])
    node = rclpy.create_node("localizer")
    try:
        with pytest.raises(ParameterError, match=f"'{name}' does not exist"):
            Parameters(node).read()
    finally:
        node.destroy_node()
        rclpy.shutdown()


def test_ground_truth_of_the_robots_base_is_led_to_the_camera_or_noticed(
    bag: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body_7 = np.array([0.1, 0.0, 0.3, -0.5, 0.5, -0.5, 0.5])
    """Pose of the camera in a body with x forward; ROS order of the quaternion."""
    truth_N7 = survey(bag).truth_N7[:-1]
    extrinsics = FrameWishes(extrinsics_7=parse_extrinsics(",".join(map(str, body_7))))
    led_N7 = survey(bag, frames=extrinsics).truth_N7[:-1]
    in_camera_7 = np.array([*body_7[:3], body_7[6], *body_7[3:6]])
    np.testing.assert_allclose(led_N7, compose(truth_N7, np.tile(in_camera_7, (len(truth_N7), 1))), atol=1e-9)
    (said,) = wrong_frame(truth_N7, led_N7, read_metadata(model))
    assert "one rotation of 120 deg" in said and "--pose-frame" in said
    assert wrong_frame(truth_N7, truth_N7, read_metadata(model)) == []
    with pytest.raises(DataError, match="base_link"):
        survey(bag, frames=FrameWishes(pose_frame="base_link"))


@pytest.mark.parametrize("kind", ["PoseStamped", "Odometry", "tf"])
def test_the_only_pose_topic_of_a_bag_is_the_ground_truth(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive(tmp_path / "bag", poses=kind)
    source = survey(tmp_path / "bag")
    topic = "/tf" if kind == "tf" else "/slam/pose"
    assert source.topics.truth == topic and f"replay: ground truth: {topic}, map" in capsys.readouterr().err
    np.testing.assert_allclose(source.truth_N7[:, 0], np.arange(8), atol=1e-9)
    left_out = survey(tmp_path / "bag", truth="")
    assert left_out.topics.truth is None and np.isnan(left_out.truth_N7).all()


def test_a_pose_topic_that_may_not_be_the_ground_truth_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def recorded(name: str, *poses: tuple[str, str]) -> Path:
        recorder = Recorder(tmp_path / name)
        for i in range(3):
            for topic, parent in poses:
                recorder.pose(START + i * 100 * MS, float(i), parent=parent, topic=topic)
            recorder.info(START + i * 100 * MS)
            recorder.image(START + i * 100 * MS, rgb(i), "rgb8")
        recorder.writer.close()
        return tmp_path / name

    drifting = recorded("drifting", ("/odom", "odom"))
    assert survey(drifting).topics.truth is None
    assert "note: no ground truth: " in (said := capsys.readouterr().err) and "--pose-topic /odom takes it" in said
    assert survey(drifting, truth="/odom").topics.truth == "/odom", "where it is named it is taken"
    capsys.readouterr()
    assert survey(recorded("two", ("/a", "map"), ("/b", "map"))).topics.truth is None
    assert "no ground truth: it could be /a or /b; --pose-topic names one" in capsys.readouterr().err
    drive(tmp_path / "no_way", static=False)
    assert survey(tmp_path / "no_way").topics.truth is None
    assert "note: no ground truth: " in (said := capsys.readouterr().err) and "cam_optical" in said
    with pytest.raises(DataError, match="cam_optical"):
        survey(tmp_path / "no_way", truth="/slam/pose")


def test_a_node_that_refuses_to_configure_says_why_and_leaves_its_log(
    bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(model), str(bag), "--out", str(out), "--device", "toaster"]) == 2
    said = capsys.readouterr().err
    assert "the node refused: configure failed: device 'toaster' does not exist" in said
    assert not out.exists()
    assert "toaster" in (tmp_path / "out.node.log").read_text()


def runs(pid: str) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda each: each.name)
def test_ending_the_command_ends_its_node(bag: Path, model: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    # So slow that it is certainly still playing when it is told to stop.
    command = [sys.executable, "-m", "vlocnetpp_ros.replay", str(model), str(bag), "--out", str(out), "--rate", "0.01"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # Written when the first image is about to be published, so the node is up.
    line = next(line for line in process.stderr if not line.startswith(("surveying", "replay: ground truth")))
    assert line.startswith("replay: started"), line
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(number)
    killed = number == signal.SIGKILL
    assert process.wait(60) == (-number if killed else 130)
    assert killed or "interrupted" in process.stderr.read()
    deadline = time.monotonic() + 60
    while any(map(runs, children)):
        # After a kill nobody waits for the node, which then ends by itself.
        assert killed and time.monotonic() < deadline
        time.sleep(0.05)
    assert not out.exists()


def test_a_machine_that_is_slower_than_the_recording_is_told_of_fast() -> None:
    (said,) = too_slow({"received": 400, "processed": 90, "dropped": {NEWER: 300, "wrong size": 10}})
    assert said.startswith("300 of 400 images were dropped") and "--fast plays" in said
    assert too_slow({"received": 400, "processed": 370, "dropped": {NEWER: 30}}) == []
    assert too_slow({"received": 400, "processed": 0, "dropped": {"wrong size": 400}}) == []
    assert with_advice(str(Dropped(NEWER))).startswith("a newer image came; --fast plays")
    assert with_advice("wrong size: 3 x 4") == "wrong size: 3 x 4"


def test_what_a_network_without_poses_is_scored_by_is_its_result(model: Path) -> None:
    masks = replace(read_metadata(model), tasks=("segmentation",))
    node = {"withheld": {}, "dropped": {}, "processed": 5, "received": 5}
    source = SimpleNamespace(truth_N7=np.zeros((0, 7)), stamps_ns=np.zeros(0, np.int64))
    heard = Heard({}, {}, frozenset(), "map", "odom")

    def result(metrics: dict[str, Any], model: Metadata) -> str:
        return findings(source, heard, {"node": node, **metrics}, model, False, {})[0]

    scored = {"segmentation": {"mean_iou": 0.5, "frames": 5}}
    assert result(scored, masks) == "result: mean IoU 50.0 % over 5 images"
    assert result({}, masks) == "result: no ground truth to compare with"
    assert "--pose-topic names one" in result(scored, read_metadata(model))


def test_odometry_is_scored_in_the_order_of_the_images(tmp_path: Path) -> None:
    """A stamp that goes back is a cold start, not a place between two images."""
    order = [START, START + 2 * MS, START + MS, START + 3 * MS]
    with Recording(tmp_path / "bag") as recording:
        for place, stamp in enumerate(order):
            message = Odometry()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            message.pose.pose.position.x, message.pose.pose.orientation.w = float(place), 1.0
            cdr = serialize_message(message)
            recording.write(ANSWERS["odometry"][0], type_name(Odometry), stamp, cdr)
    heard = listen(tmp_path / "bag")
    assert list(heard.odometry) == order
    assert [pose_7[0] for pose_7 in heard.odometry.values()] == [0.0, 1.0, 2.0, 3.0]


def test_a_whole_number_is_taken_for_a_parameter_of_any_kind() -> None:
    assert _parameter("gate_scale:=2") == ("gate_scale", 2.0) and isinstance(_parameter("gate_scale:=2")[1], float)
    assert _parameter("gate_scale:=1e-1") == ("gate_scale", 0.1)
    assert _parameter("threads:=2") == ("threads", 2) and _parameter("camera_info_topic:=") == ("camera_info_topic", "")
    with pytest.raises(argparse.ArgumentTypeError, match="'gate_scale' is 'two'"):
        _parameter("gate_scale:=two")


def test_each_reason_names_parameters_that_exist_and_the_limits_that_they_gave(model: Path) -> None:
    for names in PARAMETERS.values():
        assert unknown_parameter(names.split(", ")) is None
    given = {"device": "cpu", "gate_uncertainty_m": 0.2, "gate_uncertainty_deg": 5.2, "gate_novelty": 1.5}
    words = in_words(limits_of({**given, "gate_margin_m": 0.5, "gate_regain_after": 4}, read_metadata(model)))
    assert set(words) == set(PARAMETERS)
    assert words["uncertain"] == "68 % bound over 0.20 m or 5.2 deg, while lost over 0.16 m or 4.2 deg"
    assert words["unlike the training images"] == "novelty over 1.50, while lost over 1.20"
    assert "over 0.5 m outside" in words["outside the map"] and "not yet 4 good ones in a row, or 10" in words["lost"]
    only_rotation = in_words(limits_of({**given, "gate_uncertainty_m": 0.0}, read_metadata(model)))
    assert only_rotation["uncertain"].startswith("68 % bound over 5.2 deg, while lost over 4.2")


def test_without_the_gate_no_limit_of_it_is_left():
    """Those that are not switched off say how a limit is applied, not what it is."""
    limits = {each.name for each in DECLARATIONS if each.name.startswith("gate_")} - {
        "gate_scale", "gate_speed_m_s", "gate_lose_after", "gate_regain_after", "gate_relocalize_after",
    }  # fmt: skip
    assert set(UNGATED) == limits
