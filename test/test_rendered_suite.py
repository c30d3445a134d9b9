"""The rendered suite: splits that ask what they say, nothing driven through, the same bytes whatever happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vlocnetpp.cli.main import main
from vlocnetpp.data.frames import DataError
from vlocnetpp.data.world import SCENES, camera, labels, render, render_world
from vlocnetpp.data.world.scene import Recording, scaled
from vlocnetpp.data.world.suite import SPLITS, size_of
from vlocnetpp.geometry import matrix_from_pose

SUITE = ("suite/campus", "suite/office", "suite/room")
WIDTH, HEIGHT = 96, 72
TINY = {"width": 40, "height": 30, "frames_scale": 0.02}


@pytest.fixture(scope="module", params=SUITE)
def place(request):
    """A scene and a camera in it."""
    scene = SCENES[request.param]
    try:
        eye = camera.Camera(scene, 0, WIDTH, HEIGHT)
    except DataError as error:
        pytest.skip(str(error))
    with eye:
        yield scene, eye


def of_split(scene, split: str) -> list[Recording]:
    return [recording for recording in scene.recordings if recording.split == split]


def poses(recordings: list[Recording], seed: int = 0) -> NDArray:
    return np.concatenate([render.drive_recording(recording, seed)[1] for recording in recordings])


def forward(poses_N7: NDArray) -> NDArray:
    w, x, y, z = poses_N7[:, 3:].T
    return np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1)


@pytest.mark.parametrize("name", SUITE)
def test_every_split_is_there_and_moves_like_a_robot(name):
    scene = SCENES[name]
    assert list(size_of(scene)) == list(SPLITS)
    assert len({recording.number for recording in scene.recordings}) == len(scene.recordings)
    for recording in scene.recordings:
        stamps, poses_N7 = render.drive_recording(recording, 0)
        assert len(stamps) == recording.frames and (poses_N7[:, 3] >= 0).all()
        rate = 1e9 / np.diff(stamps)
        assert np.abs(rate - 10).max() < 1
        steps = np.linalg.norm(np.diff(poses_N7[:, :3], axis=0), axis=1)
        assert steps.max() < 0.32
        turns = 2 * np.degrees(np.arccos(np.abs(np.sum(poses_N7[1:, 3:] * poses_N7[:-1, 3:], 1)).clip(max=1)))
        assert turns.max() < 11, "degrees from frame to frame, at 10 frames a second"


@pytest.mark.parametrize("name", SUITE)
def test_more_or_fewer_frames_are_the_same_drive(name):
    recording = SCENES[name].recordings[0]
    all_poses, half = poses([recording]), poses([scaled(recording, 0.5)])
    rate = recording.frames / len(half)
    nearest = all_poses[np.rint(np.arange(len(half)) * rate).astype(int)]
    assert np.linalg.norm(half[:, :3] - nearest[:, :3], axis=1).max() < 0.15
    assert len(half) == round(recording.frames / 2)


@pytest.mark.parametrize("name", SUITE)
def test_splits_ask_what_they_say(name):
    """Distances to the nearest training pose, of any heading."""
    scene = SCENES[name]
    train = poses(of_split(scene, "train"))

    def nearest(split: str) -> NDArray:
        found = poses(of_split(scene, split))
        return np.linalg.norm(found[:, None, :3] - train[None, :, :3], axis=2).min(axis=1)

    assert np.median(nearest("test")) < 0.12
    assert np.median(nearest("light")) < 0.12
    for split, distance in (("lane_025", 0.25), ("lane_050", 0.5), ("lane_100", 1.0)):
        assert abs(np.median(nearest(split)) - distance) < 0.12, split
        assert nearest(split).min() > 0.6 * distance
    shots = of_split(scene, "anywhere")
    firsts = np.concatenate([poses([shot])[:1] for shot in shots])[:, :2]
    assert len(shots) >= 16 and all(shot.frames <= 12 for shot in shots)
    assert np.ptp(firsts, axis=0).max() > 0.6 * np.ptp(train[:, :2], axis=0).max()


@pytest.mark.parametrize("name", ["suite/campus", "suite/office"])
def test_reverse_looks_the_other_way(name):
    scene = SCENES[name]
    train, back = poses(of_split(scene, "train")), poses(of_split(scene, "reverse"))
    nearest = np.linalg.norm(back[:, None, :3] - train[None, :, :3], axis=2).argmin(axis=1)
    against = np.sum(forward(back) * forward(train[nearest]), axis=1)
    assert np.median(against) < -0.9 and against.max() < 0


def test_nothing_is_driven_through_and_every_pixel_is_known(place):
    scene, eye = place
    seen: set[int] = set()
    for recording in scene.recordings:
        stamps, poses_N7 = render.drive_recording(recording, 0)
        render.prepare(eye, scene, recording, 0)
        for i in range(0, recording.frames, max(4, recording.frames // 12)):
            depth, mask = eye.measure(poses_N7[i], (stamps[i] - stamps[0]) * 1e-9)
            near = depth > 0
            assert depth[near].min() > 0.25, (recording.sequence, i)
            seen |= set(np.unique(mask).tolist())
            if scene.name == "suite/campus":
                assert not near[mask == labels.SKY].any()
            else:
                assert near.all() and (mask != labels.SKY).all(), (recording.sequence, i)
    expected = set(range(10)) if scene.name == "suite/campus" else {2, 3, 5, 6, 8, 9}
    assert seen == expected


def test_a_frame_warped_into_its_neighbour_looks_like_it(place):
    scene, eye = place
    K = camera.intrinsics(WIDTH, HEIGHT)
    recording = scene.recordings[0]
    stamps, poses_N7 = render.drive_recording(recording, 0)
    render.prepare(eye, scene, recording, 0)
    plain, warped = [], []
    for a in range(10, recording.frames - 4, recording.frames // 8):
        here, there = (eye.render(poses_N7[i], (stamps[i] - stamps[0]) * 1e-9) for i in (a, a + 3))
        T_world_here, T_world_there = matrix_from_pose(torch.from_numpy(poses_N7[[a, a + 3]])).numpy()
        T = np.linalg.inv(T_world_there) @ T_world_here
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1)
        points = (rays * here.depth_HW[..., None]) @ T[:3, :3].T + T[:3, 3]
        z = np.maximum(points[..., 2], 1e-6)
        u2 = (points[..., 0] / z * K[0, 0] + K[0, 2]).astype(np.float32)
        v2 = (points[..., 1] / z * K[1, 1] + K[1, 2]).astype(np.float32)
        ok = (here.depth_HW > 0) & (u2 > 0) & (u2 < WIDTH - 1) & (v2 > 0) & (v2 < HEIGHT - 1)
        met = cv2.remap(there.depth_HW, u2, v2, cv2.INTER_NEAREST)
        ok &= (np.abs(met / z - 1) < 0.03) & (here.mask_HW != labels.DYNAMIC)
        assert ok.mean() > 0.25
        color = cv2.remap(there.image_HW3, u2, v2, cv2.INTER_LINEAR).astype(float)
        warped.append(np.abs(color - here.image_HW3)[ok].mean())
        plain.append(np.abs(there.image_HW3.astype(float) - here.image_HW3)[ok].mean())
    print(f"{scene.name}: photometric error {np.mean(plain):.2f} as it is, {np.mean(warped):.2f} warped")
    assert np.mean(warped) < 0.55 * np.mean(plain)
    assert np.mean(warped) < 6


def test_people_move_during_a_recording_and_light_differs(place):
    scene, eye = place
    recording = scene.recordings[0]
    render.prepare(eye, scene, recording, 0)
    moved = 0
    for pose_7 in poses([recording])[:: recording.frames // 12]:
        before, after = eye.measure(pose_7, 5.0)[1], eye.measure(pose_7, 8.0)[1]
        differ = before != after
        moved += int(differ.any())
        involved = (before == labels.DYNAMIC) | (after == labels.DYNAMIC)
        assert involved[differ].all(), "only what moves changes the mask"
    assert moved >= 1
    pose_7 = poses([recording])[0]
    day = eye.render(pose_7).image_HW3.mean()
    render.prepare(eye, scene, of_split(scene, "light")[0], 0)
    assert eye.render(pose_7).image_HW3.mean() < 0.85 * day


def test_a_slow_shutter_blurs_what_moves(place):
    scene, eye = place

    def sweep(recording: Recording) -> NDArray:
        """How far the camera turns within nine frames."""
        turns = poses([recording])[:, 3:]
        return np.linalg.norm(turns[8:] - turns[:-8], axis=1)

    recording = max(of_split(scene, "light"), key=lambda each: sweep(each).max())
    stamps, poses_N7 = render.drive_recording(recording, 0)
    render.prepare(eye, scene, recording, 0)

    def sharpness(view: camera.View) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(view.image_HW3, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

    fastest = int(np.argmax(sweep(recording))) + 4
    time_s = (stamps[fastest] - stamps[0]) * 1e-9
    still = eye.render(poses_N7[fastest], time_s)
    moving = eye.expose(poses_N7[fastest - 4 : fastest + 5 : 4], time_s, 0.1)  # four times as fast
    assert sharpness(moving) < 0.9 * sharpness(still)
    np.testing.assert_array_equal(moving.depth_HW, still.depth_HW)
    np.testing.assert_array_equal(moving.mask_HW, still.mask_HW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The room, rendered by one process without interruption."""
    root = tmp_path_factory.mktemp("whole") / "room"
    try:
        render_world(root, "suite/room", jobs=1, **TINY)
    except DataError as error:
        pytest.skip(str(error))
    return root


def same_files(one: Path, two: Path) -> None:
    """Byte for byte."""
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


KILLED = """
import os, signal
from pathlib import Path
from vlocnetpp.data.layouts.folder import FolderWriter
from vlocnetpp.data.world import render_world

add = FolderWriter.add

def add_and_die(writer, sequence, *rest):
    name = add(writer, sequence, *rest)
    if sequence == "test-01":
        os.kill(os.getpid(), signal.{signal})
    return name

FolderWriter.add = add_and_die
render_world(Path({root!r}), "suite/room", jobs=2, **{settings!r})
"""


def test_killed_and_gone_on_with_gives_the_same_bytes(whole: Path, tmp_path: Path):
    root = tmp_path / "room"
    code = KILLED.format(signal="SIGKILL", root=str(root), settings=TINY)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    partial = tmp_path / "room.partial"
    assert not root.exists() and (partial / "train-02" / "frames.csv").is_file()
    assert (partial / "test-01" / "image").is_dir() and not (partial / "test-01" / "frames.csv").exists()
    kept = (partial / "train-02" / "frames.csv").stat()

    with pytest.raises(DataError, match=r"room\.partial: was begun with seed 0, not 5; go on with the same settings"):
        render_world(root, "suite/room", seed=5, jobs=2, **TINY)
    render_world(root, "suite/room", jobs=2, **TINY)
    assert not partial.exists()
    assert (root / "train-02" / "frames.csv").stat().st_mtime_ns == kept.st_mtime_ns, "not rendered again"
    same_files(whole, root)


def test_interrupted_says_where_it_goes_on(tmp_path: Path):
    root = tmp_path / "room"
    code = KILLED.format(signal="SIGINT", root=str(root), settings=TINY).split("render_world(Path")[0]
    arguments = ["data", "render", "suite/room", str(root), "--width", "40", "--height", "30", "--frames-scale", "0.02"]
    code += f"from vlocnetpp.cli.main import main\nraise SystemExit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "no way to render" in done.stderr or "not installed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 130, done.stderr
    assert "room.partial: complete sequences are kept, the same command goes on there" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "room.partial" / "train-01" / "frames.csv").is_file() and not root.exists()


def test_what_is_in_the_way_is_left_alone(whole: Path, tmp_path: Path, capsys):
    foreign = tmp_path / "room.partial"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    arguments = ["data", "render", "suite/room", str(tmp_path / "room"), "--frames-scale", "0.02"]
    assert main(arguments) == 2
    assert "room.partial: is in the way and cannot be gone on with" in capsys.readouterr().err
    assert (foreign / "thesis.txt").read_text() == "years of work"
    assert main(["data", "render", "suite/room", str(whole)]) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err


def test_the_list_shows_scenes_splits_and_frames(capsys):
    assert main(["data", "render", "--list"]) == 0
    shown = capsys.readouterr().out
    for scene in SCENES.values():
        assert scene.name in shown
        assert f"{sum(recording.frames for recording in scene.recordings)} frames" in shown
    for split in SPLITS:
        assert split in shown
    assert main(["data", "render", "suite/room"]) == 2
    assert "render needs SCENE and OUT" in capsys.readouterr().err
