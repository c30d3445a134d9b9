"""The command as a user types it: every action once, and the mistakes people make."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from random_models import export_random
from wall_dataset import write_wall

from vlocnetpp.cli import build_parser, main
from vlocnetpp.cli.training import parse_overrides
from vlocnetpp.errors import ConfigError
from vlocnetpp.reporting.out_folder import result_folder
from vlocnetpp.training import load_checkpoint

CONFIG = """
preset: mtl
width: 0.125
network: {height: 64, width_px: 96, resize: whole}
batch: 4
budget: 3s
validations: 1
stages:
  - {name: depth, tasks: [depth], share: 0.3}
  - {name: joint, share: 0.7}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which the whole path from data to a scored model file has been walked."""
    folder = tmp_path_factory.mktemp("cli")
    write_wall(folder / "wall", {"train": 8, "val": 4, "test": 5})
    (folder / "config.yaml").write_text(CONFIG)
    run = ["train", str(folder / "config.yaml"), "--data.root", str(folder / "wall"), "--out", str(folder / "run")]
    assert main(run) == 0
    assert main(["export", str(folder / "run"), "--out", str(folder / "wall.ts"), "--precision", "fp16"]) == 0
    return folder


def test_the_same_command_with_resume_goes_on_and_another_setting_does_not(folder, capsys):
    again = ["train", str(folder / "config.yaml"), "--data.root", str(folder / "wall"), "--out", str(folder / "run")]
    again += ["--resume", "--network.height"]
    assert main([*again, "64"]) == 2
    assert "is trained to its end" in capsys.readouterr().err, "the setting itself is accepted"
    assert main([*again, "96"]) == 2
    assert "--network.height: a run goes on as it began" in capsys.readouterr().err


def test_from_training_to_a_scored_file(folder, capsys):
    out = folder / "evaluation"
    assert main(["evaluate", str(folder / "wall.ts"), str(folder / "wall"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "median translation" in said and "thumbnail retrieval" in said and "ORB + depth map + PnP" in said
    assert said.startswith("wall.ts on test: pose ") and "mean pose" in said.splitlines()[0]
    names = "trajectory.png, masks.png, report.md, metrics.json, answers.csv, estimate.tum, ground_truth.tum"
    assert said.splitlines()[-1] == f"{out}: {names}, odometry-*.tum"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["localization"]["frames"] == 10 and metrics["localization"]["failed"] == 0
    assert set(metrics) == {
        "about", "localization", "calibration", "odometry", "motion_between_poses", "segmentation", "latency_ms"
    }  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "metrics.json", "report.md", "trajectory.png", "masks.png", "answers.csv", "estimate.tum", "ground_truth.tum",
        "odometry-test-00.tum", "odometry-test-01.tum"}  # fmt: skip


def test_an_export_says_which_checkpoint_it_is_and_replaces_only_when_asked(folder, capsys):
    words = ["export", str(folder / "run"), "--out", str(folder / "again.ts")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "quantity" in said and "all differences are within what is allowed; the nearest to its limit, " in said
    best = load_checkpoint(folder / "run/best.pt")
    step, last = best["progress"]["step"], load_checkpoint(folder / "run/last.pt")
    figures = best["metrics"]["localization"]
    chosen = f"{figures['median_translation_m']:.4g} +- {figures['median_translation_uncertainty_m']:.2g}"
    of = f"step {step} of {last['progress']['step']}"
    chosen += f" on {figures['frames']} held-out frames"
    assert f"run/best.pt: chosen by localization.median_translation_m, {chosen};" in said
    assert f"; {of}, in stage 'joint', of " in said
    assert ("frames are too few to choose by" in said) == (step < last["progress"]["step"])
    assert f"last.pt has {last['metrics']['localization']['median_translation_m']:.4g}" in said
    before = (folder / "again.ts").read_bytes()
    assert main(words) == 2
    assert f"{folder}/again.ts: exists already; --replace replaces it" in capsys.readouterr().err
    assert (folder / "again.ts").read_bytes() == before
    (folder / "again.onnx").write_bytes(b"of an earlier export")
    assert main([*words, "--replace", "--checkpoint", "last"]) == 0
    said = capsys.readouterr().out
    assert "run/last.pt: the newest, step" in said
    assert f"{folder}/again.onnx: was of the earlier export and is removed" in said
    assert not (folder / "again.onnx").exists()


def test_results_may_go_into_the_folder_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("stays")
    with result_folder(Path(), ("report.md",), replace=False) as out:
        (out / "report.md").write_text("result")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "report.md"}


def test_baselines_can_be_left_out_and_other_files_stay(folder, capsys):
    out = folder / "bare"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = ["evaluate", str(folder / "wall.ts"), str(folder / "wall"), "--out", str(out), "--no-baselines"]
    assert main(words) == 0
    assert "mean pose" not in capsys.readouterr().out
    assert main([*words, "--replace"]) == 0
    assert (out / "notes.txt").read_text() == "mine" and not list(folder.glob("bare.partial"))


def test_inspect_a_file_and_a_preset(folder, capsys):
    assert main(["inspect", str(folder / "wall.ts")]) == 0
    said = capsys.readouterr().out
    assert "Sky, Road, Building" in said and "localization.res5" in said and "lab" in said
    assert main(["inspect", str(folder / "wall.ts"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["preset"] == "mtl"
    assert main(["inspect", "stl_pose", "--width", "tiny", "--height", "64", "--width-px", "64"]) == 0
    assert "localization.past_fusion" in capsys.readouterr().out
    for what in (folder / "config.yaml", folder / "run"):
        assert main(["inspect", str(what)]) == 0
        assert "mtl, width 0.125, input 3 x 64 x 96" in capsys.readouterr().out


def test_data_to_bag_and_back(folder, capsys):
    assert main(["data", "info", str(folder / "wall")]) == 0
    assert "3 classes" in capsys.readouterr().out
    bag = folder / "bag"
    assert main(["data", "to-bag", str(folder / "wall"), str(bag)]) == 0
    assert main(["data", "from-bag", str(bag), str(folder / "again"), "--test", str(bag)]) == 0
    capsys.readouterr()
    assert main(["data", "info", str(folder / "again")]) == 0
    rows = capsys.readouterr().out.split("\n", 1)[1]  # without the title, which names pytest's own folder, `pytest-0`
    assert rows.count("train-0") == 2 and rows.count("test-0") == 2, "two sequences in each split"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["data", "info", "absent"], "absent: does not exist"),
        (["data", "to-bag", "absent", "bag"], "absent"),
        (["data", "from-bag", "absent", "out"], "absent"),
        (["train", "absent.yaml", "--out", "run"], "absent.yaml: cannot be read"),
        (["export", "absent", "--out", "m.ts"], "absent: no such folder of a run"),
        (["evaluate", "absent.ts", "data", "--out", "out"], "absent.ts: no such file"),
        (["inspect", "absent.ts"], "absent.ts: no such file"),
        (["inspect", "stl_pos"], "did you mean 'stl_pose'"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(words, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert reason in said and said.startswith("vlocnetpp: ") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_mistakes_with_existing_files(folder, capsys):
    wall, model, config = (str(folder / name) for name in ("wall", "wall.ts", "config.yaml"))
    (folder / "earlier").mkdir()
    (folder / "earlier" / "metrics.json").write_text("{}")
    for words, reason in [
        (["evaluate", model, wall, "--split", "tset", "--out", str(folder / "x")], "no split 'tset'"),
        (["data", "to-bag", wall, str(folder / "wall")], "exists already"),
        (["train", config, "--data.root", wall, "--out", str(folder / "run")], "--resume"),
        (["train", config, "--bacth", "4", "--out", str(folder / "y")], "did you mean 'batch'"),
        (["train", config, "--out", str(folder / "y")], "data.root: no dataset is named; give --data.root ROOT"),
        (["train", config, "--width", "huge", "--out", str(folder / "y")], "is not tiny, full or a number"),
        (
            ["train", config, "--data.root", wall, "--network.width", "64", "--out", str(folder / "y")],
            "network.width_px",
        ),
        (["evaluate", model, wall, "--out", str(folder / "earlier")], "--replace replaces it"),
        (["evaluate", str(folder / "run"), wall, "--out", str(folder / "x")], "export it first: vlocnetpp export"),
        (["evaluate", wall, model, "--out", str(folder / "x")], "wall: is a folder where a model file is expected"),
        (["evaluate", model, model, "--out", str(folder / "x")], "wall.ts: is not a folder, as a dataset is"),
        (
            ["explain", wall, model, "--out", str(folder / "x")],
            "that takes both a run and data takes the run first",
        ),
        (["export", wall, "--out", str(folder / "x.ts")], "wall: is a folder, but not that of a training run"),
        (["export", model, "--out", str(folder / "x.ts")], "wall.ts: is a file where the folder of a training run"),
        (["speed", wall], "wall: is a folder without a config.yaml"),
        (["inspect", wall], "wall: is a folder without a config.yaml"),
        (["train", "--data.root", wall, "--out", str(folder / "y")], "the YAML file comes first"),
        (["inspect", str(folder / "wall" / "dataset.yaml")], "dataset.yaml"),
        (
            ["train", str(folder / "config.yaml"), "--out", str(folder / "run"), "--resume", "--batch", "2"],
            "as it began",
        ),
        (
            ["train", config, "--data.root", wall, "--out", str(folder / "config.yaml" / "x")],
            "x: ",
        ),
    ]:
        assert main(words) == 2, words
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "usage", "said"),
    [
        ("data info x --number", "vlocnetpp data info", "unrecognized arguments: --number"),
        ("data from-bag x y --tets z", "vlocnetpp data from-bag", "--tets, did you mean '--test'?"),
        ("export run --uot lab.ts", "vlocnetpp export", "--uot, did you mean '--out'?"),  # not: --out is missing
        ("export run --out lab.ts --device=cpu", "vlocnetpp export", "unrecognized arguments: --device"),
        ("evaluate a.ts b --out c d", "vlocnetpp evaluate", "unrecognized arguments: d"),
        ("data frombag x y --test z", "vlocnetpp data", "'render', 'doctor', 'align')"),
        ("train --sugest lab", "vlocnetpp train", "--sugest, did you mean '--suggest'?"),
        ("train a.yaml --oout run --data.root lab", "vlocnetpp train", "--oout, did you mean '--out'?"),
        ("train a.yaml --out run --batch 4 --resme", "vlocnetpp train", "--resme, did you mean '--resume'?"),
        ("--hepl", "vlocnetpp", "--hepl, did you mean '--help'?"),
    ],
)
def test_a_word_that_a_command_does_not_know_is_answered_with_its_usage(words, usage, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    err = capsys.readouterr().err
    assert exit_.value.code == 2 and err.startswith(f"usage: {usage} [-h]") and err.rstrip().endswith(said)


def test_a_value_or_the_beginning_of_an_option_is_no_unknown_one(tmp_path):
    write_wall(tmp_path / "wall", {"test": 2})
    assert main(["data", "to-bag", str(tmp_path / "wall"), str(tmp_path / "bag"), "--stor", "sqlite3"]) == 0
    assert next((tmp_path / "bag").glob("*.db3")).is_file()


def test_a_proposal_takes_no_settings(tmp_path, capsys):
    assert main(["train", "--suggest", str(tmp_path), "--budgt", "20m"]) == 2
    assert "'--budgt 20m' is for the command that it proposes" in capsys.readouterr().err


def test_overrides():
    assert parse_overrides(["--a.b", "1", "--c=x=y"]) == {"a.b": "1", "c": "x=y"}
    for words in (["a"], ["--a"]):
        with pytest.raises(ConfigError):
            parse_overrides(words)


def test_every_option_says_what_it_does():
    def walk(parser):
        for action in parser._actions:
            assert action.help, f"{parser.prog}: {action.dest} has no help"
            for child in (action.choices or {}).values() if hasattr(action, "add_parser") else ():
                yield from walk(child)
        yield parser

    parser = build_parser()
    for action in parser._actions:
        if hasattr(action, "add_parser"):
            for child in action.choices.values():
                if child.prog.endswith(" data"):
                    continue
                list(walk(child))


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path):
    path = export_random(tmp_path / "m.ts", "stl_pose")
    command = f"{sys.executable} -m vlocnetpp.cli inspect {path} | head -1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in result.stderr
