"""`vlocnetpp speed`: its figures add up, a way that fails is a row, and the runtime's switches change no answer."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from random_models import export_random, random_network
from torch import nn

from vlocnetpp.cli.main import main
from vlocnetpp.network import cold_state_of, configure
from vlocnetpp.runtime import ModelFileError, RingBuffer, load_model, model_file, read_metadata
from vlocnetpp.runtime.model_file import BF16_GMAC, example_frame, fastest_precision, multiplies_bf16
from vlocnetpp.speed import WAYS, case_of_file, case_of_preset, measure
from vlocnetpp.speed.breakdown import PREPROCESSING, called
from vlocnetpp.speed.case import Case
from vlocnetpp.speed.measure import Timing
from vlocnetpp.speed.report import tables
from vlocnetpp.speed.roofline import energy_j

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_random(tmp_path_factory.mktemp("speed") / "mtl.ts")


@pytest.fixture(scope="module")
def report(path):
    def broken(case, folder):
        raise RuntimeError("no compiler\nhere")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WAYS, "broken", broken)
        return measure(case_of_file(path, "cpu"), ["eager", "runtime", "broken", "recomputing"], 3)


def test_every_way_answers_as_the_network_does(report):
    assert [t.name for t in report.timings] == ["eager", "runtime", "recomputing"]
    assert all(t.difference < 1e-4 and len(t.milliseconds) == 3 for t in report.timings)
    assert report.timings[0].difference == 0


def test_a_way_that_fails_is_a_row_with_the_reason(report):
    assert report.failed == {"broken": "RuntimeError: no compiler here"}
    assert [table.title for table in tables(report) if ("broken" in table.rows[0])] == ["does not run here"]


def test_the_streams_add_up_to_the_step(report):
    expected = {"preprocessing", "odometry", "segmentation", "depth", "localization", "fusion of warped maps"}
    assert expected <= set(report.streams_ms) and min(report.streams_ms.values()) > 0
    assert sum(report.operators.values()) == pytest.approx(1) and report.profiled == "runtime"


@pytest.mark.parametrize("preset", ["stl_pose", "posenet", "robot"])
def test_what_a_stream_calls_is_its_own_time(preset):
    """Also of a network that calls parts of a stream one by one: hardly anything is left over."""
    case = case_of_preset(configure(preset, "tiny", height=64, width_px=96), "cpu", None)
    streams = set(called(case).values())
    network = case.step.network
    assert {PREPROCESSING, *network.parts().values()} - streams <= {"coordinates"}, (
        "a solver's or score's own functions"
    )
    heavy = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m in ran(case)]
    inside = {each for module in called(case) for each in module.modules()}
    assert heavy and all(module in inside for module in heavy)


def ran(case: Case) -> set[nn.Module]:
    """The modules that a step calls."""
    seen: set[nn.Module] = set()
    handles = [
        module.register_forward_hook(lambda module, _inputs, _output: seen.add(module))
        for module in case.step.network.modules()
    ]
    with torch.inference_mode():
        case.step(*case.frames[0], case.cold())
    for handle in handles:
        handle.remove()
    return seen


def test_the_limit_is_measured_and_the_share_follows_from_it(report):
    limit = report.rooflines["fp32"]
    assert min(limit.convolution_gmac_s, limit.product_gmac_s, limit.copy_gb_s) > 0
    timing = replace(report.timings[0], milliseconds=(report.gmac / limit.convolution_gmac_s * 2e3,))
    assert report.share_of_the_limit(timing) == pytest.approx(0.5)


def test_a_step_counts_the_operations_that_inspect_counts(report):
    from vlocnetpp.network.summary import summarize

    counted = sum(part.macs for part in summarize(report.case.config)) / 1e9
    assert report.gmac == pytest.approx(counted, rel=0.01)


def test_ratios_are_pair_by_pair():
    a = Timing("a", (10.0, 20.0, 40.0), 0, 0, None)
    b = Timing("b", (20.0, 40.0, 80.0), 0, 0, None)
    assert b.ratio(a) == 2 and a.percentile(50) == 20


def test_energy_is_the_sum_of_the_packages_or_not_readable(tmp_path):
    assert energy_j(CPU, tmp_path) is None
    for number, value in enumerate((1_500_000, 500_000)):
        (tmp_path / f"intel-rapl:{number}").mkdir()
        (tmp_path / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")
    assert energy_j(CPU, tmp_path) == 2.0


def test_the_command_writes_json_and_a_picture(path, tmp_path, capsys):
    words = ["speed", str(path), "--device", "cpu", "--ways", "eager", "--repetitions", "2", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "what this machine can do" in capsys.readouterr().out
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["ways"]["eager"]["time_by_eager"] == 1 and found["ways"]["eager"]["p50_ms"] > 0
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["mtl", "--ways", "magic"], "way 'magic' does not exist"),
        (["mtl", "--precision", "int4"], "precision 'int4' does not exist"),
        (["mlt"], "mlt"),
        (["lab.onnx"], "is ONNX"),
        (["lab.ts"], "no such file"),
        (["config/train/robot.yaml", "--ways", "magic"], "way 'magic' does not exist"),
    ],
)
def test_a_mistake_ends_in_one_line(words, reason, capsys):
    assert main(["speed", *words, "--width", "tiny", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_flagship_s_file_is_timed_and_runs_in_half_precision(precision, tmp_path):
    file = export_random(tmp_path / "robot.ts", "robot", hidden=32)
    report = measure(case_of_file(file, "cpu", precision), ["eager", "runtime"], 1)
    assert not report.failed and [timing.name for timing in report.timings] == ["eager", "runtime"]


# --- the runtime's switches -----------------------------------------------------------------------------------------


def test_a_loaded_step_hides_no_nan(path):
    model = load_model(path, "cpu")
    *frame, cold = example_frame(model.metadata, model.dtype, model.device)
    broken = {name: torch.full_like(value, float("nan")) for name, value in cold.items()}
    answer, _ = model.step(*frame, broken)
    assert torch.isnan(answer["pose_B7"]).any()


def test_the_loader_says_what_it_did_and_does_it(path):
    model = load_model(path, "cpu")
    assert model.optimizations == ("frozen", "channels-last")
    # Only frozen are weights constants and norms part of the convolutions before them.
    assert not list(model.step.named_parameters())
    norms = [str(torch.jit.load(str(path)).eval().inlined_graph), str(model.step.graph)]
    assert norms[1].count("aten::batch_norm") < norms[0].count("aten::batch_norm") / 2
    _, state = model.step(*case_of_file(path, "cpu").frames[0], cold_state_of(random_network()))
    made = state["odometry_4f"]
    assert made.is_contiguous(memory_format=torch.channels_last)
    ring = RingBuffer(2, model.metadata.state_shapes, CPU, torch.float32)
    ring.push(1, state)
    kept = ring.latest()["odometry_4f"]
    assert kept.is_contiguous(memory_format=torch.channels_last) and torch.equal(kept, made)


def test_a_cuda_graph_on_a_cpu_is_refused(path):
    with pytest.raises(ModelFileError, match="device is 'cpu'"):
        load_model(path, "cpu", cuda_graph=True)
    with pytest.raises(ModelFileError, match="which only a CUDA graph has"):
        load_model(path, "cpu", resident=True)


def test_a_cpu_says_whether_it_multiplies_bfloat16(tmp_path, monkeypatch):
    cpu = tmp_path / "cpuinfo"
    assert not multiplies_bf16(cpu), "there is no such file on another system"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    cpu.write_text("model name : one\nflags : fpu avx512f avx512_bf16 sse\n")
    assert not multiplies_bf16(cpu), "without oneDNN nothing uses the instructions"
    monkeypatch.undo()
    # Where the limit of capabilities, or this processor, takes the instructions away, the flag is not enough.
    assert multiplies_bf16(cpu) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    cpu.write_text("model name : avx512_bf16x\nflags : fpu avx512f sse\n")
    assert not multiplies_bf16(cpu)


@pytest.mark.parametrize(
    ("gmac", "multiplies", "device", "stored", "expected"),
    [
        (0.0, True, "cpu", "fp32", "fp32"),
        (BF16_GMAC, True, "cpu", "fp32", "bf16"),
        (BF16_GMAC, False, "cpu", "fp32", "fp32"),
        (BF16_GMAC, False, "cpu", "fp16", "fp32"),
        (0.0, True, "cuda", "fp16", "fp16"),
    ],
)
def test_the_precision_follows_from_the_file_and_the_processor(
    gmac, multiplies, device, stored, expected, path, monkeypatch
):
    monkeypatch.setattr(model_file, "multiplies_bf16", lambda: multiplies)
    metadata = replace(read_metadata(path), gmac=gmac, precision=stored)
    assert fastest_precision(metadata, torch.device(device)) == expected


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor does not multiply bfloat16")
def test_a_network_with_enough_work_runs_in_bf16_where_the_processor_has_it(path, monkeypatch):
    monkeypatch.setattr(model_file, "BF16_GMAC", read_metadata(path).gmac)
    model = load_model(path, "cpu")
    assert model.dtype == torch.bfloat16 and model.arithmetic == "bf16, frozen, channels-last"
    assert load_model(path, "cpu", "fp32").arithmetic == "fp32, frozen, channels-last", "what is asked for is done"
    report = measure(case_of_file(path, "cpu"), ["scripted", "runtime"], 1)
    assert [timing.precision for timing in report.timings] == ["fp32", "bf16"] and set(report.rooflines) == {
        "fp32",
        "bf16",
    }
    assert 1e-6 < report.timings[1].difference < 0.1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the capabilities that are switched off are those of x86")
def test_a_processor_without_avx_runs_every_precision_and_chooses_fp32(path):
    """In a process of its own: what PyTorch and oneDNN may use is decided when they start."""
    program = f"""
from vlocnetpp.runtime import load_model, model_file
from vlocnetpp.runtime.model_file import example_frame, multiplies_bf16
model_file.BF16_GMAC = 0.0
print(multiplies_bf16(), load_model({str(path)!r}, "cpu").arithmetic)
for precision in ("bf16", "fp16"):
    model = load_model({str(path)!r}, "cpu", precision)
    answer, _ = model.step(*example_frame(model.metadata, model.dtype, model.device))
    print(bool(answer["pose_B7"].isfinite().all()), model.arithmetic)
"""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    chosen, bf16, fp16 = done.stdout.splitlines()
    assert chosen == "False fp32, frozen, channels-last"
    assert bf16 == "True bf16, frozen, channels-last"
    assert fp16 == "True fp16, frozen, channels-last"


@pytest.mark.parametrize("preset", ["vlocnet", "mtl"])
def test_a_switch_changes_no_answer(preset):
    report = measure(case_of_preset(random_network(preset).config, "cpu"), ["frozen", "channels-last", "runtime"], 1)
    assert not report.failed and len(report.timings) == 3
    assert max(timing.difference for timing in report.timings) < 1e-4


def test_where_no_way_runs_the_reason_is_said(monkeypatch):
    def broken(case, folder):
        raise OSError("disk full")

    monkeypatch.setitem(WAYS, "frozen", broken)
    with pytest.raises(ModelFileError, match="disk full"):
        measure(case_of_preset(random_network("stl_pose").config, "cpu"), ["frozen"], 1)
