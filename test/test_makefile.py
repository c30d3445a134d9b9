"""The Makefile: which Python it takes, what it installs, what it says where something is missing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    kept = {"HOME": os.environ.get("HOME", "/"), "PATH": os.environ["PATH"]}
    return subprocess.run(
        ["make", "-f", ROOT / "Makefile", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ci_runs_make_test_and_nothing_else():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ['cd "$(dirname "$0")/.." && exec make test']


def test_make_without_a_suitable_python_says_so_in_one_line(tmp_path):
    done = make(tmp_path, "demo", "PYTHON=no-such-python")
    assert done.returncode == 2
    reason, last = done.stderr.splitlines()
    assert reason.startswith("No CPython 3.10, 3.11 or 3.12 among: no-such-python.")
    assert last.startswith("make: ***")
    assert list(tmp_path.iterdir()) == []


def test_make_without_the_venv_package_names_it(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = make(tmp_path, "test", f"PYTHON={python}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 2
    assert f"apt-get install python{version}-venv" in done.stderr.splitlines()[0]
    assert [each.name for each in tmp_path.iterdir()] == ["python"]


def test_the_installation_ends_with_what_to_do_next(tmp_path):
    for name in ("setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    assert make(tmp_path, "--dry-run", "venv").stdout.splitlines()[-1].endswith('Now: source .venv/bin/activate"')


def test_a_sourced_ros_takes_the_place_of_the_wheels(tmp_path):
    for name in ("setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    plain = make(tmp_path, "--dry-run", "demo").stdout
    assert "ros-jazzy-rclpy[fastrtps]" in plain
    assert "--system-site-packages" not in plain
    for distribution in ("humble", "jazzy"):
        prefix = f"/opt/ros/{distribution}"
        sourced = make(tmp_path, "--dry-run", "demo", ROS_DISTRO=distribution, AMENT_PREFIX_PATH=prefix).stdout
        assert "--system-site-packages" in sourced
        assert "ros-jazzy" not in sourced
        assert plain.splitlines()[-1] == sourced.splitlines()[-1]  # the same command runs the demo
