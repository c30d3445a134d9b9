"""Direct alignment, in a room whose images, depths and motions are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vlocnetpp.export.onnx import OPSET, quiet
from vlocnetpp.geometry import (
    back_project,
    compose,
    inverse,
    normalize_quaternion,
    pixel_grid,
    relative,
    rotate,
    rotation_angle,
)
from vlocnetpp.network.blocks.alignment import Alignment, DirectAlignment, grey_image
from vlocnetpp.network.blocks.alignment_equations import invert, part_masks

HEIGHT, WIDTH, STRIDE = 120, 160, 8
K_33 = torch.tensor([[146.0, 0, 79.5], [0, 146.0, 59.5], [0, 0, 1]], dtype=torch.float64)
HALF_ROOM_M = torch.tensor([2.5, 1.4, 3.0], dtype=torch.float64)
IDENTITY_7 = torch.tensor([0.0, 0, 0, 1, 0, 0, 0], dtype=torch.float64)
align = DirectAlignment()


def texture(points_BHW3: torch.Tensor, waves: int = 40) -> torch.Tensor:
    """Grey values (B, H, W), about 128, of points of the room's walls: waves of 0.2 to 2 m in all directions."""
    generator = torch.Generator().manual_seed(7)
    direction = torch.nn.functional.normalize(torch.randn(waves, 3, generator=generator, dtype=torch.float64), dim=1)
    length = 0.2 * 10 ** torch.rand(waves, 1, generator=generator, dtype=torch.float64)
    phase = 2 * math.pi * torch.rand(waves, generator=generator, dtype=torch.float64)
    waved = torch.sin((points_BHW3 @ (2 * math.pi / length * direction).T).add_(phase))
    return 128 + 11 * waved @ length[:, 0].sqrt()


def look(pose_B7: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, H, W) and depths (B, 1, H, W) of cameras in the room."""
    ones = torch.ones(len(pose_B7), 1, HEIGHT, WIDTH, dtype=torch.float64)
    rays = back_project(pixel_grid(HEIGHT, WIDTH, ones)[None], ones, K_33.expand(len(ones), 3, 3))
    rays_in_room = rotate(pose_B7[:, None, None, 3:], rays)
    # The wall by which a ray leaves the box is the nearest of the three that it heads for.
    position = pose_B7[:, None, None, :3]
    distance = ((HALF_ROOM_M * rays_in_room.sign() - position) / rays_in_room).amin(dim=-1)
    grey = texture(position + distance.unsqueeze(-1) * rays_in_room)
    return grey.unsqueeze(1).expand(-1, 3, -1, -1), distance.unsqueeze(1)


def walk(batch: int, metres: float, degrees: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Camera poses (B, 7) in the room and their motions (B, 7), at random with these root mean squares."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def turn(vectors: torch.Tensor) -> torch.Tensor:
        return normalize_quaternion(torch.cat((torch.ones(batch, 1, dtype=torch.float64), vectors / 2), dim=1))

    # Along a diagonal, so that each sees near and far: before a bare wall, a move is hardly told from a turn.
    about = 0.3 * random(batch, 3) + torch.tensor([0.0, 1.2, 0.0], dtype=torch.float64)
    poses = torch.cat((0.5 * random(batch, 3).clamp(-2, 2), turn(about)), dim=1)
    spread = math.radians(degrees) / math.sqrt(3)
    return poses, torch.cat((metres / math.sqrt(3) * random(batch, 3), turn(spread * random(batch, 3))), dim=1)


def pairs(batch: int, metres: float = 0.02, degrees: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Current images, previous images, depths of cells, their log deviations (2 %), K and the motions."""
    previous, motion = walk(batch, metres, degrees, seed)
    image, depth = look(compose(previous, motion))
    coarse = torch.nn.functional.avg_pool2d(depth, STRIDE)
    return image, look(previous)[0], coarse, torch.log(0.02 * coarse), K_33.expand(batch, 3, 3), motion


def start(batch: int) -> torch.Tensor:
    return IDENTITY_7.expand(batch, 7)


def solve(image, before, depth, log_deviation, K, start_B7, dtype=torch.float64) -> Alignment:
    args = (grey_image(image), grey_image(before), depth, log_deviation, K, start_B7)
    return align(*(value.to(dtype) for value in args))


def errors(found: Alignment, motion: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Metres and degrees."""
    off = relative(motion, found.relative_B7.double())
    return off[:, :3].norm(dim=1).numpy(), np.degrees(rotation_angle(off[:, 3:], start(len(off))[:, 3:]).numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_motion_of_a_frame_is_found_from_a_standstill(dtype):
    """To a twentieth of a pixel of grey images of 80 x 60: 1.7 mm at 2.5 m."""
    *given, motion = pairs(12)
    found = solve(*given, start(12), dtype)
    metres, degrees = errors(found, motion)
    assert found.relative_B7.dtype == dtype and found.found_B.all() and (found.agreeing_B > 0.9).all()
    assert np.median(metres) < 2e-3 and metres.max() < 6e-3
    assert np.median(degrees) < 0.05 and degrees.max() < 0.12


def test_a_fast_turn_and_a_long_move_are_found_from_a_standstill():
    *given, motion = pairs(12, metres=0.10, degrees=6.0)
    found = solve(*given, start(12))
    metres, degrees = errors(found, motion)
    assert found.found_B.all()
    assert np.median(metres) < 0.005 and metres.max() < 0.02 and degrees.max() < 0.4


def test_the_motion_is_the_pose_of_the_current_camera_in_the_previous_one():
    """Forward along z: what is seen grows, and the answer is +z, not its inverse."""
    motion = torch.tensor([[0.0, 0, 0.03, 1, 0, 0, 0]], dtype=torch.float64)
    here = IDENTITY_7[None]
    image, depth = look(compose(here, motion))
    coarse = torch.nn.functional.avg_pool2d(depth, STRIDE)
    found = solve(image, look(here)[0], coarse, torch.log(0.02 * coarse), K_33[None], here)
    assert found.relative_B7[0, 2] == pytest.approx(0.03, abs=0.002)
    assert errors(found, inverse(motion))[0][0] > 0.05


def outliers(depth: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A tenth of the cells anywhere between 0.5 and 5.5 m."""
    anywhere = 0.5 + 5 * torch.rand(depth.shape, generator=generator, dtype=torch.float64)
    return torch.where(torch.rand(depth.shape, generator=generator) < 0.1, anywhere, depth)


def white(depth: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each cell a fifth wrong, for itself."""
    return depth * torch.exp(0.2 * torch.randn(depth.shape, generator=generator, dtype=torch.float64))


def smooth(depth: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A fifth wrong, alike over a quarter of the image's width: what no average takes away."""
    wrong = torch.randn(len(depth), 1, 3, 4, generator=generator, dtype=torch.float64)
    wrong = torch.nn.functional.interpolate(wrong, size=depth.shape[2:], mode="bicubic")
    return depth * torch.exp(0.2 * wrong / wrong.std())


@pytest.mark.parametrize(("damage", "share", "bound"), [(outliers, 0.4, 0.12), (white, 0.3, 0.12), (smooth, 0.6, 0.25)])
def test_wrong_depth_costs_a_share_of_the_move_and_little_of_the_turn(damage, share, bound):
    """Moves of 20 mm, turns of 1 degree; medians."""
    image, before, depth, _, K, motion = pairs(48)
    wrong = damage(depth, torch.Generator().manual_seed(3))
    found = solve(image, before, wrong, torch.log(0.2 * wrong), K, start(48))
    metres, degrees = errors(found, motion)
    assert found.found_B.all()
    assert np.median(metres / motion[:, :3].norm(dim=1).numpy()) < share and np.median(degrees) < bound


def test_a_change_of_brightness_is_no_motion():
    image, before, *given, motion = pairs(12)
    found = solve(image, 0.7 * before + 25.0, *given, start(12))
    metres, degrees = errors(found, motion)
    assert found.found_B.all()
    assert np.median(metres) < 2.5e-3 and np.median(degrees) < 0.05 and degrees.max() < 0.15


@pytest.mark.parametrize("left", [60, 110])
def test_what_moves_along_with_the_camera_does_not_capture_it(left):
    """A tenth of the image, of strong contrast, that stays where it is in the image while the camera turns."""
    image, before, *given, motion = pairs(12, metres=0.02, degrees=2.0)
    board = torch.zeros(1, 3, HEIGHT, WIDTH, dtype=torch.float64)
    board[..., 20:100, left : left + 24] = 1.0
    stripes = 255.0 * (torch.arange(HEIGHT)[:, None] // 20 % 2).double()
    covered = [board * stripes + (1 - board) * each for each in (image, before)]
    found = solve(*covered, *given, start(12))
    metres, degrees = errors(found, motion)
    assert found.found_B.all()
    assert np.median(metres) < 4e-3 and np.median(degrees) < 0.1
    assert np.mean(degrees < 0.3) > 0.9
    for i in range(12):  # each image takes the best of its own parts
        alone = solve(*(each[i : i + 1] for each in (*covered, *given)), start(1))
        assert torch.allclose(alone.relative_B7, found.relative_B7[i : i + 1], atol=1e-9)


def test_there_are_as_many_masks_as_parts():
    masks = part_masks(4, 20, torch.zeros(1))
    assert masks.shape == (DirectAlignment.PARTS, 80) and masks[0].all()
    assert (masks[1] | masks[2]).all() and not (masks[1] & masks[2] & masks[3]).any()


def test_equal_images_are_no_motion_within_a_bound_that_is_not_zero():
    image, _, *given, _ = pairs(3)
    found = solve(image, image, *given, start(3), torch.float32)
    metres, degrees = errors(found, start(3))
    assert found.found_B.all() and metres.max() < 1e-5 and degrees.max() < 1e-3
    assert (found.log_scale_B2.exp() > 1e-5).all()


def test_a_start_from_which_no_pixel_is_seen_is_answered_as_unknown():
    image, before, *given, _ = pairs(3)
    behind = torch.tensor([[0.0, 0, 0, 0, 0, 1, 0]], dtype=torch.float64).expand(3, 7)
    found = solve(image, before, *given, behind)
    assert not found.found_B.any() and torch.equal(found.relative_B7, behind)


@pytest.mark.parametrize("blank", ["current", "previous", "both", "black"])
def test_without_texture_the_start_is_answered_and_said_to_be_unknown(blank):
    image, before, *given, _ = pairs(3)
    flat = torch.full_like(image, 0.0 if blank == "black" else 100.0)
    image, before = (image if blank in ("previous", "black") else flat), (before if blank == "current" else flat)
    fallback = torch.tensor([[0.1, -0.2, 0.3, 0.995, 0.0, 0.0998, 0.0]], dtype=torch.float64).expand(3, 7)
    found = solve(image, before, *given, fallback, torch.float32)
    assert not found.found_B.any() and (found.agreeing_B < 0.5).all()
    assert torch.equal(found.relative_B7, fallback.float())
    assert torch.equal(found.log_scale_B2, torch.zeros(3, 2))


def test_unlike_images_and_unknown_depth_are_said_to_be_so():
    image, before, depth, log_deviation, K, _ = pairs(6)
    assert not solve(image, before.roll(1, 0), depth, log_deviation, K, start(6)).found_B.any()
    nothing = solve(image, before, torch.zeros_like(depth), log_deviation, K, start(6))
    assert not nothing.found_B.any() and torch.isfinite(nothing.relative_B7).all()


def test_pixels_without_depth_take_no_part():
    image, before, depth, log_deviation, K, motion = pairs(6)
    unknown = depth.clone()
    unknown[:, :, :, : depth.shape[3] // 2] = 0.0
    metres, degrees = errors(solve(image, before, unknown, log_deviation, K, start(6)), motion)
    assert np.median(metres) < 4e-3 and np.median(degrees) < 0.15


def test_each_of_a_batch_is_answered_as_if_alone():
    *given, _ = pairs(4)
    whole = solve(*given, start(4))
    for i in range(4):
        one = solve(*(value[i : i + 1] for value in given), start(1))
        assert torch.allclose(one.relative_B7, whole.relative_B7[i : i + 1], atol=1e-9)


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_the_bound_covers_what_noise_and_wrong_depth_do(wrong):
    """Independent noise of both images; a depth that is wrong alike over an eighth of the image's width."""
    count = 120
    image, before, depth, _, K, motion = pairs(count, seed=5)
    generator = torch.Generator().manual_seed(11)
    image, before = (each + 6 * torch.randn(each.shape, generator=generator) for each in (image, before))
    errors_of_depth = torch.randn(count, 1, 8, 10, generator=generator, dtype=torch.float64)
    errors_of_depth = torch.nn.functional.interpolate(errors_of_depth, size=depth.shape[2:], mode="bilinear")
    depth = depth * torch.exp(wrong * errors_of_depth / errors_of_depth.std())
    found = solve(image, before, depth, torch.log(max(wrong, 0.02) * depth), K, start(count))
    metres, degrees = errors(found, motion)
    bound = found.log_scale_B2.exp().numpy()
    assert found.found_B.all()
    assert 0.55 < np.mean(metres < bound[:, 0]) < 0.80
    assert 0.55 < np.mean(degrees < np.degrees(bound[:, 1])) < 0.80


def test_the_motion_has_a_gradient():
    image, before, depth, log_deviation, K, motion = pairs(2)
    depth.requires_grad_()
    image.requires_grad_()
    found = solve(image, before, depth, log_deviation, K, start(2))
    (found.relative_B7[:, :3] - motion[:, :3]).norm(dim=1).sum().backward()
    for gradient in (depth.grad, image.grad):
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_the_scripted_and_frozen_module_answers_alike():
    image, before, *given, _ = pairs(2)
    args = tuple(value.float() for value in (grey_image(image), grey_image(before), *given, start(2)))
    scripted = torch.jit.freeze(torch.jit.script(DirectAlignment().eval()))
    with torch.inference_mode():
        for _ in range(3):  # later runs are optimized
            answer = scripted(*args)
        for got, expected in zip(answer, align(*args), strict=True):
            assert torch.allclose(got.float(), expected.float(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_are_aligned_in_full_precision(dtype):
    image, before, depth, log_deviation, K, motion = pairs(6)
    half = [value.to(dtype) for value in (grey_image(image), grey_image(before), depth, log_deviation)]
    found = align(*half, K.float(), start(6).to(dtype))
    assert found.relative_B7.dtype == torch.float32 and found.found_B.all()
    metres, degrees = errors(found, motion)
    assert np.median(metres) < 3e-3 and degrees.max() < 0.2


class FewSteps(DirectAlignment):
    """Short, because PyTorch's exporter takes seconds for each step."""

    COARSEST = COARSE = (1, 1)
    FINE = (2, 1)
    FINEST = (4, 2)


def test_onnx_answers_alike(tmp_path):
    import onnxruntime

    image, before, *given, _ = pairs(1)
    args = tuple(value.float() for value in (grey_image(image), grey_image(before), *given, start(1)))
    names = ["current", "previous", "depth", "log_deviation", "K", "start"]
    path = tmp_path / "alignment.onnx"
    module = FewSteps()
    with quiet():
        program = torch.onnx.export(module, args, input_names=names, opset_version=OPSET, dynamo=True, verbose=False)
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(names, args, strict=True)})
    for got, expected in zip(found, module(*args), strict=True):
        assert np.abs(got.astype(np.float32) - expected.float().numpy()).max() < 1e-4


@pytest.mark.parametrize("scales", [(1.0,) * 8, (1e-3, 1e4, 1.0, 1e2, 1e-2, 1e3, 10.0, 0.1)])
def test_the_inverse_is_exact_whatever_the_units(scales):
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(5, 20, 8, generator=generator) * torch.tensor(scales)
    matrix = factor.transpose(1, 2) @ factor
    exact = torch.linalg.inv(matrix.double())
    unit = torch.tensor(scales)[:, None] * torch.tensor(scales)
    assert ((invert(matrix, torch.zeros(8)) - exact) * unit).abs().max() < 1e-4 * (exact * unit).abs().max()
