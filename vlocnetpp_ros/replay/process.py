"""The node as a process of its own, started with a parameter file and always ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

GRACE_S = 10.0
"""Time between SIGINT and SIGKILL."""


class NodeProcess:
    """A running localization node."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line of its log with an error, else the last line."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        wrong = [line for line in lines if "[ERROR]" in line or "Error" in line]
        return (wrong or lines or ["it said nothing"])[-1].strip()

    def stop(self) -> int:
        """SIGINT, and SIGKILL if that does not end it; its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


def _end_with_parent() -> None:
    """In the child: let Linux send SIGTERM when the parent ends, even by SIGKILL, after which it cannot clean up."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def node_process(parameters: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> Iterator[NodeProcess]:
    """Start `localization_node` with these parameters; `folder` gets its parameter file and its log.

    It gets no signal from the terminal; it is stopped whenever this block is left.
    """
    file, log = folder / "parameters.yaml", folder / "node.log"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}, sort_keys=False))
    command = [sys.executable, "-m", "vlocnetpp_ros.localization_node", "--ros-args", "--params-file", str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    node = NodeProcess(process, log)
    try:
        yield node
    finally:
        node.stop()
