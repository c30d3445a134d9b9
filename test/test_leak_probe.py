"""The leak probe: what it feeds, that it shows in training and evaluation, and that it never becomes a model file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_models import random_network
from training_runs import quick
from wall_dataset import write_wall

from vlocnetpp.benchmark.leak_probe import stream_checkpoint
from vlocnetpp.cli import main
from vlocnetpp.data import open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.export import export_run
from vlocnetpp.network import config_to_json
from vlocnetpp.runtime import load_model
from vlocnetpp.training import CheckpointError, TrainConfig, load_checkpoint, train
from vlocnetpp.training.checkpoint import save_checkpoint
from vlocnetpp.training.config import StageConfig

STAGES = (StageConfig("pose", ("localization", "odometry")),)


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 4, "test": 5}, masks=False)


def trained(wall: Path, out: Path, **changes) -> Path:
    assert train(quick(wall, preset="vlocnet", stages=STAGES, epochs=1.0, validations=1, **changes), out) == 0
    return out


@pytest.fixture(scope="module")
def own(wall, tmp_path_factory) -> Path:
    return trained(wall, tmp_path_factory.mktemp("runs") / "own")


@pytest.fixture(scope="module")
def probe(wall, tmp_path_factory) -> Path:
    return trained(wall, tmp_path_factory.mktemp("runs") / "probe", leak_probe=True)


def test_no_run_is_a_leak_probe_by_default(own, probe):
    assert not TrainConfig(epochs=1).leak_probe and not load_checkpoint(own / "last.pt")["train_config"]["leak_probe"]
    a, b = (load_checkpoint(run / "last.pt") for run in (own, probe))
    assert a["network_config"] == b["network_config"], "the network is the same, only what it was fed differs"
    assert any((a["network_state"][name] != b["network_state"][name]).any() for name in a["network_state"])


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_leak_probe_is_never_exported(checkpoint, probe, tmp_path, capsys):
    assert main(["export", str(probe), "--out", str(tmp_path / "lab.ts"), "--checkpoint", checkpoint]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is a leak probe" in said and "without leak_probe" in said
    assert not any(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="never exported"):
        export_run(probe, tmp_path / "lab.ts")


def test_without_feeding_it_answers_as_the_exported_model_does(own, wall, tmp_path):
    dataset = open_dataset(wall)
    export_run(own, tmp_path / "lab.ts", checkpoint="last")
    robot = stream(load_model(tmp_path / "lab.ts", "cpu"), dataset, "test")
    here = stream_checkpoint(own / "last.pt", dataset, "test", feed_truth=False)
    assert np.allclose(here.pose_N7, robot.pose_N7, atol=1e-4)
    assert (here.valid_N == robot.valid_N).all()
    assert np.allclose(here.relative_N7[here.valid_N], robot.relative_N7[here.valid_N], atol=1e-4)


def test_each_frame_but_the_first_sees_the_true_pose_of_the_one_before(own, wall):
    """A network whose pose is the past one plus what the image says: the truth of frame t moves the answer of t + 1."""
    dataset = open_dataset(wall)
    with_truth, without = (stream_checkpoint(own / "last.pt", dataset, "test", fed).pose_N7 for fed in (True, False))
    first = np.array([0, len(dataset.sequences("test")[0].frames)])
    later = np.setdiff1d(np.arange(len(with_truth)), first)
    assert (with_truth[first] == without[first]).all()
    assert (np.abs(with_truth - without)[later].max(axis=1) > 1e-6).all()

    def moved(k: int, pose_7) -> np.ndarray:
        """Answers of the first sequence where frame k alone has another pose."""
        sequence = dataset.sequences("test")[0]
        frames = tuple(replace(f, pose_7=pose_7) if i == k else f for i, f in enumerate(sequence.frames))
        other = replace(dataset, splits={"test": (replace(sequence, frames=frames),)})
        return stream_checkpoint(own / "last.pt", other, "test", True).pose_N7

    elsewhere, unknown = moved(2, np.array([9.0, 9, 9, 1, 0, 0, 0])), moved(2, None)
    changed = [
        np.flatnonzero(np.abs(each - with_truth[:5]).max(axis=1) > 1e-6).tolist() for each in (elsewhere, unknown)
    ]
    assert changed == [[3], [3]], "a truth, or its absence, reaches one frame and no further"


def test_a_network_that_sees_no_pose_cannot_be_probed(wall, tmp_path):
    network = random_network("pose_single")
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"network_config": config_to_json(network.config), "network_state": network.state_dict()})
    with pytest.raises(ConfigError, match="'pose_single' sees no pose of the past"):
        stream_checkpoint(path, open_dataset(wall), "test", True)
