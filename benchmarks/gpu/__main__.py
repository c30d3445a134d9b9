"""Everything that a GPU is asked, in one run of at most 11 minutes: a table last, full logs in a folder.

    python -m benchmarks.gpu --out out/gpu --kitchen ../shared/data/redkitchen
    python -m benchmarks.gpu --rehearse --out out/gpu --kitchen ../shared/data/redkitchen    anywhere, 3 minutes

For a machine without a network, first here and then there:

    python -m benchmarks.gpu.carry --out out/carry --kitchen ../shared/data/redkitchen
    python -m benchmarks.gpu --wheels out/carry --kitchen out/carry/kitchen --out OUT --only tests speed faults

Each part is a process with a time of its own; one that fails, or is not done in time, is a row, and the rest goes on.
What a part has found by then counts.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vlocnetpp.errors import DataError
from vlocnetpp.reporting import print_table
from vlocnetpp.reporting.files import write_json, write_text

LIMIT_S = 660.0
GRACE_S = 10.0
"""A part knows its time and ends by itself; so much later it is ended."""
LEAST_S = 15.0
"""With less left of the whole, a part is not begun."""


class Part(NamedTuple):
    """A module of this package, and its seconds; in the rehearsal enough for one core that others use, too."""

    module: str
    seconds: float
    rehearsal_s: float
    words: tuple[str, ...] = ()


PARTS = {
    "tests": Part("tests", 90, 60),
    "speed": Part("speed", 110, 80),
    "compilers": Part("compilers", 60, 150),
    "host_to_host": Part("host_to_host", 35, 100),
    "faults": Part("faults", 30, 90),
    "train_full": Part("training", 200, 60, ("--network", "full")),
    "train_flagship": Part("training", 135, 90, ("--network", "flagship")),
}
"""By the name that `--only` takes, in the order in which they run."""
Row = tuple[str, str, Any, str]
"""Part, what, value, and what it is in."""


def run_part(name: str, args: argparse.Namespace, scratch: Path, seconds: float) -> tuple[list[Row], str]:
    """The rows of a part, and its log. The process group is ended where it is not done in time."""
    from benchmarks.gpu.part import said

    part = PARTS[name]
    words = [sys.executable, "-W", "ignore", "-m", f"benchmarks.gpu.{part.module}", *part.words]
    words += ["--device", args.device, "--scratch", str(scratch), "--seconds", f"{seconds:.0f}"]
    words += ["--rehearse"] * args.rehearse + (["--kitchen", str(args.kitchen)] if args.kitchen else [])
    began = time.monotonic()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    end = ""
    try:
        log = process.communicate(timeout=seconds + GRACE_S)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        log = process.communicate()[0]
        end = f"ended after {seconds + GRACE_S:.0f} s"
    rows: list[Row] = [(name, *each) for each in said(log)]
    if not end and process.returncode:
        lines = [line for line in log.splitlines() if line.strip()]
        end = f"exit {process.returncode}: {lines[-1][:200] if lines else 'it said nothing'}"
    if end:
        rows.append((name, "FAILED", end, ""))
    rows.append((name, "took", f"{time.monotonic() - began:.0f}", "s"))
    return rows, log


def install(wheels: Path, target: Path) -> None:
    """Put the wheels of a folder where every process that is started from here finds them. Raises DataError."""
    files = sorted(str(path) for path in wheels.glob("*.whl"))
    if not files:
        raise DataError(f"{wheels}: has no wheels; 'python -m benchmarks.gpu.carry' gathers them")
    words = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(target), *files]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{wheels}: pip cannot install them: {(done.stderr.strip().splitlines() or [''])[-1]}")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def describe(device: str) -> str:
    """Card, processor and versions, from a process of its own: this one must not hold the device."""
    code = f"from vlocnetpp.benchmark.machine import describe_machine; print(describe_machine({device!r}))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or (done.stderr.strip().splitlines() or ["unknown"])[-1]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; ends the program with one line for a wrong one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), help="folder for logs and results.json")
    parser.add_argument("--rehearse", action="store_true", help="the same code with tiny sizes, on the CPU")
    parser.add_argument("--only", nargs="+", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--device", help="cuda, cuda:N or cpu (default: cuda; cpu with --rehearse)")
    parser.add_argument("--kitchen", type=Path, help="folder of 7-Scenes' RedKitchen; without, nothing is trained")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first, into a temporary folder")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for everything (default: 660)")
    args = parser.parse_args(words)
    args.device = args.device or ("cpu" if args.rehearse else "cuda")
    if unknown := [name for name in args.only or () if name not in PARTS]:
        parser.error(f"--only {unknown[0]}: no such part; there are {', '.join(PARTS)}")
    for option, folder in (("--kitchen", args.kitchen), ("--wheels", args.wheels)):
        if folder is not None and not folder.is_dir():
            parser.error(f"{option} {folder}: no such folder")
    if args.limit <= 0:
        parser.error(f"--limit {args.limit:g}: must be positive")
    return args


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns 1 where a part failed."""
    args = parse(words)
    began = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="vlocnetpp_gpu_") as folder:
        if args.wheels:
            install(args.wheels, Path(folder) / "site")
        machine = describe(args.device)
        print(machine, flush=True)
        for name, part in PARTS.items():
            if args.only and name not in args.only:
                continue
            left = args.limit - (time.monotonic() - began) - GRACE_S
            if left < LEAST_S:
                rows.append((name, "not reached", "the time of the whole run was over", ""))
                continue
            print(f"{name} ...", flush=True)
            seconds = min(left, part.rehearsal_s if args.rehearse else part.seconds)
            found, log = run_part(name, args, Path(folder) / "scratch", seconds)
            rows += found
            write_text(args.out / f"{name}.log", log)
            today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            about = {"machine": machine, "date": today, "rehearsal": args.rehearse}
            write_json(args.out / "results.json", {**about, "rows": rows})
    rows = [(part, what, value, unit[:100]) for part, what, value, unit in rows]  # whole in the logs
    print_table(f"{machine}{', REHEARSAL' if args.rehearse else ''}", ("part", "what", "value", ""), rows)
    return int(any(what == "FAILED" for _, what, _, _ in rows))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except DataError as error:
        raise SystemExit(f"error: {error}") from error
