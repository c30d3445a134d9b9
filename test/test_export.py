"""The files of an export: equal to the network, complete, whole or not at all."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import CLASSES, IMAGE_SHAPE, K_33, random_network
from wall_dataset import write_wall

from vlocnetpp.cli import main
from vlocnetpp.data import open_dataset
from vlocnetpp.export import ParityError, export_files, export_run, files, parity
from vlocnetpp.export.onnx import read_onnx_metadata
from vlocnetpp.network import Network, cold_state_of, config_to_json, create, names
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.network.summary import summarize
from vlocnetpp.reporting.tables import plain_table
from vlocnetpp.runtime import Metadata, ModelFileError, load_model, read_metadata
from vlocnetpp.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

ABOUT = {
    "classes": CLASSES,
    "map_frame": "lab",
    "position_min_3": (-1.0, -2.0, 0.0),
    "position_max_3": (1.0, 2.0, 3.0),
    "dataset": {"name": "wall", "layout": "folder", "digest": "ab" * 32, "training_frames": 7},
}
CALIBRATION, METRICS = (2.0, 3.0), {"localization": {"median_translation_m": 0.25}}


def answering(preset: str, **settings) -> Network:
    """A network whose every answer depends on its input: heads far from the constants that they start from.

    Not farther than 0.1: steeper heads make more of each rounding, and some processors then leave the tolerances.
    """
    torch.manual_seed(0)
    settings = {"height": 64, "width_px": 64, "classes": len(CLASSES), **settings}
    network = create(preset, 0.0625, **settings).eval()
    for name, parameter in network.named_parameters():
        if ".head.fc" in name or ".scale_head." in name or ".decoder.s" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def about(network: Network) -> dict:
    return {**ABOUT, "K_33": network_intrinsics(network.config.view, K_33, *IMAGE_SHAPE)}


def write_run(folder: Path, network: Network, *names: str) -> Path:
    """A run folder with checkpoints as the trainer leaves them."""
    folder.mkdir()
    for name in names:
        content = {
            "network_config": config_to_json(network.config),
            "network_state": network.state_dict(),
            "about": {key: value for key, value in about(network).items() if key != "classes"}
            | {"classes": [[n, list(c)] for n, c in CLASSES]},
            "calibration": list(CALIBRATION),
            "limits": {},
            "metrics": METRICS,
        }
        save_checkpoint(folder / f"{name}.pt", content)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("export") / "run", answering("stl_pose"), "best", "last")


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wall") / "wall"
    write_wall(folder, {"train": 3, "test": 4})
    return folder


@pytest.fixture(scope="session")
def exported(run, wall, tmp_path_factory):
    """The whole command's work, once: both formats, compared on random and on recorded frames."""
    path = tmp_path_factory.mktemp("model") / "lab.ts"
    return export_run(run, path, onnx=True, verify=wall)


# --- equal to the network -------------------------------------------------------------------------------------------


IN_ONNX = ("vlocnet", "stl_odometry", "mtl", "mtl_mid_concat", "bayesian_posenet", "lstm_posenet", "cnnbspp", "segnet")
"""Between them every stream, fusion, state and kind of pooling; PyTorch's exporter takes ten seconds for each."""


@pytest.mark.parametrize("preset", names())
def test_every_preset_answers_alike_in_every_format(preset, tmp_path):
    """Both resizes, image sizes that need one, and in `mtl` a depth sensor, on a clip of three frames."""
    number = names().index(preset)
    settings = {"depth": "sensor"} if preset == "mtl" else {}
    network = answering(preset, resize="whole" if number % 2 else "crop", **settings)
    made = export_files(network, tmp_path / "m.ts", onnx=preset in IN_ONNX, image_size=IMAGE_SHAPE, **about(network))
    rows = made.parity.rows
    files = ("m.ts", "m.onnx") if preset in IN_ONNX else ("m.ts",)
    assert {(row.file, row.frame) for row in rows} >= {(file, frame) for file in files for frame in (0, 2)}
    # A solver multiplies the rounding of its points; those of random weights hardly determine a pose.
    largest = 1e-3 if network.config.traits.chooses_hypothesis else 1e-4
    for row in rows:
        values = asdict(row.difference)
        assert values.pop("mask_share") <= 1e-3
        assert max(values.values()) <= largest, row


def test_the_clip_that_is_compared_moves_every_answer():
    network = answering("mtl", depth="sensor")
    clip = parity.random_clip(network.config, IMAGE_SHAPE, K_33)
    answers = parity.stream(parity.torch_runner(parity.ExportedStep(network)), clip, cold_state_of(network))
    for before, after in pairwise(answers):
        change = parity.difference(before, after)
        answered = {name: value for name, value in asdict(change).items() if name != "points_m"}  # mtl has none
        assert min(answered.values()) > 1e-3, change


def test_half_precision_stays_within_what_is_stated(tmp_path):
    for precision, preset in (("fp16", "mtl_no_warp"), ("bf16", "stl_pose")):
        network = answering(preset, resize="whole")
        made = export_files(network, tmp_path / f"{precision}.ts", precision, **about(network))
        assert made.parity.precision == precision and not made.parity.beyond()
        model = load_model(tmp_path / f"{precision}.ts", "cpu", precision)
        cold = {name: value.to(model.dtype) for name, value in cold_state_of(network).items()}
        answer, state = model.step(*parity.random_clip(network.config, IMAGE_SHAPE, K_33)[0], cold)
        assert all(value.dtype in (torch.float32, torch.uint8) for value in answer.values())
        assert state and all(value.dtype == model.dtype for value in state.values())
        worst = max(row.difference.position_m for row in made.parity.rows)
        assert worst > 1e-5, "the file was run in its own precision"


def test_onnx_in_half_precision_answers_too(tmp_path):
    network = answering("stl_pose")
    made = export_files(network, tmp_path / "m.ts", "fp16", onnx=True, **about(network))
    worst = max(row.difference.position_m for row in made.parity.rows if row.file == "m.onnx")
    assert 1e-5 < worst < 1e-2


# --- a difference is found ------------------------------------------------------------------------------------------


def test_other_weights_are_refused_and_nothing_is_written(run, tmp_path, monkeypatch):
    path = tmp_path / "lab.ts"
    path.write_bytes(b"the last export")
    (tmp_path / "lab.parity.json").write_text("of the last export")
    write = files.write_torchscript

    def write_another(network, *rest):
        other = answering("stl_pose")
        other.localization.head.fc2.bias.data += 0.001
        write(other, *rest)

    monkeypatch.setattr(files, "write_torchscript", write_another)
    with pytest.raises(ParityError, match=r"lab\.ts differs from the network by position_m 0\.001 .*nothing was"):
        export_run(run, path)
    assert path.read_bytes() == b"the last export"
    assert (tmp_path / "lab.parity.json").read_text() == "of the last export"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", [f.name for f in fields(parity.Difference)])
@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_every_figure_can_refuse(name, value):
    config = answering("stl_pose").config
    limit = parity.tolerance(config, "fp32")
    bad = parity.Report("fp32", limit, (parity.Row("m.ts", "random", 1, parity.Difference(**{name: value})),))
    with pytest.raises(ParityError, match=f"{name} .* in frame 1 of the clip 'random'"):
        bad.require_equal()


@pytest.mark.parametrize(
    ("frames", "passes"),
    [
        ([0.0, 0.5, 0.0, 0.0, 0.0], True),
        ([0.5, 0.5, 0.5, 0.0, 0.0], False),
        ([0.0, float("nan"), 0.0, 0.0, 0.0], False),
    ],
)
def test_one_vote_of_a_solver_may_fall_otherwise_and_most_have_to_agree(frames: list[float], passes: bool) -> None:
    limit = parity.TOLERANCES["fp32"]
    rows = tuple(parity.Row("m.ts", "random", i, parity.Difference(position_m=value)) for i, value in enumerate(frames))
    assert (not parity.Report("fp32", limit, rows, parity.VOTED).beyond()) == passes
    strict = parity.Report("fp32", limit, rows)
    assert len(strict.beyond()) == sum(not value <= limit.position_m for value in frames), (
        "nothing votes in a regressor"
    )


def test_a_cold_start_that_differs_in_every_clip_is_no_vote() -> None:
    def report(real: float) -> parity.Report:
        rows = [
            parity.Row("m.ts", clip, i, parity.Difference(position_m=value if i == 0 else 0.0))
            for clip, value in (("random", 0.5), ("real", real))
            for i in range(parity.CLIP_LENGTH)
        ]
        return parity.Report("fp32", parity.TOLERANCES["fp32"], tuple(rows), parity.VOTED)

    assert report(0.0).beyond() == []
    assert [text.rpartition("frame ")[2] for text in report(0.5).beyond()] == [
        "0 of the clip 'random'",
        "0 of the clip 'real'",
    ]


def test_differences_are_measured():
    cold = answering("mtl", depth="sensor")
    clip = parity.random_clip(cold.config, IMAGE_SHAPE, K_33)[:1]
    (answer,) = parity.stream(parity.torch_runner(parity.ExportedStep(cold)), clip, cold_state_of(cold))
    angle = 0.01
    turned = answer["pose_B7"].clone()
    turned[:, 3:] = torch.tensor([[np.cos(angle / 2), np.sin(angle / 2), 0, 0]])
    still = answer["pose_B7"].clone()
    still[:, 3:] = torch.tensor([[-1.0, 0, 0, 0]])  # the identity, with the other sign
    found = parity.difference({**answer, "pose_B7": turned}, {**answer, "pose_B7": still})
    assert found.rotation_rad == pytest.approx(angle, abs=1e-6) and found.position_m == 0
    mask = answer["mask_BHW"].clone()
    mask[0, 0, :32] += 1
    found = parity.difference({**answer, "mask_BHW": mask}, answer)
    assert found.mask_share == 32 / mask.numel()
    nan = {**answer, "log_scale_B2": torch.full((1, 2), float("nan"))}
    assert np.isnan(parity.difference(nan, answer).log_scale)


# --- what the files say ---------------------------------------------------------------------------------------------


def test_the_report_lies_beside_the_files(exported):
    names = [path.name for path in exported.files]
    assert names == ["lab.ts", "lab.onnx", "lab.parity.json"]
    assert sorted(p.name for p in exported.files[0].parent.iterdir()) == sorted(names)
    report = json.loads(exported.files[2].read_text())
    assert {(row["file"], row["clip"]) for row in report["frames"]} == {
        (file, clip) for file in names[:2] for clip in ("random", "real")}  # fmt: skip
    assert [row["frame"] for row in report["frames"]].count(0) == 4, "each clip starts cold"
    assert all(row["position_m"] <= report["tolerance"]["position_m"] for row in report["frames"])
    assert report["opset"] == 20 and set(report["sha256"]) == set(names[:2])


def test_metadata_is_whole_in_both_formats(exported):
    script, onnx = read_metadata(exported.files[0]), read_onnx_metadata(exported.files[1])
    assert script == onnx == exported.metadata
    network = answering("stl_pose")
    expected = {
        "preset": "stl_pose", "tasks": ("localization",), "input_height": 64, "input_width": 64, "resize": "crop",
        "state_shapes": network.state_shapes(), "K_33": about(network)["K_33"], "classes": CLASSES, "map_frame": "lab",
        "position_min_3": (-1.0, -2.0, 0.0), "position_max_3": (1.0, 2.0, 3.0), "calibration_2": CALIBRATION,
        "dataset": ABOUT["dataset"], "metrics": {"validation": METRICS}, "precision": "fp32", "format": 2,
        "reads_depth": False, "limits": {}, "motion_calibration_2": (), "attribution": (),
        "gmac": pytest.approx(sum(part.macs for part in summarize(network.config)) / 1e9, abs=1e-3),
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(script, name) == value, name
    assert script.network["name"] == "stl_pose"
    assert script.source_revision.startswith("0.") and script.created.endswith("+00:00")
    assert {f.name for f in fields(Metadata)} == {*expected, "network", "source_revision", "created"}


def test_onnx_names_its_interface_and_no_file_of_the_machine(exported):
    import onnx

    model = onnx.load(str(exported.files[1]))
    assert [value.name for value in model.graph.input] == [
        "image", "channels", "K", "depth", "state.valid_B", "state.localization_5a"]  # fmt: skip
    assert [value.name for value in model.graph.output] == [
        "pose", "log_scale", "next_state.valid_B", "next_state.localization_5a"]  # fmt: skip
    content = exported.files[1].read_bytes()
    assert str(Path(files.__file__).resolve().parents[2]).encode() not in content and b"site-packages" not in content


def test_inspect_shows_what_a_file_says(exported, capsys):
    for file in exported.files[:2]:
        assert main(["inspect", str(file)]) == 0
        said = capsys.readouterr().out
        for text in (
            "stl_pose, localization", "64 x 64, crop", "fx ", "Sky, Road", "#4682b4, #804080", "lab", "-2.00",
            "x 2.000", "abab",
            "validation.localization.median_translation_m  0.25", "vlocnetpp 0.", "format",
        ):  # fmt: skip
            assert text in said, (file, text)
    assert "state.localization_5a" in said and "ai.onnx 20" in said


def test_the_table_has_a_row_a_quantity_and_a_sentence_the_factor():
    limit = parity.Difference(1e-4, 1e-4, 1e-4, 1e-4, 1e-3, 1e-3, 1e-4)
    values = {"m.ts": (1e-6, 3e-6, 9e-4), "m.onnx": (2e-6, 1e-6, 0.0)}
    rows = tuple(
        parity.Row(file, clip, i, parity.Difference(position_m=value, motion_rad=2e-5))
        for file, frames in values.items()
        for clip, scale in (("random", 1.0), ("real", 0.5))
        for i, value in enumerate(scale * each for each in frames)
    )
    report = parity.Report("fp32", limit, rows, parity.VOTED)
    columns, shown = parity.table(report)
    assert columns == ["quantity", "allowed", "m.ts", "m.onnx"]
    # The vote of one frame may differ: of the clips 1e-6, 3e-6, 9e-4 and half of it the medians count.
    assert shown[0] == ["position m (median of a clip)", "1.0e-04", "3.0e-06", "1.0e-06"]
    assert shown[3] == ["motion rad", "1.0e-04", "2.0e-05", "2.0e-05"] and shown[5][2:] == ["0", "0"]
    assert len(shown) == 7 and max(map(len, plain_table("", columns, shown).splitlines())) <= 80
    assert "the nearest to its limit, motion rad, is 5 times smaller than allowed" in parity.in_words(report)
    assert parity.table(parity.Report("fp32", limit, rows))[1][0][2] == "9.0e-04", "without a vote every frame counts"
    equal = parity.Report("fp32", limit, (parity.Row("m.ts", "random", 0, parity.Difference()),))
    assert parity.in_words(equal) == "the files answer exactly as the network does"


def test_best_is_taken_where_there_is_one(run, exported, tmp_path):
    assert exported.checkpoint == run / "best.pt"
    assert export_run(run, tmp_path / "a.ts", checkpoint="last").checkpoint == run / "last.pt"
    only = write_run(tmp_path / "only", answering("stl_pose"), "last")
    assert export_run(only, tmp_path / "b.ts").checkpoint == only / "last.pt"
    with pytest.raises(CheckpointError, match=r"best\.pt: no such checkpoint"):
        export_run(only, tmp_path / "c.ts", checkpoint="best")
    assert not (tmp_path / "c.ts").exists()


def test_a_checkpoint_whose_norms_are_not_settled_is_refused(run, tmp_path):
    saved = load_checkpoint(run / "last.pt")
    save_checkpoint(tmp_path / "last.pt", {**saved, "settled": False})
    with pytest.raises(CheckpointError, match=r"last\.pt: was written between two validations.*train --resume"):
        export_run(tmp_path, tmp_path / "m.ts")


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    run = write_run(tmp_path / "run", answering("stl_pose"), "last")
    saved = torch.load(run / "last.pt", weights_only=True)
    for change, reason in (
        ({"network_state": {}}, "Missing key"),
        ({"network_config": {"from_the_future": 1}}, "from_the_future"),
        ({"about": {"unheard_of": 1}}, "unheard_of"),
    ):
        save_checkpoint(run / "last.pt", {k: v for k, v in saved.items() if k != "format"} | change)
        with pytest.raises(CheckpointError, match=r"last\.pt: is not of this version") as error:
            export_run(run, tmp_path / "m.ts")
        assert reason in str(error.value) and "\n" not in str(error.value)


# --- whole or not at all, and mistakes ------------------------------------------------------------------------------


def test_files_come_together_or_those_before_come_back(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").mkdir()  # a file cannot take the place of a folder

    def write(names: str) -> None:
        with files.together(tmp_path / "a") as folder:
            for name in names:
                (folder / name).write_text("new")

    with pytest.raises(ModelFileError, match="cannot be written"):
        write("abc")
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    write("ab")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--out", "absent/lab.ts"], "the folder absent does not exist"),
        (["--out", "folder.ts"], "is a folder"),
        (["--out", "lab.onnx"], "name the TorchScript file, e.g. lab.ts"),
        (["--out", "/proc/lab.ts"], "/proc/lab.ts: cannot be written"),
        (["--out", "lab.ts", "--onnx", "--precision", "bf16"], "fp16 or fp32"),
        (["--out", "lab.ts", "--verify", "absent"], "absent"),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing(words, reason, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.ts").mkdir()
    assert main(["export", str(run), *words]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.startswith("vlocnetpp: ") and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.ts"]


@pytest.mark.parametrize("size", ["720", "0x5", "axb", "720x", "-1x2"])
def test_a_size_that_is_none(size, run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(run), "--out", str(tmp_path / "m.ts"), f"--image-size={size}"])
    assert "720x1280" in capsys.readouterr().err


def test_recorded_frames_of_another_size_are_refused(run, wall, tmp_path):
    frame = open_dataset(wall).frames("test")[0]
    with pytest.raises(ValueError, match=rf"{frame.name}: has .* pixels, the export is for 99 x 99; .*--image-size"):
        export_run(run, tmp_path / "m.ts", image_size=(99, 99), verify=wall)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_one_line_names_the_extra(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(run), "--out", str(tmp_path / "m.ts"), "--onnx"]) == 2
    said = capsys.readouterr().err
    assert "onnxscript" in said and ".[onnx]" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bad_onnx_file_is_refused_by_name_and_reason(exported, tmp_path):
    import onnx

    good, bad = exported.files[1], tmp_path / "bad.onnx"
    with pytest.raises(ModelFileError, match=r"bad\.onnx: no such file"):
        read_onnx_metadata(bad)
    whole = good.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], exported.files[0].read_bytes()):
        bad.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"bad\.onnx: is no ONNX file, or it is truncated"):
            read_onnx_metadata(bad)
    model = onnx.load(str(good))
    text = model.metadata_props[0].value
    for change, reason in (('"format": 999', "format 999"), ('"form": 1', "names no format")):
        model.metadata_props[0].value = text.replace('"format": 2', change)
        onnx.save(model, str(bad))
        with pytest.raises(ModelFileError, match=reason):
            read_onnx_metadata(bad)
    del model.metadata_props[:]
    onnx.save(model, str(bad))
    with pytest.raises(ModelFileError, match="no model file of vlocnetpp"):
        read_onnx_metadata(bad)
    with pytest.raises(ModelFileError, match="the runtime runs the TorchScript file"):
        load_model(good, "cpu")


def test_the_caller_keeps_its_network(tmp_path):
    network = random_network("stl_pose")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_files(network, tmp_path / "m.ts", "fp16", **about(network))
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
