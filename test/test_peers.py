"""The peers on made-up frames with known answers, and on the real recording against its published figures."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from boards_scene import K_33, pose_at, write_frame
from conftest import real_data
from scipy.spatial.transform import Rotation

from benchmarks.odometry_bound import HalfAlignment
from vlocnetpp.data import open_dataset
from vlocnetpp.data.frames import DataError, Frame, Sequence
from vlocnetpp.data.pnp import solve_pnp
from vlocnetpp.metrics import localization_metrics, odometry_metrics, pose_errors
from vlocnetpp.network.blocks.alignment import DirectAlignment, grey_image
from vlocnetpp.peers import ODOMETRY_PEERS, PEERS, run_odometry_peer, run_peer
from vlocnetpp.peers.image_retrieval import affine_weights
from vlocnetpp.peers.orb_odometry import solve_motion
from vlocnetpp.peers.vlad import gather, learn_words
from vlocnetpp.poses import inverse, relative, rotate

pytestmark = pytest.mark.usefixtures("small_forest")

PEER = {peer.name: peer for peer in (*PEERS, *ODOMETRY_PEERS)}
BLACK = np.zeros((48, 64, 3), np.uint8)


def frame(name: str, pose_7, image_path=None, **more) -> Frame:
    pose = None if pose_7 is None else np.array(pose_7, float)
    return Frame(name=name, stamp_ns=0, image_path=image_path, K_33=np.eye(3), pose_7=pose, **more)


def yawed(x: float, degrees: float) -> list[float]:
    return [x, 0, 0, math.cos(math.radians(degrees) / 2), 0, 0, math.sin(math.radians(degrees) / 2)]


def answers(name: str, train, test) -> np.ndarray:
    """What a peer that looks at no image says."""
    place = PEER[name].build(train)
    return np.array([place.locate(each, BLACK, None) for each in test])


@pytest.fixture
def black(tmp_path):
    """The path of a black image."""
    cv2.imwrite(str(tmp_path / "black.png"), BLACK)
    return tmp_path / "black.png"


def test_mean_pose_by_hand():
    train = [
        frame("a", yawed(0, 10)),
        frame("b", yawed(2, 30)),
        frame("c", -np.array(yawed(4, 50)) * [-1, 1, 1, 1, 1, 1, 1]),
    ]
    estimate = answers("mean pose", train, [frame("t", None)] * 2)
    np.testing.assert_allclose(estimate, [yawed(2, 30)] * 2, atol=1e-12)
    assert PEER["mean pose"].build(train).map_bytes == 56


def test_mean_rotation_agrees_with_scipy():
    rng = np.random.default_rng(2)
    rotations = Rotation.random(9, random_state=rng)
    train = [frame(str(i), [0, 0, 0, *q[[3, 0, 1, 2]]]) for i, q in enumerate(rotations.as_quat())]
    expected = rotations.mean().as_quat()[[3, 0, 1, 2]]
    _, degrees = pose_errors(answers("mean pose", train, train[:1]), [[0, 0, 0, *expected]])
    assert degrees[0] < 1e-6


def test_the_oracle_weighs_metres_against_degrees():
    train = [frame("near but turned", yawed(0.0, 20)), frame("aligned but off", yawed(0.15, 0))]
    estimate = answers("nearest training pose", train, [frame("t", yawed(0, 0)), frame("u", yawed(0, 18))])
    np.testing.assert_allclose(estimate[:, 0], [0.15, 0.0])


def test_thumbnails_find_the_same_view_in_another_light(tmp_path, black):
    rng = np.random.default_rng(4)
    train, test = [], []
    for i in range(5):
        image = cv2.resize(rng.integers(0, 200, (6, 8, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
        darker = cv2.convertScaleAbs(np.roll(image, 1, axis=1), alpha=0.5, beta=30)
        for name, pixels, frames in (("train", image, train), ("test", darker, test)):
            path = tmp_path / f"{name}{i}.png"
            cv2.imwrite(str(path), pixels)
            frames.append(frame(f"{name}{i}", yawed(i, 0), path))
    estimate = run_peer(PEER["thumbnail retrieval"], train, test[::-1]).pose_N7
    np.testing.assert_array_equal(estimate[:, 0], [4, 3, 2, 1, 0])
    # A black image looks like nothing, but it is no reason to fail.
    assert np.isfinite(run_peer(PEER["thumbnail retrieval"], train, [frame("black", None, black)]).pose_N7).all()


# --- matching: a scene whose every pixel is known ---------------------------------------------------------------------

RETRIEVAL = [peer.name for peer in PEERS if peer.name.startswith("image retrieval")]
PNP, ACTIVE_SEARCH, FOREST = "ORB + depth map + PnP", "Active Search + PnP", "SCoRe forest"
STRUCTURE = [PNP, ACTIVE_SEARCH, FOREST]


def errors(peer: str, train, test):
    """Metres and degrees of a peer's answers."""
    return pose_errors(run_peer(PEER[peer], train, test).pose_N7, [each.pose_7 for each in test])


def test_retrieval_names_the_nearest_views(boards):
    metres, _ = errors(RETRIEVAL[0], *boards)
    assert metres.max() < 0.25, "training frames are 0.25 m apart"
    assert (metres < errors("mean pose", *boards)[0]).all()


def test_interpolation_is_better_than_the_mean(boards):
    # Nine images are few to whiten with: weights overshoot, and a mixture may be worse than the best single image.
    metres, _ = errors(RETRIEVAL[1], *boards)
    assert np.median(metres) < 0.3 < np.median(errors("mean pose", *boards)[0])


def test_retrieval_answers_with_one_pose_or_with_a_mixture(boards):
    train, test = boards
    poses = np.array([each.pose_7 for each in train])
    top, mixture = (run_peer(PEER[peer], train, test).pose_N7 for peer in RETRIEVAL)
    assert all((poses == pose).all(axis=1).any() for pose in top)
    assert not any((poses == pose).all(axis=1).any() for pose in mixture)


@pytest.mark.parametrize(("peer", "metre", "degree"), [(PNP, 0.05, 0.7), (ACTIVE_SEARCH, 0.05, 0.7), (FOREST, 0.1, 2)])
def test_structure_is_all_but_exact(peer, metre, degree, boards):
    metres, degrees = errors(peer, *boards)
    assert metres.max() < metre
    assert degrees.max() < degree


@pytest.mark.parametrize("peer", [*RETRIEVAL, *STRUCTURE])
def test_a_map_of_one_frame(peer, boards):
    train, test = boards
    metres, _ = errors(peer, train[:1], test[:1])
    assert metres[0] < (0.06 if peer in (PNP, ACTIVE_SEARCH) else 0.2)


@pytest.mark.parametrize("peer", [*RETRIEVAL, PNP, ACTIVE_SEARCH])
def test_images_without_texture_are_left_out_of_the_map_and_not_answered(peer, boards, black):
    train, test = boards
    blank = [frame("blank", yawed(9, 0), black, depth_path=train[0].depth_path), *train]
    found = run_peer(PEER[peer], blank, [*test, frame("t", yawed(0, 0), black)])
    assert np.isfinite(found.pose_N7[:-1]).all()
    assert (np.abs(found.pose_N7[:-1, 0]) < 2).all()
    assert np.isnan(found.pose_N7[-1]).all()
    assert np.isnan(run_peer(PEER[peer], blank[:1], test).pose_N7).all()


@pytest.mark.parametrize("peer", [*RETRIEVAL, *STRUCTURE])
def test_answers_are_the_same_whatever_random_numbers_came_before(peer, boards):
    train, test = boards
    first = run_peer(PEER[peer], train, test)
    cv2.setRNGSeed(77)
    cv2.randu(np.zeros(9), 0, 1)
    again = run_peer(PEER[peer], train, test)
    np.testing.assert_array_equal(first.pose_N7, again.pose_N7)
    assert first.map_bytes == again.map_bytes > run_peer(PEER[peer], train[:2], []).map_bytes


def test_pnp_maps_only_frames_with_depth_and_takes_a_smaller_depth_image(boards, tmp_path):
    train, test = boards
    without = [replace(each, depth_path=None, pose_7=each.pose_7 + [5, 0, 0, 0, 0, 0, 0]) for each in train[1:]]
    assert errors(PNP, [train[0], *without], test[:1])[0][0] < 0.06
    half = cv2.resize(cv2.imread(str(train[0].depth_path), -1), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(tmp_path / "half.png"), half)
    assert errors(PNP, [replace(train[0], depth_path=tmp_path / "half.png")], test[:1])[0][0] < 0.06


def seen_from(pose_7, points_N3):
    """Pixels (N, 2) of map points."""
    back = inverse(pose_7[None])[0]
    camera = rotate(np.tile(back[3:], (len(points_N3), 1)), points_N3) + back[:3]
    return camera[:, :2] / camera[:, 2:] * 200 + K_33[:2, 2]


POINTS_N3 = np.random.default_rng(5).uniform([-2, -1, 3], [2, 1, 6], (60, 3))


def test_pnp_by_hand():
    pose = pose_at(0.3, -0.2, 0.5, 20, 10)
    pixels = seen_from(pose, POINTS_N3)
    pixels[:15] += 40
    found, inlier_N = solve_pnp(POINTS_N3, pixels, K_33, fewest=12)
    np.testing.assert_allclose(found, pose, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(~inlier_N), np.arange(15))
    assert solve_pnp(POINTS_N3[15:26], pixels[15:26], K_33, fewest=12) is None, "eleven are too few"
    noise = np.random.default_rng(6).uniform(0, 200, pixels.shape)
    assert solve_pnp(POINTS_N3, noise, K_33, fewest=12) is None


def test_the_essential_matrix_by_hand():
    first, second = pose_at(0.3, 0, 0, 20), pose_at(0.5, 0.1, 0.3, 26, 3)
    before, here = seen_from(first, POINTS_N3), seen_from(second, POINTS_N3)
    truth = relative(first[None], second[None])[0]
    metres = float(np.linalg.norm(truth[:3]))
    np.testing.assert_allclose(solve_motion(before, here, K_33, metres), truth, atol=1e-3)
    np.testing.assert_array_equal(solve_motion(before, before + 0.1, K_33, 0.0), [0, 0, 0, 1, 0, 0, 0])
    assert solve_motion(before[:11], here[:11], K_33, metres) is None


def test_the_essential_matrix_on_images(tmp_path, black):
    poses = [pose_at(0, 0, 0), pose_at(0.2, 0, 0.05, 2), pose_at(0.2, 0, 0.05, 2), pose_at(0.4, 0.1, 0.1, 3, 1)]
    frames = [write_frame(tmp_path, f"f{i}", pose) for i, pose in enumerate(poses)]
    frames += [frame("black", poses[-1], black), *frames[-2:]]
    motion, valid, _ = run_odometry_peer(PEER["ORB essential matrix"], [Sequence("s", tuple(frames))])
    np.testing.assert_array_equal(valid, [0, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(motion[2], [0, 0, 0, 1, 0, 0, 0])
    assert np.isnan(motion[4:6]).all(), "nothing matches a black image"
    truth = relative(np.array(poses[:-1]), np.array(poses[1:]))
    metres, degrees = pose_errors(motion[[1, 3]], truth[[0, 2]])
    lengths = np.linalg.norm(truth[[0, 2], :3], axis=1)
    np.testing.assert_allclose(np.linalg.norm(motion[[1, 3], :3], axis=1), lengths, atol=1e-6)
    assert (metres < 0.3 * lengths).all()
    assert degrees.max() < 1
    np.testing.assert_array_equal(motion[6], motion[3])


def test_direct_alignment_is_metric_and_needs_depth(tmp_path):
    poses = [pose_at(0, 0, 0), pose_at(0.03, 0, 0.02, 0.5), pose_at(0.05, 0.01, 0.06, 0.2, 0.4), pose_at(0.08, 0, 0.06)]
    frames = [write_frame(tmp_path, f"f{i}", pose) for i, pose in enumerate(poses)]
    frames.append(replace(frames[-1], depth_path=None))
    peer = PEER["direct alignment, depth camera"]
    motion, valid, _ = run_odometry_peer(peer, [Sequence("s", tuple(frames))])
    np.testing.assert_array_equal(valid, [0, 1, 1, 1, 1])
    truth = relative(np.array(poses[:-1]), np.array(poses[1:]))
    metres, degrees = pose_errors(motion[1:4], truth)
    assert (metres < 0.2 * np.linalg.norm(truth[:, :3], axis=1)).all()
    assert degrees.max() < 0.1
    assert np.isnan(motion[4]).all(), "the last frame has no depth"


def test_the_halves_of_the_odometry_bound_share_no_pixel_and_leave_none_out(tmp_path):
    frame = write_frame(tmp_path, "f", pose_at(0, 0, 0))
    grey = grey_image(torch.from_numpy(frame.image()).permute(2, 0, 1)[None].float())
    geometry = torch.ones(1, 3, 15, 20)
    whole, *halves = (
        align.choose_pixels(grey, geometry, torch.from_numpy(K_33)[None].float(), 1, 3).known_BN
        for align in (DirectAlignment(), HalfAlignment(0), HalfAlignment(1))
    )
    torch.testing.assert_close(halves[0] + halves[1], whole)
    assert all(0.4 < float(half.mean()) < 0.6 for half in halves)


def test_vlad_by_hand():
    words = np.array([[0, 0], [10, 0], [0, 50]], np.float32)
    found = gather(np.array([[3, 0], [0, 4], [10, 2]], np.float32), words)
    np.testing.assert_allclose(found, np.array([0.6, 0.8, 0, 1, 0, 0]) / math.sqrt(2), atol=1e-6)
    assert learn_words(np.empty((0, 2), np.float32)).shape == (0, 2)
    np.testing.assert_allclose(sorted(learn_words(words).tolist()), sorted(words.tolist()))


def test_interpolation_weights_by_hand():
    known = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(affine_weights(known, np.float32([0.75, 0.25, 0])), [0.75, 0.25, 0], atol=0.02)
    np.testing.assert_allclose(affine_weights(known[[0, 0]], known[0]), [0.5, 0.5])
    np.testing.assert_allclose(affine_weights(known[:1], known[1]), [1])


def test_tables():
    assert len({peer.name for peer in (*PEERS, *ODOMETRY_PEERS)}) == len(PEERS) + len(ODOMETRY_PEERS)
    assert [peer.name for peer in PEERS if peer.oracle] == ["nearest training pose"]
    assert [peer.name for peer in ODOMETRY_PEERS if peer.oracle] == ["ORB essential matrix", "constant velocity"]
    assert all("ground truth" in peer.note for peer in (*PEERS, *ODOMETRY_PEERS) if peer.oracle)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_only_oracles_look_at_the_ground_truth(peer, black):
    depth = black.with_name("depth.png")
    cv2.imwrite(str(depth), np.zeros(BLACK.shape[:2], np.uint16))
    train, test = [frame("a", yawed(0, 0), black, depth_path=depth)], [frame("t", None, black)]
    if peer.oracle:
        with pytest.raises(DataError, match="t: has no ground-truth pose"):
            run_peer(peer, train, test)
    else:
        found = run_peer(peer, train, test)
        assert found.pose_N7.shape == (1, 7)
        assert found.latency_ms_N[0] > 0
        assert found.build_s > 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_nothing_to_compare(peer, black):
    with pytest.raises(DataError, match="no training frame"):
        run_peer(peer, [], [frame("t", yawed(0, 0), black)])
    with pytest.raises(DataError, match="a: has no ground-truth pose"):
        run_peer(peer, [frame("a", None, black)], [])
    for need in peer.needs:
        with pytest.raises(DataError, match=f"needs {need}, and no training frame has it"):
            run_peer(peer, [frame("a", yawed(0, 0), black)], [])


@pytest.mark.parametrize(
    ("peer", "metres", "degrees"), [("nearest training pose", 0.135, 7.4), ("thumbnail retrieval", 0.17, 6.5)]
)
def test_figures_on_the_real_recording(peer, metres, degrees):
    """Measured independently of this code; thumbnails differ in their details, so the tolerance is that of a peer."""
    dataset = open_dataset(real_data("redkitchen"))
    train, test = dataset.frames("train"), dataset.frames("test")
    score = localization_metrics(run_peer(PEER[peer], train, test).pose_N7, [each.pose_7 for each in test])
    assert score["frames"] == 120
    assert score["median_translation_m"] == pytest.approx(metres, abs=0.015)
    assert score["median_rotation_deg"] == pytest.approx(degrees, abs=1.0)


def test_pnp_on_the_real_recording():
    """An eighth of the map and some of the test frames; the whole is 0.030 m, 1.06 deg."""
    dataset = open_dataset(real_data("redkitchen"))
    metres, degrees = errors(PNP, dataset.frames("train")[::8], dataset.frames("test")[::12])
    assert np.median(metres) < 0.06
    assert np.median(degrees) < 2


def test_constant_velocity_and_no_motion_by_hand(black):
    poses = [yawed(0, 0), yawed(1, 0), yawed(2, 10), yawed(2, 10)]
    sequences = [
        Sequence("a", tuple(frame(f"a{i}", pose, black) for i, pose in enumerate(poses))),
        Sequence("b", tuple(frame(f"b{i}", pose, black) for i, pose in enumerate([yawed(0, 0), None, *poses[:3]]))),
    ]
    still, valid, times = run_odometry_peer(PEER["no motion"], sequences)
    np.testing.assert_array_equal(valid, [0, 1, 1, 1, 0, 0, 0, 1, 1])
    assert times.shape == (9,)
    np.testing.assert_array_equal(still[valid], np.tile([0, 0, 0, 1, 0, 0, 0], (5, 1)))
    assert np.isnan(still[~valid]).all()
    repeated, valid, _ = run_odometry_peer(PEER["constant velocity"], sequences)
    step = yawed(1, 0)
    expected = [yawed(0, 0), step, relative(np.array([poses[1]]), np.array([poses[2]]))[0], yawed(0, 0), step]
    np.testing.assert_allclose(repeated[valid], expected, atol=1e-12)
    truth = [each.pose_7 for each in sequences[0].frames]
    assert odometry_metrics(repeated[:4], truth, valid[:4])["frames"] == 3
    assert [part.shape for part in run_odometry_peer(PEER["no motion"], [])] == [(0, 7), (0,), (0,)]
