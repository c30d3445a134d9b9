"""Peers that match images to a map of the place: Active Search and SCoRe forests, and what they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from boards_scene import K_33, pose_at

from vlocnetpp.data import open_dataset
from vlocnetpp.data.frames import Frame
from vlocnetpp.data.registration import DepthCameraConfig, register_depth
from vlocnetpp.data.world import render_world
from vlocnetpp.metrics import localization_metrics, pose_errors
from vlocnetpp.peers import active_search, map_points, run_peer, score_forest
from vlocnetpp.peers.active_search import ACTIVE_SEARCH
from vlocnetpp.peers.colour_camera import of_colour_camera, recorded_poses
from vlocnetpp.peers.orb_pnp import ORB_PNP
from vlocnetpp.peers.score_forest import SCORE_FOREST
from vlocnetpp.poses import relative, transform

pytestmark = pytest.mark.usefixtures("small_forest")


def unit(*rows: list[float]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_map_points_are_the_means_of_their_descriptors_by_word(monkeypatch):
    monkeypatch.setattr(active_search, "WORDS", 2)
    descriptors = unit([1, 0, 0], [1, 0.2, 0], [1, 0.1, 0], [0, 0, 1])
    points = np.array([[0.501, 0.5, 1.0], [0.503, 0.5, 1.0], [0.9, 0.5, 1.0], [0.502, 0.5, 1.0]])
    made = active_search.make_map(points, descriptors)
    assert len(made.points_N3) == 3, "the first two are one point, the last is of another word, the third elsewhere"
    merged = np.flatnonzero(np.isclose(made.points_N3[:, 0], 0.502) & (made.descriptors_ND[:, 0] > 0.5))
    mean = descriptors[:2].mean(axis=0)
    np.testing.assert_allclose(made.descriptors_ND[merged[0]], mean / np.linalg.norm(mean), atol=1e-6)
    assert made.first_W.tolist() in ([0, 1, 3], [0, 2, 3])
    assert active_search.make_map(np.empty((0, 3)), np.empty((0, 128), np.float32)) is None


def test_a_match_must_be_nearer_than_anything_elsewhere(monkeypatch):
    monkeypatch.setattr(active_search, "WORDS", 1)
    near, alike = unit([1, 0.05, 0], [1, 0.06, 0])
    made = active_search.make_map(np.array([[0, 0, 1.0], [0, 0.05, 1.0]]), np.stack([near, alike]))
    query = unit([1, 0.05, 0])[0]
    assert made.points_N3[active_search.to_map(made, query, 0)].tolist() == [0, 0, 1], "the same place twice is one"
    made = active_search.make_map(np.array([[0, 0, 1.0], [0, 2, 1.0]]), np.stack([near, unit([1, 0, 0])[0]]))
    assert active_search.to_map(made, unit([1, 0.025, 0])[0], 0) is None, "two places look alike"
    assert active_search.to_map(made, unit([0, 0, 1])[0], 0) is None, "nothing looks like it"


def test_rare_words_are_searched_first_and_the_search_ends_when_it_has_enough(boards, monkeypatch):
    train, test = boards
    monkeypatch.setattr(active_search, "WORDS", 32)
    found = [active_search.find_features(each.image()) for each in train]
    lifted = [map_points.lift(each, features.pixels_N2) for each, features in zip(train, found, strict=True)]
    points = np.concatenate([points[known] for points, known in lifted])
    descriptors = [each.descriptors_ND[known] for each, (_, known) in zip(found, lifted, strict=True)]
    made = active_search.make_map(points, np.concatenate(descriptors))
    asked: list[int] = []
    to_map = active_search.to_map
    monkeypatch.setattr(active_search, "to_map", lambda *given: asked.append(given[2]) or to_map(*given))
    features = active_search.find_features(test[0].image())
    point_P, keypoint_P = active_search.search(made, features)
    sizes = np.diff(made.first_W)[asked]
    assert (np.diff(sizes) >= 0).all() and sizes[0] < sizes[-1]
    assert 12 < len(point_P) == len(set(point_P)) == len(set(keypoint_P)) <= active_search.ENOUGH
    assert len(point_P) > 2 * len(asked) or len(point_P) > 50, "matching back finds more than was asked for"
    monkeypatch.setattr(active_search, "ENOUGH", 20)
    assert len(active_search.search(made, features)[0]) == 20


def test_preemptive_ransac_by_hand():
    rng = np.random.default_rng(3)
    pose = pose_at(0.4, -0.3, 0.2, 25, 5)
    camera = rng.uniform([-1, -1, 1], [1, 1, 4], (400, 3))
    truth = transform(pose, camera)
    predictions = np.stack([truth + rng.normal(0, 0.01, truth.shape), rng.uniform(-5, 5, truth.shape)], axis=1)
    predictions[:200, 0] = rng.uniform(-5, 5, (200, 3))
    metres, degrees = pose_errors([score_forest.preemptive_ransac(camera, predictions, rng)], [pose])
    assert metres[0] < 0.005 and degrees[0] < 0.1
    assert score_forest.preemptive_ransac(camera, rng.uniform(-50, 50, predictions.shape), rng) is None


def test_a_leaf_answers_with_its_densest_place():
    points = np.array([[0, 0, 0], [0.02, 0, 0], [0.04, 0, 0], [1, 0, 0], [5, 5, 5]], float)
    modes = score_forest.find_modes(np.array([3, 3, 3, 3, 7]), points)
    np.testing.assert_allclose(modes.points_L3[modes.row_of_node[[3, 7]]], [[0.02, 0, 0], [5, 5, 5]], atol=1e-6)


def test_a_forest_answers_no_image_without_depth(boards):
    train, test = boards
    found = run_peer(SCORE_FOREST, train, [replace(test[0], depth_path=None), test[0]]).pose_N7
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Some frames of the rendered room."""
    root = tmp_path_factory.mktemp("rendered") / "room"
    render_world(root, "suite/room", width=320, height=240, frames_scale=0.08, jobs=1)
    return open_dataset(root)


@pytest.mark.parametrize(
    ("peer", "metre", "degree"),
    [(ORB_PNP, 0.04, 1), (ACTIVE_SEARCH, 0.03, 0.7), (SCORE_FOREST, 0.06, 2)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_structure_in_the_rendered_room(peer, metre, degree, room, monkeypatch):
    monkeypatch.setattr(score_forest, "TRAINING_PIXELS", 100_000)
    train, test = room.frames("train"), room.frames("test")[::2]
    found = localization_metrics(run_peer(peer, train, test).pose_N7, [each.pose_7 for each in test])
    assert found["failed"] == 0
    assert found["median_translation_m"] < metre
    assert found["median_rotation_deg"] < degree


# --- depth that is not registered -------------------------------------------------------------------------------------


def test_peers_get_the_colour_camera_where_depth_is_of_another(boards):
    """K, pose and depth of the colour camera from a recording that has those of the depth camera."""
    train, _ = boards
    camera = DepthCameraConfig(focal=1.1, offset_m=(-0.1, 0.02, 0.0))
    K_depth = K_33 * np.array([[1.1, 1, 1], [1, 1.1, 1], [1, 1, 1]])

    def recorded(each: Frame) -> Frame:
        """What is stored for a frame of the colour camera, but for its depth."""
        return replace(each, K_33=K_depth, pose_7=recorded_poses(each.pose_7[None], camera)[0])

    back = of_colour_camera(recorded(train[0]), camera)
    np.testing.assert_allclose(back.K_33, K_33)
    np.testing.assert_allclose(back.pose_7, train[0].pose_7, atol=1e-12)
    np.testing.assert_array_equal(back.depth(), register_depth(train[0].depth(), K_33, camera))
    assert not np.array_equal(back.depth(), train[0].depth())
    assert of_colour_camera(train[0], DepthCameraConfig()) is train[0]
    moved = relative(train[0].pose_7[None], recorded(train[0]).pose_7[None])[0]
    np.testing.assert_allclose(moved, [-0.1, 0.02, 0, 1, 0, 0, 0], atol=1e-12)
    assert np.isnan(recorded_poses(np.full((1, 7), np.nan), camera)).all()
