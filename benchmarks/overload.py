"""Images at several times the rate that the node can answer: is any answer late, does memory grow, is every image
accounted for?

    python -m benchmarks.overload models/demo.ts --seconds 60 --out docs/benchmarks/overload.json

The newest image wins, so an answer is never older than the work on the image before it plus its own. What the transport
loses before the node is not the node's: received counts from its callback on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ros_camera import Camera, alone, machine, node, percentiles_ms, save, usage

UNGATED = {
    "gate_uncertainty_m": 0.0,
    "gate_uncertainty_deg": 0.0,
    "gate_disagreement": 0.0,
    "gate_margin_m": -1.0,
    "gate_novelty": 0.0,
}
"""The picture is of no mapped place; every answer is to be timed."""


def run(model: Path, seconds: float, factor: float, width: int, height: int, encoding: str) -> dict[str, Any]:
    """Measure the node at rest, then flood it; the report."""
    transport = "compressed" if encoding == "jpeg" else "raw"
    with (
        Camera(model, width, height, encoding) as camera,
        node(model, image_transport=transport, **UNGATED) as process,
    ):
        camera.wait_for_node(process.pid)
        camera.answer_times(20)
        alone_s = camera.answer_times(60)
        processing_s = float(np.median(alone_s))
        rate_hz = factor / processing_s
        camera.at_rate(rate_hz, min(5.0, seconds))  # its buffers have their size before memory is looked at
        camera.settle()
        before, counted = usage(process.pid), dict(camera.diagnostics)
        camera.answered.clear()
        stamps = camera.at_rate(rate_hz, seconds)
        after_counts = camera.settle()
        after = usage(process.pid)
        latencies = [camera.answered[stamp] for stamp in stamps if stamp in camera.answered]
        gained = {key: int(after_counts[key]) - int(counted[key]) for key in ("received", "processed", "dropped")}
        bound_s = 2 * float(np.percentile(alone_s, 99))
        return {
            "machine": machine(),
            "image": f"{width} x {height} {encoding}",
            "processing_ms": percentiles_ms(alone_s),
            "published_hz": round(len(stamps) / seconds, 1),
            "published": len(stamps),
            **gained,
            "accounted_for": gained["received"] == gained["processed"] + gained["dropped"],
            "latency_ms": percentiles_ms(latencies),
            "bound_ms": round(1e3 * bound_s, 2),
            "within_bound": round(float(np.mean(np.array(latencies) <= bound_s)), 4),
            "memory_mb": [round(before.memory_mb, 1), round(after.memory_mb, 1)],
            "memory_growth_mb": round(after.memory_mb - before.memory_mb, 1),
            "threads": [before.threads, after.threads],
            "files": [before.files, after.files],
        }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--seconds", type=float, default=60.0, help="of flooding (default: 60)")
    parser.add_argument("--factor", type=float, default=3.0, help="times the rate that can be answered (default: 3)")
    parser.add_argument("--width", type=int, default=1280, help="of the images (default: 1280)")
    parser.add_argument("--height", type=int, default=720, help="of the images (default: 720)")
    parser.add_argument(
        "--encoding", choices=("bgra8", "bgr8", "rgb8", "jpeg"), default="bgra8", help="(default: bgra8)"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    alone()
    save(run(args.model, args.seconds, args.factor, args.width, args.height, args.encoding), args.out)


if __name__ == "__main__":
    main()
