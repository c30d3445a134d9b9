"""DSAC and DSAC++: hypotheses and their refinement, the expected cost of a choice, and both networks' trainings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import IMAGE_SHAPE, random_network
from small_networks import build, images, small
from test_losses import random_poses, some_frame
from test_pose_hypotheses import errors, scene
from training_runs import quick
from wall_dataset import WALL_M, write_wall

from vlocnetpp.errors import ConfigError
from vlocnetpp.explain.activation import activation_maps
from vlocnetpp.export import export_run
from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.geometry import compose, project, rotate, rotation_matrix
from vlocnetpp.losses import LossConfig, LossInput, MultitaskLoss, count_labels, make_terms, term_means
from vlocnetpp.losses.dsac import (
    entropy_errors,
    expected_costs,
    pose_costs,
    reprojection_errors,
    start_points,
)
from vlocnetpp.network import configure, create
from vlocnetpp.network.blocks.differentiable_ransac import (
    DifferentiableRansac,
    ScoreNetwork,
    SoftInlierCount,
    refine,
    soft_inliers,
)
from vlocnetpp.network.blocks.pose_hypotheses import off_rays, squared_tangents
from vlocnetpp.network.blocks.scene_coordinates import coordinate_labels
from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.config import DataConfig, StageConfig
from vlocnetpp.training.datasets import TrainingError

ANGLE = 0.02


def count(pool) -> torch.Tensor:
    return SoftInlierCount()(pool.tangent_BHN.unflatten(2, (1, -1)) / ANGLE)[0]


# --- hypotheses -----------------------------------------------------------------------------------------------------


def test_tangents_are_those_of_the_points_in_each_camera():
    truth, points, _, rays = scene(3, 50, 0.5, 0.05, dtype=torch.float64)
    poses_BH7 = torch.stack((truth, random_poses(3, 1)), dim=1)
    R_BH33 = rotation_matrix(poses_BH7[..., 3:])
    found_BHN = squared_tangents(R_BH33, poses_BH7[..., :3], points, rays)
    for h in range(2):
        camera = torch.matmul(points - poses_BH7[:, h, None, :3], R_BH33[:, h])
        assert torch.allclose(found_BHN[:, h], off_rays(camera, rays)[1][..., 0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.5])
def test_the_hypothesis_with_most_soft_inliers_is_the_camera(wrong):
    truth, points, _, rays = scene(40, 400, wrong, 0.02)
    ransac = DifferentiableRansac(64, ANGLE).eval()
    pool = ransac(points, rays)
    found = ransac.best(pool, count(pool), points, rays)
    metres, degrees = errors(found.pose_B7, truth)
    assert metres.median() < 0.01 and degrees.median() < 0.2
    lost = (metres > 0.05).float().mean()
    assert lost <= (0.0 if wrong < 0.5 else 0.1), "one of 64 sets of four has no outlier, but for 2 % of the images"
    assert (found.inliers_B < 1 - wrong + 0.05).all()


def test_a_fourth_point_chooses_among_the_solutions_of_three():
    """Without noise every set gives the camera itself, which three points alone do not."""
    truth, points, _, rays = scene(20, 300, 0.0, 0.0, dtype=torch.float64)
    ransac = DifferentiableRansac(64, ANGLE).eval()
    pool = ransac(points, rays)
    near_BH = (pool.position_BH3 - truth[:, None, :3]).norm(dim=2) < 1e-3
    assert near_BH.double().mean() > 0.9


def test_hypotheses_are_the_same_each_time_and_drawn_anew_while_training():
    _, points, _, rays = scene(2, 100, 0.3, 0.02)
    ransac, other = DifferentiableRansac(16, ANGLE), DifferentiableRansac(16, ANGLE)
    assert torch.equal(ransac.eval()(points, rays).position_BH3, other.eval()(points, rays).position_BH3)
    ransac.train()
    assert not torch.equal(ransac(points, rays).position_BH3, ransac(points, rays).position_BH3)


def test_refinement_is_differentiated_at_its_end():
    """The gradient by the points equals that of the converged pose, from finite differences."""
    truth, points, _, rays = scene(1, 60, 0.0, 0.01, dtype=torch.float64)
    R, position = rotation_matrix(truth[:, 3:]), truth[:, :3]

    def pose(given: torch.Tensor) -> torch.Tensor:
        return refine(R, position, given, rays, ANGLE, 12, damping=0.0).pose_B7[0, 0]

    asked = points.clone().requires_grad_()
    pose(asked).backward()
    for n, axis in ((0, 0), (7, 1), (31, 2), (59, 0)):
        step = torch.zeros_like(points)
        step[0, n, axis] = 1e-5
        numeric = (pose(points + step) - pose(points - step)) / 2e-5
        # The weights of the inliers are held, so the two agree but for what a point's own weight changes.
        assert asked.grad[0, n, axis].item() == pytest.approx(numeric.item(), rel=0.5, abs=2e-3)


def test_a_hypothesis_that_nothing_supports_has_a_bounded_gradient():
    _, points, _, rays = scene(8, 100, 1.0, 0.02)
    asked = points.clone().requires_grad_()
    ransac = DifferentiableRansac(32, ANGLE)
    pool = ransac(asked, rays)
    poses_BH7 = ransac.refined(pool, asked, rays)
    assert poses_BH7.shape == (8, 16, 7) and torch.isfinite(poses_BH7).all()
    (poses_BH7[..., :3].sum() + count(pool).sum()).backward()
    assert torch.isfinite(asked.grad).all() and 0 < asked.grad.abs().max() < 1e4


# --- scores ---------------------------------------------------------------------------------------------------------


def test_a_point_at_the_inlier_angle_is_half_an_inlier():
    assert soft_inliers(torch.tensor([0.0, ANGLE, 10 * ANGLE]), ANGLE).tolist() == pytest.approx(
        [1 / (1 + math.exp(-5)), 0.5, 0.0], abs=1e-6
    )
    scores_BH, scale_B = SoftInlierCount()(torch.tensor([0.0, 1.0, 50.0, 50.0]).view(1, 1, 2, 2))
    assert scores_BH.item() == pytest.approx(1.4933, abs=1e-3)
    assert scale_B.tolist() == pytest.approx([0.1])


def test_the_score_network_judges_each_hypothesis_by_itself():
    torch.manual_seed(0)
    network, error_BHhw = ScoreNetwork(0.25), torch.rand(2, 5, 8, 10) * 20
    scores_BH, scale_B = network(error_BHhw)
    assert scores_BH.shape == (2, 5) and scale_B.tolist() == [1, 1]
    assert torch.allclose(network(error_BHhw[1:, 3:4])[0], scores_BH[1:, 3:4], atol=1e-6)
    far = error_BHhw.clone()
    far[error_BHhw > 10] = 1000.0
    assert torch.equal(network(far)[0], scores_BH), "errors are limited"


# --- losses ---------------------------------------------------------------------------------------------------------


def test_cost_is_the_larger_of_centimetres_and_degrees():
    truth = torch.tensor([[1.0, 2, 3, 1, 0, 0, 0]], dtype=torch.float64)
    half = math.radians(8) / 2
    off = torch.tensor([[0.05, 0, 0, 1, 0, 0, 0], [0.05, 0, 0, math.cos(half), 0, math.sin(half), 0]]).double()
    poses_BH7 = torch.stack([compose(truth, each[None])[0] for each in off])[None]
    assert pose_costs(poses_BH7, truth).flatten().tolist() == pytest.approx([5 / 1.05, 8 / 1.08], rel=1e-6)
    assert pose_costs(truth[:, None], truth).item() == 0
    lost = truth[:, None] + torch.tensor([1e4, 0, 0, 0, 0, 0, 0])
    assert 99 < pose_costs(lost, truth).item() < 100


def test_expected_cost_prefers_the_score_of_the_better_hypothesis():
    truth = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]])
    poses_BH7 = torch.tensor([[[0.01, 0, 0, 1, 0, 0, 0], [0.5, 0, 0, 1, 0, 0, 0]]])
    scores = torch.zeros(1, 2, requires_grad=True)
    cost = expected_costs(poses_BH7, scores, truth)
    assert cost.item() == pytest.approx((1 / 1.01 + 50 / 1.5) / 2, rel=1e-4)
    cost.sum().backward()
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]


def test_entropy_is_held_at_three_quarters():
    even = torch.zeros(1, 64)
    assert entropy_errors(even).item() == pytest.approx(1.5, abs=1e-5)
    assert entropy_errors(1000 * torch.eye(64)[:1]).item() == pytest.approx(4.5, abs=1e-5)
    counts, log_scale = 30 * torch.rand(4, 64, generator=torch.Generator().manual_seed(0)), torch.tensor(0.0)
    log_scale.requires_grad_()
    optimizer = torch.optim.Adam([log_scale], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        entropy_errors(counts * log_scale.exp()).mean().backward()
        optimizer.step()
    assert entropy_errors(counts * log_scale.detach().exp()).mean() < 0.2


def test_expected_cost_leaves_the_scale_to_the_entropy():
    frame = some_frame()
    scores, scale = torch.rand(2, 8, requires_grad=True), torch.full((2,), 0.1, requires_grad=True)
    given = LossInput(
        {"hypotheses_BH7": random_poses(16, 3).float().view(2, 8, 7), "scores_BH": scores, "score_scale_B": scale},
        frame,
    )
    terms = make_terms(LossConfig(localization="dsac"), ("localization",))
    means = term_means(terms, given, count_labels(terms, [frame]))
    assert set(means) == {"expected", "entropy"}
    assert torch.autograd.grad(means["expected"], [scores, scale], allow_unused=True)[1] is None
    assert torch.autograd.grad(means["entropy"], [scores, scale], allow_unused=True)[0] is None
    assert MultitaskLoss(terms).scalars().keys() == set(), "no learned weight between them"


def test_cells_of_unknown_depth_begin_at_a_constant_one():
    frame = some_frame()
    depth = frame.depth_B1HW.clone()
    depth[..., :32] = 0
    points = start_points(depth, frame.K_B33, frame.pose_B7, 3.0)
    known, _ = coordinate_labels(frame.depth_B1HW, frame.K_B33, frame.pose_B7)
    assert torch.equal(points[..., 4:], known[..., 4:])
    constant, _ = coordinate_labels(torch.full_like(depth, 3.0), frame.K_B33, frame.pose_B7)
    assert torch.equal(points[..., :4], constant[..., :4])
    terms = make_terms(LossConfig(localization="dsac"), ("localization",))
    bare = replace(frame, depth_B1HW=torch.zeros_like(depth), posed_B=torch.tensor([1.0, 0.0]))
    counts = count_labels(terms, [bare])
    assert (counts["cells"], counts["posed_cells"]) == (0, 4 * 8)
    with pytest.raises(ValueError, match=r"loss.unknown_depth_m: 0 is not positive"):
        LossConfig(unknown_depth_m=0)


def test_reprojection_of_cells_is_that_of_pixels():
    """By another way: points projected to pixels, compared with the middles of the cells."""
    K = torch.tensor([[[50.0, 0, 31.5], [0, 60.0, 15.5], [0, 0, 1]]], dtype=torch.float64)
    pose, depth = random_poses(1, 4), torch.full((1, 1, 32, 64), 2.0, dtype=torch.float64)
    log_scale = torch.full((1, 1, 4, 8), math.log(0.05), dtype=torch.float64)
    truth, _ = coordinate_labels(depth, K, pose)

    def error(points):
        return reprojection_errors(torch.cat((points, log_scale), dim=1), K, pose) - 2 * math.log(0.05)

    assert error(truth).max() < 1e-9
    # Along its ray a point may lie anywhere.
    assert error((truth - pose[:, :3, None, None]) * 1.7 + pose[:, :3, None, None]).max() < 1e-9
    moved = truth + torch.tensor([0.1, -0.05, 0.02], dtype=torch.float64).view(1, 3, 1, 1)
    back = pose[:, 3:] * torch.tensor([1.0, -1, -1, -1])
    camera = rotate(back[:, None, None], (moved - pose[:, :3, None, None]).movedim(1, 3))
    pixels, _ = project(camera, K)
    rows, columns = torch.meshgrid(torch.arange(4) * 8 + 4, torch.arange(8) * 8 + 4, indexing="ij")
    tangent = ((pixels - torch.stack((columns, rows), dim=2)) / torch.tensor([50.0, 60.0])).norm(dim=3)
    assert torch.allclose(error(moved), tangent * camera.norm(dim=3) / 0.05)
    asked = moved.clone().requires_grad_()
    error(asked).sum().backward()
    along = ((moved - pose[:, :3, None, None]) * asked.grad).sum(dim=1)
    assert along.abs().max() < 1e-6 * asked.grad.abs().max(), "nothing pulls a point along its ray of sight"


# --- networks -------------------------------------------------------------------------------------------------------


def test_what_they_learn_from_and_how_they_score():
    assert configure("dsac").traits.labels == ("pose", "depth")
    assert configure("dsacpp").traits.labels == ("pose",) and configure("dsacpp").traits.uses_depth
    assert isinstance(build(small("dsac")).score, ScoreNetwork)
    assert isinstance(build(small("dsacpp")).score, SoftInlierCount)
    for settings, message in (
        ({"score": "softinliers"}, "did you mean 'soft_inliers'"),
        ({"hypotheses": 1}, "hypotheses: 1 is not at least 4"),
        ({"inlier_angle": 0.0}, "inlier_angle: 0.0 is not within 0 and 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            configure("dsac", **settings)


def test_the_answer_has_no_pool_and_is_the_same_each_time():
    network = build(small("dsacpp"))
    image, K, depth = images(1)[0], torch.eye(3)[None] * 50, torch.zeros(1, 1, 64, 96)
    with torch.inference_mode():
        first, again = (network(image, K, depth, {})[0] for _ in range(2))
    assert set(first) == {"pose_B7", "log_scale_B2", "coordinates_B4HW"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    network.train()
    assert {"hypotheses_BH7", "scores_BH", "score_scale_B"} <= set(network(image, K, depth, {})[0])


@pytest.mark.parametrize("preset", ["dsac", "dsacpp"])
def test_half_precision_solves_in_full(preset):
    network = build(small(preset, scene_centre=(300.0, -200.0, 5.0), scene_spread=0.01)).to(torch.bfloat16)
    image, K, depth = images(1)[0].bfloat16(), torch.eye(3)[None] * 50, torch.zeros(1, 1, 64, 96)
    with torch.inference_mode():
        found = network(image, K, depth, {})[0]
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in found.values())


STAGES = (
    StageConfig("start", ("localization",), terms=("start",), share=3, learning_rate=5e-3),
    StageConfig("reprojection", ("localization",), terms=("reproj",), share=6, learning_rate=3e-3),
    StageConfig("end to end", ("localization",), terms=("expected", "entropy"), share=1, learning_rate=2e-4),
)


def trained(preset, wall, out, stages, **changes):
    config = quick(
        wall, preset=preset, stages=stages, batch=8, epochs=12.0, validations=10, width=0.125,
        loss=LossConfig(localization="dsac"), data=DataConfig(root=str(wall), cache="none", clip_length=1), **changes,
    )  # fmt: skip
    assert train(config, out) == 0
    return load_checkpoint(out / "last.pt")


def loss_rows(saved, stage, name):
    return [row[f"loss_{name}"] for row in saved["rows"] if row["stage"] == stage and row[f"loss_{name}"] is not None]


def test_dsacpp_trains_in_three_steps_and_its_files_answer_alike(tmp_path):
    wall = write_wall(tmp_path / "wall", {"train": 16, "val": 6}, masks=False)
    saved = trained("dsacpp", wall, tmp_path / "run", STAGES)
    start = loss_rows(saved, "start", "start")
    assert start[-1] < start[0] - 1, start
    assert 0 < loss_rows(saved, "end to end", "expected")[-1] < 90
    reprojection = loss_rows(saved, "reprojection", "reproj")
    assert reprojection[-1] < reprojection[0], reprojection
    scale = saved["network_state"]["score.log_scale"].item()
    assert scale != pytest.approx(math.log(0.1) / 10, abs=1e-6), "the entropy has moved it"
    # Raises where a file answers otherwise than the network.
    export_run(tmp_path / "run", tmp_path / "run" / "m.ts", checkpoint="last", onnx=True, verify=wall)


def test_dsacpp_learns_without_depth_and_dsac_does_not(tmp_path):
    bare = write_wall(tmp_path / "bare", {"train": 12, "val": 4}, depth=False, masks=False)
    saved = trained("dsacpp", bare, tmp_path / "run", STAGES)
    reprojection = loss_rows(saved, "reprojection", "reproj")
    assert reprojection[-1] < reprojection[0], reprojection
    assert saved["network_config"]["scene"]["scene_spread"] > 2, "as far as is assumed without depth"
    with pytest.raises(TrainingError, match="learned from depth images"):
        train(
            quick(bare, preset="dsac", stages=(StageConfig("a", ("localization",), terms=("coord",)),)), tmp_path / "no"
        )


def test_dsac_trains_its_score_network(tmp_path):
    wall = write_wall(tmp_path / "wall", {"train": 16, "val": 6}, masks=False)
    stages = (
        StageConfig("coordinates", ("localization",), terms=("coord",), share=5, learning_rate=5e-3),
        StageConfig("scores", ("localization",), terms=("coord", "expected"), share=3, learning_rate=1e-3),
        StageConfig("end to end", ("localization",), terms=("expected",), share=2, learning_rate=2e-4),
    )
    saved = trained("dsac", wall, tmp_path / "run", stages)
    torch.manual_seed(0)
    fresh = create("dsac", 0.125, height=64, width_px=96, resize="whole").state_dict()
    assert not torch.allclose(saved["network_state"]["score.conv2.weight"], fresh["score.conv2.weight"], atol=1e-3)
    costs = loss_rows(saved, "scores", "expected") + loss_rows(saved, "end to end", "expected")
    assert all(np.isfinite(costs)) and costs[-1] < costs[0]
    assert saved["network_config"]["scene"]["scene_centre"][2] == pytest.approx(WALL_M, abs=1e-3)


@pytest.mark.parametrize("preset", ["dsac", "dsacpp"])
def test_the_layers_of_the_chosen_pose_are_visible(preset):
    """The pose is differentiated through its last refinement."""
    network = random_network(preset, scene_centre=(0.0, 0.0, 3.0))
    explanation = network.explanation()
    frame = (torch.randint(0, 256, (1, *IMAGE_SHAPE, 3), dtype=torch.uint8), torch.tensor([0, 1, 2]))
    inputs = (*frame, torch.tensor([[[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]]), torch.zeros(1, 1, 1, 1), {})
    chosen = {name: explanation.layers[name] for name in ("res3d", "last")}
    for scalar in ("position", "rotation"):
        maps = activation_maps(ExportedStep(network).eval(), inputs, explanation, chosen, scalar)
        assert {name: tuple(map_.shape) for name, map_ in maps.items()} == dict.fromkeys(chosen, (8, 12))
        assert all(torch.isfinite(map_).all() for map_ in maps.values())
        assert scalar == "rotation" or maps["last"].max() > 0
