"""Shared by all tests: where the real recordings are, and fixtures that many tests need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported, and for every process that a test starts: sums depend on the number of threads, and tests
# compare runs of this process with runs of others bit for bit.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent


def real_data(name: str) -> Path:
    """A folder of real recordings; skips the test without: they may not be redistributed, the repository has none."""
    base = Path(os.environ.get("VLOCNETPP_DATA", ROOT.parent / "shared" / "data"))
    folder = base / name
    if not folder.is_dir():
        pytest.skip(f"real recording '{name}' is not in {base}; set VLOCNETPP_DATA to the folder that has it")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `cuda` are collected everywhere and run where there is a GPU."""
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("this PyTorch sees no GPU")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in several processes (`-n`): a file's tests share fixtures and stay together, and the files that
    start nodes are one group, since two nodes at a time answer late on a small machine."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "nodes" if "isolate(" in (ROOT / file).read_text(encoding="utf-8") else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A row of training frames across the boards, and test frames between them."""
    from boards_scene import write_frames

    return write_frames(tmp_path_factory.mktemp("boards"))


@pytest.fixture
def small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SCoRe forest that is trained in a second."""
    from vlocnetpp.peers import score_forest

    monkeypatch.setattr(score_forest, "TRAINING_PIXELS", 8000)


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The trainer's decoded frames go into a folder of the tests, not into the user's cache; for processes too."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
