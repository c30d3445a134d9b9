"""The gate: what is withheld, when the node is lost, and how it comes back."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, real_data
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gate import blocks, decide, recording, replacements
from vlocnetpp.runtime import Estimate
from vlocnetpp_ros.calibration import UNCALIBRATED, file_limits
from vlocnetpp_ros.gate import Gate, Limits

LIMITS = Limits(
    uncertainty_m=1.0,
    uncertainty_rad=0.3,
    disagreement=3.0,
    margin_m=1.0,
    lose_after=3,
    regain_after=4,
    relocalize_after=9,
)
BOUNDS = ((-5.0, -5.0, 0.0), (5.0, 5.0, 2.0))


def estimate(
    x: float, moved: float | None = 0.1, sigma: tuple[float, float] = (0.2, 0.05), stamp_s: float = 0.0
) -> Estimate:
    """A camera at `x` that came `moved` metres along x by the odometry; None is a cold start."""
    relative = None if moved is None else np.array([moved, 0, 0, 1.0, 0, 0, 0])
    pose = np.array([x, 0, 1.0, 1.0, 0, 0, 0])
    interval_s = None if moved is None else 0.1
    return Estimate(round(stamp_s * 1e9), pose, relative, interval_s, np.array(sigma), None, (48, 64), None)


def test_a_steady_drive_is_published() -> None:
    gate = Gate(LIMITS, BOUNDS)
    verdicts = [gate.judge(estimate(0.1 * i, None if i == 0 else 0.1)) for i in range(30)]
    assert all(verdict.publish and verdict.localized and not verdict.reason for verdict in verdicts)


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (estimate(0.1, sigma=(1.2, 0.05)), "uncertain", "1.20 m is over 1.00 m"),
        (estimate(0.1, sigma=(0.2, 0.4)), "uncertain", "deg"),
        (estimate(6.5, 6.5), "outside the map", "1.50 m outside"),
        (estimate(2.0), "disagrees with odometry", "1.90 m from"),
    ],
)
def test_a_bad_pose_is_withheld_with_figures_and_the_next_good_one_published(
    bad: Estimate, kind: str, says: str
) -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    verdict = gate.judge(bad)
    assert not verdict.publish
    assert verdict.localized, "one bad pose is not the end"
    assert verdict.kind == kind
    assert says in verdict.reason
    moved = 0.1 if bad.relative_7[0] < 1 else -6.3
    assert gate.judge(estimate(0.2, moved)).publish, "held against the last good pose, carried by the odometry"


def test_a_kidnapped_camera_is_lost_and_found_at_its_new_place() -> None:
    gate = Gate(LIMITS, BOUNDS)
    for i in range(5):
        assert gate.judge(estimate(0.1 * i, None if i == 0 else 0.1)).publish
    after = [gate.judge(estimate(4.0 + 0.01 * i, 0.01)) for i in range(16)]
    lost = LIMITS.lose_after + LIMITS.relocalize_after - 1
    assert [verdict.publish for verdict in after] == [False] * lost + [True] * (16 - lost)
    assert [verdict.localized for verdict in after] == [True] * 2 + [False] * (lost - 2) + [True] * (16 - lost)
    assert after[0].kind == "disagrees with odometry"
    assert after[4].reason == "localizing again, 2 of 9"


def test_a_camera_that_is_found_where_the_odometry_leads_needs_fewer_poses() -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    for i in range(10):  # wrong, and each elsewhere, while the camera goes on
        assert not gate.judge(estimate(3.0 * (i % 2) + 3.0, 0.1)).publish
    back = [gate.judge(estimate(1.0 + 0.1 * i, 0.1)).publish for i in range(1, 8)]
    # The first is still held against the wrong one before it.
    assert back == [False] * LIMITS.regain_after + [True] * (7 - LIMITS.regain_after)


def test_wrong_poses_that_agree_with_each_other_do_not_bring_trust_back_where_the_odometry_says_otherwise() -> None:
    gate = Gate(LIMITS, BOUNDS)
    for i in range(5):
        assert gate.judge(estimate(0.1 * i, None if i == 0 else 0.1)).publish
    # The network answers one and the same place while the odometry drives past it.
    stuck = [gate.judge(estimate(-3.0, 0.4)) for _ in range(60)]
    assert not any(verdict.publish for verdict in stuck)
    assert not stuck[-1].localized


def test_without_odometry_between_them_poses_confirm_each_other_only_by_number() -> None:
    """A camera of one image a second, or a model without odometry, is found too, later."""
    gate = Gate(LIMITS, BOUNDS)
    for _ in range(LIMITS.lose_after):
        gate.judge(estimate(0.0, None, sigma=(2.0, 0.05)))
    published = [gate.judge(estimate(0.0, None)).publish for _ in range(12)]
    assert published == [False] * (LIMITS.relocalize_after - 1) + [True] * (13 - LIMITS.relocalize_after)


def test_images_of_no_use_lose_the_camera_and_the_odometry_past_them_confirms_it() -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    rejected = [gate.reject("no contrast", "black") for _ in range(4)]
    assert [verdict.localized for verdict in rejected] == [True, True, False, False]
    assert {verdict.kind for verdict in rejected} == {"no contrast"}
    # The first image after them has its motion since the last good one.
    after = [gate.judge(estimate(0.5 + 0.1 * i, 0.5 if i == 0 else 0.1)).publish for i in range(5)]
    assert after == [True] * 5, "no pose was wrong"
    for _ in range(4):
        gate.reject("no contrast", "black")
    elsewhere = [gate.judge(estimate(4.0, 0.5 if i == 0 else 0.0)).publish for i in range(12)]
    assert elsewhere == [False] * (LIMITS.relocalize_after - 1) + [True] * (13 - LIMITS.relocalize_after)


@pytest.mark.parametrize(
    ("seconds", "x", "needed"),
    [
        (1.0, 1.4, LIMITS.regain_after),  # 1.5 m/s
        (1.0, -1.4, LIMITS.regain_after),
        (1.0, 3.5, LIMITS.relocalize_after),  # too far for one second
        (6.0, 1.4, LIMITS.relocalize_after),  # it may be anywhere in this map
    ],
)
def test_past_images_that_the_network_cannot_read_the_camera_comes_as_far_as_its_speed_allows(
    seconds: float, x: float, needed: int
) -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    for i in range(1, 11):  # and their odometry leads elsewhere
        verdict = gate.judge(estimate(0.5, 0.7, sigma=(9.0, 0.05), stamp_s=seconds * i / 11))
        assert verdict.kind == "uncertain"
    back = [gate.judge(estimate(x, 0.7 if i == 0 else 0.0, stamp_s=seconds)).publish for i in range(needed)]
    assert back == [False] * (needed - 1) + [True]


def test_an_image_unlike_the_training_images_is_withheld() -> None:
    gate = Gate(replace(LIMITS, novelty=2.0), BOUNDS)
    assert gate.judge(replace(estimate(0.0, None), novelty=1.9)).publish
    verdict = gate.judge(replace(estimate(0.1), novelty=2.5))
    assert (verdict.kind, verdict.publish) == ("unlike the training images", False)
    assert "2.50 is over 2.00" in verdict.reason
    assert gate.judge(estimate(0.2)).publish, "a model that does not say is not held to it"


def test_before_the_first_trusted_pose_it_is_not_localized() -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert not gate.judge(estimate(0.0, None, sigma=(2.0, 0.05))).localized
    assert gate.judge(estimate(0.0, 0.0)).localized
    assert gate.judge(estimate(0.0, 0.0, sigma=(2.0, 0.05))).localized, "one bad pose is not the end"
    gate.forget()
    assert not gate.judge(estimate(0.0, None, sigma=(2.0, 0.05))).localized


def test_limits_are_tighter_while_lost() -> None:
    gate = Gate(LIMITS, BOUNDS)
    for _ in range(LIMITS.lose_after):
        gate.judge(estimate(0.0, 0.0, sigma=(1.1, 0.05)))
    borderline = [gate.judge(estimate(0.0, 0.0, sigma=(0.9, 0.05))) for _ in range(10)]
    assert not any(verdict.publish or verdict.localized for verdict in borderline)
    good = [gate.judge(estimate(0.0, 0.0, sigma=(0.7, 0.05))) for _ in range(LIMITS.relocalize_after)]
    assert [verdict.publish for verdict in good] == [False] * (LIMITS.relocalize_after - 1) + [True]


def test_every_limit_can_be_switched_off_and_unknown_bounds_hold_nothing_back() -> None:
    gate = Gate(Limits(0, 0, 0, -1, 3, 4), BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    assert gate.judge(estimate(900.0, sigma=(50.0, 3.0))).publish
    assert Gate(LIMITS, ((), ())).judge(estimate(900.0, None)).publish


def test_after_a_cold_start_the_odometry_is_silent_and_the_rest_is_judged() -> None:
    gate = Gate(LIMITS, BOUNDS)
    assert gate.judge(estimate(0.0, None)).publish
    assert gate.judge(estimate(4.0, None)).publish, "after a gap the camera may be anywhere"
    assert not gate.judge(estimate(4.0, None, sigma=(2.0, 0.1))).publish


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(-1, 1), st.floats(0.01, 2.0)), min_size=1, max_size=40))
def test_a_published_pose_keeps_every_limit_and_a_lost_node_publishes_nothing(steps: list) -> None:
    gate = Gate(LIMITS, BOUNDS)
    for x, moved, sigma in steps:
        verdict = gate.judge(estimate(x, moved, sigma=(sigma, 0.05)))
        assert verdict.publish == (not verdict.reason)
        if verdict.publish:
            assert verdict.localized
            assert sigma <= LIMITS.uncertainty_m
            assert abs(x) <= 6.0


# The whole decision, on the bundled recording: the check of the image, the bundled model, the gate. A long version with
# its figures is benchmarks/gate.py.


@pytest.fixture(scope="module")
def drive() -> tuple:
    """The first part of the demo's recording."""
    source, pictures, K_33 = recording(ROOT / "models/demo_bag")
    return source, pictures[:80], K_33


def published(drive: tuple, pictures: list) -> list[bool]:
    source, _, K_33 = drive
    return [outcome.published for outcome in decide(ROOT / "models/demo.ts", source, pictures, K_33, {})]


def with_replaced(drive: tuple, name: str, others: list) -> tuple[list[bool], range]:
    """Whether each image's pose is published where the middle thirty are replaced, and which those are."""
    _, pictures, _ = drive
    (replaced,) = blocks(len(pictures), 1, 30)
    height, width = pictures[0].shape[:2]
    replace = next(each for key, each in replacements(others, (width, height)).items() if name in key)
    changed = list(pictures)
    for number, i in enumerate(replaced):
        changed[i] = replace(number, pictures[i])
    return published(drive, changed), replaced


def test_of_the_recording_as_it_is_no_pose_is_withheld(drive: tuple) -> None:
    assert sum(published(drive, drive[1])) >= 0.98 * len(drive[1])


@pytest.mark.parametrize("name", ["black", "white", "grey", "noise", "frozen", "inverted"])
def test_no_pose_of_an_image_that_shows_nothing_and_the_way_back_is_short(drive: tuple, name: str) -> None:
    answered, replaced = with_replaced(drive, name, [])
    # Of a frozen camera the first images are as good as any.
    assert sum(answered[i] for i in replaced) <= (2 if name == "frozen" else 0)
    assert answered[replaced.stop :].index(True) <= 3, "a bounded number of images to be localized again"
    assert all(answered[: replaced.start])


def test_no_pose_of_a_kitchen(drive: tuple) -> None:
    answered, replaced = with_replaced(drive, "redkitchen", [real_data("redkitchen")])
    assert not any(answered[i] for i in replaced)
    assert answered[replaced.stop :].index(True) <= 3


@pytest.mark.parametrize(
    ("validation", "limits", "expected", "origin"),
    [
        ('{"odometry": {"translation_percent": null}}', {"novelty": 2.0}, {"novelty": 2.0}, "in the model file"),
        (
            '{"odometry": {"translation_percent": 5.0}}',
            {"novelty": 2.0},
            {"drift": 0.05, "novelty": 2.0},
            "in the model",
        ),
        ('{"localization": {"p95_translation_m": null, "p95_rotation_deg": 2.0}}', {}, UNCALIBRATED, "a guess"),
        (
            '{"localization": {"p95_translation_m": 0.5, "p95_rotation_deg": 180.0}}',
            {},
            {"uncertainty_m": 0.5, "uncertainty_rad": pytest.approx(np.pi)},
            "validation",
        ),
    ],
)
def test_limits_of_a_file_whose_validation_could_not_measure_everything(validation, limits, expected, origin) -> None:
    found, said = file_limits(SimpleNamespace(metrics={"validation": json.loads(validation)}, limits=limits))
    assert found == expected and origin in said
