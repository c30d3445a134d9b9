"""A network in a file of its own: trained, exported, streamed, timed, inspected, explained and benchmarked as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import toy_network
from training_runs import quick
from wall_dataset import write_wall

from vlocnetpp.benchmark.methods import Method, methods
from vlocnetpp.cli import main
from vlocnetpp.data import open_dataset
from vlocnetpp.evaluation.stream import stream
from vlocnetpp.export import export_run
from vlocnetpp.network import registry
from vlocnetpp.runtime import load_model
from vlocnetpp.training import train
from vlocnetpp.training.config import StageConfig

TASKS = ("localization", "segmentation")


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENTRIES, "toy", toy_network.ENTRY)
        yield


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 4, "test": 6})


@pytest.fixture(scope="module")
def run(wall, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "toy"
    stages = (StageConfig("all", TASKS, learning_rate=1e-2),)
    assert train(quick(wall, preset="toy", stages=stages, epochs=2.0, validations=1), out) == 0
    return out


@pytest.fixture(scope="module")
def model_file(run):
    export_run(run, run / "toy.ts", onnx=True)
    return run / "toy.ts"


def test_it_is_exported_in_both_formats_and_streams(model_file, wall):
    report = json.loads(model_file.with_suffix(".parity.json").read_text())
    assert {row["file"] for row in report["frames"]} == {"toy.ts", "toy.onnx"}
    model = load_model(model_file, "cpu")
    assert model.metadata.state_shapes == {"mood": (8,)} and model.metadata.tasks == TASKS
    streamed = stream(model, open_dataset(wall), "test")
    assert np.isfinite(streamed.pose_N7).all() and not streamed.valid_N.any()


def test_it_is_inspected_and_timed(model_file, capsys):
    assert main(["inspect", "toy", "--width", "tiny"]) == 0 and main(["inspect", str(model_file)]) == 0
    said = capsys.readouterr().out
    assert "classes" in said and "log_scale" in said and "toy, localization, segmentation" in said
    assert main(["speed", str(model_file), "--device", "cpu", "--ways", "eager", "runtime", "--repetitions", "1"]) == 0
    assert "all of it" in capsys.readouterr().out


def test_it_is_explained(run, wall, tmp_path):
    assert main(["explain", str(run), str(wall), "--out", str(tmp_path), "--frames", "1", "--points", "5"]) == 0
    assert (tmp_path / "activation.png").is_file() and json.loads((tmp_path / "explain.json").read_text())


def test_it_is_benchmarked(wall, tmp_path, monkeypatch):
    stages = [{"name": "all", "tasks": ["localization"], "consistency": False}]
    train = {"preset": "toy", "width": 0.1, "batch": 4, "stages": stages}
    network = {"height": 64, "width_px": 96, "resize": "whole"}
    toy = Method("toy", "localization", 1, "a toy", {**train, "network": network})
    monkeypatch.setitem(methods(), "toy", toy)
    words = ["--methods", "toy", "--budget-per-model", "2s", "--seeds", "1", "--device", "cpu"]
    assert main(["benchmark", str(wall), "--out", str(tmp_path / "out"), *words]) == 0
    assert "toy" in (tmp_path / "out" / "report.md").read_text()
