"""What the node adds to its network: from callback to publication, less the model, for 720p raw and compressed.

    python -m benchmarks.node_cost models/demo.ts --images 400 --out docs/benchmarks/node_cost.json

Each image is sent once the one before it is answered, so nothing waits in the slot. The node's own cost is decoding or
viewing the message, the checks, and building and publishing the answers; the rest of the way from stamp to pose is the
transport of the image there and of the pose back. Then images at 30 Hz for ten seconds: how many of them arrive.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.overload import UNGATED
from benchmarks.ros_camera import Camera, alone, machine, node, percentiles_ms, save


def measure(model: Path, encoding: str, images: int, reliable: bool, seconds: float) -> dict[str, Any]:
    """One transport of 720p images; milliseconds."""
    transport = "compressed" if encoding == "jpeg" else "raw"
    parameters = {**UNGATED, "image_transport": transport}
    with Camera(model, 1280, 720, encoding, reliable) as camera, node(model, **parameters) as process:
        camera.wait_for_node(process.pid)
        camera.answer_times(30)
        whole_s = camera.answer_times(images)
        said = camera.settle()
        figures: dict[str, Any] = {"stamp_to_pose_ms": percentiles_ms(whole_s)}
        for name in ("latency", "model", "own", "pixels", "publish"):
            figures[f"{name}_ms"] = {p: float(said[f"{name}_ms/{p}"]) for p in ("p50", "p95", "p99")}
        received = int(said["received"])
        sent = len(camera.at_rate(30.0, seconds))
        figures["arrived_of_30_hz"] = [int(camera.settle()["received"]) - received, sent]
        figures["share_of_the_network"] = round(figures["model_ms"]["p50"] / figures["stamp_to_pose_ms"]["p50"], 3)
        return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--images", type=int, default=400, help="of each kind (default: 400)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    alone()
    report: dict[str, Any] = {"machine": machine(), "image": "1280 x 720"}
    for encoding, reliable in (("bgra8", False), ("bgra8", True), ("jpeg", False)):
        name = f"{encoding}, {'reliable' if reliable else 'best effort'}"
        report[name] = measure(args.model, encoding, args.images, reliable, 10.0)
    save(report, args.out)


if __name__ == "__main__":
    main()
