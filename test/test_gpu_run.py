"""The prepared GPU run: its arguments, its table, what it carries, and one cheap part from end to end on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, real_data

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.carry import WHEELS, gather_kitchen, pinned
from benchmarks.gpu.networks import TINY, case_of
from benchmarks.gpu.part import Order, said, say
from benchmarks.gpu.roofline import Kernels, Rates
from benchmarks.gpu.speed import kernels_of
from vlocnetpp.data import DataError
from vlocnetpp.data.layouts import seven_scenes


def test_the_host_to_host_part_runs_and_ends_in_a_table(tmp_path):
    words = ["--rehearse", "--only", "host_to_host", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    values = {what: value for part, what, value, _ in results["rows"] if part == "host_to_host"}
    assert results["rehearsal"] and results["machine"] in done.stdout
    network = "robot 0.0625 64x96, 720p"
    for switch in ("plain", "resized on the host", "pinned, one wait"):
        p50, p95, p99 = (float(each) for each in values[f"{network}, {switch}"].split(" (")[0].split(" / "))
        assert 0 < p50 <= p95 <= p99
    assert values[f"{network}, all"] == "does not run", "a CPU records no CUDA graph, and the row says so"
    assert done.stdout.splitlines()[-1].split()[:2] == ["host_to_host", "took"]
    assert said((tmp_path / "host_to_host.log").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "sped"], "--only sped: no such part; there are tests, speed, compilers"),
        (["--kitchen", "nowhere"], "--kitchen nowhere: no such folder"),
        (["--wheels", "nowhere"], "--wheels nowhere: no such folder"),
        (["--limit", "0"], "--limit 0: must be positive"),
    ],
)
def test_a_wrong_argument_ends_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.parse(words)
    assert ended.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_what_cannot_run_is_a_row_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(gpu.PARTS, "tests", gpu.Part("no_such_module", 20, 20))
    # Without a kitchen nothing is trained, which is no failure.
    assert gpu.main(["--rehearse", "--only", "tests", "train_full", "--out", str(tmp_path)]) == 1
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row[:2] for row in rows if row[1] == "FAILED"] == [["tests", "FAILED"]]
    assert "No module named" in next(row[2] for row in rows if row[1] == "FAILED")
    assert ["train_full", "training, full", "not run", "no kitchen at None; name it with --kitchen"] in rows
    assert "FAILED" in capsys.readouterr().out


def test_a_part_that_hangs_is_ended_and_what_it_said_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "GRACE_S", 0.0)
    monkeypatch.setitem(gpu.PARTS, "tests", gpu.Part("host_to_host", 3, 3))
    rows, _ = gpu.run_part("tests", gpu.parse(["--rehearse"]), tmp_path, 3.0)
    assert rows[-2][:2] == ("tests", "FAILED") and rows[-2][2] == "ended after 3 s"


def test_the_limit_of_the_whole_run_holds(tmp_path, capsys):
    assert gpu.main(["--rehearse", "--only", "faults", "--limit", "12", "--out", str(tmp_path)]) == 0
    assert "not reached" in capsys.readouterr().out


def test_wheels_that_are_not_there_are_missed_in_one_line(tmp_path):
    with pytest.raises(DataError, match="has no wheels; 'python -m benchmarks"):
        gpu.install(tmp_path, tmp_path / "site")


def test_the_wheels_are_those_of_the_constraints():
    text = (ROOT / "constraints.txt").read_text()
    assert pinned(text, "kornia") == "kornia==0.9.0" and pinned(text, "kornia", (3, 10)) == "kornia==0.8.2"
    assert all("==" in pinned(text, name) for name in WHEELS)
    with pytest.raises(DataError, match="no version of rosbag for Python 3"):
        pinned(text, "rosbag")


def test_as_much_of_the_kitchen_is_carried_as_fits(tmp_path):
    kitchen = real_data("redkitchen")
    left_out = gather_kitchen(kitchen, tmp_path / "few", 12 << 20)
    whole, few = seven_scenes.read(kitchen), seven_scenes.read(tmp_path / "few")
    assert len(few.frames("test")) == len(whole.frames("test")) and few.frames("test")[0].depth_path is None
    assert 0 < len(few.frames("train")) < len(whole.frames("train")) and few.frames("train")[0].depth_path is not None
    assert {sequence.name for sequence in few.sequences("train")}.isdisjoint(left_out) and left_out
    with pytest.raises(DataError, match="no training sequence fits into 1 MiB"):
        gather_kitchen(kitchen, tmp_path / "few", 1 << 20)


def test_figures_come_back_from_a_log(capsys):
    say("speed", "1.5", "ms")
    assert said(f"noise\n{capsys.readouterr().out}more noise") == [("speed", "1.5", "ms")]


def test_a_kernel_takes_the_longer_of_its_arithmetic_and_its_bytes():
    a, b = torch.ones(64, 32), torch.ones(32, 16)
    with Kernels(Rates(flop_s=1e3, byte_s=1e12)) as arithmetic, torch.no_grad():
        a @ b
    assert arithmetic.flop == 2 * 64 * 32 * 16 and arithmetic.seconds == pytest.approx(arithmetic.flop / 1e3)
    with Kernels(Rates(flop_s=1e18, byte_s=1e3)) as copies, torch.no_grad():
        a.t().relu()  # a view and a kernel: it is read and written once
    assert copies.bytes == 2 * 64 * 32 * 4 and copies.seconds == pytest.approx(copies.bytes / 1e3)


def test_the_roofline_counts_the_operations_of_the_step(tmp_path):
    order = Order(torch.device("cpu"), rehearse=True, kitchen=None, scratch=tmp_path, seconds=60)
    case = case_of(TINY[1], order)
    kernels = kernels_of(case, Rates(1e12, 1e12))
    assert kernels.flop / 2e9 == pytest.approx(case.metadata.gmac, rel=0.05)
