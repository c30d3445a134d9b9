"""Settings: exact types, files on a base, words of a command line, and a help that knows every one of them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from vlocnetpp.cli import main
from vlocnetpp.errors import ConfigError
from vlocnetpp.network import SceneConfig, ViewConfig, configure
from vlocnetpp.network.registry import ENTRIES
from vlocnetpp.settings import build, docs_of, merge, nested, on_base, read_settings, settings_of, type_name
from vlocnetpp.shipped import shipped
from vlocnetpp.training import load_config
from vlocnetpp.training.config import StageConfig, TrainConfig


@dataclass(frozen=True)
class Camera:
    """Of the colours."""

    focal: float = 1.0
    """Pixels,
    over 100."""
    centre: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Stereo(Camera):
    """Two of them."""

    baseline: float = 0.1
    """Metres."""


@dataclass(frozen=True)
class Stage:
    """A part of the drive."""

    name: str
    rate: float | tuple[float, ...] = 1.0


@dataclass(frozen=True)
class Drive:
    """A drive."""

    name: str = ""
    frames: int = 1
    loop: bool = False
    rooms: tuple[str, ...] = ()
    camera: Stereo = field(default_factory=Stereo)
    stages: tuple[Stage, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames: {self.frames} is not at least 1")
        if self.name == "broken":
            raise ZeroDivisionError("a mistake of the program, not of the user")


def test_plain_data_becomes_dataclasses_three_deep():
    data = {
        "name": "lab", "frames": 3, "loop": True, "rooms": "hall", "camera": {"focal": 2, "centre": [1, 2.5]},
        "stages": [{"name": "a", "rate": [1, "1e-3"]}, {"name": "b", "rate": "2e-1"}], "about": {"x": [1, {"y": None}]},
    }  # fmt: skip
    drive = build(Drive, data, "x")
    assert drive == Drive(
        "lab", 3, True, ("hall",), Stereo(2.0, (1.0, 2.5)), (Stage("a", (1.0, 1e-3)), Stage("b", 0.2)),
        {"x": [1, {"y": None}]},
    )  # fmt: skip
    assert type(drive.camera.focal) is float and type(drive.camera) is Stereo
    assert build(Drive, {"rooms": ("a", "b"), "about": {}}, "x").rooms == ("a", "b")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"framse": 1}, "file: 'framse' is not a setting, did you mean 'frames'?"),
        ({"camera": {"vocal": 1}}, "file: camera: 'vocal' is not a setting, did you mean 'focal'?"),
        ({"stages": [{"name": "a"}, {"nam": "b", "name": "c"}]},
         "file: stages[1]: 'nam' is not a setting, did you mean 'name'?"),
        ({True: 1}, "file: 'True' is not a setting"),
        ({"frames": True}, "file: frames: 'True' is not of type int"),
        ({"frames": 8.0}, "file: frames: '8.0' is not of type int"),
        ({"frames": "8"}, "file: frames: '8' is not of type int"),
        ({"loop": 1}, "file: loop: '1' is not of type bool"),
        ({"name": 3}, "file: name: '3' is not of type text"),
        ({"name": None}, "file: name: 'None' is not of type text"),
        ({"camera": {"focal": True}}, "file: camera.focal: 'True' is not of type float"),
        ({"camera": {"focal": "far"}}, "file: camera.focal: 'far' is not a number"),
        ({"camera": {"focal": [1]}}, "file: camera.focal: '[1]' is not of type float"),
        ({"camera": {"centre": 3}}, "file: camera.centre: must be a list"),
        ({"camera": {"centre": [1, 2, 3]}}, "file: camera.centre: must be a list of 2"),
        ({"camera": 3}, "file: camera: must be a section with focal, centre, baseline"),
        ({"camera": None}, "file: camera: must be a section with focal, centre, baseline"),
        ({"about": 3}, "file: about: must be a section"),
        ({"rooms": {"a": 1}}, "file: rooms: must be a list"),
        ({"rooms": ["a", 2]}, "file: rooms[1]: '2' is not of type text"),
        ({"stages": [3]}, "file: stages[0]: must be a section with name, rate"),
        ({"stages": [{"rate": 1}]}, "file: stages[0].name: is missing"),
        ({"stages": [{"name": "a", "rate": "fast"}]}, "file: stages[0].rate: 'fast' is not a number"),
        ({"stages": [{"name": "a", "rate": [1, True]}]}, "file: stages[0].rate[1]: 'True' is not of type float"),
        ({"frames": 0}, "file: frames: 0 is not at least 1"),
        (3, "file: must be a section with name, frames, loop, rooms, camera, stages, about"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_and_key(data, message):
    with pytest.raises(ConfigError) as error:
        build(Drive, data, "file")
    assert str(error.value) == message


def test_a_mistake_of_the_program_is_not_taken_for_one_of_the_user():
    with pytest.raises(ZeroDivisionError):
        build(Drive, {"name": "broken"}, "file")


def write(path: Path, **settings: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_file_starts_from_its_base_and_changes_it_section_by_section(tmp_path):
    write(tmp_path / "ground.yaml", frames=1, camera={"focal": 1, "baseline": 2}, stages=[1, 2], budget="1m")
    write(tmp_path / "a" / "middle.yaml", base="../ground.yaml", camera={"focal": 3}, stages=[4])
    top = write(tmp_path / "top.yaml", base="a/middle.yaml", frames=5, epochs=2)
    whole = {"frames": 5, "camera": {"focal": 3, "baseline": 2}, "stages": [4], "epochs": 2}
    assert read_settings(top) == {**whole, "budget": "1m"}
    assert read_settings(top, (("budget", "epochs"),)) == whole
    assert on_base({"base": "top.yaml", "frames": 6}, tmp_path / "x.yaml")["frames"] == 6
    assert on_base({"frames": 6}, tmp_path / "x.yaml") == {"frames": 6}


def test_a_base_that_leads_nowhere_or_in_a_circle_is_refused_in_one_line(tmp_path):
    write(tmp_path / "a.yaml", base="b.yaml")
    write(tmp_path / "b.yaml", base="a.yaml")
    for settings, message in (
        ({"base": "a.yaml"}, "a.yaml: is its own base, by way of x.yaml, a.yaml, b.yaml"),
        ({"base": "x.yaml"}, "x.yaml: is its own base, by way of x.yaml"),
        ({"base": "none.yaml"}, "none.yaml: cannot be read: No such file or directory"),
        ({"base": ["a.yaml"]}, "x.yaml: base: '['a.yaml']' is not the name of a file"),
    ):
        with pytest.raises(ConfigError) as error:
            read_settings(write(tmp_path / "x.yaml", **settings))
        assert str(error.value) == f"{tmp_path}/{message}"


def test_changes_leave_what_they_change_alone_and_go_into_sections_only():
    old = {"a": {"b": [1]}, "c": 2}
    new = merge(old, {"a": {"d": 3}})
    new["a"]["b"].append(4)
    assert old == {"a": {"b": [1]}, "c": 2} and new == {"a": {"b": [1, 4], "d": 3}, "c": 2}
    with pytest.raises(ConfigError, match="c: '2' is not a section"):
        merge(old, {"c": {"e": 1}})


def test_words_of_the_command_line_are_nested_and_a_text_stays_a_text():
    words = {"name": "2024", "frames": "3", "camera.centre": "[1, 2]", "about.x": "2024", "rooms": "hall"}
    assert nested(words, Drive) == {
        "name": "2024", "frames": 3, "camera": {"centre": [1, 2]}, "about": {"x": 2024}, "rooms": "hall"
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"--frames\.x: 'frames' is not a section"):
        nested({"frames": "3", "frames.x": "3"}, Drive)
    with pytest.raises(ConfigError, match="not a value in YAML"):
        nested({"rooms": "[a"}, Drive)


def test_what_a_setting_does_is_read_from_its_docstring():
    assert docs_of(Stereo) == {"focal": "Pixels, over 100.", "baseline": "Metres."}
    names = [setting.name for setting in settings_of(Drive)]
    assert names == [
        "name", "frames", "loop", "rooms", "camera.focal", "camera.centre", "camera.baseline", "stages", "about"
    ]  # fmt: skip
    kinds = {setting.name: type_name(setting.hint) for setting in settings_of(Drive)}
    assert kinds["stages"] == "list of section" and kinds["rooms"] == "list of text" and kinds["about"] == "section"
    assert [type_name(setting.hint) for setting in settings_of(Stage)] == ["text", "float or list of float"]


OWN = dict.fromkeys(entry.settings for entry in ENTRIES.values())


@pytest.mark.parametrize("kind", [TrainConfig, StageConfig, ViewConfig, SceneConfig, *OWN])
def test_every_setting_of_a_training_says_what_it_does(kind):
    for setting in settings_of(kind):
        assert docs_of(setting.owner).get(setting.key), f"{setting.owner.__name__}.{setting.key} has no docstring"


def test_train_lists_every_setting_with_its_type_and_value(capsys, tmp_path):
    assert main(["train", "--settings"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for setting in settings_of(TrainConfig):
        assert f"--{setting.name} {setting.key.upper()}" in said
    assert "--batch BATCH Clips per step, of all devices together. (int: 32)" in said
    network = configure(TrainConfig.preset)
    for setting in (s for part in (network.view, network.scene, network.settings) for s in settings_of(type(part))):
        assert f"--network.{setting.name} " in said
    assert main(["train", str(ROOT / "config/train/coordinates.yaml"), "--settings"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of all devices together. (int: 16)" in said and "a multiple of 32. (int: 128)" in said
    assert '(text: "res3")' in said, "as its preset has it"
    bad = write(tmp_path / "bad.yaml", base="none.yaml")
    assert main(["train", str(bad), "--settings"]) == 2
    assert capsys.readouterr().err == f"vlocnetpp: {tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_the_help_of_train_names_settings_that_exist(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    network = configure("robot")
    known = {setting.name for setting in settings_of(TrainConfig)}
    known |= {f"network.{setting.name}" for setting in settings_of(type(network.view))}
    options = {"help", "out", "suggest", "resume", "profile", "settings", "SETTING"}
    named = set(re.findall(r"--([\w.]+)", capsys.readouterr().out)) - options
    assert end.value.code == 0 and {"data.root", "budget", "network.height"} <= named <= known


def test_a_shipped_configuration_is_one_that_its_base_makes(tmp_path):
    robot, pose = (load_config(shipped(f"config/train/{name}.yaml")) for name in ("coordinates", "pose"))
    assert (robot.preset, robot.budget, robot.batch, robot.augment.noise) == ("stl_coordinates", "60m", 16, 2.0)
    assert (robot.network, robot.width) == (pose.network, pose.width)
    mine = write(tmp_path / "mine.yaml", base=str(shipped("config/train/coordinates.yaml")), epochs=3)
    assert (load_config(mine).budget, load_config(mine).epochs) == ("", 3.0)
    with pytest.raises(FileNotFoundError, match="install vlocnetpp_ros again"):
        shipped("config/none")


def test_neither_the_runtime_nor_the_first_word_of_a_command_imports_the_libraries_of_settings():
    program = (
        "import sys, vlocnetpp.runtime, vlocnetpp.settings\n"
        "from vlocnetpp.cli import build_parser\n"
        "build_parser().format_help()\n"
        "print([each for each in ('cattrs', 'docstring_parser') if each in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
