"""How soon each command answers: `--help` by its time on a CPU, and the first word of its work on a terminal.

    python benchmarks/first_word.py > docs/benchmarks/first_word.txt

A command's work begins with missing folders, so that it ends soon: what is measured is when a person who started it
reads the first word.
"""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import time

HELPS = (
    "", "data", "data info", "data doctor", "data align", "data from-bag", "data to-bag", "data render", "train",
    "export", "evaluate", "inspect", "speed", "benchmark", "explain",
)  # fmt: skip
NODE, REPLAY = "vlocnetpp_ros.localization_node", "vlocnetpp_ros.replay"
WORK = (
    "data info none", "data doctor none", "data align none a --out none.out", "data from-bag none none.out",
    "data to-bag none none.out", "data render --list", "train config/train/robot.yaml --data.root none --out none.out",
    "train --suggest none", "train --settings", "export none --out none.ts", "evaluate none.ts none --out none.out",
    "inspect mtl", "speed none.ts", "benchmark none --out none.out", "explain none.ts none --out none.out",
)  # fmt: skip


def help_s(words: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command that must end well."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def first_word_s(words: list[str]) -> tuple[float, str]:
    """Seconds until a command writes to its terminal, and what it writes."""
    control, terminal = pty.openpty()
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *words], stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    text = os.read(control, 200).decode(errors="replace").splitlines()[0]
    spent = time.monotonic() - began
    process.terminate()
    process.wait()
    os.close(control)
    return spent, text.strip()


def main() -> None:
    """Print both tables."""
    print(f"{'--help of':42} CPU s  wall s")
    for name in HELPS:
        cpu, wall = help_s(["-m", "vlocnetpp.cli", *name.split(), "--help"])
        print(f"{f'vlocnetpp {name}'.strip():42} {cpu:5.2f}  {wall:6.2f}")
    for module in (REPLAY, NODE):
        cpu, wall = help_s(["-m", module, "--help"])
        print(f"{module.rpartition('.')[2]:42} {cpu:5.2f}  {wall:6.2f}")
    print(f"\n{'first word of':42} wall s")
    for name in WORK:
        spent, text = first_word_s(["-m", "vlocnetpp.cli", *name.split()])
        print(f"{'vlocnetpp ' + ' '.join(name.split()[:2]):42} {spent:6.2f}  {text}")
    spent, text = first_word_s(["-m", REPLAY, "none.ts", "none", "--out", "none.out"])
    print(f"{'replay':42} {spent:6.2f}  {text}")


if __name__ == "__main__":
    main()
