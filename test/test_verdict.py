"""What an evaluation says in words: better or worse than which baseline, by how much, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wall_dataset import write_wall

from vlocnetpp.data import open_dataset
from vlocnetpp.data.registration import REGISTERED, DepthCameraConfig
from vlocnetpp.evaluation import baselines
from vlocnetpp.evaluation.baselines import Baseline, compared, run_baselines, verdict
from vlocnetpp.evaluation.evaluate import depth_camera
from vlocnetpp.peers import MEAN_POSE, NEAREST_TRAINING_POSE, ORB_PNP, THUMBNAIL_RETRIEVAL, Peer, PeerMap
from vlocnetpp.runtime import read_metadata

DEMO = Path(__file__).resolve().parent.parent / "models/demo.ts"


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


def test_a_baseline_that_is_exact_is_no_error():
    mean, retrieval, *_ = beside(0.1)
    exact = Baseline(retrieval.peer, figures(0.0), retrieval.ours, 40)
    said = f"20.0 times nearer than {MEAN}, farther off than thumbnail retrieval (0.000 m, 1.0 deg)"
    assert compared([mean, exact]) == f"{said}: train longer, or see docs/choosing.md"


def test_orb_gets_the_colour_camera_of_the_recordings_that_the_model_was_trained_on(tmp_path, monkeypatch):
    """In its place a peer that repeats the pose that it is given: exact, wherever the depth camera is."""
    dataset, given = open_dataset(write_wall(tmp_path / "wall", {"train": 3, "test": 4}, masks=False)), []

    def build(train_frames):
        given.extend(train_frames)
        return PeerMap(lambda frame, image_HW3, depth_HW: frame.pose_7, 0)

    monkeypatch.setattr(baselines, "ORB_PNP", Peer("repeats the truth", build, "", oracle=True))
    camera = DepthCameraConfig(focal=1.1143, offset_m=(-0.0255, 0.0, 0.0))
    poses_N7 = np.tile([0.0, 0, 0, 1, 0, 0, 0], (len(dataset.frames("test")), 1))
    found = run_baselines(dataset, "test", poses_N7, camera)
    (repeated,) = (each for each in found if each.name.startswith("repeats"))
    assert repeated.figures["p95_translation_m"] < 1e-9
    assert [frame.depth_camera for frame in given] == [camera] * len(dataset.frames("train"))
    assert given[0].K_33[0, 0] == pytest.approx(dataset.frames("train")[0].K_33[0, 0] / 1.1143)


def test_the_depth_camera_of_a_model_is_that_of_its_training():
    metadata = read_metadata(DEMO)
    assert depth_camera(metadata) == REGISTERED
    scene = {"focal_correction": 1 / 1.1143, "recorded_camera": [-0.0255, 0.0, 0.0]}
    found = depth_camera(replace(metadata, network={"scene": scene}))
    assert found.focal == pytest.approx(1.1143) and found.offset_m == (-0.0255, 0.0, 0.0)


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
