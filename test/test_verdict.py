"""What an evaluation says in words: better or worse than which baseline, by how much, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from vlocnetpp.evaluation.baselines import Baseline, compared, verdict
from vlocnetpp.peers import MEAN_POSE, NEAREST_TRAINING_POSE, ORB_PNP, THUMBNAIL_RETRIEVAL


def figures(metres: float, degrees: float = 1.0, failed: int = 0) -> dict[str, Any]:
    return {"frames": 40, "failed": failed, "median_translation_m": metres, "median_rotation_deg": degrees}


def beside(ours: float) -> list[Baseline]:
    known = ((MEAN_POSE, 2.0), (THUMBNAIL_RETRIEVAL, 0.5), (ORB_PNP, 0.1), (NEAREST_TRAINING_POSE, 0.01))
    return [Baseline(peer, figures(metres), figures(ours), 40) for peer, metres in known]


MEAN, RETRIEVAL, ORB = (
    f"{name} ({metres}00 m, 1.0 deg)"
    for name, metres in (("mean pose", 2.0), ("thumbnail retrieval", 0.5), ("ORB + depth map + PnP", 0.1))
)
USELESS = (
    f"no better than always answering the {MEAN}, where ORB + depth map + PnP has 0.100 m: "
    "train longer, or see docs/troubleshooting.md"
)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (0.02, f"5.0 times nearer than {ORB}"),
        (0.25, f"2.0 times nearer than {RETRIEVAL}, 2.5 times farther off than {ORB}"),
        (0.105, f"4.8 times nearer than {RETRIEVAL}, as near as {ORB}"),
        (
            1.0,
            f"2.0 times nearer than {MEAN}, 10.0 times farther off than {ORB}: train longer, or see docs/choosing.md",
        ),
        (1.9, USELESS),
        (float("inf"), USELESS),
    ],
)
def test_a_model_is_compared_in_words(ours, said):
    assert compared(beside(ours)) == said


def test_a_useless_model_beside_no_better_baseline_is_compared_with_the_mean_pose_alone():
    mean, retrieval, *_ = beside(1.9)
    worse = Baseline(retrieval.peer, figures(float("inf")), retrieval.ours, 40)
    assert compared([mean, worse]) == (
        f"no better than always answering the {MEAN}: train longer, or see docs/troubleshooting.md"
    )


def test_the_verdict_has_all_tasks():
    metrics = {
        "localization": figures(0.02),
        "odometry": {"rpe_translation_m": 0.0036, "rpe_rotation_deg": 0.04},
        "segmentation": {"mean_iou": 0.826},
    }
    assert verdict(metrics, []) == (
        "pose 0.020 m, 1.0 deg (median of 40 images); odometry 0.0036 m, 0.04 deg an image; masks 83 % mean IoU"
    )
    assert verdict({"localization": figures(float("inf"), failed=30)}, []) == "30 of 40 images got no pose"
