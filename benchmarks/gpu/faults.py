"""Out of memory, a device that is lost or not there, and two processes on one card: clear errors, or they share.

Each runs in a process of its own, since a device that failed stays so for its process.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks.gpu.networks import Named, case_of, networks
from benchmarks.gpu.part import Order, main, say

OPEN = """
    import sys, time
    import numpy as np
    import torch
    from vlocnetpp.runtime import Localizer, load_model
    file, device, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    def drive(frames):
        localizer = Localizer(load_model(file, device, "{precision}"))
        image, K = np.zeros((720, 1280, 3), np.uint8), localizer.training_intrinsics(720, 1280)
        times = []
        for i in range(frames):
            began = time.perf_counter()
            localizer.localize(image, K, (i + 1) * 10_000_000)
            times.append(time.perf_counter() - began)
        return np.median(times) * 1e3
"""
OUT_OF_MEMORY = """
    if device.startswith("cuda"):
        torch.cuda.set_per_process_memory_fraction(1e-4)
    else:
        import resource
        torch.jit.load(file, map_location="cpu")
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), -1))
    print(drive(1))
"""
LOST = """
    localizer = Localizer(load_model(file, device, "{precision}"))
    try:  # an index that is not there stops the device for the rest of the process
        torch.zeros(1, device=device)[torch.tensor([5], device=device)].cpu()
    except RuntimeError:
        pass
    localizer.localize(np.zeros((720, 1280, 3), np.uint8), localizer.training_intrinsics(720, 1280), 1)
"""
LARGE = Named("stl_pose", 1.0, 32, 32)
"""Weights of 90 MB, for the rehearsal of the first, which leaves 32 MB."""
TIMED = "\n    print(drive(frames))\n"


def start(code: str, order: Order, file: Path, precision: str, device: str, frames: int = 1) -> subprocess.Popen[str]:
    """A process that runs it."""
    program = textwrap.dedent(OPEN.format(precision=precision)) + textwrap.dedent(code.format(precision=precision))
    words = [sys.executable, "-W", "ignore", "-c", program, str(file), device, str(frames)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], order: Order) -> tuple[int, str, str]:
    """Its exit status, output and last line of error, when it has ended."""
    try:
        out, err = process.communicate(timeout=max(1.0, order.left_s - 2))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -1, "", "did not end"
    print(err, flush=True)
    return process.returncode, out.strip(), (err.strip().splitlines() or [""])[-1]


def run(order: Order) -> None:
    """The part."""
    case = case_of(networks(order, 1)[0], order)
    assert case.file is not None
    file, device, precision = case.file, str(order.device), case.precision
    large = case_of(LARGE, order).file if order.rehearse else file
    assert large is not None
    for what, code, where, model in (
        ("out of memory", OUT_OF_MEMORY, device, large),
        ("a device that is not there", TIMED, "cuda:7", file),
        ("a device that was lost", LOST, device, file),
    ):
        if what.endswith("lost") and not order.cuda:
            say(what, "not run", "a CPU is not lost")
            continue
        status, _, error = ended(start(code, order, model, precision, where), order)
        error = error.replace(str(model), model.name).removeprefix("vlocnetpp.runtime.archive.")
        say(what, "error" if status > 0 else "NO ERROR" if status == 0 else "did not end", error[:250])
    frames = 20 if order.rehearse else 1000
    _, alone, error = ended(start(TIMED, order, file, precision, device, frames), order)
    pair = [start(TIMED, order, file, precision, device, frames) for _ in range(2)]
    both = [ended(process, order) for process in pair]
    shared = " and ".join(f"{float(out):.2f}" if status == 0 else f"failed: {text}" for status, out, text in both)
    say("two processes on one device, p50", f"{shared} ms", f"alone {float(alone):.2f} ms" if alone else error)


if __name__ == "__main__":
    main(__doc__, run)
