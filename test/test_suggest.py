"""What is said before a training: the proposed command, the time it takes, and a validation too small to choose by."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import real_data
from training_runs import quick
from wall_dataset import write_wall

from vlocnetpp.cli import main
from vlocnetpp.cli.training import parse_overrides
from vlocnetpp.data import open_dataset
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.shipped import shipped
from vlocnetpp.training import load_config, train
from vlocnetpp.training.suggest import CONFIG, held_out, input_size, suggest


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [
        (480, 640, (256, 320)),
        (360, 540, (224, 352)),
        (370, 1226, (160, 512)),
        (1080, 1920, (224, 384)),
        (64, 96, (96, 96)),
    ],
)
def test_the_input_has_the_aspect_of_the_camera(rows, columns, size):
    assert input_size(rows, columns, 256 * 320) == size


def test_the_proposed_command_is_one_that_train_takes(tmp_path, capsys):
    wall = write_wall(tmp_path / "a wall", {"train": 8, "val": 3})
    assert main(["train", "--suggest", str(wall)]) == 0
    *reasons, command = capsys.readouterr().out.strip().splitlines()
    words = shlex.split(command)
    assert words[:3] == ["vlocnetpp", "train", CONFIG]
    overrides = parse_overrides(words[3:])
    assert overrides.pop("out") == "runs/first"
    config = load_config(shipped(CONFIG), overrides)
    assert Path(config.data.root) == wall and config.budget == "15m"
    assert "16 with a pose, 16 with depth, 16 with a mask" in reasons[0]
    assert any("MB" in line for line in reasons)
    assert main(["train", "--suggest", str(tmp_path)]) == 2
    assert main(["train", CONFIG]) == 2
    assert "--suggest ROOT proposes a command" in capsys.readouterr().err


def test_the_drive_that_the_others_cover_best_is_held_out():
    name, why = held_out(open_dataset(real_data("redkitchen")))
    assert name == "seq-08" and "within 0.17 m" in why
    found = suggest(real_data("redkitchen"))
    assert "--data.validation_sequences '[seq-08]'" in found.command


def test_the_time_and_a_small_validation_are_said_ahead(tmp_path, capsys):
    wall = write_wall(tmp_path / "wall", {"train": 8, "val": 3})
    bare = quick(wall, budget="1s", validations=2)
    camera = DepthCameraConfig(1.132, (-0.0255, 0.0, 0.0))
    config = replace(bare, data=replace(bare.data, depth_camera=camera))
    assert train(config, tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "of a camera of 1.132 times the focal length, at (-0.0255, 0, 0) m in the frame of the colour camera" in said
    assert "the budget of 1s, and at most 2 validations of 6 frames" in said
    assert "only 6 frames are held out: too few to choose" in said
