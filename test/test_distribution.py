"""What `python -m build` makes: an sdist with all that is needed to build and test, a wheel that stands alone."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import vlocnetpp

SHARED = ("launch", "config", "models", "rviz")
NAME = f"vlocnetpp_ros-{vlocnetpp.__version__}"


def build(source: Path, out: Path, kind: str) -> Path:
    """As `python -m build` does it, by the hook of pyproject.toml, without a network."""
    out.mkdir(exist_ok=True)
    program = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, kind, str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0 or not tracked.stdout:
        pytest.skip("not a checkout: what belongs to it is not known")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    return build(source, folder / "dist", "build_sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """From the sdist, as pip makes it where there is no wheel."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return build(sdist.parent / NAME, sdist.parent, "build_wheel")


def test_the_sdist_can_be_built_and_tested(sdist: Path) -> None:
    assert sdist.name == f"{NAME}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [path for folder in (*SHARED, "vlocnetpp", "vlocnetpp_ros") for path in (ROOT / folder).rglob("*")]
    wanted += (ROOT / "test").glob("*.py")
    for path in wanted:
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert {"CHANGELOG.md", "LICENSE", "NOTICE", "package.xml", "constraints.txt", "Makefile"} <= names


def test_the_wheel_is_for_any_machine_and_says_what_it_is(wheel: Path) -> None:
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))
    assert metadata["Version"] == vlocnetpp.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_the_wheel_finds_its_own_files_when_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Laid out as pip does it, far from the checkout."""
    site = tmp_path / "lib" / "python3" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    data = site / f"{NAME}.data" / "data"
    (data / "share").rename(tmp_path / "share")
    program = (
        "import vlocnetpp\nfrom vlocnetpp.cli.training import configuration\nfrom vlocnetpp.shipped import shipped\n"
        "from pathlib import Path\nprint(vlocnetpp.__file__)\nprint(configuration(Path('config/train/robot.yaml')))\n"
        "for name in ('models/demo.ts', 'models/demo_bag', 'launch/localize.launch.py', 'config/fastdds.xml'):\n"
        "    print(shipped(name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert len(found) == 6
    assert all(Path(each).is_relative_to(tmp_path) and Path(each).exists() for each in found)


def test_a_configuration_of_one_s_own_comes_before_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlocnetpp.cli.training import configuration

    monkeypatch.chdir(tmp_path)
    name = Path("config/train/robot.yaml")
    assert configuration(name) == ROOT / name
    name.parent.mkdir(parents=True)
    name.touch()
    assert configuration(name) == name
    assert configuration(Path("config/train/nobody.yaml")) == Path("config/train/nobody.yaml")
