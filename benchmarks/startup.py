"""How long until the node can be managed, and until it answers: what a lifecycle manager has to wait for.

    python -m benchmarks.startup models/demo.ts --out docs/benchmarks/startup.json

From the start of the process to its change_state service, from there to configured and active. nav2's lifecycle manager
gives up on a service that it does not find within its `service_timeout`, 5 s by default.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from benchmarks.ros_camera import WAIT_S, Camera, alone, machine, node, save


def start(model: Path) -> dict[str, float]:
    """One start, in seconds."""
    with Camera(model, 320, 240, "bgr8") as camera:
        client = camera.node.create_client(ChangeState, "/localizer/change_state")
        began = time.monotonic()
        with node(model, autostart=False):
            if not client.wait_for_service(WAIT_S):
                raise SystemExit("the node's services did not appear")
            found = time.monotonic()
            camera.transition(Transition.TRANSITION_CONFIGURE)
            configured = time.monotonic()
            camera.transition(Transition.TRANSITION_ACTIVATE)
            active = time.monotonic()
        return {
            "services": round(found - began, 2),
            "configure": round(configured - found, 2),
            "activate": round(active - configured, 2),
        }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--starts", type=int, default=5, help="(default: 5)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    alone()
    report: dict[str, Any] = {"machine": machine(), "model": args.model.name}
    report["seconds"] = [start(args.model) for _ in range(args.starts)]
    save(report, args.out)


if __name__ == "__main__":
    main()
