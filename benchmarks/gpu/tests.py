"""The tests marked `cuda`; in the rehearsal the same tests on the CPU."""

from __future__ import annotations

import re
import subprocess
import sys
import time

from benchmarks.gpu.part import Order, main, say


def run(order: Order) -> None:
    """The part."""
    words = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "--durations=10", "test/test_cuda.py"]
    # In the rehearsal a short choice: `make test` runs all of them on the CPU.
    words += ["-m", "cuda"] if order.cuda else ["-k", "warping or solver or alignment or device_answers"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=max(1.0, order.left_s - 2), check=False,
    )  # fmt: skip
    print(done.stdout, flush=True)
    last = next((line for line in reversed(done.stdout.splitlines()) if re.search(r"passed|failed|error", line)), "")
    say("tests", last.strip("= ") or f"exit {done.returncode}", f"{time.monotonic() - began:.0f} s")
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            say("test", "failed", line[:200])


if __name__ == "__main__":
    main(__doc__, run)
