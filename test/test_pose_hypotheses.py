"""The robust solver: half of the points wrong and a start that knows nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vlocnetpp.export.onnx import OPSET, quiet
from vlocnetpp.geometry import normalize_quaternion, rotate, rotation_angle
from vlocnetpp.network.blocks.pose_hypotheses import STARTS, PoseHypotheses, distances_along, pose_of_triples
from vlocnetpp.network.blocks.pose_solver import solve_pose


def scene(batch: int, points: int, wrong: float, noise_m: float, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Cameras (B, 7), points (B, N, 3) of which a share is anywhere, their log deviations and rays."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    truth = torch.cat((1.5 * normal(batch, 3), normalize_quaternion(normal(batch, 4))), dim=1)
    across = (uniform(batch, points, 2) - 0.5) * torch.tensor([1.2, 0.9])
    rays = torch.nn.functional.normalize(torch.cat((across, torch.ones_like(across[..., :1])), dim=2), dim=2)
    seen = rotate(truth[:, None, 3:], rays * (1 + 3 * uniform(batch, points, 1))) + truth[:, None, :3]
    deviation = noise_m * torch.exp(0.5 * normal(batch, points))
    seen = seen + deviation[..., None] * normal(batch, points, 3)
    seen = torch.where(uniform(batch, points, 1) < wrong, 2.5 * normal(batch, points, 3), seen)
    return tuple(each.to(dtype) for each in (truth, seen, deviation.log(), rays))


def nowhere(batch: int) -> torch.Tensor:
    """The centre of the scene, looking along z."""
    return torch.tensor([0.0, 0, 0, 1, 0, 0, 0]).expand(batch, 7)


def errors(found: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Metres and degrees."""
    return (found[:, :3] - truth[:, :3]).norm(dim=1), torch.rad2deg(rotation_angle(found[:, 3:], truth[:, 3:]))


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.5, 0.6])
def test_no_camera_is_lost_while_half_of_the_points_are_wrong(wrong):
    truth, points, log_deviation, rays = scene(40, 1200, wrong, 0.03)
    found = PoseHypotheses()(nowhere(40), points, log_deviation, rays)
    metres, degrees = errors(found.pose_B7, truth)
    assert metres.max() < 0.03
    assert degrees.max() < 0.6
    assert ((found.inliers_B > 0.6 * (1 - wrong)) & (found.inliers_B < 1 - wrong)).all()


@pytest.mark.parametrize("scattered", [1.0, 3.0])
def test_deviations_follow_the_scatter_that_is_seen_not_the_one_predicted(scattered):
    """Points of another drive scatter more than the network predicts from its training images."""
    truth, points, log_deviation, rays = scene(60, 1200, 0.2, 0.03)
    found = PoseHypotheses()(nowhere(60), points, log_deviation - math.log(scattered), rays)
    metres, degrees = errors(found.pose_B7, truth)
    deviation_2 = found.deviation_B2.square().mean(dim=0).sqrt()
    assert 0.7 < float(metres.square().mean().sqrt() / deviation_2[0]) < 1.4
    assert 0.7 < float(torch.deg2rad(degrees).square().mean().sqrt() / deviation_2[1]) < 1.4


def test_without_hypotheses_such_scenes_are_lost():
    """What the test above holds is due to the triples, not to the refinement alone."""
    truth, points, log_deviation, rays = scene(40, 1200, 0.5, 0.03)
    metres, _ = errors(solve_pose(nowhere(40), points, log_deviation, rays).pose_B7, truth)
    assert (metres > 0.1).float().mean() > 0.5


def test_a_good_start_is_kept_where_triples_cannot_help():
    """Ninety percent wrong: no triple is clean, but the start is one of the hypotheses."""
    truth, points, log_deviation, rays = scene(20, 1200, 0.9, 0.01)
    start = truth + torch.tensor([0.02, 0, 0, 0, 0, 0, 0])
    metres, _ = errors(PoseHypotheses(triples=2)(start, points, log_deviation, rays).pose_B7, truth)
    assert metres.max() < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_draws_only_points_that_exist(dtype):
    truth, points, log_deviation, rays = scene(10, 1280, 0.3, 0.03)
    metres, _ = errors(PoseHypotheses().to(dtype)(nowhere(10), points, log_deviation, rays).pose_B7, truth)
    assert metres.max() < 0.03


def test_distances_solve_the_law_of_cosines():
    truth, points, _, rays = scene(8, 300, 0.0, 0.0, dtype=torch.float64)
    triples, along = points.unflatten(1, (-1, 3)), rays.unflatten(1, (-1, 3))
    distance = distances_along(triples, along, torch.ones_like(triples[..., 0]))
    at = along * distance.unsqueeze(3)
    pairs = [(0, 1), (0, 2), (1, 2)]
    sides = [torch.stack([(x[:, :, i] - x[:, :, j]).norm(dim=2) for i, j in pairs]) for x in (at, triples)]
    solved = (sides[0] - sides[1]).abs().amax(dim=0) < 1e-6
    assert solved.float().mean() > 0.5
    R, position = pose_of_triples(triples, along, torch.tensor(STARTS))
    torch.testing.assert_close(R @ R.transpose(2, 3), torch.eye(3, dtype=R.dtype).expand_as(R))
    right = ((position - truth[:, None, :3]).norm(dim=2) < 1e-3).unflatten(1, (-1, 100)).any(dim=1)
    assert right.float().mean() > 0.95


def test_it_differentiates_with_respect_to_the_points():
    truth, points, log_deviation, rays = scene(4, 200, 0.3, 0.01)
    points.requires_grad_()
    found = PoseHypotheses()(nowhere(4), points, log_deviation, rays).pose_B7
    (found[:, :3] - truth[:, :3]).norm(dim=1).sum().backward()
    assert torch.isfinite(points.grad).all() and points.grad.abs().sum() > 0


def test_script_and_onnx_agree(tmp_path: Path):
    import onnxruntime

    solver = PoseHypotheses().eval()
    truth, points, log_deviation, rays = scene(2, 300, 0.5, 0.02)
    inputs = (nowhere(2).contiguous(), points, log_deviation, rays)
    expected = solver(*inputs)
    assert errors(expected.pose_B7, truth)[0].max() < 0.05
    scripted = torch.jit.freeze(torch.jit.script(solver))(*inputs)
    for found, wanted in zip(scripted, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    path = tmp_path / "solver.onnx"
    with quiet():
        torch.onnx.export(solver, inputs, str(path), dynamo=True, opset_version=OPSET, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = {node.name: value.numpy() for node, value in zip(session.get_inputs(), inputs, strict=True)}
    for found, wanted in zip(session.run(None, fed), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-3)
