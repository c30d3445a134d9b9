"""Resident memory of a training run over its steps, all stages with their validations and checkpoints.

    python -m benchmarks.trainer_memory CONFIG.yaml --data.root ROOT --out DIR --epochs 40

The configuration must count in epochs. Prints the memory at twenty points of the run, and what it gained from the
second quarter of the last stage to its end.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.kill_resume import command


def measure_memory(config: Path, out: Path, rest: tuple[str, ...]) -> list[tuple[float, float]]:
    """Train, and note (share of the run, resident MB) whenever the run says how far it is.

    Raises RuntimeError where the run fails.
    """
    seen, said = [], ""
    with subprocess.Popen(
        command(config, out, rest, False), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        for said in child.stderr:
            if found := re.match(r"training: ([0-9.]+)%", said):
                status = Path(f"/proc/{child.pid}/status").read_text()
                resident_kb = re.search(r"VmRSS:\s+(\d+) kB", status)
                if resident_kb:
                    seen.append((float(found[1]) / 100, int(resident_kb[1]) / 1024))
    if child.returncode:
        raise RuntimeError(f"the run failed: {said.strip()}")
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="configuration; it or --epochs must count in epochs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    args, rest = parser.parse_known_args()
    seen = measure_memory(args.config, args.out, tuple(rest))
    with (args.out / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = int(rows[-1]["step"])
    last_stage = next(int(row["step"]) for row in rows if row["stage"] == rows[-1]["stage"]) / steps
    for share, memory_mb in seen[:: max(1, len(seen) // 20)]:
        print(f"step {share * steps:6.0f}: {memory_mb:7.1f} MB")
    settled = [(share, mb) for share, mb in seen if share > last_stage + 0.25 * (1 - last_stage)]
    gained = settled[-1][1] - settled[0][1]
    print(f"{steps} steps; from step {settled[0][0] * steps:.0f} to {settled[-1][0] * steps:.0f}: {gained:+.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
