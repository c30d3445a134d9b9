"""What `colcon build` installs, and that it runs without the checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_packaging import SHARED_FOLDERS


@pytest.fixture(scope="module")
def colcon_install(tmp_path_factory) -> Path:
    """The package as `colcon build` installs it, from a copy of what the repository holds."""
    beside = Path(sys.executable).with_name("colcon")
    colcon = str(beside) if beside.is_file() else shutil.which("colcon")
    if colcon is None:
        pytest.skip("colcon is not installed: pip install colcon-core colcon-ros")
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    workspace = tmp_path_factory.mktemp("workspace")
    source = workspace / "src" / "vlocnetpp_ros"
    source.mkdir(parents=True)
    for name in ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    for folder in ("vlocnetpp", "vlocnetpp_ros", "resource", *SHARED_FOLDERS):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [colcon, "--log-base", workspace / "log", "build", "--event-handlers", "console_direct-"],
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace / "install"


def test_colcon_installs_where_ros_looks(colcon_install):
    prefix = colcon_install / "vlocnetpp_ros"
    assert (prefix / "share/ament_index/resource_index/packages/vlocnetpp_ros").is_file()
    assert (prefix / "share/vlocnetpp_ros/package.xml").is_file()
    for script in ("vlocnetpp", "localization_node", "replay"):
        assert os.access(prefix / "lib" / "vlocnetpp_ros" / script, os.X_OK)
    for folder in SHARED_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            relative = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in relative.parts and not path.name.startswith("."):
                assert (prefix / "share/vlocnetpp_ros" / relative).read_bytes() == path.read_bytes()


def test_the_installed_package_runs_without_the_checkout(colcon_install, tmp_path):
    program = (
        "import vlocnetpp.cli, vlocnetpp_ros\n"
        "from vlocnetpp.shipped import shipped\n"
        "from vlocnetpp_ros.environment import package_file\n"
        "print(vlocnetpp.__file__, vlocnetpp_ros.__file__, package_file('config/localize.yaml'), sep='\\n')\n"
        "print(shipped('config/benchmark/mtl.yaml'), shipped('config/train'), sep='\\n')\n"
    )
    if importlib.util.find_spec("ament_index_python") is None:
        pytest.skip("no ROS 2 client is installed")
    command = f'. "{colcon_install}/setup.sh" && exec "{sys.executable}" -c "$PROGRAM"'
    environment = {**os.environ, "PROGRAM": program}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    files = done.stdout.splitlines()
    assert len(files) == 5
    for file in files:
        assert Path(file).is_relative_to(colcon_install)


def test_the_installed_command_runs(colcon_install, tmp_path):
    script = colcon_install / "vlocnetpp_ros" / "lib" / "vlocnetpp_ros" / "vlocnetpp"
    command = f'. "{colcon_install}/setup.sh" && exec "{script}" --help'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: vlocnetpp" in done.stdout
