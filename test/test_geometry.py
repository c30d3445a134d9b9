"""Laws of SE(3) and the pinhole camera, against scipy and roma as independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlocnetpp import geometry as g

finite = st.floats(-50, 50, allow_nan=False)
units = st.floats(-1, 1, allow_nan=False)


@st.composite
def poses(draw):
    position = [draw(finite) for _ in range(3)]
    q = np.array([draw(units) for _ in range(4)])
    if np.linalg.norm(q) < 1e-3:
        q = np.array([1.0, 0, 0, 0])
    return g.normalize_quaternion(torch.from_numpy(q[None])), torch.tensor([position], dtype=torch.float64)


def as_pose(drawn):
    q, x = drawn
    return torch.cat((x, q), dim=-1)


def scipy_of(q):
    return Rotation.from_quat(np.roll(q.numpy(), -1, axis=-1))


@given(poses(), poses())
def test_composition_agrees_with_matrices_and_scipy(a, b):
    a, b = as_pose(a), as_pose(b)
    product = g.matrix_from_pose(g.compose(a, b))
    assert torch.allclose(product, g.matrix_from_pose(a) @ g.matrix_from_pose(b), atol=1e-9)
    expected = (scipy_of(a[:, 3:]) * scipy_of(b[:, 3:])).as_matrix()
    assert np.allclose(product[:, :3, :3].numpy(), expected, atol=1e-9)


@given(poses())
def test_inverse_undoes(a):
    a = as_pose(a)
    identity = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]], dtype=torch.float64)
    assert torch.allclose(g.compose(a, g.inverse(a)), identity, atol=1e-9)
    assert torch.allclose(g.relative(a, a), identity, atol=1e-9)


@given(poses(), poses())
def test_relative_motion_leads_from_one_to_the_other(a, b):
    a, b = as_pose(a), as_pose(b)
    reached = g.compose(a, g.relative(a, b))
    assert torch.allclose(reached[:, :3], b[:, :3], atol=1e-8)
    assert g.rotation_angle(reached[:, 3:], b[:, 3:]).item() < 1e-7


@given(poses(), poses())
def test_angle_agrees_with_roma_and_ignores_the_sign(a, b):
    p, q = a[0], b[0]
    expected = roma.unitquat_geodesic_distance(torch.roll(p, -1, -1), torch.roll(q, -1, -1))
    assert torch.allclose(g.rotation_angle(p, q), expected, atol=1e-6)
    assert torch.allclose(g.rotation_angle(p, -q), g.rotation_angle(p, q))


@given(poses())
def test_matrix_round_trip(a):
    q = a[0]
    back = g.quaternion_from_matrix(g.rotation_matrix(q))
    assert g.rotation_angle(back, q).item() < 1e-7
    assert back[0, 0] >= 0


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1)])
@pytest.mark.parametrize("angle", [0.0, 1e-9, np.pi / 2, np.pi - 1e-9, np.pi])
def test_degenerate_rotations_survive_the_matrix(axis, angle):
    unit = np.array(axis) / np.linalg.norm(axis)
    R = torch.from_numpy(Rotation.from_rotvec(unit * angle).as_matrix())[None]
    assert torch.allclose(g.rotation_matrix(g.quaternion_from_matrix(R)), R, atol=1e-9)


def test_zero_quaternion_becomes_the_identity_with_finite_gradient():
    q = torch.zeros(1, 4, requires_grad=True)
    unit = g.normalize_quaternion(q)
    assert unit.tolist() == [[1, 0, 0, 0]]
    unit.sum().backward()
    assert torch.isfinite(q.grad).all()


def test_a_quaternion_of_nan_stays_nan():
    q = torch.tensor([[1.0, 0, float("nan"), 0], [0, 0, 0, 0], [-3.0, 0, 4.0, 0]])
    unit = torch.jit.script(g.normalize_quaternion)(q)
    assert unit[0].isnan().all() and unit[1].tolist() == [1, 0, 0, 0]
    assert unit[2].tolist() == pytest.approx([0.6, 0, -0.8, 0])
    assert g.compose(torch.cat((torch.zeros(3, 3), q), dim=1), torch.ones(3, 7))[0, 3:].isnan().all()


def test_rotate_agrees_with_scipy():
    rng = np.random.default_rng(0)
    R = Rotation.random(20, random_state=1)
    q = torch.from_numpy(np.roll(R.as_quat(), 1, axis=1))
    points = rng.normal(size=(20, 3))
    assert np.allclose(g.rotate(q, torch.from_numpy(points)).numpy(), R.apply(points))


def test_gradients_of_the_pose_algebra():
    torch.manual_seed(0)
    a, b = torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)

    def motion(a, b):
        pose = [torch.cat((p[:, :3], g.normalize_quaternion(p[:, 3:])), 1) for p in (a, b)]
        return g.relative(*pose)

    assert torch.autograd.gradcheck(motion, (a.requires_grad_(), b.requires_grad_()))


def test_projection_undoes_back_projection():
    K = torch.tensor([[[90.0, 0, 31.5], [0, 95, 23.5], [0, 0, 1]]], dtype=torch.float64)
    pixels = g.pixel_grid(48, 64, K)[None]
    depth = torch.rand(1, 1, 48, 64, dtype=torch.float64) * 5 + 0.5
    back, in_front = g.project(g.back_project(pixels, depth, K), K)
    assert torch.allclose(back, pixels, atol=1e-9) and in_front.all()


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (240, 320)])
def test_resized_shape_covers_the_input_and_keeps_proportions(size):
    rows, columns = g.resized_shape(*size, 224, 224, whole=False)
    assert min(rows, columns) == 256
    assert abs(columns / rows - size[1] / size[0]) < 0.01
    assert g.resized_shape(*size, 128, 160, whole=True) == (128, 160)


@given(st.floats(0.2, 3), st.floats(0.2, 3))
def test_scaled_intrinsics_keep_the_edges_of_the_image(sx, sy):
    K = torch.tensor([[100.0, 0, 40], [0, 110, 30], [0, 0, 1]], dtype=torch.float64)
    scaled = g.scale_intrinsics(K, sx, sy)
    # The ray through the left edge (-0.5 px) is the same before and after.
    assert (-0.5 - K[0, 2]) / K[0, 0] == pytest.approx(((-0.5 - scaled[0, 2]) / scaled[0, 0]).item())
    assert (-0.5 - K[1, 2]) / K[1, 1] == pytest.approx(((-0.5 - scaled[1, 2]) / scaled[1, 1]).item())


def test_geometry_scripts():
    for function in (g.compose, g.relative, g.rotation_angle, g.quaternion_from_matrix, g.reproject):
        torch.jit.script(function)
