"""What is particular to the baselines of the paper's tables I to IV; test_network.py runs every network."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from random_models import IMAGE_SHAPE, export_random, random_network
from random_models import K_33 as WIDE_K_33
from scipy.spatial.transform import Rotation
from small_networks import K_33, build, images, small
from test_losses import random_poses, some_frame
from torch.nn import functional as F
from training_runs import quick
from wall_dataset import write_wall

from vlocnetpp.data import open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.explain.activation import activation_maps
from vlocnetpp.export import export_run
from vlocnetpp.export.files import read_run
from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.geometry import compose, inverse, relative, rotate, rotation_angle
from vlocnetpp.losses import LossConfig, LossInput, MultitaskLoss, count_labels, make_terms, term_means
from vlocnetpp.losses.pose import euclidean_errors
from vlocnetpp.losses.posenet import image_plane, reprojection_errors
from vlocnetpp.network import cold_state_of, configure, create
from vlocnetpp.network.blocks.fast_corners import FastCorners
from vlocnetpp.network.models.bayesian_posenet import mean_pose
from vlocnetpp.network.models.cnnbspp import PyramidPooling
from vlocnetpp.network.models.nnnet import median_pose
from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.clips import open_store
from vlocnetpp.training.config import StageConfig
from vlocnetpp.training.stage import stage_terms


def answer(network, image_B3HW):
    K = torch.from_numpy(K_33).float().expand(len(image_B3HW), 3, 3)
    depth = torch.zeros(len(image_B3HW), 1, *image_B3HW.shape[-2:])
    with torch.inference_mode():
        return network(image_B3HW, K, depth, cold_state_of(network, len(image_B3HW)))[0]


# --- losses ---------------------------------------------------------------------------------------------------------


def test_fixed_beta_weighs_the_rotation_and_learns_no_scalar():
    config = LossConfig(localization="fixed_beta", beta=120.0)
    terms = make_terms(config, ("localization",))
    frame = some_frame()
    predicted = random_poses(2, 8).float()
    means = term_means(terms, LossInput({"pose_B7": predicted}, frame), count_labels(terms, [frame]))
    x, q = euclidean_errors(predicted, frame.pose_B7)
    loss = MultitaskLoss(terms)
    assert loss.scalars() == {}
    assert loss(means).item() == pytest.approx((x.mean() + 120 * q.mean()).item(), rel=1e-5)
    with pytest.raises(ValueError, match="'fixed_beta' has no eq"):
        LossConfig(localization="fixed_beta", relative_frame="world")
    with pytest.raises(ValueError, match=r"loss.beta: 0 is not positive"):
        LossConfig(localization="fixed_beta", beta=0)


def test_reprojection_measures_in_the_image():
    """A camera 0.3 m to the right sees a point 3 m away a tenth of a focal length further left."""
    truth = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]], dtype=torch.float64)
    beside = torch.tensor([[0.3, 0, 0, 1, 0, 0, 0]], dtype=torch.float64)
    point = torch.tensor([0.6, -0.3, 3.0], dtype=torch.float64).view(1, 3, 1, 1)
    assert image_plane(point, truth).flatten().tolist() == pytest.approx([0.2, -0.1])
    assert reprojection_errors(beside, truth, point).item() == pytest.approx(0.1 / 1.1)
    assert reprojection_errors(truth, truth, point).item() == 0
    # By another way: the world turned and moved changes nothing.
    q = random_poses(1, 3)
    turn = Rotation.from_quat(q[0, 3:].numpy(), scalar_first=True)
    moved = rotate(q[:, 3:], point.flatten()[None]) + q[:, :3]
    assert torch.allclose(moved, torch.from_numpy(turn.apply(point.flatten()[None])) + q[:, :3])
    world = reprojection_errors(compose(q, beside), compose(q, truth), moved.view(1, 3, 1, 1))
    assert world.item() == pytest.approx(0.1 / 1.1)


def test_reprojection_has_gradients_and_is_bounded_behind_the_camera():
    truth, points = random_poses(3, 1), torch.randn(3, 3, 2, 4, dtype=torch.float64) * 3
    predicted = random_poses(3, 2).requires_grad_()
    error = reprojection_errors(predicted, truth, points)
    assert error.shape == (3, 2, 4) and (error < 1).all()
    error.sum().backward()
    assert torch.isfinite(predicted.grad).all() and predicted.grad.abs().sum() > 0


def test_reprojection_counts_cells_with_depth():
    terms = make_terms(LossConfig(localization="reprojection"), ("localization",))
    frame = some_frame()
    half = frame.depth_B1HW.clone()
    half[..., :32] = 0
    assert count_labels(terms, [frame])["cells"] == 2 * 4 * 8
    assert count_labels(terms, [replace(frame, depth_B1HW=half)])["cells"] == 2 * 4 * 4


def test_a_stage_trains_the_terms_that_it_names():
    terms = make_terms(LossConfig(localization="reprojection"), ("localization",))
    loss = MultitaskLoss(terms)
    network = create("posenet2", 0.0625, height=64, width_px=96)
    everything = [term.name for term in stage_terms(loss, network, StageConfig("a", ("localization",)))]
    assert everything[:4] == ["x", "q", "reproj", "scale"]
    only = StageConfig("a", ("localization",), terms=("reproj", "scale"))
    assert [term.name for term in stage_terms(loss, network, only)] == ["reproj", "scale"]
    with pytest.raises(ConfigError, match="stage 'a': trains no term 'reprojection'; there are x, q, reproj"):
        stage_terms(loss, network, StageConfig("a", ("localization",), terms=("reprojection",)))


def test_posenet2_trains_in_its_two_stages_and_needs_depth(tmp_path):
    wall = write_wall(tmp_path / "wall", {"train": 16, "val": 4})
    stages = (
        StageConfig("pose", ("localization",), terms=("x", "q", "scale"), consistency=False),
        StageConfig("reprojection", ("localization",), terms=("reproj", "scale")),
    )
    config = quick(wall, preset="posenet2", stages=stages, loss=LossConfig(localization="reprojection"))
    assert train(config, tmp_path / "run") == 0
    rows = load_checkpoint(tmp_path / "run" / "last.pt")["rows"]
    first, last = ([row for row in rows if row["stage"] == stage] for stage in ("pose", "reprojection"))
    assert first and last
    assert configure("posenet2").traits.labels == ("pose", "depth") == configure("svs_pose").traits.labels
    assert configure("pose_single").traits.labels == ("pose",)


# --- Bayesian PoseNet -----------------------------------------------------------------------------------------------


def test_mean_and_covariance_of_sampled_poses():
    generator = np.random.default_rng(0)
    middle = Rotation.from_rotvec([0.5, -1.0, 2.0])
    vectors_S3 = generator.normal(0, 0.02, (4000, 3)) * (1, 2, 3)
    vectors_S3 -= vectors_S3.mean(axis=0)
    turned = Rotation.from_rotvec(vectors_S3) * middle
    q_S4 = turned.as_quat(scalar_first=True) * generator.choice((-1, 1), (4000, 1))
    x_S3 = generator.normal((3, 4, 5), 0.1, (4000, 3))
    pose_B7, covariance_B66 = mean_pose(torch.from_numpy(np.concatenate((x_S3, q_S4), axis=1))[None])
    assert torch.allclose(pose_B7[0, :3], torch.from_numpy(x_S3.mean(axis=0)))
    truth_4 = torch.from_numpy(middle.as_quat(scalar_first=True))
    assert rotation_angle(pose_B7[:, 3:], truth_4[None]).item() < 1e-3
    expected = np.cov(np.concatenate((x_S3, vectors_S3), axis=1).T)
    assert np.abs(covariance_B66[0].numpy() - expected).max() < 2e-5
    assert torch.linalg.eigvalsh(covariance_B66[0]).min() > 0


def test_bayesian_posenet_answers_one_image_alike_and_drops_while_training():
    network = build(small("bayesian_posenet"))
    image = images(1)[0]
    first, again = answer(network, image), answer(network, image)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.allclose(
        answer(network, torch.cat((image, image)))["pose_B7"], first["pose_B7"].expand(2, 7), atol=1e-5
    )
    scale = 0.5 * torch.log(first["pose_covariance_B66"][0].diagonal()[:3].sum())
    assert first["log_scale_B2"][0, 0].item() == pytest.approx(scale.item(), abs=1e-5) and scale < 0
    # Another network of the same settings has the same masks: they are of the settings, not of chance.
    other = build(small("bayesian_posenet"))
    assert torch.equal(other.head.before_SC, network.head.before_SC)
    share = (network.head.before_SC == 0).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.02)
    # While training each pass is another sample.
    network.train()
    K, depth = torch.eye(3).expand(2, 3, 3), torch.zeros(2, 1, 64, 96)
    pair = images(1, batch=2)[0]
    with torch.no_grad():
        a, b = (network(pair, K, depth, {})[0]["pose_B7"] for _ in range(2))
    assert not torch.equal(a, b)


def test_the_mean_of_many_samples_is_near_the_network_without_dropout():
    network = build(small("bayesian_posenet", samples=2000))
    image = images(1)[0]
    with torch.inference_mode():
        pooled = network.trunk(network.normalize(image))[-1].mean(dim=(2, 3))
        head = network.head
        undropped = head.pose(F.elu(head.fc1(pooled)))
    sampled = answer(network, image)
    spread = math.exp(sampled["log_scale_B2"][0, 0].item())
    assert (sampled["pose_B7"][0, :3] - undropped[0, :3]).norm().item() < 0.3 * spread


# --- odometry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 5), (8, 10), (14, 14), (13, 7)])
def test_pyramid_pooling_is_adaptive_maximum_pooling(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2, 3, 6)], dim=1)
    assert torch.equal(PyramidPooling((1, 2, 3, 6))(x), expected) and expected.shape == (2, 3 * 50)


def test_fast_corners_are_opencv_s():
    generator = np.random.default_rng(1)
    image_HW3 = np.zeros((96, 128, 3), np.uint8) + 90
    for _ in range(40):
        x, y = (int(value) for value in generator.integers(0, (120, 90)))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        cv2.rectangle(image_HW3, (x, y), (x + 14, y + 9), colour, -1)
    image_B3HW = torch.from_numpy(image_HW3).permute(2, 0, 1)[None].float()
    r, g, b = image_B3HW[0].unbind()
    grey_HW = torch.round(0.299 * r + 0.587 * g + 0.114 * b).to(torch.uint8).numpy()
    found = cv2.FastFeatureDetector_create(20, False, cv2.FAST_FEATURE_DETECTOR_TYPE_9_16).detect(grey_HW)
    expected_HW = np.zeros(grey_HW.shape, np.float32)
    for point in found:
        x, y = point.pt
        expected_HW[int(y), int(x)] = 1
    assert len(found) > 100
    assert np.array_equal(FastCorners(20.0)(image_B3HW)[0, 0].numpy(), expected_HW)


def test_deepvo_with_fast_corners_runs_and_scripts():
    network = build(small("deepvo", fast=True))
    assert network.features[0][0].in_channels == 4
    scripted = torch.jit.script(network)
    K, depth, state = torch.from_numpy(K_33).float()[None], torch.zeros(1, 1, 64, 96), cold_state_of(network)
    other = {name: value.clone() for name, value in state.items()}
    with torch.inference_mode():
        for image in images(2):
            eager, state = network(image, K, depth, state)
            same, other = scripted(image, K, depth, other)
    assert (eager["relative_B7"] - same["relative_B7"]).abs().max() < 1e-5
    assert eager["relative_B7"].tolist() != [[0, 0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize("preset", ["lbo", "deepvo", "cnnbspp"])
def test_odometry_depends_on_both_frames_and_starts_cold(preset):
    network = build(small(preset))
    a, b = images(2)
    K, depth = torch.from_numpy(K_33).float()[None], torch.zeros(1, 1, 64, 96)
    with torch.inference_mode():
        cold, state = network(a, K, depth, cold_state_of(network))
        there, _ = network(b, K, depth, state)
        still, _ = network(a, K, depth, state)
        _, other = network(b, K, depth, cold_state_of(network))
        back, _ = network(a, K, depth, other)
    assert cold["relative_B7"].tolist() == [[0, 0, 0, 1, 0, 0, 0]]
    seen = [there["relative_B7"], still["relative_B7"], back["relative_B7"]]
    for i, one in enumerate(seen):
        assert all((one - two).abs().max() > 1e-6 for two in seen[i + 1 :])


def test_bayesian_posenet_runs_in_the_localizer(tmp_path):
    path = export_random(tmp_path / "b.ts", "bayesian_posenet")
    image_HW3 = np.random.default_rng(0).integers(0, 256, (*IMAGE_SHAPE, 3), dtype=np.uint8)
    model = load_model(path, "cpu", "fp32")
    estimate = Localizer(model).localize(image_HW3, WIDE_K_33, stamp_ns=1)
    answer_B, _ = model.step(
        torch.from_numpy(image_HW3)[None], torch.tensor([0, 1, 2]), torch.from_numpy(WIDE_K_33).float()[None],
        torch.zeros(1, 1, 1, 1), {},
    )  # fmt: skip
    covariance_66 = answer_B["pose_covariance_B66"][0]
    trace_2 = torch.stack((covariance_66[:3, :3].trace(), covariance_66[3:, 3:].trace()))
    # `export_random` writes the calibration 2 and 3.
    assert estimate.sigma_2 == pytest.approx((trace_2.sqrt() * torch.tensor([2.0, 3.0])).tolist(), rel=1e-3)


# --- NNnet ----------------------------------------------------------------------------------------------------------


def test_the_median_pose_ignores_a_wrong_answer():
    right = random_poses(1, 4)
    off = torch.tensor([[0.01, 0, 0], [0, 0.01, 0], [0, 0, -0.01], [-0.01, 0, 0.01]], dtype=torch.float64)
    near = compose(right.expand(4, 7), torch.cat((off, torch.eye(4, dtype=torch.float64)[:1].expand(4, 4)), dim=1))
    wrong = compose(right, torch.tensor([[5.0, 0, 0, 0, 1, 0, 0]], dtype=torch.float64))
    answers_BK7 = torch.cat((near, wrong))[None]
    answers_BK7[0, 1, 3:] *= -1
    pose_B7, log_scale_B2 = median_pose(answers_BK7)
    assert (pose_B7[:, :3] - right[:, :3]).norm() < 0.05 < (answers_BK7[..., :3].mean(1) - right[:, :3]).norm()
    assert rotation_angle(pose_B7[:, 3:], right[:, 3:]).item() < 0.05
    assert 0.9 < log_scale_B2[0, 0].exp() < 1.1, "a fifth of 5 m"


def test_nnnet_keeps_training_frames_and_finds_each_among_them(tmp_path):
    wall = write_wall(tmp_path / "wall", {"train": 16, "val": 4})
    stage = StageConfig("pairs", ("localization", "odometry"), terms=("x_vo", "q_vo"), consistency=False)
    network = {"height": 64, "width_px": 96, "resize": "whole", "frames": 10, "neighbours": 3}
    config = quick(wall, preset="nnnet", stages=(stage,), network=network)
    assert train(config, tmp_path / "run") == 0
    trained, _, _ = read_run(tmp_path / "run", "last")
    trained.eval()
    assert trained.map.known_N.sum() == 10
    store = open_store(open_dataset(wall).sequences("train"), trained.config, "frames", None)
    kept = np.linspace(0, len(store.names) - 1, 10).round().astype(int)
    assert torch.allclose(trained.map.pose_N7, store.pose_N7[torch.from_numpy(kept)])
    image_B3HW = torch.from_numpy(store.image_N3HW[kept]).float()
    with torch.inference_mode():
        features_BC = trained.trunk(trained.normalize(image_B3HW))[-1].mean(dim=(2, 3))
        _, nearest_BK7 = trained.map(features_BC)
    assert torch.allclose(nearest_BK7[:, 0], trained.map.pose_N7), "each frame is its own nearest"
    assert {len({tuple(pose) for pose in row}) for row in nearest_BK7.tolist()} == {3}
    # Raises where a file answers otherwise than the network.
    export_run(tmp_path / "run", tmp_path / "run" / "nn.ts", checkpoint="last", onnx=True, verify=wall)


def test_the_way_back_is_learned_with_the_way_there():
    terms = make_terms(LossConfig(), ("odometry",))
    before, now = some_frame(seed=1), some_frame(seed=2)
    there = relative(before.pose_B7, now.pose_B7)
    counts = count_labels(terms, [before, now])
    known = {"relative_B7": there, "returning_B7": inverse(there)}
    right = term_means(terms, LossInput(known, now, known, before), counts)
    assert max(value.item() for value in right.values()) < 1e-5
    swapped = term_means(terms, LossInput({**known, "returning_B7": there}, now, known, before), counts)
    alone = term_means(terms, LossInput({"relative_B7": there}, now, known, before), counts)
    assert swapped["x_vo"] > 0.1 and alone["x_vo"] < 1e-5


# --- explained ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["bayesian_posenet", "lstm_posenet", "hourglass_posenet", "nnnet"])
def test_the_layers_of_a_baseline_s_pose_are_visible(preset):
    network = random_network(preset)
    if preset == "nnnet":
        network.fill_map([(images(1, batch=8)[0], random_poses(8, 0).float())])
    explanation = network.explanation()
    frame = (torch.randint(0, 256, (1, *IMAGE_SHAPE, 3), dtype=torch.uint8), torch.tensor([0, 1, 2]))
    inputs = (*frame, torch.eye(3)[None], torch.zeros(1, 1, 1, 1), cold_state_of(network))
    chosen = {name: explanation.layers[name] for name in ("res3d", "res5c", "last")}
    for scalar in ("position", "rotation"):
        maps = activation_maps(ExportedStep(network).eval(), inputs, explanation, chosen, scalar)
        assert all(torch.isfinite(map_).all() and map_.max() > 0 for map_ in maps.values()), scalar
    last = (16, 24) if preset == "hourglass_posenet" else (2, 3)
    assert tuple(maps["last"].shape) == last and tuple(maps["res3d"].shape) == (8, 12)
