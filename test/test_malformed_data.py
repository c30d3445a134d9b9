"""What goes wrong with data, given to the real command line: one line that names file and reason, status 2, no change.

Each case is a good folder or recording, one damage, one command, and what the line must name and say.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from damages import (
    Bag,
    Damage,
)
from malformed_data import (
    CASES,
    CSV,
    LOOK,
)
from tiny_datasets import (
    write_folder,
)

from vlocnetpp.cli import main

ROOT = Path(__file__).resolve().parent.parent
PROGRESS = re.compile(r".*: (started|done, \d|\d+ of \d).*")
"""What long work says where there is no terminal."""
CONFIG = """
width: 0.125
network: {height: 64, width_px: 64, resize: crop}
batch: 2
budget: 1s
stages: [{name: all, share: 1.0}]
"""


def tree(folder: Path) -> dict[str, object]:
    """Every file below a folder with its content, every link with its target."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        link = path.readlink() if path.is_symlink() else None
        found[str(path.relative_to(folder))] = link or (path.read_bytes() if path.is_file() else "folder")
    return found


def filled(words: str, folder: Path) -> str:
    """A command or name with its places filled in."""
    return words.format(set=folder / "set", out=folder / "out", config=folder / "config.yaml")


def check_said(said: str, name: str, reason: str) -> None:
    """One line that names the file and the reason; the progress of work begun may stand before it."""
    lines = [line for line in said.splitlines() if not PROGRESS.fullmatch(line)]
    assert len(lines) == 1, said
    assert lines[0].startswith("vlocnetpp: "), said
    assert name in lines[0], f"{lines[0]!r} does not name {name}"
    assert reason in lines[0].replace(name, "", 1), f"{lines[0]!r} does not say '{reason}'"


@pytest.mark.parametrize(
    ("write", "command", "damage", "name", "reason"),
    [
        pytest.param(write, command, damage, name, reason, id=case)
        for (write, command), cases in CASES.items()
        for case, damage, name, reason in cases
    ],
)
def test_bad_data_gets_one_line_and_changes_nothing(
    write: Callable[[Path], object],
    command: str,
    damage: Damage,
    name: str,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    write(tmp_path / "set")
    damage(tmp_path / "set")
    before = tree(tmp_path)
    status = main(filled(command, tmp_path).split())
    said = capsys.readouterr().err
    named = (
        filled(name, tmp_path)
        if name.startswith(("/", "{", "camera", "frames_scale"))
        else str(tmp_path / "set" / name)
    )
    check_said(said, named, reason)
    assert status == 2
    assert tree(tmp_path) == before


# --- what only a process of its own can meet


def run(command: str, folder: Path, before: Sequence[str] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    words = [*before, sys.executable, "-B", "-m", "vlocnetpp.cli", *filled(command, folder).split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, **options)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system that has four kilobytes left, mounted at `folder`; skips the test where none may be mounted."""
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True).returncode
    ):
        pytest.skip("a small disk can only be mounted by root")
    try:
        (folder / "filler").write_bytes(bytes(60 * 1024))
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def limit_files() -> None:
    """No file of this process may grow beyond 256 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))


@pytest.mark.parametrize(("write", "action"), [(write_folder, "to-bag"), (Bag(), "from-bag")], ids=["to", "from"])
@pytest.mark.parametrize("storage", ["disk", "quota"])
def test_no_space_left_leaves_nothing(
    write: Callable[[Path], object], action: str, storage: str, tmp_path: Path
) -> None:
    write(tmp_path / "set")
    command = f"data {action} {{set}} {tmp_path}/disk/out"
    if storage == "quota":
        (tmp_path / "disk").mkdir()
        before = tree(tmp_path)
        ended = run(command, tmp_path, preexec_fn=limit_files)
        reason, after = "File too large", tree(tmp_path)
    else:
        with small_disk(tmp_path / "disk"):
            before = tree(tmp_path)
            ended = run(command, tmp_path)
            reason, after = "No space left on device", tree(tmp_path)
    check_said(ended.stderr, f"{tmp_path}/disk/out", reason)
    assert ended.returncode == 2 and ended.stdout == ""
    assert after == before


@pytest.mark.parametrize(("file", "name"), [(CSV, CSV), ("", ""), ("loop_a/image", "loop_a/image")])
def test_what_may_not_be_read_is_named(file: str, name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    before = tree(tmp_path)
    (tmp_path / "set" / file).chmod(0)
    # root may read everything, unless it gives this right away
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    ended = run(LOOK, tmp_path, bounded)
    (tmp_path / "set" / file).chmod(0o700)
    check_said(ended.stderr, str(tmp_path / "set" / name), "Permission denied")
    assert ended.returncode == 2 and ended.stdout == ""
    assert tree(tmp_path) == before


def test_the_command_itself_ends_in_one_line(tmp_path: Path) -> None:
    ended = run(LOOK, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"vlocnetpp: {tmp_path}/set: does not exist\n")
