"""New views against scenes whose every view is known exactly, and against real neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlocnetpp.data import VOID, open_dataset
from vlocnetpp.data.new_views import ViewConfig, move_clip, move_view, turn_view
from vlocnetpp.geometry import compose, inverse, relative, rotation_angle

HEIGHT, WIDTH = 60, 80
K_33 = np.array([[75.0, 0, 40.5], [0, 78.0, 29.0], [0, 0, 1]])
NORMAL = np.array([0.3, -0.2, 1.0])
"""The wall is slanted: NORMAL @ X = OFFSET, in the camera frame at the identity."""
OFFSET = 2.5
NO_MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
IDENTITY = np.array([0.0, 0, 0, 1, 0, 0, 0])


def pose_of(position, rotvec_deg) -> np.ndarray:
    return np.concatenate((position, np.roll(Rotation.from_rotvec(rotvec_deg, degrees=True).as_quat(), 1)))


def see_wall(pose_7, normal=NORMAL) -> tuple[np.ndarray, np.ndarray]:
    """Image and depth of the slanted wall, by ray casting, independent of the code under test."""
    R = Rotation.from_quat(np.roll(pose_7[3:], -1)).as_matrix()
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack(((x - K_33[0, 2]) / K_33[0, 0], (y - K_33[1, 2]) / K_33[1, 1], np.ones_like(x)), -1) @ R.T
    depth_HW = (OFFSET - normal @ pose_7[:3]) / (rays @ normal)
    points = pose_7[:3] + rays * depth_HW[..., None]
    waves = [np.sin(points @ np.array(w)) for w in ([5.0, 1, 0], [0, 4, 1], [3, -3, 2])]
    return (127 + 100 * np.stack(waves, -1)).astype(np.float32), depth_HW.astype(np.float32)


def clip_of(depth_L1HW=None, posed=1.0, length=3):
    """A clip along the wall."""
    poses = np.stack([pose_of([0.03 * i, 0.01 * i, 0], [0, i, 0]) for i in range(length)])
    seen = [see_wall(pose) for pose in poses]
    if depth_L1HW is None:
        depth_L1HW = torch.from_numpy(np.stack([depth for _, depth in seen]))[:, None]
    return (
        torch.from_numpy(np.stack([image for image, _ in seen])).permute(0, 3, 1, 2),
        depth_L1HW,
        (torch.arange(WIDTH) // 20).to(torch.uint8).expand(length, HEIGHT, WIDTH),
        torch.from_numpy(K_33).float().expand(length, 3, 3),
        torch.from_numpy(poses),
        torch.full((length,), posed),
    )


small = st.floats(-0.12, 0.12, allow_nan=False)
turns = st.floats(-4, 4, allow_nan=False)
motions = st.builds(lambda x, y, z, a, b, c: pose_of([x, y, z], [a, b, c]), small, small, small, turns, turns, turns)


@settings(deadline=None, max_examples=25)
@given(motions)
def test_a_slanted_wall_looks_as_it_does_from_there(motion_7):
    image_HW3, depth_HW = see_wall(IDENTITY)
    there_HW3, depth_there_HW = see_wall(motion_7)
    view = move_view(image_HW3, depth_HW, NO_MASK, K_33, motion_7)
    seen = view.seen_HW
    # The texture changes by up to 20 a pixel; colours are off by far less than a pixel's worth, at the border by half.
    error = np.abs(view.image_HW3 - there_HW3)[seen]
    assert seen.mean() > 0.6
    assert error.mean() < 1.5 and np.quantile(error, 0.98) < 6
    assert np.abs(view.depth_HW / depth_there_HW - 1)[seen].max() < 0.02
    assert (view.depth_HW[~seen] == 0).all()


@settings(deadline=None, max_examples=15)
@given(motions)
def test_there_and_back_is_where_it_began(motion_7):
    image_HW3, depth_HW = see_wall(IDENTITY)
    there = move_view(image_HW3, depth_HW, NO_MASK, K_33, motion_7)
    back_7 = inverse(torch.from_numpy(motion_7)).numpy()
    back = move_view(there.image_HW3, there.depth_HW, there.mask_HW, K_33, back_7)
    known = back.depth_HW > 0
    assert known.mean() > 0.5
    assert np.abs(back.image_HW3 - image_HW3)[known].mean() < 2.5
    assert np.abs(back.depth_HW / depth_HW - 1)[known].mean() < 0.01


@settings(deadline=None, max_examples=15)
@given(turns, turns, turns)
def test_a_camera_that_only_turns_needs_no_depth(a, b, c):
    motion_7 = pose_of(np.zeros(3), [a, b, c])
    image_HW3, depth_HW = see_wall(IDENTITY)
    there_HW3, depth_there_HW = see_wall(motion_7)
    view = turn_view(image_HW3, depth_HW, NO_MASK, K_33, motion_7[3:])
    seen = view.seen_HW
    assert np.abs(view.image_HW3 - there_HW3)[seen].mean() < 1
    assert np.abs(view.depth_HW / depth_there_HW - 1)[seen].max() < 0.02
    blind = turn_view(image_HW3, np.zeros_like(depth_HW), NO_MASK, K_33, motion_7[3:])
    assert np.array_equal(blind.seen_HW, seen) and not blind.depth_HW.any()
    assert np.array_equal(blind.image_HW3[seen], view.image_HW3[seen])


@pytest.mark.parametrize("even_holes", [False, True])
def test_no_motion_returns_the_frame(even_holes):
    image_HW3, depth_HW = see_wall(IDENTITY)
    rng = np.random.default_rng(0)
    depth_HW[rng.random(depth_HW.shape) < 0.2] = 0
    depth_HW[20:40, 30:50] *= 0.6
    mask_HW = rng.integers(0, 5, depth_HW.shape, dtype=np.uint8)
    view = move_view(image_HW3, depth_HW, mask_HW, K_33, IDENTITY, even_holes)
    assert view.seen_HW.all()
    assert np.allclose(view.image_HW3, image_HW3, atol=0.01)
    assert np.allclose(view.depth_HW, depth_HW, rtol=1e-5)
    assert np.array_equal(view.mask_HW, mask_HW)


def test_what_a_foreground_hid_is_a_hole_in_the_nearest_colour():
    image_HW3 = np.full((HEIGHT, WIDTH, 3), 50, np.float32)
    depth_HW = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    mask_HW = NO_MASK.copy()
    box = (slice(20, 40), slice(30, 50))
    image_HW3[box], depth_HW[box], mask_HW[box] = 200, 1.0, 1
    # Moving right by 0.2 m shifts the box by 15 px to the left, the wall by 5.
    view = move_view(image_HW3, depth_HW, mask_HW, K_33, pose_of([0.2, 0, 0], [0, 0, 0]))
    assert (view.depth_HW[22:38, 17:33] == 1.0).all() and (view.mask_HW[22:38, 17:33] == 1).all()
    hidden = (slice(22, 38), slice(36, 44))
    assert not view.seen_HW[hidden].any() and (view.mask_HW[hidden] == VOID).all()
    assert np.isin(view.image_HW3[hidden], (50, 200)).all() and (view.image_HW3[30, 42:46] == 50).all()
    assert (view.depth_HW[:18, :70] == 3.0).all()
    # A little forward too, the hole must not look at where the old camera would see the new one.
    assert not move_view(image_HW3, depth_HW, mask_HW, K_33, pose_of([0.2, 0, 0.1], [0, 0, 0])).seen_HW[30, 40]


def test_a_near_surface_hides_the_far_one_without_cracks():
    """Coming closer spreads the points of a surface; nothing behind may shine through."""
    image_HW3 = np.full((HEIGHT, WIDTH, 3), 50, np.float32)
    depth_HW = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    near = (slice(20, 40), slice(30, 50))
    image_HW3[near], depth_HW[near] = 200, 1.0
    view = move_view(image_HW3, depth_HW, NO_MASK, K_33, pose_of([0, 0, 0.4], [0, 0, 0]))
    inside = (slice(17, 44), slice(26, 54))
    assert np.allclose(view.depth_HW[inside], 0.6) and np.allclose(view.image_HW3[inside], 200)


def test_a_surface_that_turns_towards_the_camera_has_no_cracks():
    """Its points spread farther apart than their distance tells."""
    image_HW3, depth_HW = see_wall(IDENTITY, np.array([1.2, 0.0, 1.0]))
    assert depth_HW.min() > 0
    view = move_view(image_HW3, depth_HW, NO_MASK, K_33, pose_of([0.1, 0, 0.3], [0, 0, 12]))
    assert view.seen_HW[15:45, 20:60].mean() > 0.999


def test_beyond_the_border_the_nearest_colour_repeats():
    image_HW3, depth_HW = see_wall(IDENTITY, np.array([0.0, 0, 1]))
    # 0.25 m to the right at 2.5 m is 7.5 px.
    view = move_view(image_HW3, depth_HW, NO_MASK, K_33, pose_of([0.25, 0, 0], [0, 0, 0]))
    assert view.seen_HW[:, :73].all() and not view.seen_HW[:, 74:].any()
    assert np.array_equal(view.image_HW3[:, 74:], np.repeat(view.image_HW3[:, 72:73], 6, axis=1))
    assert np.allclose(view.image_HW3[:, :72], (image_HW3[:, 7:79] + image_HW3[:, 8:80]) / 2, atol=0.1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_labels_move_exactly_as_the_pixels_do(seed):
    clip = clip_of()
    config = ViewConfig(probability=1.0, translation_m=0.15, rotation_deg=5.0)
    image, depth, mask, K, pose, posed = move_clip(*clip, config, np.random.default_rng(seed))
    motion = relative(clip[4], pose)
    assert torch.allclose(motion, motion[:1].expand_as(motion), atol=1e-9)
    assert torch.linalg.vector_norm(motion[0, :3]) <= 0.15
    assert torch.rad2deg(rotation_angle(motion[:1, 3:], torch.tensor([[1.0, 0, 0, 0]]))) <= 5 + 1e-6
    assert torch.equal(K, clip[3]) and torch.equal(posed, clip[5])
    for i in range(len(pose)):
        there_HW3, there_HW = see_wall(pose[i].numpy())
        known = (depth[i, 0] > 0).numpy()
        assert np.abs(image[i].permute(1, 2, 0).numpy() - there_HW3)[known].mean() < 2
        assert np.abs(depth[i, 0].numpy() / there_HW - 1)[known].max() < 0.02
    assert set(mask.unique().tolist()) <= {0, 1, 2, 3, VOID}
    assert image.min() >= 0 and image.max() <= 255


@settings(deadline=None, max_examples=15)
@given(motions)
def test_even_holes_are_the_same_for_the_opposite_motion(motion_7):
    image_HW3, depth_HW = see_wall(IDENTITY)
    depth_HW[20:40, 30:50] *= 0.6
    back_7 = inverse(torch.from_numpy(motion_7)).numpy()
    there = move_view(image_HW3, depth_HW, NO_MASK, K_33, motion_7, even_holes=True)
    back = move_view(image_HW3, depth_HW, NO_MASK, K_33, back_7, even_holes=True)
    # A point on a border between two pixels may fall to either side.
    assert (there.seen_HW != back.seen_HW).mean() < 0.002


def test_one_generator_one_clip():
    config = ViewConfig(probability=1.0, translation_m=0.1, rotation_deg=3.0)
    outcomes = {seed: [move_clip(*clip_of(), config, np.random.default_rng(seed)) for _ in range(2)] for seed in (0, 1)}
    for first, second in outcomes.values():
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(outcomes[0][0][4], outcomes[1][0][4])


def test_so_many_clips_are_moved():
    clip = clip_of(length=1)
    config = ViewConfig(probability=0.3, rotation_deg=3.0)
    moved = [move_clip(*clip, config, np.random.default_rng(seed))[0] is not clip[0] for seed in range(200)]
    assert 0.2 < np.mean(moved) < 0.4


def test_off_changes_nothing():
    clip = clip_of()
    assert all(a is b for a, b in zip(move_clip(*clip, ViewConfig(), np.random.default_rng(0)), clip, strict=True))
    at_rest = move_clip(*clip, ViewConfig(probability=1.0), np.random.default_rng(0))
    assert all(torch.allclose(a.float(), b.float(), atol=0.01) for a, b in zip(at_rest, clip, strict=True))


@pytest.mark.parametrize("share_known", [0.0, 0.4])
def test_a_clip_without_enough_depth_only_turns(share_known):
    depth = torch.zeros(1).expand(3, 1, HEIGHT, WIDTH)
    if share_known:
        depth = depth.clone()
        depth[..., : int(share_known * WIDTH)] = 2.0
    clip = clip_of(depth)
    config = ViewConfig(probability=1.0, translation_m=0.2, rotation_deg=5.0)
    motion = relative(clip[4], move_clip(*clip, config, np.random.default_rng(0))[4])
    assert torch.allclose(motion[:, :3], torch.zeros(3, dtype=motion.dtype), atol=1e-9)
    assert rotation_angle(motion[:1, 3:], torch.tensor([[1.0, 0, 0, 0]])) > 1e-3


def test_a_motion_that_sees_too_little_is_halved_or_not_made():
    clip = clip_of()
    config = ViewConfig(probability=1.0, translation_m=1.0, even_holes=False)
    sizes = {}
    for min_valid in (0.0, 0.8, 1.0):
        generator = np.random.default_rng(3)
        moved = move_clip(*clip, ViewConfig(**{**config.__dict__, "min_valid": min_valid}), generator)
        sizes[min_valid] = torch.linalg.vector_norm(relative(clip[4], moved[4])[0, :3]).item()
    assert sizes[0.0] > 0.3
    assert sizes[0.8] / sizes[0.0] in (pytest.approx(0.5), pytest.approx(0.25), pytest.approx(0.125))
    assert sizes[1.0] == 0


def test_frames_without_pose_stay_without():
    clip = clip_of(posed=0.0)
    config = ViewConfig(probability=1.0, translation_m=0.1)
    moved = move_clip(*clip, config, np.random.default_rng(0))
    assert torch.equal(moved[4], clip[4]) and not moved[5].any() and not torch.equal(moved[0], clip[0])


def test_a_moved_clip_keeps_the_motion_of_the_new_camera():
    """Odometry's target in the new camera is inv(M) (inv(T_0) T_1) M."""
    clip = clip_of()
    config = ViewConfig(probability=1.0, translation_m=0.1, rotation_deg=4.0)
    pose = move_clip(*clip, config, np.random.default_rng(0))[4]
    M = relative(clip[4][:1], pose[:1])
    expected = compose(inverse(M), compose(relative(clip[4][:1], clip[4][1:2]), M))
    assert torch.allclose(relative(pose[:1], pose[1:2]), expected, atol=1e-9)


def test_a_real_neighbour_is_matched_twice_as_well():
    """RedKitchen, whose K and poses are its depth camera's: the colours lie some pixels aside, and still it holds."""
    sequences = open_dataset(real_data("redkitchen")).sequences("train")
    before, after = [], []
    for sequence in sequences:
        for i, gap in ((0, 12), (5, 20)):
            if i + gap >= len(sequence.frames):
                continue
            frame, neighbour = sequence.frames[i], sequence.frames[i + gap]
            motion_7 = relative(torch.from_numpy(frame.pose_7), torch.from_numpy(neighbour.pose_7)).numpy()
            if not 0.05 <= np.linalg.norm(motion_7[:3]) <= 0.3:
                continue
            image_HW3, real_HW3 = frame.image().astype(np.float32), neighbour.image().astype(np.float32)
            depth_HW = frame.depth()
            view = move_view(image_HW3, depth_HW, np.zeros(depth_HW.shape, np.uint8), frame.K_33, motion_7)
            known = view.depth_HW > 0
            before.append(np.abs(image_HW3 - real_HW3)[known].mean())
            after.append(np.abs(view.image_HW3 - real_HW3)[known].mean())
    assert len(before) >= 5
    assert np.mean(after) < 0.5 * np.mean(before)
