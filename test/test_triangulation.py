"""Keypoints triangulated from posed colour images, held against the surfaces that they lie on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boards_scene import K_33, write_frames

from vlocnetpp.data import triangulation
from vlocnetpp.data.frames import Frame
from vlocnetpp.data.triangulation import triangulate
from vlocnetpp.geometry import compose, rotate
from vlocnetpp.training.cell_views import depth_of_points

MOVED_7 = torch.tensor([30.0, -5.0, 2.0, 0.8, 0.0, 0.6, 0.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    train, test = write_frames(tmp_path_factory.mktemp("boards"))
    return train + test


def images(frames: list[Frame]) -> np.ndarray:
    return np.stack([frame.image().transpose(2, 0, 1) for frame in frames])


def poses(frames: list[Frame]) -> torch.Tensor:
    return torch.from_numpy(np.stack([frame.pose_7 for frame in frames]))


def found(image_N3HW: np.ndarray, pose_N7: torch.Tensor) -> list[np.ndarray]:
    return triangulate(image_N3HW.__getitem__, torch.from_numpy(K_33).expand(len(pose_N7), 3, 3), pose_N7)


def test_points_lie_on_the_surfaces_that_the_images_show(frames):
    off, on_near_board = [], 0
    for frame, point_M3 in zip(frames, found(images(frames), poses(frames)), strict=True):
        assert len(point_M3) > 50
        R_33 = rotate(torch.from_numpy(frame.pose_7[3:]).expand(3, 4), torch.eye(3).double()).numpy()
        camera_M3 = (point_M3 - frame.pose_7[:3]) @ R_33.T
        pixel_M2 = (camera_M3 @ K_33.T)[:, :2] / camera_M3[:, 2:]
        x, y = np.round(pixel_M2).astype(int).T
        true_M = frame.depth()[y, x]
        off.append(np.abs(camera_M3[:, 2] - true_M)[true_M > 0] / true_M[true_M > 0])
        on_near_board += int((true_M < 3.0).sum())
    off = np.concatenate(off)
    assert np.median(off) < 0.01
    assert np.mean(off < 0.05) > 0.9
    assert on_near_board > 100


def test_points_move_with_the_map(frames):
    here = found(images(frames), poses(frames))
    there = found(images(frames), compose(MOVED_7.expand(len(frames), 7), poses(frames)))
    for before_M3, after_M3 in zip(here, there, strict=True):
        expected_M3 = rotate(MOVED_7[3:].expand(len(before_M3), 4), torch.from_numpy(before_M3).double()) + MOVED_7[:3]
        # Rounding may turn a match that is just good enough into one that is not.
        nearest_M = torch.cdist(expected_M3, torch.from_numpy(after_M3).double()).amin(dim=1)
        assert (nearest_M < 2e-3).float().mean() > 0.97


def test_what_cannot_be_known_has_no_points(frames):
    image_N3HW = images(frames)
    image_N3HW[3] = 90
    blank = found(image_N3HW, poses(frames))
    assert len(blank[3]) == 0
    assert len(blank[2]) > 50
    turned_N7 = poses(frames)
    turned_N7[:, :3] = turned_N7[0, :3].clone()
    assert all(len(points) == 0 for points in found(images(frames), turned_N7)), "no camera has moved"
    assert [len(points) for points in found(images(frames[:1]), poses(frames[:1]))] == [0]


def test_wrong_poses_give_few_points(frames):
    shuffled = poses(frames)[torch.randperm(len(frames), generator=torch.Generator().manual_seed(1))]
    right = sum(map(len, found(images(frames), poses(frames))))
    assert sum(map(len, found(images(frames), shuffled))) < 0.3 * right


def test_of_many_images_some_are_taken(frames, monkeypatch):
    monkeypatch.setattr(triangulation, "MAX_IMAGES", 5)
    points = found(images(frames), poses(frames))
    assert len(points) == len(frames)
    assert [i for i, each in enumerate(points) if len(each)] == [0, 2, 5, 8, 11]


def test_a_camera_that_stands_still_in_between_keeps_its_points(frames):
    standing = [frames[4]] * 80 + frames
    points = found(images(standing), poses(standing))
    assert min(map(len, points)) > 50


def test_images_of_a_camera_that_stands_still_do_not_confirm_each_other(frames):
    two = [frames[4], frames[7]]
    assert [len(points) for points in found(images(two), poses(two))] == [0, 0], "two views agree by chance"
    standing = [frames[4]] * 10 + [frames[7]] * 10
    measured = poses(standing)
    measured[:, :3] += 0.003 * torch.rand((20, 3), generator=torch.Generator().manual_seed(0))
    assert not any(map(len, found(images(standing), measured))), "twenty images, and still two views"


def test_a_cell_has_the_depth_of_the_point_nearest_to_its_middle():
    K = torch.tensor([[100.0, 0, 16], [0, 100, 16], [0, 0, 1]])
    pose_7 = torch.tensor([0.0, 0, -1, 1, 0, 0, 0])

    def at(x: float, y: float, z: float) -> list[float]:
        return [(x - 16) * z / 100, (y - 16) * z / 100, z - 1]

    point_M3 = torch.tensor([at(5, 4, 3.0), at(7, 1, 2.0), at(21, 27, 5.0), at(40, 4, 1.0), [0.0, 0.0, -3.0]])
    depth_HW = depth_of_points(point_M3, K, pose_7, (32, 32))
    assert torch.nonzero(depth_HW).tolist() == [[4, 4], [28, 20]]
    torch.testing.assert_close(depth_HW[4, 4], torch.tensor(3.0))
    torch.testing.assert_close(depth_HW[28, 20], torch.tensor(5.0))
    assert not depth_of_points(torch.zeros((0, 3)), K, pose_7, (32, 32)).any()
