"""Soak test: a bag looped through the node, then the lifecycle repeated. Do memory, threads or open files grow?

    python -m benchmarks.soak models/demo.ts --minutes 10 --cycles 100 --out docs/benchmarks/soak.json

Memory, threads and open files of the node's process are read from the kernel once a second; the first minute is for
buffers to reach their size.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from lifecycle_msgs.msg import Transition

from benchmarks.ros_camera import Camera, alone, machine, node, save, usage
from vlocnetpp.data import iter_bag

STEPS = (
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)


def loop(camera: Camera, pid: int, bag: Path, image_topic: str, seconds: float, settle_s: float) -> dict[str, Any]:
    """Play a bag's images at its pace again and again; growth of the node after `settle_s`."""
    images = [each.message() for each in iter_bag(bag, {image_topic})]
    stamps = [image.header.stamp.sec + image.header.stamp.nanosec * 1e-9 for image in images]
    seen: list[tuple[float, float, int, int]] = []
    began, loops, published = time.monotonic(), 0, 0
    while time.monotonic() - began < seconds:
        first = time.monotonic()
        for image, stamp in zip(images, stamps):
            time.sleep(max(0.0, first + stamp - stamps[0] - time.monotonic()))
            camera.publish_compressed(bytes(image.data), image.header.stamp.sec, image.header.stamp.nanosec)
            published += 1
            now = time.monotonic() - began
            if not seen or now - seen[-1][0] >= 1.0:
                held = usage(pid)
                seen.append((now, held.memory_mb, held.threads, held.files))
            if now >= seconds:
                break
        loops += 1
    counts = camera.settle()
    table = np.array(seen)
    late = table[table[:, 0] >= min(settle_s, seconds / 2)]
    # The slope of a line through all samples: one sample at each end says more about the allocator than about a leak.
    slope = float(np.polyfit(late[:, 0] / 60, late[:, 1], 1)[0]) if len(late) > 2 else 0.0
    return {
        "minutes": round(seconds / 60, 2),
        "loops": loops,
        "published": published,
        "received": int(counts["received"]),
        "processed": int(counts["processed"]),
        "dropped": int(counts["dropped"]),
        "cold_starts": {key.partition("/")[2]: int(v) for key, v in counts.items() if key.startswith("cold_starts/")},
        "memory_mb": [round(float(late[0, 1]), 1), round(float(late[-1, 1]), 1)],
        "memory_mb_per_minute": round(slope, 3),
        "threads": [int(late[:, 2].min()), int(late[:, 2].max())],
        "files": [int(late[:, 3].min()), int(late[:, 3].max())],
    }


def cycles(camera: Camera, pid: int, count: int) -> dict[str, Any]:
    """deactivate, cleanup, configure, activate, and again; what the process holds after each round."""
    held = []
    for _ in range(count):
        for step in STEPS:
            camera.transition(step)
        held.append(usage(pid))
    settled = held[min(10, count // 2) :]
    rounds = np.arange(len(settled))
    slope = float(np.polyfit(rounds, [each.memory_mb for each in settled], 1)[0]) if len(settled) > 2 else 0.0
    return {
        "cycles": count,
        "memory_mb": [round(settled[0].memory_mb, 1), round(settled[-1].memory_mb, 1)],
        "memory_mb_per_cycle": round(slope, 3),
        "threads": [settled[0].threads, settled[-1].threads],
        "files": [settled[0].files, settled[-1].files],
    }


def run(model: Path, bag: Path, image_topic: str, seconds: float, settle_s: float, rounds: int) -> dict[str, Any]:
    """Both, one node process; the report."""
    with Camera(model, 320, 240, "jpeg") as camera, node(model, image_transport="compressed") as process:
        camera.wait_for_node(process.pid)
        looped = loop(camera, process.pid, bag, image_topic, seconds, settle_s)
        return {"machine": machine(), "loop": looped, "lifecycle": cycles(camera, process.pid, rounds)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--bag", type=Path, default=Path("models/demo_bag"), help="bag to loop (models/demo_bag)")
    parser.add_argument(
        "--image-topic", default="/zed/zed_node/rgb/color/rect/image/compressed", help="compressed images in the bag"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of looping (default: 10)")
    parser.add_argument("--cycles", type=int, default=100, help="rounds of the lifecycle (default: 100)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    alone()
    save(run(args.model, args.bag, args.image_topic, 60 * args.minutes, 60.0, args.cycles), args.out)


if __name__ == "__main__":
    main()
