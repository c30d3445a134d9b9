"""Kill a training run at random moments (kill -9), resume it, and check that it ends like an uninterrupted run.

    python benchmarks/kill_resume.py CONFIG.yaml --data.root ROOT --out DIR [--kills 20]

The configuration must count in epochs, short ones: an undisturbed run is trained beside the killed one, and at the end
their weights are compared bit for bit. Every checkpoint that a kill leaves is loaded and checked.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch

from vlocnetpp.training import load_checkpoint


def command(config: Path, out: Path, rest: tuple[str, ...], resume: bool) -> list[str]:
    """The command line of a run."""
    words = [sys.executable, "-m", "vlocnetpp.cli", "train", str(config), "--out", str(out), *rest]
    return [*words, "--resume"] if resume else words


def kill_and_resume(
    config: Path, out: Path, kills: int, seed: int, longest_s: float, rest: tuple[str, ...] = ()
) -> dict[str, int]:
    """Train into `out`, killed so many times up to `longest_s` seconds after a process has begun its steps.

    Returns:
        How many kills there were, and how many of them came before a first checkpoint.

    Raises CheckpointError where a kill left a checkpoint that does not load, RuntimeError where a run fails by itself
    or is over before all kills.
    """
    rng = random.Random(seed)
    early = 0
    for number in range(kills):
        resume = (out / "last.pt").exists()
        early += not resume and number > 0
        words = command(config, out, rest if not resume else (), resume)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            said = []
            for line in child.stderr:
                said.append(line)
                if line.startswith("training:"):
                    break
            time.sleep(rng.uniform(0, longest_s))
            if child.poll() is not None:
                raise RuntimeError(f"the run ended before kill {number + 1}: {''.join(said[-3:])}; give it more epochs")
            child.kill()
        if (out / "last.pt").exists():
            progress = load_checkpoint(out / "last.pt")["progress"]
            print(f"kill {number + 1}: checkpoint of step {progress['step']}, stage {progress['stage']}", flush=True)
        if (out / "best.pt").exists():
            load_checkpoint(out / "best.pt")
    resume = (out / "last.pt").exists()
    result = subprocess.run(
        command(config, out, rest if not resume else (), resume), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"the last resume failed: {result.stderr.splitlines()[-1]}")
    return {"kills": kills, "before_a_checkpoint": early}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="configuration with epochs, e.g. 200 short steps")
    parser.add_argument("--out", type=Path, required=True, help="folder for both runs")
    parser.add_argument("--kills", type=int, default=20, help="how often the run is killed (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest", type=float, default=5.0, help="seconds from the first step to a kill, at most")
    args, rest = parser.parse_known_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    undisturbed, killed = args.out / "undisturbed", args.out / "killed"
    subprocess.run(command(args.config, undisturbed, tuple(rest), False), check=True)
    found = kill_and_resume(args.config, killed, args.kills, args.seed, args.longest, tuple(rest))
    a, b = (load_checkpoint(run / "last.pt") for run in (undisturbed, killed))
    different = [name for name, value in a["network_state"].items() if not torch.equal(value, b["network_state"][name])]
    print(f"{found['kills']} kills, {found['before_a_checkpoint']} of them before a first checkpoint")
    print(f"steps {a['progress']['step']} and {b['progress']['step']}, tensors that differ: {len(different)}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
