"""The trainer: configuration, stages, checkpoints, signals."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from random_models import random_network
from training_runs import STAGES, quick
from wall_dataset import write_wall

from vlocnetpp.data import dataset_digest, open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.export import export_run
from vlocnetpp.losses import LossConfigError
from vlocnetpp.network import build_network
from vlocnetpp.runtime import read_metadata
from vlocnetpp.training import CheckpointError, TrainingError, load_checkpoint, load_config, train
from vlocnetpp.training import loop as training_loop
from vlocnetpp.training.checkpoint import save_checkpoint
from vlocnetpp.training.config import DataConfig, StageConfig, TrainConfig, save_config, seconds
from vlocnetpp.training.datasets import hold_out, open_data
from vlocnetpp.training.run import is_best
from vlocnetpp.training.run_folder import check_folder
from vlocnetpp.training.stage import check_frozen

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 6})


@pytest.fixture(scope="session")
def run(wall, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mtl"
    assert train(quick(wall), out) == 0
    return out


# --- configuration --------------------------------------------------------------------------------------------------


def test_shipped_configurations_load():
    for path in (ROOT / "config" / "train").glob("*.yaml"):
        config = load_config(path)
        assert (config.epochs > 0 or seconds(config.budget) > 0) and config.stages
        assert check_frozen(random_network(config.preset), config.stages) == []


def test_configuration_round_trip_and_overrides(tmp_path):
    config = TrainConfig(preset="stl_pose", network={"height": 96}, stages=STAGES, epochs=3)
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config
    changed = load_config(tmp_path / "c.yaml", {"data.root": "lab", "batch": "8", "augment.noise": "0"})
    assert (changed.data.root, changed.batch, changed.augment.noise) == ("lab", 8, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bacth: 8", "did you mean 'batch'"),
        ("data: {rot: x}", "did you mean 'root'"),
        ("batch: many", "batch: 'many' is not of type int"),
        ("batch: true", "not of type int"),
        ("stages: 3", "must be a list"),
        ("stages: [{nam: x}]", "did you mean 'name'"),
        ("stages: [{learning_rate: fast}]", "'fast' is not a number"),
        ("data: 3", "must be a section"),
        ("- 1", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("budget: 20min", "budget '20min' is not a time"),
        ("batch: 0", "not at least 1"),
        ("stages: []", "there is none"),
        ("stages: [{share: 0}]", "not positive"),
        ("stages: [{name: a, cells: 64}, {name: b, front_rate: 0.1}]", "front_rate after the stage 'a'"),
        ("stages: [{tasks: [odometri]}]", "did you mean 'odometry'"),
        ("data: {max_skip: 0}", "not at least 1"),
        ("data: {weights: [1, 0]}", "not all positive"),
        ("data: {validation_share: 1.5}", "not within 0 and 1"),
        ("loss: {relative_frame: wrold}", "not one of body, world"),
        ("loss: {localization: posenet}", "not one of vlocnet, mapnet"),
        ("loss: {class_balance: 2}", "not within 0 and 1"),
        ("loss: {localization: mapnet, relative_frame: world}", "'mapnet' has no eq. 1"),
        ("leak_probe: 1", "not of type bool"),
        ("{budget: 5m, epochs: 3}", "either a budget"),
        ("batch: 4", "either a budget"),
        ("{epochs: 1, best: localization.median_translation}", "did you mean 'localization.median_translation_m'"),
        ("{epochs: 1, precision: fp8}", "not one of fp32, bf16, fp16"),
        ("stages: [{learning_rate: [1.0e-3, 0]}]", "learning_rate 0.0 is not positive"),
        ("stages: [{learning_rate: []}]", "empty list"),
        ("data: {truncate: -1}", "negative"),
        ("augment: {geometric: {flipp: 1}}", "did you mean 'flip'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises((ConfigError, LossConfigError)) as error:
        load_config(path)
    assert message in str(error.value)


def test_budgets_are_times():
    assert [seconds(text) for text in ("90s", "20m", "8h", "0.5h")] == [90, 1200, 28800, 1800]
    for text in ("20", "m", "", "-3m", "0s", "two h"):
        with pytest.raises(ConfigError, match="budget"):
            seconds(text)


def test_a_budget_and_epochs_replace_each_other_on_the_command_line(tmp_path):
    (tmp_path / "c.yaml").write_text("budget: 5m")
    config = load_config(tmp_path / "c.yaml", {"epochs": "3"})
    assert (config.budget, config.epochs) == ("", 3.0)
    with pytest.raises(ConfigError, match="give one of them"):
        load_config(tmp_path / "c.yaml", {"epochs": "3", "budget": "1m"})
    (tmp_path / "c.yaml").write_text("{epochs: 1, data: {also: lab}, stages: [{learning_rate: [1.0e-3, 1.0e-4]}]}")
    config = load_config(tmp_path / "c.yaml")
    assert config.data.also == ("lab",) and config.stages[0].learning_rate == (1e-3, 1e-4)


# --- data ----------------------------------------------------------------------------------------------------------


def test_held_out_frames_are_the_end_of_each_sequence(wall):
    dataset = open_dataset(wall)
    train_sequences, val = hold_out(dataset, "train", 0.25)
    assert val == dataset.splits["val"] and train_sequences == dataset.splits["train"]
    without = replace(dataset, splits={"train": dataset.splits["train"]})
    train_sequences, val = hold_out(without, "train", 0.25)
    assert [len(s.frames) for s in train_sequences] == [9, 9] and [len(s.frames) for s in val] == [3, 3]
    assert val[0].frames[0].stamp_ns > train_sequences[0].frames[-1].stamp_ns


def test_sequences_are_held_out_whole_by_name(wall):
    names = [sequence.name for sequence in open_dataset(wall).splits["train"]]

    def opened(*held):
        data = DataConfig(root=str(wall), validation_sequences=held)
        return open_data(TrainConfig(data=data, epochs=1, stages=STAGES))

    part = opened(names[1]).map
    assert [s.name for s in part.train] == names[:1] and [s.name for s in part.held_out] == names[1:]
    assert len(part.held_out[0].frames) == 12
    with pytest.raises(TrainingError, match=f"'{names[0]}x' is not a sequence of 'train', did you mean '{names[0]}'"):
        opened(names[0] + "x")
    with pytest.raises(TrainingError, match="holds out all of 'train'"):
        opened(*names)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_leaves_what_is_needed_to_continue_export_and_judge_it(run, tmp_path, wall):
    files = {"config.yaml", "environment.json", "last.pt", "best.pt", "metrics.csv", "curves.png", "tensorboard"}
    assert {path.name for path in run.iterdir()} == files
    assert load_config(run / "config.yaml") == quick(wall)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__ and environment["device"] == "cpu"
    assert environment["dataset_digest"] == dataset_digest(open_dataset(wall))
    assert any((run / "tensorboard").iterdir())
    assert cv2.imread(str(run / "curves.png")).shape[1] > 800
    saved = load_checkpoint(run / "last.pt")
    assert saved["progress"]["done"] and saved["progress"]["step"] > 0
    assert saved["network_config"]["scene"]["classes"] == 3
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"depth", "joint"} and float(rows[-1]["val_mean_iou"]) >= 0
    metadata = export_run(run, tmp_path / "wall.ts").metadata
    assert metadata == read_metadata(tmp_path / "wall.ts")
    assert metadata.dataset["image_size"] == open_dataset(wall).frames("train")[0].image().shape[:2]
    assert metadata.map_frame == "lab" and metadata.dataset["training_frames"] == 24
    assert metadata.position_min_3[0] == pytest.approx(0.5) and len(metadata.classes) == 3
    assert all(value > 0 for value in metadata.calibration_2)
    with pytest.raises(TrainingError, match="--resume"):
        train(quick(wall), run)
    with pytest.raises(TrainingError, match="trained to its end"):
        train(quick(wall), run, resume=True)


def test_a_signal_saves_and_the_run_goes_on(wall, tmp_path):
    config_path, out = tmp_path / "c.yaml", tmp_path / "run"
    save_config(
        quick(wall, preset="stl_pose", budget="10m", stages=(StageConfig("pose", ("localization",)),)), config_path
    )
    command = [sys.executable, "-m", "vlocnetpp.cli", "train", str(config_path), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        for line in child.stderr:
            if line.startswith("training:"):
                break
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 143 and "--resume" in said
    before = load_checkpoint(out / "last.pt")
    assert not before["progress"]["done"] and before["optimizer_state"] is not None
    spent = before["progress"]["total_s"]
    assert train(replace(load_config(config_path), budget=f"{spent + 1.0}s"), out, resume=True) == 0
    after = load_checkpoint(out / "last.pt")
    assert after["progress"]["done"] and after["progress"]["step"] > before["progress"]["step"]


def test_a_run_is_not_continued_on_other_data(run, wall, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    other = write_wall(tmp_path / "other", {"train": 8, "val": 6})
    settings = yaml.safe_load((copy / "config.yaml").read_text())
    settings["data"]["root"] = str(other)
    (copy / "config.yaml").write_text(yaml.safe_dump(settings))
    saved = load_checkpoint(copy / "last.pt")
    saved["progress"]["done"] = False
    save_checkpoint(copy / "last.pt", {key: value for key, value in saved.items() if key != "format"})
    with pytest.raises(CheckpointError, match="other data"):
        train(load_config(copy / "config.yaml"), copy, resume=True)


def test_a_stage_without_a_label_is_named_and_widths_have_names(tmp_path, wall):
    bare = write_wall(tmp_path / "bare", {"train": 6}, masks=False)
    config = quick(bare, preset="stl_segmentation", stages=(StageConfig("s", ("segmentation",)),))
    with pytest.raises(TrainingError, match="no frame has a label for stage 's'"):
        train(config, tmp_path / "run")
    (tmp_path / "c.yaml").write_text("width: tiny\nepochs: 1")
    assert load_config(tmp_path / "c.yaml").width == 0.25


def test_a_stage_may_end_with_batches_that_have_no_label(tmp_path, wall, monkeypatch):
    labelled = iter([True] * 6 + [False])
    monkeypatch.setattr(training_loop, "has_label", lambda terms, counts: next(labelled))
    config = quick(wall, preset="stl_pose", stages=(StageConfig("pose", ("localization",)),), epochs=7 / 6)
    assert train(config, tmp_path / "run") == 0
    assert load_checkpoint(tmp_path / "run/last.pt")["progress"]["step"] == 6
    assert next(labelled, None) is None, "the seventh batch, of the second epoch, had none"


def test_metrics_and_calibration_of_earlier_stages_are_kept(wall, tmp_path):
    stages = (StageConfig("pose", ("localization",)), StageConfig("masks", ("segmentation",)))
    config = quick(wall, preset="mtl_no_warp", stages=stages)
    assert train(config, tmp_path / "run") == 0
    saved = load_checkpoint(tmp_path / "run" / "last.pt")
    assert set(saved["metrics"]) == {"localization", "segmentation"} and saved["calibration"] != [1.0, 1.0]


def test_two_datasets_with_different_labels_train_one_network(wall, tmp_path, capsys):
    poses = write_wall(tmp_path / "poses", {"train": 6, "val": 3}, sequences=1, masks=False)
    data = DataConfig(root=str(poses), also=(str(wall),), weights=(4.0, 1.0), cache="none")
    config = quick(poses, preset="mtl_no_warp", stages=(StageConfig(),), data=data, epochs=0.8, validations=1)
    assert train(config, tmp_path / "run") == 0
    saved = load_checkpoint(tmp_path / "run" / "last.pt")
    # 6 frames four times and 24 once are 12 batches of 4 clips; 0.8 epochs are 10.
    assert saved["progress"]["step"] == 10
    row = saved["rows"][-1]
    assert all(row[f"loss_{name}"] is not None for name in ("x", "x_vo", "seg"))
    assert saved["about"]["dataset"]["name"] == "poses + wall" and len(saved["about"]["classes"]) == 3
    assert saved["about"]["position_max_3"][0] < 2.0, "the map is that of the first dataset alone"
    assert f"{wall}: its poses are not used" in capsys.readouterr().err


def test_the_best_checkpoint_is_the_newest_that_is_not_clearly_worse_than_the_best(run):
    last, best = load_checkpoint(run / "last.pt"), load_checkpoint(run / "best.pt")
    values = [row["val_median_translation_m"] for row in last["rows"] if row["val_median_translation_m"] is not None]
    assert last["best"] == pytest.approx(min(values))
    chosen = best["metrics"]["localization"]
    assert chosen["median_translation_m"] < min(values) + chosen["median_translation_uncertainty_m"]
    assert chosen["median_translation_m"] in values


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([(3.0, 0.1), (2.0, 0.1), (2.5, 0.1)], 1),
        ([(3.0, 1.0), (2.0, 1.0), (2.5, 1.0)], 2),
        ([(2.0, 0.4), (2.3, 0.4), (2.6, 0.4)], 1),  # small losses do not add up
        ([(3.0, float("nan")), (2.0, float("nan"))], 1),
        ([(2.0, 0.1), (3.0, float("inf"))], 0),
    ],
)
def test_a_later_checkpoint_is_taken_unless_it_is_clearly_worse(values, chosen):
    best, taken = None, None
    for i, (value, uncertainty) in enumerate(values):
        better, best = is_best(value, uncertainty, best, -1)
        taken = i if better else taken
    assert taken == chosen and best == min(value for value, _ in values)


def test_divergence_names_the_frames(wall, tmp_path):
    config = quick(wall, preset="stl_pose", stages=(StageConfig("pose", learning_rate=1e30),))
    with pytest.raises(TrainingError, match=r"not finite at step \d+.*frames train-0"):
        train(config, tmp_path / "run")
    with np.load(tmp_path / "run" / "bad_batch" / "process_0.npz") as bad:
        assert bad["image_BLHW3"].shape == (4, 2, 64, 96, 3) and bad["names"].shape == (4, 2)
    assert cv2.imread(str(tmp_path / "run" / "bad_batch" / "process_0.png")).shape == (2 * 80, 4 * 96, 3)


def test_a_term_that_is_not_a_number_is_named(wall, tmp_path, monkeypatch):
    """The rotation alone: no identity takes the place of what the network predicts."""

    def broken(settings):
        network = build_network(settings)
        network.localization.head.fc3.bias.data[2] = float("nan")
        return network

    monkeypatch.setattr("vlocnetpp.training.loop.build_network", broken)
    config = quick(wall, preset="stl_pose", stages=(StageConfig("pose", ("localization",), consistency=False),))
    with pytest.raises(TrainingError, match=r"the loss \(q, scale\) is not finite at step 0, stage 'pose'"):
        train(config, tmp_path / "run")


def test_the_log_has_the_terms_and_scalars_of_the_run(wall, tmp_path):
    config = quick(wall, preset="stl_odometry", stages=(StageConfig(),), epochs=0.5, validations=1)
    assert train(config, tmp_path / "run") == 0
    row = load_checkpoint(tmp_path / "run" / "last.pt")["rows"][-1]
    assert [name for name in row if name.startswith("loss_")] == ["loss_x_vo", "loss_q_vo"]
    assert [name for name in row if ".s_" in name or name.startswith("s_")] == ["odometry.s_x", "odometry.s_q"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": (StageConfig(),)}, r"stage with tasks \[depth\]"),
        ({"stages": (StageConfig(tasks=("depth", "odometry")),)}, "trained alone"),
        ({"preset": "stl_pose", "stages": STAGES}, "no depth network"),
        ({"preset": "mtll"}, "did you mean 'mtl'"),
        ({"network": {"height": 100}}, "multiples of 32"),
        ({"network": {"height": "abc"}}, "not of type int"),
        ({"network": {"width": 0.5}}, "it is --width; the columns of the input are network.width_px"),
        ({"network": {"dropout": 1.5}}, "dropout"),
        ({"preset": "stl_pose", "stages": (StageConfig("o", ("odometry",)),)}, "has no task odometry"),
        ({"pretrained": "absent.pth"}, "absent.pth"),
        ({"data": DataConfig(root="lab", also=("street",), weights=(1.0,))}, "gives 1 for 2 datasets"),
        ({"preset": "stl_pose", "stages": (StageConfig("pose", ("localization",), terms=("ex",)),)}, "no term 'ex'"),
        ({"leak_probe": True}, "preset 'mtl' sees no pose of the past"),
    ],
)
def test_a_run_that_cannot_work_is_refused_before_it_starts(change, message, wall, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(quick(wall, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_labels_are_named(tmp_path):
    bare = write_wall(tmp_path / "bare", {"train": 6}, depth=False)
    with pytest.raises(ConfigError, match="has no depth"):
        train(quick(bare), tmp_path / "run")


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"value": 1})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(path, {"value": lambda: 1})
    assert load_checkpoint(path)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_bad_checkpoint_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    (tmp_path / "text.pt").write_text("no")
    torch.save({"format": 99}, tmp_path / "newer.pt")
    torch.save(Bomb(), tmp_path / "bomb.pt")
    whole = tmp_path / "whole.pt"
    save_checkpoint(whole, {"w": torch.zeros(1000)})
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:2000])
    for name in ("absent.pt", "text.pt", "newer.pt", "bomb.pt", "cut.pt"):
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_run_never_touches_the_files_of_others_and_looks_before_it_works(tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(TrainingError, match=r"holds config\.yaml of something else"):
        check_folder(tmp_path, resume=False)
    (tmp_path / "environment.json").write_text("{}")
    check_folder(tmp_path, resume=False)  # a run that was stopped before its first step starts again
    (tmp_path / "last.pt").write_text("")
    with pytest.raises(TrainingError, match="continue it with --resume"):
        check_folder(tmp_path, resume=False)
    check_folder(tmp_path, resume=True)
    check_folder(tmp_path / "new/run", resume=False)
    with pytest.raises(TrainingError, match="cannot be written"):
        check_folder(tmp_path / "config.yaml/run", resume=False)
