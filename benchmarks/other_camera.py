"""How much of the training camera's view must another camera see, for its remapped images to be answered rightly?

    python -m benchmarks.other_camera models/demo.ts --bag models/demo_bag --out docs/benchmarks/other_camera.json

The recording's images are cut as a camera of a longer lens, or one that looks aside, would have taken them, and
remapped as `other_camera: remap` does: what it does not see is black. The node's LEAST_COVERED follows from the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import recording
from benchmarks.ros_camera import machine, save
from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp_ros.virtual_camera import View, view

LENSES = (1.0, 1.02, 1.04, 1.06, 1.08, 1.1, 1.15, 1.2, 1.3, 1.5)
"""Focal length over that of the training camera."""
SHIFTS = (0.02, 0.05, 0.1, 0.2)
"""Of the principal point, as a share of the width."""


def errors(localizer: Localizer, source: Any, pictures: list[Any], seen: View | None, every: int) -> dict[str, float]:
    """Of the images as this camera sees them: medians, and how often the bound holds the position."""
    found = []
    K_33 = localizer.training_intrinsics(*pictures[0].shape[:2])
    localizer.reset()
    for stamp_ns, truth_7, picture in zip(
        source.stamps_ns[::every].tolist(), source.truth_N7[::every], pictures[::every]
    ):
        image = picture
        if seen is not None:
            # There and back: the other camera's image, then what the node makes of it.
            image = seen.image(_taken(picture, seen))
        estimate = localizer.localize(image, K_33, stamp_ns, "bgr8")
        assert estimate.pose_7 is not None and estimate.sigma_2 is not None
        turned = abs(float(np.dot(estimate.pose_7[3:], truth_7[3:])))
        found.append(
            (
                float(np.linalg.norm(estimate.pose_7[:3] - truth_7[:3])),
                float(np.degrees(2 * np.arccos(min(1.0, turned)))),
                float(estimate.sigma_2[0]),
            )
        )
    position, rotation, bound = np.array(found).T
    return {
        "median_m": round(float(np.median(position)), 3),
        "p95_m": round(float(np.percentile(position, 95)), 3),
        "median_deg": round(float(np.median(rotation)), 2),
        "within_the_bound": round(float(np.mean(position <= bound)), 3),
        "median_bound_m": round(float(np.median(bound)), 3),
    }


def _taken(picture: Any, seen: View) -> Any:
    """The training camera's picture as the other camera would have taken it, black beyond the training camera."""
    return View(seen.backward_map, seen.forward_map, 1.0).image(picture)


def run(model: Path, bag: Path, every: int) -> dict[str, Any]:
    """The table."""
    source, pictures, _ = recording(bag)
    localizer = Localizer(load_model(model, "cpu"))
    height, width = pictures[0].shape[:2]
    training_K_33 = localizer.training_intrinsics(height, width)
    rows = []
    for lens, shift in [*((lens, 0.0) for lens in LENSES), *((1.0, shift) for shift in SHIFTS)]:
        K_33 = training_K_33.copy()
        K_33[[0, 1], [0, 1]] *= lens
        K_33[0, 2] += shift * width
        seen = view(K_33, training_K_33, height, width)
        covered = 1.0 if seen is None else round(seen.covered, 3)
        rows.append(
            {"lens": lens, "shift": shift, "covered": covered, **errors(localizer, source, pictures, seen, every)}
        )
    return {"machine": machine(), "model": model.name, "images": len(pictures[::every]), "cameras": rows}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--bag", type=Path, default=Path("models/demo_bag"), help="recording with ground truth")
    parser.add_argument("--every", type=int, default=4, help="image that is used (default: 4)")
    parser.add_argument("--out", type=Path, help="JSON file to write the report to")
    args = parser.parse_args()
    save(run(args.model, args.bag, args.every), args.out)


if __name__ == "__main__":
    main()
