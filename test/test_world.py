"""The rendered world: exact geometry, believable driving, ten classes, the same twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world import CLASSES, camera, courtyard, driving, labels, render, render_world
from vlocnetpp.data.world.scene import scaled

COURTYARD = courtyard.COURTYARD
DEFAULT = COURTYARD.recordings
WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope="module")
def eye():
    """A camera in the courtyard."""
    try:
        eye = camera.Camera(COURTYARD, 0, WIDTH, HEIGHT)
    except DataError as error:
        pytest.skip(str(error))
    with eye:
        render.prepare(eye, COURTYARD, DEFAULT[0], 0)
        yield eye


def rotation(pose_7: NDArray) -> NDArray:
    """R (3, 3) from the pose's w x y z, written out once more so that the test does not share the code."""
    w, x, y, z = pose_7[3:]
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def world_points(view: camera.View, K_33: NDArray, pose_7: NDArray) -> NDArray:
    """(H, W, 3) points in the map."""
    v, u = np.mgrid[: view.depth_HW.shape[0], : view.depth_HW.shape[1]]
    rays = np.stack([(u - K_33[0, 2]) / K_33[0, 0], (v - K_33[1, 2]) / K_33[1, 1], np.ones(u.shape)], -1)
    return (rays * view.depth_HW[..., None]) @ rotation(pose_7).T + pose_7[:3]


def poses(index: int) -> NDArray:
    return render.drive_recording(DEFAULT[index], seed=0)[1]


def test_classes_are_deeplocs():
    assert [label.name for label in CLASSES] == [
        "Background", "Sky", "Road", "Sidewalk", "Grass", "Vegetation", "Building", "Poles & Fences", "Dynamic",
        "Other",
    ]  # fmt: skip
    colors = np.array([label.color for label in CLASSES], float)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 1e3 * np.eye(len(colors))
    assert apart.min() > 40


@pytest.mark.parametrize("recording", DEFAULT, ids=lambda r: r.sequence)
def test_driving_is_smooth_and_stays_on_the_road(recording):
    stamps, poses_N7 = render.drive_recording(recording, seed=0)
    assert len(stamps) == recording.frames
    assert np.abs(np.diff(stamps) - 1e9 / 15).max() <= 1
    np.testing.assert_allclose(np.linalg.norm(poses_N7[:, 3:], axis=1), 1, atol=1e-12)
    assert (poses_N7[:, 3] >= 0).all()

    velocity = np.diff(poses_N7[:, :3], axis=0) * driving.RATE_HZ
    speed = np.linalg.norm(velocity, axis=1)
    assert speed.min() > 0.4 and speed.max() < 1.25
    assert np.linalg.norm(np.diff(velocity, axis=0), axis=1).max() * driving.RATE_HZ < 1.6  # m/s^2
    between = np.abs(np.sum(poses_N7[1:, 3:] * poses_N7[:-1, 3:], axis=1)).clip(max=1)
    turning = 2 * np.degrees(np.arccos(between)) * driving.RATE_HZ
    assert turning.max() < 70  # deg/s

    forward = np.array([rotation(pose)[:, 2] for pose in poses_N7[:-1]])
    astray = np.degrees(np.arccos(np.sum(forward * velocity, axis=1) / speed))
    assert astray.max() < 20
    down = np.array([rotation(pose)[:, 1] for pose in poses_N7])
    assert (down[:, 2] < -0.98).all()

    x, y = poses_N7[:, 0], poses_N7[:, 1]
    assert (np.abs(x / 4.6) ** 2.6 + np.abs(y / 3.4) ** 2.6).max() < 1, "30 cm inside the outer curb"
    assert (np.abs(x / 2.3) ** 2.6 + np.abs(y / 1.6) ** 2.6).min() > 1, "40 cm off the island"
    if recording.split != "val":
        assert np.linalg.norm(poses_N7[0, :3] - poses_N7[-1, :3]) < 0.2, "the loop closes"


def test_both_directions_are_driven_and_no_loop_twice():
    def turns(poses_N7: NDArray) -> float:
        angle = np.unwrap(np.arctan2(poses_N7[:, 1] / 2.5, poses_N7[:, 0] / 3.5))
        return (angle[-1] - angle[0]) / (2 * np.pi)

    signs = [np.sign(turns(poses(i))) for i in range(6)]
    assert signs.count(1) >= 2 and signs.count(-1) >= 2
    assert len({poses(i).tobytes() for i in range(8)}) == 8


def test_the_test_loop_runs_between_the_training_loops():
    train, test = np.concatenate([poses(i) for i in range(6)]), poses(6)
    far = np.linalg.norm(test[:, None, :3] - train[None, :, :3], axis=2)
    apart = 2 * np.degrees(np.arccos(np.abs(test[:, 3:] @ train[:, 3:].T).clip(max=1)))
    nearest = np.where(apart < 15, far, np.inf).min(axis=1)
    assert np.quantile(nearest, 0.95) < 0.4
    assert np.median(nearest) > 0.05


def test_driving_depends_on_the_seed_alone():
    again = render.drive_recording(DEFAULT[2], seed=0)
    assert poses(2).tobytes() == again[1].tobytes()
    assert poses(2).tobytes() != render.drive_recording(DEFAULT[2], seed=1)[1].tobytes()


def test_few_frames_cover_the_beginning_of_the_loop_only():
    stamps, poses_N7 = driving.drive(driving.TRAINING[0], 5, np.random.default_rng(0))
    assert len(stamps) == 5
    assert np.linalg.norm(poses_N7[-1, :3] - poses_N7[0, :3]) < 4 / driving.RATE_HZ * 1.3


def test_ground_and_walls_are_where_they_were_built(eye):
    """Depth, K and pose together: half a pixel off in the principal point would move the road by centimetres."""
    K_33 = camera.intrinsics(WIDTH, HEIGHT)
    wall_pixels = 0
    for pose_7 in poses(0)[::25]:
        view = eye.render(pose_7)
        points = world_points(view, K_33, pose_7)
        inside = (np.abs(points[..., 0]) < 6) & (np.abs(points[..., 1]) < 5)
        road = (view.mask_HW == labels.ROAD) & inside
        assert road.sum() > 500
        height = points[..., 2][road]
        assert np.quantile(np.abs(height - 0.016), 0.999) < 0.009, "asphalt at 12-15 mm, marks at 20-22 mm"
        library = (view.mask_HW == labels.BUILDING) & (points[..., 2] > 2.5) & (points[..., 2] < 3.9)
        library &= (np.abs(points[..., 0]) < 5) & (points[..., 1] > 5.3) & (points[..., 1] < 5.7)
        wall_pixels += library.sum()
        assert library.sum() == 0 or np.quantile(np.abs(points[..., 1][library] - courtyard.NORTH), 0.99) < 0.005
    assert wall_pixels > 1000


def test_reprojection_meets_the_other_frame_to_a_fraction_of_a_pixel(eye):
    """Geometry and colour: warping with the exact K beats every K that is half a pixel off."""
    poses_N7, K_33 = poses(4), camera.intrinsics(WIDTH, HEIGHT)
    shifts = [(0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)]
    depth_error, color_error = np.zeros(len(shifts)), np.zeros(len(shifts))
    for a, b in ((10, 16), (100, 106), (200, 206), (280, 286)):
        here, there = eye.render(poses_N7[a]), eye.render(poses_N7[b])
        for index, (du, dv) in enumerate(shifts):
            K = K_33 + np.array([[0, 0, du], [0, 0, dv], [0, 0, 0]])
            seen = (world_points(here, K, poses_N7[a]) - poses_N7[b, :3]) @ rotation(poses_N7[b])
            pixel = seen / np.maximum(seen[..., 2:], 1e-6) @ K.T
            u, v = (pixel[..., k].astype(np.float32) for k in range(2))
            ok = (here.depth_HW > 0) & (u > 1) & (u < WIDTH - 2) & (v > 1) & (v < HEIGHT - 2)
            # Inverse depth is linear in the image, so this interpolation is exact on planes.
            inverse = np.where(there.depth_HW > 0, 1 / np.maximum(there.depth_HW, 1e-3), 0).astype(np.float32)
            met = cv2.remap(inverse, u, v, cv2.INTER_LINEAR)
            depth_error[index] += np.median(np.abs(met - 1 / np.maximum(seen[..., 2], 1e-6))[ok] * seen[..., 2][ok])
            color = cv2.remap(there.image_HW3, u, v, cv2.INTER_CUBIC).astype(float) - here.image_HW3
            visible = ok & (np.abs(met * seen[..., 2] - 1) < 0.03)
            color_error[index] += np.abs(color[visible]).mean()
    assert depth_error[0] / 4 < 5e-4, "relative depth"
    assert depth_error[1:].min() > 2 * depth_error[0]
    assert color_error[0] == color_error.min()


def test_the_image_is_aligned_with_the_mask(eye):
    """Edges of the mask against the sky lie on edges of the image: the colours differ across them without a shift."""
    view = eye.render(poses(1)[40])
    gray = cv2.cvtColor(view.image_HW3, cv2.COLOR_RGB2GRAY).astype(float)
    sky = (view.mask_HW == labels.SKY).astype(float)
    best = {}
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            moved = np.roll(sky, (dy, dx), (0, 1))[4:-4, 4:-4]
            best[dy, dx] = np.corrcoef(moved.ravel(), gray[4:-4, 4:-4].ravel())[0, 1]
    assert max(best, key=best.__getitem__) == (0, 0)


def test_sky_has_no_depth_and_everything_near_has(eye):
    for pose_7 in poses(5)[::60]:
        view = eye.render(pose_7)
        assert view.image_HW3.shape == (HEIGHT, WIDTH, 3) and view.image_HW3.dtype == np.uint8
        assert view.depth_HW.dtype == np.float32 and view.mask_HW.dtype == np.uint8
        assert (view.depth_HW[view.mask_HW == labels.SKY] == 0).all()
        assert (view.depth_HW[view.mask_HW != labels.SKY] > 0).all()
        assert view.depth_HW.max() < camera.MAX_DEPTH_M


def test_classes_are_seen_often_and_nothing_is_run_over(eye):
    seen, views = np.zeros(len(CLASSES)), 0
    for index, recording in enumerate(DEFAULT):
        render.prepare(eye, COURTYARD, recording, 0)
        for pose_7 in poses(index)[:: recording.frames // 6]:
            view = eye.render(pose_7)
            share = np.bincount(view.mask_HW.ravel(), minlength=len(CLASSES)) / view.mask_HW.size
            seen += share > 0.002
            views += 1
            assert view.depth_HW[view.depth_HW > 0].min() > 0.4
    render.prepare(eye, COURTYARD, DEFAULT[0], 0)
    assert (seen / views > 0.25).sum() >= 9
    assert (seen / views > 0.7).sum() >= 7


def test_the_sun_casts_shadows(eye):
    """On the road, which is even, some of the pixels are darker by more than a texture makes them."""
    view = eye.render(poses(0)[50])
    road = cv2.cvtColor(view.image_HW3, cv2.COLOR_RGB2GRAY)[view.mask_HW == labels.ROAD].astype(float)
    assert (road < 0.75 * np.median(road)).mean() > 0.02


def test_recordings_differ_in_people_and_light(eye):
    pose_7 = poses(0)[50]
    render.prepare(eye, COURTYARD, DEFAULT[0], 0)
    first, again = eye.render(pose_7), eye.render(pose_7)
    render.prepare(eye, COURTYARD, DEFAULT[1], 0)
    other = eye.render(pose_7)
    render.prepare(eye, COURTYARD, DEFAULT[0], 0)
    assert np.array_equal(first.image_HW3, again.image_HW3)
    assert (first.mask_HW != other.mask_HW).any()
    road = (first.mask_HW == labels.ROAD) & (other.mask_HW == labels.ROAD)
    assert np.abs(first.image_HW3[road].mean(0) - other.image_HW3[road].mean(0)).max() > 0.5


def test_render_world_writes_a_dataset(eye, tmp_path: Path):
    from vlocnetpp.data import open_dataset

    render_world(tmp_path / "one", seed=3, width=80, height=60, frames_scale=0.01, jobs=1)
    dataset = open_dataset(tmp_path / "one")
    assert dataset.classes == CLASSES and dataset.map_frame == "map"
    assert {split: [len(s.frames) for s in dataset.sequences(split)] for split in dataset.splits} == {
        "train": [3] * 6, "test": [4], "val": [1],
    }  # fmt: skip
    frames = [frame for split in dataset.splits for frame in dataset.frames(split)]
    assert len({frame.stamp_ns for frame in frames}) == len(frames)
    expected = render.drive_recording(scaled(DEFAULT[0], 0.01), seed=3)[1]
    for frame, pose_7 in zip(dataset.frames("train"), expected, strict=False):
        np.testing.assert_array_equal(frame.pose_7, pose_7)
        np.testing.assert_array_equal(frame.K_33, camera.intrinsics(80, 60))
    depth, mask = frames[0].depth(), frames[0].mask()
    assert frames[0].image().shape == (60, 80, 3) and depth is not None and depth.shape == (60, 80)
    assert mask is not None and set(np.unique(mask)) <= set(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames_scale": 0.0}, r"frames_scale must be in \(0, 100\], not 0.0"),
        ({"width": 0}, "width must be from 1 to 4096 pixels, not 0"),
        ({"height": 100_000}, "height must be from 1 to 4096 pixels, not 100000"),
        ({"jobs": 0}, "jobs must be at least 1, not 0"),
        ({"seed": -1}, "seed must not be negative, it is -1"),
        ({"scene": "suite/campsu"}, "no scene is called 'suite/campsu'; did you mean 'suite/campus'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path, settings: dict, message: str):
    with pytest.raises(DataError, match=message):
        render_world(tmp_path / "world", **settings)
    assert not list(tmp_path.iterdir())


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    env.update(environment)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_mujoco_is_imported_only_to_render():
    done = _run("import sys, vlocnetpp.data.world; print('mujoco' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a window system is always there")
def test_without_a_working_opengl_the_packages_to_install_are_named(tmp_path: Path):
    code = (
        "from pathlib import Path\nfrom vlocnetpp.data.world import render_world\n"
        f"from vlocnetpp.data.frames import DataError\ntry:\n    render_world(Path({str(tmp_path / 'w')!r}), jobs=1)\n"
        "except DataError as error:\n    print(error)"
    )
    message = _run(code, MUJOCO_GL="glfw").stdout
    assert "libegl1" in message or "not installed" in message
    assert message.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []
