"""A run that was interrupted ends as one that was not: signals, kills, full disks, damaged files."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import differences, outcome, quick
from wall_dataset import write_wall

from vlocnetpp import data
from vlocnetpp.export.choice import why_this_checkpoint
from vlocnetpp.training import CheckpointError, TrainingError, load_checkpoint, train
from vlocnetpp.training import loop as training_loop
from vlocnetpp.training.checkpoint import save_checkpoint
from vlocnetpp.training.config import StageConfig, save_config
from vlocnetpp.training.run_folder import only_run_in

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 3})


@pytest.fixture(scope="session")
def undisturbed(wall, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert train(quick(wall, validations=4), out) == 0
    return out


def stop_before_steps(monkeypatch, steps: list[int], number: signal.Signals) -> None:
    """Send this process a signal right before these steps, each once."""
    agree = training_loop.agree

    def interrupted(run, counts):
        if run.state.progress.step in steps:
            steps.remove(run.state.progress.step)
            signal.raise_signal(number)
        return agree(run, counts)

    monkeypatch.setattr(training_loop, "agree", interrupted)


def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(wall, undisturbed, tmp_path, monkeypatch):
    """Stopped in the middle of an epoch, before the first step of a stage, and twice between two validations."""
    out, steps = tmp_path / "run", [2, 4, 7, 8]
    stop_before_steps(monkeypatch, steps, signal.SIGTERM)
    config = quick(wall, validations=4)
    for place in (2, 4, 7, 8):
        assert train(config, out, resume=place > 2) == signal.SIGTERM
        assert load_checkpoint(out / "last.pt")["progress"]["step"] == place
        assert "the training is not finished, it was stopped in stage" in why_this_checkpoint(out / "last.pt")
    assert train(config, out, resume=True) == 0 and not steps
    assert "not finished" not in why_this_checkpoint(out / "last.pt")
    assert differences(outcome(undisturbed), outcome(out)) == []
    assert differences(outcome(undisturbed, "best.pt"), outcome(out, "best.pt")) == []


def test_a_second_training_in_the_same_folder_is_refused_before_it_loads_frames(wall, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    with only_run_in(out), pytest.raises(TrainingError, match="another training is running here"):
        train(quick(wall, validations=1), out)
    assert list(out.iterdir()) == [] and "loading" not in capsys.readouterr().err


def test_one_seed_is_one_result_and_another_seed_another(wall, tmp_path):
    config = quick(wall, preset="stl_pose", stages=(StageConfig("pose", ("localization",)),), epochs=0.5)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(replace(config, seed=seed), tmp_path / name) == 0
    a, b, c = (outcome(tmp_path / name) for name in "abc")
    assert differences(a, b) == []
    assert "localization.head.fc1.weight" in differences(a, c)


def test_a_second_interrupt_ends_at_once(wall, tmp_path, monkeypatch):
    def twice(run, counts):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training_loop, "agree", twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(quick(wall), tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists() and signal.getsignal(signal.SIGINT) is before


def test_a_signal_while_frames_are_decoded_ends_the_run_before_the_rest_is(wall, tmp_path, monkeypatch):
    """Within the frames in flight, not after all of them; nothing is saved, so that the same command starts again."""
    decoded, read = [], data.Frame.image

    def slowly(frame):
        decoded.append(frame.name)
        if len(decoded) == 3:
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        return read(frame)

    monkeypatch.setattr(data.Frame, "image", slowly)
    assert train(quick(wall), tmp_path / "run") == signal.SIGTERM
    assert len(decoded) < 24 and not (tmp_path / "run" / "last.pt").exists()


def test_three_kills_leave_a_run_that_goes_on_to_the_same_end(wall, undisturbed, tmp_path):
    """What benchmarks/kill_resume.py does twenty times."""
    spec = importlib.util.spec_from_file_location("kill_resume", ROOT / "benchmarks" / "kill_resume.py")
    kill_resume = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_resume)
    config = tmp_path / "c.yaml"
    save_config(quick(wall, validations=4), config)
    found = kill_resume.kill_and_resume(config, tmp_path / "run", kills=3, seed=0, longest_s=2.0)
    assert found["kills"] == 3
    assert differences(outcome(undisturbed), outcome(tmp_path / "run")) == []


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_cut_or_changed_checkpoint_is_never_loaded(tmp_path):
    path, bad = tmp_path / "last.pt", tmp_path / "bad.pt"
    torch.manual_seed(0)
    save_checkpoint(path, {"w": torch.randn(300), "progress": {"step": 3}})
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        bad.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match=r"bad\.pt"):
            load_checkpoint(bad)
    stored = torch.load(path, weights_only=True)["w"].numpy().tobytes()
    begin = whole.index(stored)
    for offset in range(begin, begin + len(stored), 101):
        changed = bytearray(whole)
        changed[offset] ^= 0x10
        bad.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"bad\.pt.*(damaged|CRC)"):
            load_checkpoint(bad)
    assert torch.equal(load_checkpoint(path)["w"], torch.load(path, weights_only=True)["w"])


def test_a_full_disk_leaves_the_checkpoint_before_and_one_line(tmp_path):
    """A limit on the size of a file stands for the disk: the system refuses the write in the middle."""
    code = f"""
import resource, signal, sys, torch
from pathlib import Path
from vlocnetpp.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
path = Path({str(tmp_path / "last.pt")!r})
save_checkpoint(path, {{"w": torch.zeros(10)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save_checkpoint(path, {{"w": torch.zeros(1_000_000)}})
except CheckpointError as error:
    print(error)
print(len(load_checkpoint(path)["w"]), sorted(p.name for p in path.parent.iterdir()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    first, second = result.stdout.splitlines()
    assert "last.pt: cannot be written (File too large)" in first and "is whole" in first
    assert second == "10 ['last.pt']"


def test_a_run_that_cannot_go_on_is_told_in_one_line(wall, undisturbed, tmp_path):
    with pytest.raises(CheckpointError, match="absent: no such folder of a run"):
        train(quick(wall), tmp_path / "absent", resume=True)
    old = {**load_checkpoint(undisturbed / "last.pt"), "progress": {"done": False}}
    del old["rows"], old["format"]
    (tmp_path / "old").mkdir()
    save_checkpoint(tmp_path / "old" / "last.pt", old)
    with pytest.raises(CheckpointError, match="old: was begun by an earlier version"):
        train(quick(wall), tmp_path / "old", resume=True)
