"""Scene coordinates: their labels, the solver that turns them into a pose, and the network that predicts them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from random_models import K_33
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from training_runs import quick
from wall_dataset import WALL_M, write_wall

from vlocnetpp.data import DataError
from vlocnetpp.data.registration import DepthCameraConfig, register_depth
from vlocnetpp.errors import ConfigError
from vlocnetpp.export import export_run
from vlocnetpp.export.onnx import OPSET, FixedPreprocess, quiet
from vlocnetpp.geometry import compose, normalize_quaternion, project, rotate, rotation_angle
from vlocnetpp.losses.coordinates import coordinate_errors
from vlocnetpp.losses.term import masked_mean
from vlocnetpp.network import cold_state_of, configure, create
from vlocnetpp.network.blocks.pose_solver import invert, solve_pose
from vlocnetpp.network.blocks.scene_coordinates import cells, coordinate_labels, refine_pose
from vlocnetpp.network.blocks.sharing import without
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.training import TrainingError, load_checkpoint, train
from vlocnetpp.training.config import DataConfig, StageConfig

K = torch.from_numpy(K_33).double()[None]
HEIGHT, WIDTH = 64, 96


def scene(batch: int, seed: int = 0):
    """Cameras (B, 7), the points (B, N, 3) that they see in a map, and the rays (B, N, 3) along which they do."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth = torch.cat((3 * random(batch, 3), normalize_quaternion(random(batch, 4))), dim=1)
    rays = torch.nn.functional.normalize(
        torch.cat((0.4 * random(batch, 80, 2), torch.ones(batch, 80, 1, dtype=torch.float64)), dim=2), dim=2
    )
    distances = 1 + 3 * torch.rand(batch, 80, 1, generator=generator, dtype=torch.float64)
    points = rotate(truth[:, None, 3:], rays * distances) + truth[:, None, :3]
    return truth, points, rays, random


def aside(truth: torch.Tensor, metres: float, degrees: float) -> torch.Tensor:
    """The poses, moved by so much."""
    half = np.radians(degrees) / 2
    motion = torch.tensor([0.0, metres, 0.0, np.cos(half), np.sin(half), 0.0, 0.0], dtype=truth.dtype)
    return compose(truth, motion.expand_as(truth))


def errors(found: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Largest of position, metres, and rotation, degrees."""
    metres = (found[:, :3] - truth[:, :3]).norm(dim=1).max().item()
    return metres, float(np.degrees(rotation_angle(found[:, 3:], truth[:, 3:]).max().item()))


# --- the solver -----------------------------------------------------------------------------------------------------


def test_exact_points_give_the_exact_camera():
    truth, points, rays, _ = scene(4)
    found = solve_pose(aside(truth, 0.5, 20), points, torch.full((4, 80), -3.0).double(), rays)
    metres, degrees = errors(found.pose_B7, truth)
    assert metres < 1e-6 and degrees < 1e-4
    assert found.inliers_B.min() > 0.999


def test_outliers_have_no_say():
    truth, points, rays, random = scene(4, seed=1)
    noisy = points + 0.02 * random(4, 80, 3)
    noisy[:, :30] += 2 * random(4, 30, 3)  # three of eight lie anywhere
    trust = torch.full((4, 80), float(np.log(0.02))).double()
    found = solve_pose(aside(truth, 0.2, 8), noisy, trust, rays)
    clean = solve_pose(aside(truth, 0.2, 8), noisy[:, 30:], trust[:, 30:], rays[:, 30:])
    assert errors(found.pose_B7, truth)[0] < 0.03 and errors(found.pose_B7, truth)[1] < 0.8
    assert errors(found.pose_B7, clean.pose_B7)[0] < 0.01
    assert found.inliers_B.min() > 0.3 and found.inliers_B.max() < 0.65


def test_it_is_the_minimum_that_scipy_finds():
    """Against an independent parametrization and solver, where all points are inliers of different deviation."""
    truth, points, rays, random = scene(1, seed=2)
    log_deviation = torch.where(torch.arange(80) < 40, -5.0, -3.0).double()[None]
    noisy = points + 0.1 * log_deviation.exp()[..., None] * random(1, 80, 3)

    def off(parameters):
        camera = Rotation.from_rotvec(parameters[3:]).inv().apply(noisy[0].numpy() - parameters[:3])
        v = rays[0].numpy()
        across = camera - (camera * v).sum(axis=1, keepdims=True) * v
        return (across / log_deviation[0].exp().numpy()[:, None]).ravel()

    first = Rotation.from_quat(np.roll(truth[0, 3:].numpy(), -1)).as_rotvec()
    best = least_squares(off, np.concatenate((truth[0, :3].numpy(), first)), xtol=1e-14, ftol=1e-14)
    expected = np.roll(Rotation.from_rotvec(best.x[3:]).as_quat(), 1)
    found = solve_pose(aside(truth, 0.1, 5), noisy, log_deviation, rays).pose_B7
    # The kernel takes a little from the worst of the inliers.
    assert np.abs(found[0, :3].numpy() - best.x[:3]).max() < 1e-4
    assert rotation_angle(found[:, 3:], normalize_quaternion(torch.from_numpy(expected)[None])).item() < 1e-4


def test_its_deviations_are_those_of_the_errors():
    truth, points, rays, random = scene(200, seed=3)
    found = solve_pose(truth, points + 0.05 * random(200, 80, 3), torch.full((200, 80), np.log(0.05)).double(), rays)
    squared = (found.pose_B7[:, :3] - truth[:, :3]).square().sum(dim=1)
    angle = rotation_angle(found.pose_B7[:, 3:], truth[:, 3:])
    assert 0.8 < (squared.mean().sqrt() / found.deviation_B2[:, 0].square().mean().sqrt()).item() < 1.25
    assert 0.8 < (angle.square().mean().sqrt() / found.deviation_B2[:, 1].square().mean().sqrt()).item() < 1.25


def test_each_sample_is_solved_alone():
    truth, points, rays, random = scene(3, seed=4)
    noisy, trust = points + 0.05 * random(3, 80, 3), torch.full((3, 80), -3.0).double()
    start = aside(truth, 0.1, 5)
    together = solve_pose(start, noisy, trust, rays)
    for i in range(3):
        alone = solve_pose(start[i : i + 1], noisy[i : i + 1], trust[i : i + 1], rays[i : i + 1])
        assert torch.allclose(alone.pose_B7[0], together.pose_B7[i], atol=1e-9)


def test_gradients_reach_points_and_deviations_and_are_right():
    truth, points, rays, random = scene(1, seed=5)
    few = slice(0, 8)
    start = aside(truth, 0.05, 2)
    points = (points[:, few] + 0.02 * random(1, 8, 3)).requires_grad_()
    trust = (-3.0 + 0.1 * random(1, 8)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, s: solve_pose(start, p, s, rays[:, few], 4).pose_B7, (points, trust))


@pytest.mark.parametrize("kind", ["one point", "behind", "far away", "no trust"])
def test_degenerate_points_give_finite_numbers(kind):
    truth, points, rays, _ = scene(2, seed=6)
    trust = torch.full((2, 80), -3.0).double()
    if kind == "one point":
        points = points[:, :1].expand_as(points)
    elif kind == "behind":
        points = 2 * truth[:, None, :3] - points
    elif kind == "far away":
        points = points + 1e4
    else:
        trust = torch.full((2, 80), 8.0).double()
    found = solve_pose(truth.float(), points.float(), trust.float(), rays.float())
    assert all(torch.isfinite(value).all() for value in found)


def test_inverse_of_positive_matrices():
    half = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = half @ half.transpose(1, 2) + 0.1 * torch.eye(3, dtype=torch.float64)
    assert torch.allclose(invert(matrix), torch.linalg.inv(matrix), rtol=1e-8, atol=1e-10)


def test_the_solver_scripts():
    truth, points, rays, random = scene(2, seed=7)
    args = (aside(truth, 0.1, 5), points + 0.02 * random(2, 80, 3), torch.full((2, 80), -3.0).double(), rays)
    for eager, scripted in zip(solve_pose(*args), torch.jit.script(solve_pose)(*args), strict=True):
        assert torch.allclose(eager, scripted, atol=1e-10)


# --- labels and loss ------------------------------------------------------------------------------------------------


def test_labels_project_back_to_their_cells():
    truth, *_ = scene(2, seed=8)
    depth = 1 + torch.rand(2, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    depth[:, :, :32] = 0
    K_2 = K.expand(2, 3, 3)
    target, known = coordinate_labels(depth, K_2, truth)
    assert target.shape == (2, 3, HEIGHT // 8, WIDTH // 8)
    assert known[:, 4:].all() and not known[:, :4].any()
    camera = rotate(
        torch.cat((truth[:, 3:4], -truth[:, 4:]), dim=1)[:, None, None],
        target.movedim(1, -1) - truth[:, None, None, :3],
    )
    pixels, _ = project(camera, K_2)
    here = cells(HEIGHT, WIDTH, depth).expand_as(pixels)
    assert torch.allclose(pixels[known], here[known], atol=1e-8)
    assert torch.equal(here[0, 0, 0], torch.tensor([4.0, 4.0], dtype=torch.float64))


def test_refining_by_true_labels_gives_the_true_pose():
    truth, *_ = scene(3, seed=9)
    depth = 1 + torch.rand(3, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target, _ = coordinate_labels(depth, K.expand(3, 3, 3), truth)
    sure = torch.cat((target, torch.full_like(target[:, :1], -3.0)), dim=1)
    scales = torch.zeros(3, 2, dtype=torch.float64)
    refined, scale = refine_pose(aside(truth, 0.3, 10), scales, sure, K.expand(3, 3, 3))
    assert errors(refined, truth)[0] < 1e-6
    assert scale.max() < -3
    # Points that no camera could see so: what was regressed stays, with its own scale.
    nonsense = torch.cat((10 * torch.randn_like(target), torch.full_like(target[:, :1], -6.0)), dim=1)
    one_place = torch.cat((target[:, :, :1, :1].expand_as(target), torch.full_like(target[:, :1], -3.0)), dim=1)
    vague = torch.cat((target, torch.full_like(target[:, :1], 2.0)), dim=1)
    for bad in (nonsense, one_place, vague):
        kept, scale = refine_pose(aside(truth, 0.3, 10), scales, bad, K.expand(3, 3, 3))
        assert torch.equal(kept, aside(truth, 0.3, 10)) and torch.equal(scale, scales)


def coordinate_loss(coordinates, target, known):
    return masked_mean(coordinate_errors(coordinates, target), known)


def test_the_loss_by_hand():
    coordinates = torch.zeros(1, 4, 1, 2, requires_grad=True)
    target = torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    known = torch.tensor([[[True, False]]])
    assert coordinate_loss(coordinates, target, known).item() == pytest.approx(5.0)
    shifted = coordinates.detach() + torch.tensor([0.0, 0, 0, np.log(2)]).view(1, 4, 1, 1)
    assert coordinate_loss(shifted, target, known).item() == pytest.approx(2.5 + 3 * np.log(2))
    coordinate_loss(coordinates, target, known).backward()
    assert coordinates.grad[..., 1].abs().max() == 0 and coordinates.grad[0, 0, 0, 0] < 0
    assert coordinate_loss(coordinates, target, torch.zeros_like(known)).item() == 0


# --- depth of another camera ----------------------------------------------------------------------------------------


def plane_depth(K_33: np.ndarray, normal_3: np.ndarray, distance: float) -> np.ndarray:
    """Depth (H, W) of the plane n x = d, in the camera that n and d are given in."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - K_33[0, 2]) / K_33[0, 0], (v - K_33[1, 2]) / K_33[1, 1], np.ones_like(u, float)], axis=-1)
    return (distance / (rays @ normal_3)).astype(np.float32)


def test_registered_depth_is_that_of_the_colour_camera():
    camera = DepthCameraConfig(focal=1.1, offset_m=(-0.05, 0.01, 0.02))
    depth_K = K_33 * np.array([[1.1, 1, 1], [1, 1.1, 1], [1, 1, 1]])
    normal, distance = np.array([0.3, 0.1, 1.0]), 2.0
    found = register_depth(plane_depth(depth_K, normal, distance), K_33, camera)
    expected = plane_depth(K_33, normal, distance + normal @ camera.offset_m)
    seen = found > 0
    assert seen[10:-10, 10:-10].all() and not seen[:, 0].any()  # the colour camera sees more than the depth camera
    assert np.abs(found - expected)[seen].max() < 0.03  # a pixel of the slanted plane
    assert abs(np.median((found - expected)[seen])) < 0.01


def test_registration_lets_the_nearest_be_seen():
    depth = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    depth[20:40, 30:50] = 1.0
    camera = DepthCameraConfig(offset_m=(0.1, 0.0, 0.0))
    found = register_depth(depth, K_33, camera)
    near, far = np.rint(0.1 * K_33[0, 0] / np.array([1.0, 4.0])).astype(int)
    assert (found[22:38, 32 + near : 48 + near] == 1).all()
    assert (found[:18, far + 1 :] == 4).all()
    hidden = found[22:38, 31 + far : 29 + near]  # behind where the box was seen, no depth was measured
    assert hidden.size and not hidden.any()
    unknown = register_depth(np.zeros_like(depth), K_33, camera)
    assert not unknown.any()


def test_a_depth_camera_that_cannot_be():
    with pytest.raises(DataError, match="focal must be positive"):
        DepthCameraConfig(focal=0.0)
    with pytest.raises(DataError, match="three numbers"):
        DepthCameraConfig(offset_m=(1.0,))


def test_the_focal_length_is_corrected_wherever_an_image_comes_in():
    image = torch.zeros((1, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    plain, corrected = (Preprocess(HEIGHT, WIDTH, True, factor) for factor in (1.0, 0.9))
    given = (image, torch.tensor([0, 1, 2]), K.float(), torch.zeros(1, 1, 1, 1))
    expected = plain(*given)[1] * torch.tensor([[0.9, 1, 1], [1, 0.9, 1], [1, 1, 1]])
    assert torch.allclose(corrected(*given)[1], expected)
    assert torch.allclose(FixedPreprocess(corrected, (HEIGHT, WIDTH))(*given)[1], expected)
    assert torch.equal(given[2], K.float())


# --- the network ----------------------------------------------------------------------------------------------------


def test_what_the_preset_needs():
    with pytest.raises(ConfigError, match="needs the task localization"):
        configure("stl_odometry", "tiny", coordinates="res3")
    network = create("stl_pose", 0.0625, coordinates="res3", height=64, width_px=96)
    assert network.coordinates is not None
    plain = create("stl_pose", 0.0625, height=64, width_px=96)
    assert plain.coordinates is None


class Told(torch.nn.Module):
    """Stands for a head that has learned everything."""

    def __init__(self, coordinates_14HW: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("coordinates_14HW", coordinates_14HW)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.coordinates_14HW.expand(x.shape[0], 4, -1, -1)


@torch.inference_mode()
def test_the_step_answers_the_refined_pose_and_training_the_regressed():
    torch.manual_seed(0)
    network = create("stl_coordinates", 0.0625, height=HEIGHT, width_px=WIDTH, dropout=0.0)
    truth = torch.tensor([[0.1, -0.2, 0.3, 0.99, 0.1, 0.05, 0.0]])
    truth[:, 3:] = normalize_quaternion(truth[:, 3:])
    depth = 1 + torch.rand(1, 1, HEIGHT, WIDTH)
    target, _ = coordinate_labels(depth, K.float(), truth)
    network._modules["coordinates"] = Told(torch.cat((target, torch.full_like(target[:, :1], -3.0)), dim=1))
    frame = (255 * torch.rand(1, 3, HEIGHT, WIDTH), K.float(), torch.zeros_like(depth), cold_state_of(network))
    network.eval()
    regressed = without(network, ["coordinates", "solver"])(*frame)[0]["pose_B7"]
    assert errors(regressed, truth)[0] > 0.1
    for step in (network, torch.jit.script(network)):
        answer = step(*frame)[0]
        assert errors(answer["pose_B7"], truth)[0] < 1e-3 and answer["log_scale_B2"].max() < -2
    network.train()
    in_training = network(*frame)[0]["pose_B7"]
    assert torch.equal(in_training, without(network, ["coordinates", "solver"])(*frame)[0]["pose_B7"])


class TwoRounds(torch.nn.Module):
    """The solver as a network of its own, short, because PyTorch's exporter takes seconds for each round."""

    def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return tuple(solve_pose(*args, rounds=2))


def test_onnx_solves_alike(tmp_path):
    import onnxruntime

    truth, points, rays, random = scene(1, seed=10)
    args = (aside(truth, 0.1, 5), points + 0.02 * random(1, 80, 3), torch.full((1, 80), -3.0), rays)
    args = tuple(value.float() for value in args)
    names = ["start", "points", "deviation", "rays"]
    with quiet():
        torch.onnx.export(TwoRounds(), args, input_names=names, opset_version=OPSET, dynamo=True, verbose=False).save(
            str(tmp_path / "solver.onnx")
        )
    session = onnxruntime.InferenceSession(str(tmp_path / "solver.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(names, args, strict=True)})
    for got, expected in zip(found, TwoRounds()(*args), strict=True):
        assert np.abs(got - expected.numpy()).max() < 1e-4


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 16, "val": 6}, masks=False)


@pytest.fixture(scope="module")
def run(wall, tmp_path_factory):
    """Coordinates learned on a wall, with the past beside them."""
    out = tmp_path_factory.mktemp("runs") / "coordinates"
    stage = StageConfig("pose", ("localization",), learning_rate=5e-3, consistency=False)
    network = {"height": 64, "width_px": 96, "resize": "whole"}
    config = quick(
        wall, preset="stl_coordinates", stages=(stage,), network=network, batch=8, epochs=6.0, width=0.125,
        data=DataConfig(root=str(wall), cache="none", clip_length=1),
    )  # fmt: skip
    assert train(config, out) == 0
    return out


def test_it_learns_where_the_wall_is(run):
    saved = load_checkpoint(run / "last.pt")
    losses = [row["loss_coord"] for row in saved["rows"] if row["loss_coord"] is not None]
    assert losses[-1] < losses[0] - 1, losses
    assert saved["network_config"]["scene"]["scene_centre"][2] == pytest.approx(WALL_M, abs=1e-3)


def test_its_files_answer_alike(run, wall, tmp_path):
    made = export_run(run, tmp_path / "m.ts", verify=wall)
    assert {row.clip for row in made.parity.rows} > {"random"}
    for row in made.parity.rows:
        assert max(asdict(row.difference).values()) <= 1e-4, row


def test_without_depth_there_is_nothing_to_learn(tmp_path):
    bare = write_wall(tmp_path / "bare", {"train": 6}, depth=False, masks=False)
    stage = StageConfig("pose", ("localization",))
    with pytest.raises(TrainingError, match="learned from depth images"):
        train(quick(bare, preset="stl_coordinates", stages=(stage,)), tmp_path / "out")
