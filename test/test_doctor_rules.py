"""The doctor's rules on matches and poses, without any image."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from made_room import K_33, SIZE, pose_7
from scipy.spatial.transform import Rotation

from vlocnetpp.data import Frame, LabelClass
from vlocnetpp.data.doctor.conventions import _focal
from vlocnetpp.data.doctor.hypotheses import ALL, AXES, FORMS, QUATERNIONS, STORED, Hypothesis, fit_scale, judge, motion
from vlocnetpp.data.doctor.masks import check_masks, numbering_costs
from vlocnetpp.data.doctor.matches import Pair
from vlocnetpp.data.doctor.placing import Link, misplaced
from vlocnetpp.data.doctor.splits import nearest_poses
from vlocnetpp.data.doctor.surfaces import Fit
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.training import load_config


@given(st.lists(st.floats(-1, 1), min_size=7, max_size=7).filter(lambda v: np.linalg.norm(v[3:]) > 0.1))
@settings(max_examples=50, deadline=None)
def test_every_reading_is_a_rigid_transform(values):
    pose = np.array(values)
    pose[3:] /= np.linalg.norm(pose[3:])
    assert len(ALL) == len(QUATERNIONS) * len(FORMS) * len(AXES)
    for hypothesis in ALL:
        T = hypothesis.camera_to_world(pose)
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    expected = Rotation.from_quat(pose[[4, 5, 6, 3]]).as_matrix()
    np.testing.assert_allclose(STORED.camera_to_world(pose)[:3, :3], expected, atol=1e-9)
    inverse = next(form for form in FORMS if FORMS[form] == "inverse")
    product = STORED.camera_to_world(pose) @ Hypothesis(form=inverse).camera_to_world(pose)
    np.testing.assert_allclose(product, np.eye(4), atol=1e-9)


def test_depth_that_is_not_registered_is_remedied_by_settings_that_the_trainer_takes():
    """The Kinect of 7-Scenes: K of the depth camera, 585 pixels, fits the depth; colour has 525."""
    depth = Fit(1.0, 0.001, 1.0, 0.001, 1.0, 1.0)
    colour = replace(depth, focal=525 / 585, focal_gain=2.0)
    (finding,) = _focal({"depth": depth, "colour": colour}, 60, has_depth=True)
    assert (finding.severity, finding.kind) == ("warning", "registration")
    focal = re.search(r"--data\.depth_camera\.focal ([\d.]+) ", finding.do)
    example = re.search(r"'(\[[-\d., ]+\])' for a Kinect v1", finding.do)
    pixels = re.search(r"(\d+) of 640 pixels at 1 m, (\d+) at 3 m", finding.do)
    assert focal and example and pixels and "--data.depth_camera.offset_m '[x, y, z]'" in finding.do
    words = {"data.depth_camera.focal": focal[1], "data.depth_camera.offset_m": example[1], "data.root": "x"}
    camera = load_config(ROOT / "config/train/robot.yaml", words).data.depth_camera
    assert camera.focal == pytest.approx(585 / 525, abs=1e-3) and camera.offset_m == (-0.0255, 0.0, 0.0)
    assert [int(each) for each in pixels.groups()] == [round(525 * abs(camera.offset_m[0]) / z) for z in (1, 3)]

    (alone,) = _focal({"colour": colour}, 60, has_depth=False)
    assert (alone.severity, alone.kind) == ("error", "intrinsics")
    assert "--network.focal_correction 0.897 " in alone.do
    words = {"network.focal_correction": "0.897", "data.root": "x"}
    assert load_config(ROOT / "config/train/robot.yaml", words).network["focal_correction"] == 0.897


def made_pair(seed: int, scale: float = 1.0) -> Pair:
    """Random points seen from two poses whose translations are stored in a unit of `1 / scale` metres."""
    rng = np.random.default_rng(seed)
    first, second = np.eye(4), np.eye(4)
    second[:3, :3] = Rotation.from_rotvec(rng.uniform(-0.1, 0.1, 3)).as_matrix()
    second[:3, 3] = rng.uniform(-0.3, 0.3, 3)
    X1 = rng.uniform([-1, -1, 2], [1, 1, 5], (50, 3))
    X2 = (X1 - second[:3, 3]) @ second[:3, :3]
    x1, x2 = ((X @ K_33.T / X[:, 2:])[:, :2] for X in (X1, X2))
    frames = [
        Frame(str(i), i, Path("none"), K_33, pose_7(T) / ([scale] * 3 + [1] * 4)) for i, T in enumerate((first, second))
    ]
    return Pair(*frames, x1, x2, X1[:, 2], X2[:, 2], SIZE[1])


@given(st.integers(0, 1000), st.floats(-7, 7))
@settings(max_examples=30, deadline=None)
def test_scale_is_found_in_any_unit(seed, log_scale):
    pairs = [made_pair(seed + i, np.exp(log_scale)) for i in range(4)]
    assert fit_scale(pairs, [motion(pair) for pair in pairs]) == pytest.approx(np.exp(log_scale), rel=1e-6)


@pytest.mark.parametrize("depth", [True, False])
def test_the_stored_reading_wins_where_it_is_right(depth):
    pairs = [made_pair(seed) for seed in range(10)]
    if not depth:
        unknown = np.full(50, np.nan)
        pairs = [replace(pair, z1_N=unknown, z2_N=unknown) for pair in pairs]
    best, second = judge(pairs)[:2]
    assert best.hypothesis == STORED and best.error < 1e-6 < 1e-3 < second.error


@given(st.sets(st.integers(0, 29), max_size=3), st.integers(2, 6))
@settings(max_examples=50, deadline=None)
def test_exactly_the_misplaced_frames_are_named(wrong, gap):
    links = [
        Link(i, i + step, (i in wrong) == (i + step in wrong) == False)  # noqa: E712
        for step in (gap, 1)
        for i in range(30 - step)
    ]
    named = misplaced(links)
    assert set(named) <= wrong
    assert {i for i in wrong if gap <= i < 30 - gap} <= set(named)


def test_one_bad_link_proves_nothing():
    assert misplaced([Link(i, i + 1, i != 4) for i in range(10)]) == []


@given(st.integers(-1, 1))
def test_numbering_needs_known_classes_and_finds_the_shift(shift):
    names = ["Void", "Sky", "Building", "Tree", "Road", "Car", "Other"]
    share, height = np.zeros(255), np.full(255, np.nan)
    for i, (part, place) in enumerate([(0.17, 0.15), (0.23, 0.4), (0.1, 0.35), (0.3, 0.8), (0.04, 0.6)], start=1):
        share[i + shift], height[i + shift] = part, place
    costs = numbering_costs(share, height, names)
    assert min(costs, key=lambda key: costs[key]) == shift
    assert numbering_costs(share, height, ["a", "b", "c", "d"]) == {}


@pytest.mark.parametrize(
    ("heights", "severity", "kind", "says"),
    [
        ((0.12, 0.45, 0.5, 0.82), "info", "evidence", "by shift of the ids"),
        ((0.5, 0.5, 0.5, 0.5), "info", "cannot-tell", "ids moved by one fit about as well"),
        ((0.45, 0.5, 0.82, 0.12), "error", "mask-shift", "ids are 1 too low"),
    ],
)
def test_the_numbering_of_masks_is_right_wrong_or_cannot_be_judged(heights, severity, kind, says):
    names = ("ceiling", "wall", "person", "floor")
    pixels = np.zeros(256, np.int64)
    pixels[:4] = 1000
    rows = np.zeros(256)
    rows[:4] = 1000 * np.array(heights)
    frame = Frame("f", 0, Path("f.png"), K_33)
    examined = ExaminedFrame(frame, "train", "s", masked=True, mask_pixels=pixels, mask_rows=rows)
    dataset = SimpleNamespace(classes=[LabelClass(name, (0, 0, 0)) for name in names])
    findings = list(check_masks(SimpleNamespace(frames=[examined], dataset=dataset, splits=("train",))))
    assert [(each.severity, each.kind) for each in findings] == [(severity, kind)]
    assert says in findings[0].what


def test_nearest_pose_weighs_metres_and_degrees():
    train = np.array([[0.0, 0, 0, 1, 0, 0, 0], [1.0, 0, 0, 1, 0, 0, 0]])
    turned = pose_7(
        np.block([[Rotation.from_euler("y", 30, degrees=True).as_matrix(), np.zeros((3, 1))], [0, 0, 0, 1]])
    )
    metres, degrees, nearest = nearest_poses(train, np.array([[0.9, 0, 0, 1, 0, 0, 0], turned]))
    np.testing.assert_allclose(metres, [0.1, 0.0], atol=1e-9)
    np.testing.assert_allclose(degrees, [0, 30], atol=1e-5)
    assert nearest.tolist() == [1, 0]


def test_a_scale_is_not_what_one_pair_makes_of_it():
    """One motion of a hundred metres among twenty that agree weighs no more than a few of them."""
    pairs = [made_pair(seed, 0.5) for seed in range(20)]
    motions = [motion(pair) for pair in pairs]
    motions[3] = motions[3].copy()
    motions[3][:3, 3] *= 1000.0
    assert fit_scale(pairs, motions) == pytest.approx(fit_scale(pairs[4:], motions[4:]), rel=0.05)
