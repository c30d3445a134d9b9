"""Does late or missing odometry in TF delay the poses?

    python -m benchmarks.late_odometry --out docs/benchmarks/late_odometry.json

Images at 15 and 30 Hz through the node's mailbox; each answer is published, and its correction map->odom waits for
odometry that TF gets so much later than the image was taken. Network and TF are stood in for, the one by a wait, so
that the figures are of what waits for what and not of a busy machine; mailbox and corrections are the node's own.
"""

from __future__ import annotations

import argparse
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ros_camera import machine, percentiles_ms, save
from vlocnetpp_ros.corrections import Corrections, NoTransformError
from vlocnetpp_ros.frames import IDENTITY, Floats
from vlocnetpp_ros.latest import Dropped, Finish, Latest, Tally

LATE_S: dict[str, float | None] = {"on time": 0.0, "50 ms": 0.05, "100 ms": 0.1, "150 ms": 0.15, "never": None}
RATES_HZ = (15.0, 30.0)
WORK_S = 0.02
"""Of the stand-in for the network."""


def measure(rate_hz: float, late_s: float | None, seconds: float) -> dict[str, Any]:
    """One lateness at one rate."""
    latencies: list[float] = []
    finished = threading.Semaphore(0)

    def look_up(_: str, stamp_ns: int) -> Floats:
        if late_s is None or time.monotonic_ns() < stamp_ns + late_s * 1e9:
            raise NoTransformError("not yet")
        return IDENTITY

    corrections = Corrections(look_up, lambda pose, odom: None)

    def work(stamp_ns: int) -> Finish:
        time.sleep(WORK_S)
        return partial(publish, stamp_ns)

    def publish(stamp_ns: int) -> None:
        latencies.append((time.monotonic_ns() - stamp_ns) * 1e-9)
        corrections.add(stamp_ns, "camera", IDENTITY, stamp_ns)
        finished.release()

    tally = Tally()
    box = Latest(work, tally, lambda dropped: finished.release(), lambda error: Dropped("error", str(error)))
    began, images = time.monotonic(), int(seconds * rate_hz)
    for image in range(images):
        time.sleep(max(0.0, began + image / rate_hz - time.monotonic()))
        box.put(time.monotonic_ns())
    for _ in range(images):
        finished.acquire()
    took = time.monotonic() - began
    box.close("closed")
    counts = corrections.counts()
    corrections.close()
    return {
        "images": images,
        "answered_hz": round(len(latencies) / took, 2),
        "stamp_to_pose_ms": percentiles_ms(latencies),
        "corrections": {"sent": counts.sent, "overtaken": counts.overtaken, "given_up": counts.given_up},
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row (default: 10)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "network": f"a wait of {1e3 * WORK_S:g} ms"}
    for rate_hz in RATES_HZ:
        report[f"{rate_hz:g} Hz"] = {name: measure(rate_hz, late_s, args.seconds) for name, late_s in LATE_S.items()}
    save(report, args.out)


if __name__ == "__main__":
    main()
