"""The flagship through the whole path: masks, scene coordinates, streams, then the file that a robot runs."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import differences, outcome, quick
from wall_dataset import WALL_M, write_wall

from vlocnetpp.data import DataError, open_dataset
from vlocnetpp.evaluation.score import score
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.export import export_run
from vlocnetpp.network import create
from vlocnetpp.network.blocks.efficientnet_lite import EfficientNetLite, load_imagenet
from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp.runtime.map_cloud import read_map_cloud
from vlocnetpp.training import TrainingError, cell_stage, cells, load_checkpoint, train
from vlocnetpp.training import loop as training_loop
from vlocnetpp.training.cells import INDEX_NAME
from vlocnetpp.training.config import DataConfig, StageConfig
from vlocnetpp.training.map_cloud import thin

STAGES = (
    StageConfig("masks", ("segmentation",), share=10.0, learning_rate=2e-3, front_rate=0.2),
    StageConfig("coordinates", cells=512, share=30.0, learning_rate=3e-3),
    StageConfig("streams", share=6.0, learning_rate=1e-3),
)


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 16, "val": 6})


@pytest.fixture(scope="module")
def run(wall, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "wall"
    data = DataConfig(root=str(wall), cache="none")
    config = quick(wall, preset="robot", stages=STAGES, epochs=30.0, data=data)
    assert train(replace(config, network={**config.network, "regions": 4}), out) == 0
    return out


@pytest.fixture(scope="module")
def exported(run, wall):
    made = export_run(run, run.parent / "wall.ts", verify=wall)
    return load_model(made.files[0], "cpu", "fp32")


def test_a_signal_while_features_are_computed_ends_at_once_and_the_run_goes_on_from_there(wall, tmp_path, monkeypatch):
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    made, cells_of = [], cells._cells_of

    def interrupted(*given):
        made.append(given[-1])
        if len(made) == 50:
            signal.raise_signal(signal.SIGTERM)
        return cells_of(*given)

    def config(cache: str):
        return quick(wall, preset="robot", stages=stages, epochs=2.0, data=DataConfig(root=str(wall), cache=cache))

    whole, out = tmp_path / "whole", tmp_path / "run"
    assert train(config(str(tmp_path / "other")), whole) == 0
    monkeypatch.setattr(cells, "_cells_of", interrupted)
    assert train(config(str(tmp_path / "cache")), out) == signal.SIGTERM
    assert len(made) == 50, "of 128"
    assert load_checkpoint(out / "last.pt")["progress"]["step"] == 0
    assert train(config(str(tmp_path / "cache")), out, resume=True) == 0
    assert made[50] == 48, "the three complete batches of 16 images were kept"
    assert differences(outcome(whole), outcome(out)) == []


def test_a_budget_that_the_features_use_up_is_refused_and_a_larger_one_goes_on_with_them(wall, tmp_path):
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    data = DataConfig(root=str(wall), cache=str(tmp_path / "cache"))
    config = quick(wall, preset="robot", stages=stages, data=data, budget="0.01s")
    with pytest.raises(TrainingError, match=r"the features of all images took .* go on with --resume --budget \d+m"):
        train(config, tmp_path / "run")
    taken_s = load_checkpoint(tmp_path / "run/last.pt")["progress"]["elapsed_s"]
    assert train(replace(config, budget=f"{taken_s + 5:.1f}s"), tmp_path / "run", resume=True) == 0
    assert load_checkpoint(tmp_path / "run/last.pt")["progress"]["step"] >= 20
    assert buffers(tmp_path / "cache") == [len(open_dataset(wall).frames("train"))], "the kept ones, no more"


def buffers(cache: Path) -> list[int]:
    """Number of images in each buffer of cells."""
    indices = (json.loads(path.read_text()) for path in cache.rglob(INDEX_NAME))
    return sorted(index["views"] for index in indices if "views" in index)


def test_fewer_versions_of_each_image_where_time_is_short(wall, tmp_path, monkeypatch, capsys):
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    data = DataConfig(root=str(wall), cache=str(tmp_path / "cache"))
    config = quick(wall, preset="robot", stages=stages, data=data, budget="6s")
    frames = len(open_dataset(wall).frames("train"))
    monkeypatch.setattr(cell_stage, "seconds_per_image", lambda *given: 6 / (cell_stage.FEATURES_SHARE * frames * 2.5))
    assert train(config, tmp_path / "run") == 0
    assert "2 of 4 versions of each image: the features of more would take over a third" in capsys.readouterr().err
    assert buffers(tmp_path / "cache") == [2 * frames]
    monkeypatch.setattr(cell_stage, "seconds_per_image", lambda *given: 1e-6)
    assert train(config, tmp_path / "other") == 0
    said = capsys.readouterr().err
    assert "4 of 4 versions of each image" in said and "the features of more" not in said
    assert buffers(tmp_path / "cache") == [2 * frames, 4 * frames]


def test_a_run_that_failed_while_features_were_computed_goes_on_with_their_buffer(wall, tmp_path, monkeypatch):
    """Also where the disk has no more room: the buffer has its own."""
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    config = quick(wall, preset="robot", stages=stages, epochs=2.0, data=DataConfig(root=str(wall), cache="none"))
    made, cells_of = [], cells._cells_of

    def failing(*given):
        made.append(given[-1])
        if len(made) == 50:
            raise OSError(errno.ENOSPC, "no space")
        return cells_of(*given)

    monkeypatch.setattr(cells, "FLUSHED", 1)
    monkeypatch.setattr(cells, "_cells_of", failing)
    with pytest.raises(DataError, match=r"cannot hold the buffer of cells .* continue with --resume"):
        train(config, tmp_path / "run")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert train(config, tmp_path / "run", resume=True) == 0
    assert made[50] == 48, "the three complete batches of 16 images were kept"


def test_a_stage_of_cells_that_was_stopped_ends_like_one_that_was_not(wall, tmp_path, monkeypatch):
    """In its middle, and after its last step, before the validation."""
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    data = DataConfig(root=str(wall), cache=str(tmp_path / "cache"))
    config = quick(wall, preset="robot", stages=stages, epochs=40 / 6, data=data, validations=1)
    assert train(config, tmp_path / "whole") == 0
    assert load_checkpoint(tmp_path / "whole/last.pt")["progress"]["step"] == 40
    agree, places = cell_stage.agree, [20, 40]

    def interrupted(run, counts):
        if run.state.progress.step in places:
            places.remove(run.state.progress.step)
            signal.raise_signal(signal.SIGTERM)
        return agree(run, counts)

    monkeypatch.setattr(cell_stage, "agree", interrupted)
    for number in range(2):
        assert train(config, tmp_path / "run", resume=number > 0) == signal.SIGTERM
    assert train(config, tmp_path / "run", resume=True) == 0 and not places
    assert differences(outcome(tmp_path / "whole"), outcome(tmp_path / "run")) == []
    assert differences(outcome(tmp_path / "whole", "best.pt"), outcome(tmp_path / "run", "best.pt")) == []


def test_a_random_front_stays_as_the_cells_were_trained_on_it(wall, tmp_path, monkeypatch):
    stages = (STAGES[1], STAGES[2])
    config = quick(wall, preset="robot", stages=stages, data=DataConfig(root=str(wall), cache="none"))
    config = replace(config, network={**config.network, "imagenet": False})
    agree, stopped = training_loop.agree, []

    def interrupted(run, counts):
        if not stopped:
            stopped.append(signal.raise_signal(signal.SIGTERM))
        return agree(run, counts)

    monkeypatch.setattr(training_loop, "agree", interrupted)
    assert train(config, tmp_path / "run") == signal.SIGTERM
    before = load_checkpoint(tmp_path / "run/last.pt")
    assert before["progress"]["stage"] == 1, "the stage of cells is over"
    assert train(config, tmp_path / "run", resume=True) == 0
    after = load_checkpoint(tmp_path / "run/last.pt")["network_state"]
    kept = ("front.", "hypercolumns.", "coordinates.")
    moved = [name for name, value in before["network_state"].items() if not np.array_equal(value, after[name])]
    assert moved and not [name for name in moved if name.startswith(kept)]


def test_a_disk_without_room_is_named_before_the_first_step(wall, run, tmp_path, monkeypatch, capsys):
    stages = (StageConfig("coordinates", cells=512, learning_rate=3e-3),)
    config = quick(wall, preset="robot", stages=stages, epochs=2.0, data=DataConfig(root=str(wall), cache="none"))
    frames = len(open_dataset(wall).frames("train"))
    version = sum(file.stat().st_size for file in run.rglob("*.bin")) // 4
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=version * 5 // 2))
    assert train(config, tmp_path / "run") == 0
    said = "".join(capsys.readouterr())
    assert "the features of all images in 4 versions need 0.0 GB, so that they get fewer" in said
    assert "2 of 4 versions of each image: the features of more have no room on the disk" in said
    assert buffers(tmp_path / "run") == [2 * frames]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=version // 2))
    with pytest.raises(DataError, match=r"full: has room for .* GB, and the features .*; free some, or choose another"):
        train(config, tmp_path / "full")
    assert not (tmp_path / "full").exists()


def test_a_last_stage_of_cells_is_judged_by_its_pose(wall, tmp_path):
    config = quick(wall, preset="robot", stages=STAGES[:2], data=DataConfig(root=str(wall), cache="none"))
    assert train(config, tmp_path / "run") == 0
    best = load_checkpoint(tmp_path / "run/best.pt")
    assert best["progress"]["stage"] == 1 and best["best"] == best["metrics"]["localization"]["median_translation_m"]


def test_each_stage_trains_its_own_part_and_keeps_the_front_that_the_cells_were_trained_on(run):
    saved = load_checkpoint(run / "last.pt")
    assert {row["stage"] for row in saved["rows"]} == {"masks", "coordinates", "streams"}
    fresh = create("robot", width=0.0625).state_dict()
    assert any(
        not np.array_equal(value, fresh[name]) for name, value in saved["network_state"].items() if "front" in name
    )
    (last,) = (row["loss_off_ray_m"] for row in saved["rows"] if row["stage"] == "coordinates")
    assert last < 0.2


def test_the_file_answers_where_the_camera_is_and_what_it_sees(exported, wall):
    """Three metres before the wall: every point that is sure of itself lies on it."""
    localizer = Localizer(exported)
    errors, off_wall, right, guessed = [], [], [], []
    for i, frame in enumerate(open_dataset(wall).splits["val"][0].frames):
        image = frame.image()
        answer = localizer.localize(image, frame.K_33, 1 + i * 33_000_000)
        errors.append(np.linalg.norm(answer.pose_7[:3] - frame.pose_7[:3]))
        assert answer.coordinates_hw3.shape == (8, 12, 3)
        seen = np.isfinite(answer.coordinates_hw3).all(axis=2)
        off_wall += np.abs(answer.coordinates_hw3[seen][:, 2] - WALL_M).tolist()
        right.append((localizer.full_mask(answer) == frame.mask()).mean())
        guessed.append(np.bincount(frame.mask().ravel()).max() / frame.mask().size)
    assert np.median(errors) < 0.25, (
        "a quarter of the error of the mean pose; processors round otherwise, so trainings differ"
    )
    assert len(off_wall) > 100 and np.median(off_wall) < 0.1
    assert np.mean(right) > np.mean(guessed) + 0.1, "no better than the most frequent class everywhere"


def test_the_bounds_of_motions_are_calibrated_on_the_held_out_drive(exported, wall):
    dataset = open_dataset(wall)
    answers, frames = stream(exported, dataset, "val"), dataset.frames("val")
    assert len(exported.metadata.motion_calibration_2) == 2
    found = score(frames, answers, exported.metadata.tasks, np.zeros((2, 2), np.int64), ())["motion_calibration"]
    for kind in ("translation", "rotation"):
        assert found[kind]["frames"] == len(frames) - len(dataset.sequences("val"))
        assert found[kind]["within_1_sigma"] >= 0.6, "calibrated on these very frames"


def test_the_file_carries_the_map_as_a_cloud_and_the_origin_of_its_weights(exported):
    points = read_map_cloud(exported.path)
    assert len(points) > 100
    assert np.median(np.abs(points["xyz"][:, 2] - WALL_M)) < 0.1
    assert points["rgb"].std() > 20
    (text,) = exported.metadata.attribution
    assert "EfficientNet-Lite0" in text and "Apache License 2.0" in text


def test_a_damaged_cloud_of_a_run_is_refused_in_one_line(run, tmp_path):
    cloud = run / "map_cloud.npy"
    whole = cloud.read_bytes()
    cloud.write_bytes(whole[:40])
    try:
        with pytest.raises(ValueError, match=r"map_cloud\.npy: cannot be read .*; delete it"):
            export_run(run, tmp_path / "broken.ts")
    finally:
        cloud.write_bytes(whole)
    assert not (tmp_path / "broken.ts").exists()


def test_thinning_keeps_means_of_what_lies_together():
    xyz = np.array([[0.0, 0, 0], [0.001, 0, 0], [5.0, 0, 0]])
    points = thin(xyz, np.array([[10.0, 0, 0], [20.0, 0, 0], [200.0, 0, 0]]))
    np.testing.assert_allclose(points["xyz"][:, 0], [0.0005, 5.0], atol=1e-6)
    assert points["rgb"][:, 0].tolist() == [15, 200]
    assert len(thin(np.random.default_rng(0).random((5000, 3)), np.zeros((5000, 3)), most=50)) <= 50
    assert len(thin(np.zeros((0, 3)), np.zeros((0, 3)))) == 0


def test_without_masks_the_network_has_none_and_its_stage_is_left_out(tmp_path, capsys):
    bare = write_wall(tmp_path / "bare", {"train": 6, "val": 3}, depth=False, masks=False)
    assert train(quick(bare, preset="robot", stages=STAGES, epochs=1.0), tmp_path / "run") == 0
    saved = load_checkpoint(tmp_path / "run/last.pt")
    assert saved["network_config"]["settings"]["tasks"] == ("localization", "odometry")
    assert {row["stage"] for row in saved["rows"]} == {"coordinates", "streams"}
    said = "".join(capsys.readouterr())
    assert "no labels for segmentation; left out" in said
    assert "stage 'masks' is left out" in said
    assert said.count("points an image were triangulated") == 1
    # The poses of both stages are the same; a network whose streams have not been trained is not the best one.
    assert load_checkpoint(tmp_path / "run/best.pt")["progress"]["stage"] == 1


def test_of_masks_alone_the_pretrained_front_is_tuned(wall, tmp_path):
    bare = quick(wall, preset="robot", stages=STAGES, epochs=2.0)
    config = replace(bare, network={**bare.network, "tasks": ["segmentation"]})
    assert train(config, tmp_path / "run") == 0
    weights = load_checkpoint(tmp_path / "run/last.pt")["network_state"]
    front = EfficientNetLite()
    load_imagenet(front)
    first, last = "stem.weight", next(name for name, _ in front.to_32.named_parameters(prefix="to_32"))
    assert torch.equal(weights[f"front.{first}"], front.state_dict()[first])
    moved = (weights[f"front.{last}"] - front.state_dict()[last]).abs().max()
    assert 0 < moved < 0.1
