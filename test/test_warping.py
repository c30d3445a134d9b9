"""Eq. 7 on scenes whose answer is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from vlocnetpp.geometry import pixel_grid, reproject
from vlocnetpp.network.blocks.warping import warp_features, warping_flow

H, W = 64, 96
K = torch.tensor([[[80.0, 0, 47.5], [0, 80, 31.5], [0, 0, 1]]], dtype=torch.float64)
IDENTITY = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]], dtype=torch.float64)


def yaw(angle: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    return torch.tensor([[x, y, z, math.cos(angle / 2), 0, math.sin(angle / 2), 0]], dtype=torch.float64)


def plane_depth(normal: torch.Tensor, distance: float) -> torch.Tensor:
    """Depth of the plane n . p = d in every pixel."""
    pixels = pixel_grid(H, W, K)
    rays = torch.stack(((pixels[..., 0] - 47.5) / 80, (pixels[..., 1] - 31.5) / 80, torch.ones(H, W)), -1)
    return (distance / (rays @ normal))[None, None]


@pytest.mark.parametrize("motion", [yaw(0.0, x=0.2), yaw(0.05), yaw(-0.03, x=0.1, y=-0.05, z=0.3)])
def test_plane_under_known_motion_follows_its_homography(motion):
    normal = torch.tensor([0.2, -0.1, 1.0], dtype=torch.float64)
    distance = 3.0
    pixels, valid = reproject(plane_depth(normal, distance), K, motion)
    # H = K (R + t n^T / d) K^-1 for points of the plane n . p = d.
    angle = 2 * torch.atan2(motion[0, 5], motion[0, 3])
    c, s = torch.cos(angle), torch.sin(angle)
    R = torch.stack((torch.stack((c, 0 * c, s)), torch.tensor([0.0, 1, 0]).double(), torch.stack((-s, 0 * c, c))))
    homography = K[0] @ (R + motion[0, :3, None] * normal[None] / distance) @ torch.linalg.inv(K[0])
    here = torch.cat((pixel_grid(H, W, K), torch.ones(H, W, 1, dtype=torch.float64)), -1)
    expected = here @ homography.T
    expected = expected[..., :2] / expected[..., 2:]
    assert valid.float().mean() > 0.5
    assert (pixels[0] - expected)[valid[0]].abs().max() < 0.05


def test_warped_image_of_a_plane_matches_within_a_twentieth_of_a_pixel():
    # A ramp carries its own coordinate: what is sampled is where it was sampled.
    ramp = pixel_grid(H, W, K).permute(2, 0, 1)[None]
    offset, valid = warping_flow(plane_depth(torch.tensor([0.0, 0, 1]).double(), 2.0), K, yaw(0.0, x=0.1))
    warped, mask = warp_features(ramp, offset, valid)
    expected = ramp.clone()
    expected[:, 0] += 80 * 0.1 / 2.0
    error = (warped - expected).abs() * mask
    interior = error[..., 1:-1, 1:-6]
    assert mask[..., 1:-1, 1:-6].all()
    assert interior.max() < 0.05


@pytest.mark.parametrize("stride", [1, 8, 16])
def test_identity_motion_is_the_identity(stride):
    features = torch.randn(1, 5, H // stride, W // stride, dtype=torch.float64)
    depth = torch.rand(1, 1, H, W, dtype=torch.float64) * 4 + 1
    offset, valid = warping_flow(depth, K, IDENTITY)
    warped, mask = warp_features(features, offset, valid)
    assert mask.all()
    assert torch.allclose(warped, features, atol=1e-9)


def test_pooled_grid_moves_features_by_the_pooled_motion():
    stride = 8
    ramp = pixel_grid(H // stride, W // stride, K).permute(2, 0, 1)[None]
    offset, valid = warping_flow(torch.full((1, 1, H, W), 2.0).double(), K, yaw(0.0, x=0.4))
    warped, mask = warp_features(ramp, offset, valid)
    moved = 80 * 0.4 / 2.0 / stride
    inside = mask[0, 0, :, :-3] > 0
    assert inside.all()
    assert torch.allclose(warped[0, 0, :, :-3], ramp[0, 0, :, :-3] + moved, atol=1e-6)


def test_pixels_without_depth_are_not_warped_and_do_not_bend_their_neighbours():
    depth = torch.full((1, 1, H, W), 2.0).double()
    depth[..., :16, :16] = 0
    depth[..., 32, 32] = 0
    offset, valid = warping_flow(depth, K, yaw(0.0, x=0.05))
    assert valid[..., :16, :16].sum() == 0
    features = torch.ones(1, 1, H // 16, W // 16).double()
    warped, mask = warp_features(features, offset, valid)
    assert warped[0, 0, 0, 0] == 0 and mask[0, 0, 0, 0] == 0
    full, _ = warping_flow(torch.full((1, 1, H, W), 2.0).double(), K, yaw(0.0, x=0.05))
    pooled = torch.nn.functional.adaptive_avg_pool2d(full, (4, 6))
    sparse = torch.nn.functional.adaptive_avg_pool2d(offset, (4, 6))
    share = torch.nn.functional.adaptive_avg_pool2d(valid, (4, 6))
    assert torch.allclose(sparse[0, :, 2, 2] / share[0, 0, 2, 2], pooled[0, :, 2, 2], atol=1e-9)


def test_points_behind_the_previous_camera_are_masked():
    depth = torch.full((1, 1, H, W), 1.0).double()
    # The previous camera stood three metres ahead: everything seen now was behind it.
    _, valid = warping_flow(depth, K, yaw(0.0, z=-3.0))
    assert valid.sum() == 0


def test_gradients_flow_to_pose_depth_and_features():
    torch.manual_seed(0)
    K_small = torch.tensor([[[10.0, 0, 3.5], [0, 10, 3.5], [0, 0, 1]]], dtype=torch.float64)
    depth = (torch.rand(1, 1, 8, 8, dtype=torch.float64) + 2).requires_grad_()
    features = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    pose = torch.tensor([[0.02, 0.01, -0.03, 1, 0.01, 0.02, -0.01]], dtype=torch.float64)
    pose[:, 3:] /= pose[:, 3:].norm()
    pose.requires_grad_()

    def warp(features, depth, pose):
        offset, valid = warping_flow(depth, K_small, pose)
        return warp_features(features, offset, valid)[0]

    assert torch.autograd.gradcheck(warp, (features, depth, pose), atol=1e-6)
    warp(features, depth, pose).square().sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (features, depth, pose))


def test_unknown_depth_gives_finite_gradients():
    depth = torch.zeros(1, 1, H, W, requires_grad=True)
    pose = torch.tensor([[0.1, 0, 0, 1, 0, 0, 0]], requires_grad=True)
    offset, valid = warping_flow(depth, K.float(), pose)
    warped, _ = warp_features(torch.ones(1, 1, 4, 6), offset, valid)
    warped.sum().backward()
    assert torch.isfinite(depth.grad).all() and torch.isfinite(pose.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_warps_as_full_precision_does_however_a_map_lies(dtype):
    torch.manual_seed(0)
    features = torch.randn(1, 256, 16, 28).to(dtype)
    K_33 = torch.tensor([[[200.0, 0, 223.5], [0, 200, 127.5], [0, 0, 1]]])
    offset, valid = warping_flow(torch.full((1, 1, 256, 448), 2.0), K_33, yaw(0.02, x=0.1, z=0.1).float())
    expected, _ = warp_features(features.float(), offset, valid)
    for layout in (torch.contiguous_format, torch.channels_last):
        warped, mask = warp_features(features.contiguous(memory_format=layout), offset, valid)
        assert warped.dtype == mask.dtype == dtype and mask.mean() > 0.5
        torch.testing.assert_close(warped, expected.to(dtype))
