"""Eq. 1-4, 6 and 9: laws, gradients and hand-computed values."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from vlocnetpp.geometry import compose, log_quaternion, normalize_quaternion, relative
from vlocnetpp.losses import (
    Balance,
    Frame,
    Label,
    LossConfig,
    LossInput,
    MultitaskLoss,
    Term,
    class_weights,
    count_labels,
    has_label,
    make_terms,
    select_terms,
    term_means,
    term_names,
)
from vlocnetpp.losses.coordinates import coordinate_errors
from vlocnetpp.losses.depth import DEPTH_STRIDES, prediction_name
from vlocnetpp.losses.labels import POSES
from vlocnetpp.losses.mapnet import mapnet_errors, mapnet_relative_errors
from vlocnetpp.losses.pose import euclidean_errors, quaternion_loss, relative_errors
from vlocnetpp.losses.term import l2, masked_mean
from vlocnetpp.losses.uncertainty import scale_errors
from vlocnetpp.step import TASKS

NAN = float("nan")


def multitask_loss(tasks: tuple[str, ...] = TASKS, **choices) -> MultitaskLoss:
    config = LossConfig(**choices)
    return MultitaskLoss(make_terms(config, tasks), config.literal_eq9)


def some_frame(count: int = 2, seed: int = 5) -> Frame:
    """A frame of every label, 32 x 64."""
    mask = torch.zeros(count, 32, 64, dtype=torch.uint8)
    depth, K = torch.full((count, 1, 32, 64), 2.0), torch.eye(3).expand(count, 3, 3)
    pose = random_poses(count, seed).float()
    return Frame(torch.zeros(count, 3, 32, 64), K, depth, mask, pose, torch.ones(count))


def random_poses(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    q = normalize_quaternion(torch.randn(count, 4, generator=generator, dtype=torch.float64))
    return torch.cat((x, q), dim=1)


def test_eq1_does_not_see_where_the_map_lies():
    before, now, truth_before, truth = (random_poses(16, seed) for seed in range(4))
    target = relative(truth_before, truth)
    world = random_poses(1, 9).expand(16, 7)
    here = relative_errors(before, now, target, "body")
    moved = relative_errors(compose(world, before), compose(world, now), target, "body")
    for a, b in zip(here, moved, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_the_literal_world_difference_sees_a_rotated_map():
    before, now = random_poses(1, 0), random_poses(1, 1)
    target = relative(random_poses(1, 2), random_poses(1, 3))
    world = torch.tensor([[1.0, 2, 3, 0, 0, 0, 1]], dtype=torch.float64)
    x, _ = relative_errors(before, now, target, "world", random_poses(1, 2))
    y, _ = relative_errors(compose(world, before), compose(world, now), target, "world", random_poses(1, 2))
    assert not torch.allclose(x, y)


def test_world_and_body_agree_when_the_previous_prediction_is_true():
    before, now, truth = random_poses(5, 0), random_poses(5, 1), random_poses(5, 2)
    target = relative(before, truth)
    body, _ = relative_errors(before, now, target, "body")
    world, _ = relative_errors(before, now, target, "world", before)
    assert torch.allclose(body, world, atol=1e-9)


def test_eq1_on_a_hand_computed_example():
    # The camera looks along its z; it moved 1 m along the map's x while turned by 90 degrees about y.
    half = math.sqrt(0.5)
    before = torch.tensor([[0.0, 0, 0, half, 0, half, 0]])
    now = torch.tensor([[1.0, 0, 0, half, 0, half, 0]])
    # In the previous camera that is 1 m along z; the truth moved 0.5 m along z and turned by 180 degrees about z.
    target = torch.tensor([[0.0, 0, 0.5, 0, 0, 0, 1]])
    x, q = relative_errors(before, now, target, "body")
    assert x.item() == pytest.approx(0.5, abs=1e-6)
    assert q.item() == pytest.approx(math.sqrt(2), abs=1e-6)
    x, q = relative_errors(before, now, target, "world", before)
    assert x.item() == pytest.approx(0.5, abs=1e-6)
    assert q.item() == pytest.approx(math.sqrt(2), abs=1e-6)


def turned(degrees: float, axis: int, x: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """(1, 7) a pose turned about one of its axes."""
    half = math.radians(degrees) / 2
    pose = torch.tensor([[*x, math.cos(half), 0.0, 0.0, 0.0]], dtype=torch.float64)
    pose[0, 4 + axis] = math.sin(half)
    return pose


def test_mapnet_on_a_hand_computed_example():
    # 3 m, -1 m and 0.5 m away in L1; 90 degrees about x against 60 about y: half angles, added by component.
    x, w = mapnet_errors(turned(90, 0, (3.0, 0.0, 0.5)), turned(60, 1, (0.0, 1.0, 0.0)))
    assert x.item() == pytest.approx(4.5) and w.item() == pytest.approx(math.pi / 4 + math.pi / 6)
    # The predictions move by (1, 0, 0) and turn by 90 degrees about x; the truth moves by (0, 2, 0) and turns by 60.
    before, now = turned(0, 0), turned(90, 0, (1.0, 0.0, 0.0))
    truth_before, truth = turned(20, 0, (5.0, 5.0, 5.0)), turned(80, 0, (5.0, 7.0, 5.0))
    x, w = mapnet_relative_errors(before, now, truth_before, truth)
    assert x.item() == pytest.approx(3.0) and w.item() == pytest.approx(math.radians(30) / 2)


def test_mapnet_compares_in_the_map_where_eq1_compares_in_the_camera():
    """A rotated map changes MapNet's relative term and not eq. 1; a moved map changes neither."""
    before, now, truth_before, truth = (random_poses(8, seed) for seed in range(4))
    here = mapnet_relative_errors(before, now, truth_before, truth)
    moved = [torch.cat((pose[:, :3] + 2.0, pose[:, 3:]), dim=1) for pose in (before, now, truth_before, truth)]
    for a, b in zip(here, mapnet_relative_errors(*moved), strict=True):
        assert torch.allclose(a, b)
    world = turned(40, 2).expand(8, 7)
    other = mapnet_relative_errors(*(compose(world, pose) for pose in (before, now, truth_before, truth)))
    assert (here[0] - other[0]).abs().max() > 0.1 and (here[1] - other[1]).abs().max() > 0.01


def test_log_quaternion_is_axis_times_half_the_angle_and_smooth_at_the_identity():
    q = random_poses(64, 3)[:, 3:]
    rotvec = Rotation.from_quat(q[:, [1, 2, 3, 0]].numpy()).as_rotvec()
    assert torch.allclose(log_quaternion(q), torch.from_numpy(rotvec) / 2, atol=1e-12)
    still = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    log_quaternion(still).sum().backward()
    assert log_quaternion(still).tolist() == [[0, 0, 0]] and still.grad.tolist() == [[0, 1, 1, 1]]


def test_a_quaternion_and_its_negative_cost_the_same():
    q, p = random_poses(32, 0)[:, 3:], random_poses(32, 1)[:, 3:]
    assert torch.allclose(quaternion_loss(q, p), quaternion_loss(-q, p))
    assert torch.allclose(quaternion_loss(q, p), quaternion_loss(q, -p))
    assert quaternion_loss(q, -q).abs().max() < 1e-12


@pytest.mark.parametrize("initial", [(0.0, -3.0), (0.5, 0.25)])
def test_eq2_and_eq9_as_printed(initial):
    loss = multitask_loss(literal_eq9=True, initial_s_x=initial[0], initial_s_q=initial[1], initial_s_x_vo=initial[0])
    with torch.no_grad():
        loss.s_loc.fill_(0.1), loss.s_vo.fill_(0.2), loss.s_seg.fill_(-0.3)
    sx, sq = initial

    def pair(x: float, q: float) -> float:
        return x * math.exp(-sx) + sx + q * math.exp(-sq) + sq

    names = {"x": 0.4, "q": 0.1, "x_rel": 0.2, "q_rel": 0.05, "x_vo": 0.03, "q_vo": 0.01, "seg": 1.7}
    total = loss({name: torch.tensor(value) for name, value in names.items()})
    loc = pair(0.4, 0.1) + pair(0.2, 0.05)
    expected = loc * math.exp(-0.1) + 0.1 + pair(0.03, 0.01) * math.exp(-0.2) + 0.2 + 1.7 * math.exp(0.3) - 0.3
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_printed_eq9_has_no_lower_bound_and_the_default_has():
    """Why the default departs from eq. 9: a negative task loss is multiplied without limit by its own weight."""
    terms = {name: torch.tensor(1e-3) for name in ("x", "q", "x_rel", "q_rel")}

    def minimum(literal: bool) -> float:
        loss = multitask_loss(literal_eq9=literal)
        optimizer = torch.optim.SGD(loss.parameters(), lr=0.05)
        for _ in range(300):
            total = loss(terms)
            if total < -1e4:
                break
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        return total.item()

    assert minimum(literal=True) < -1e4
    # Four terms of 1e-3, each at its optimum s = log(1e-3): 4 (1 + log 1e-3) = -23.6.
    assert minimum(literal=False) > -24


def test_missing_labels_leave_their_terms_out():
    loss = multitask_loss()
    only = loss({"seg": torch.tensor(2.0)})
    assert only.item() == pytest.approx(2.0)
    with pytest.raises(ValueError, match="label"):
        loss({})


def test_masked_mean_ignores_what_is_not_valid_even_nan():
    values = torch.tensor([1.0, float("nan"), 3.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([1.0, 0.0, 1.0]))
    assert mean.item() == 2.0
    mean.backward()
    assert torch.isfinite(values.grad).all()
    assert masked_mean(torch.ones(2), torch.zeros(2)).item() == 0


def test_class_weights_are_what_balance_means():
    pixels_C = torch.tensor([900, 90, 10])
    assert torch.equal(class_weights(pixels_C, 0.0), torch.ones(3))
    share = pixels_C / 1000
    parts = class_weights(pixels_C, 1.0) * share
    assert torch.allclose(parts, torch.full((3,), 1 / 3))  # every class has an equal part
    half = class_weights(pixels_C, 0.5)
    assert (half * share).sum().item() == pytest.approx(1.0) and (half[1] / half[0]).item() == pytest.approx(10**0.5)
    assert torch.isfinite(class_weights(torch.tensor([5, 0]), 1.0)).all()
    logits, mask = torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]], dtype=torch.uint8)
    weighted = segmentation_mean(logits, mask, torch.tensor([1.0, 1.0, 3.0]))
    assert weighted.item() == pytest.approx(2 * math.log(3), rel=1e-6)


def segmentation_mean(logits_BCHW, mask_BHW, class_weights_C=None) -> torch.Tensor:
    terms = make_terms(LossConfig(), ("segmentation",))
    frame = replace(some_frame(len(mask_BHW)), mask_BHW=mask_BHW)
    given = LossInput({"logits_BCHW": logits_BCHW}, frame, class_weights_C=class_weights_C)
    means = term_means(terms, given, count_labels(terms, [frame]))
    return means.get("seg", torch.zeros(()))


def test_segmentation_loss_ignores_void():
    logits = torch.zeros(1, 3, 2, 2)
    mask = torch.tensor([[[0, 255], [2, 255]]], dtype=torch.uint8)
    logits[..., 1] = NAN
    assert segmentation_mean(logits, mask).item() == pytest.approx(math.log(3), rel=1e-6)
    logits[..., 0, 0] = NAN
    assert segmentation_mean(logits, mask).isnan()
    assert segmentation_mean(logits, torch.full((1, 2, 2), 255, dtype=torch.uint8)) == 0


def test_depth_loss_is_zero_at_the_truth_and_ignores_unknown_pixels():
    frame, terms = some_frame(1), make_terms(LossConfig(), ("depth",))
    frame.depth_B1HW[..., :32] = 0
    assert term_names(terms) == ("depth",)

    def mean(inverse: float) -> float:
        prediction = {prediction_name(s): torch.full((1, 1, 32 // s, 64 // s), inverse) for s in DEPTH_STRIDES}
        for x in prediction.values():
            x[..., : x.shape[-1] // 2] = NAN
        return term_means(terms, LossInput(prediction, frame), count_labels(terms, [frame]))["depth"].item()

    assert mean(0.5) == 0 and mean(0.75) == pytest.approx(0.25) and math.isnan(mean(NAN))


def test_scale_is_best_at_the_error_and_never_moves_the_pose():
    truth = random_poses(1, 0)
    predicted = truth.clone()
    predicted[:, 0] += 0.2
    predicted.requires_grad_()
    log_scale = torch.tensor([[math.log(0.2), 0.0]], dtype=torch.float64, requires_grad=True)
    scale_errors(log_scale, predicted, truth).sum().backward()
    assert abs(log_scale.grad[0, 0].item()) < 1e-6
    assert predicted.grad is None


def test_coordinates_are_best_at_the_truth_with_the_scale_of_the_error():
    target = torch.zeros(1, 3, 1, 1)
    off = torch.tensor([0.6, 0, 0.8, 0.0]).view(1, 4, 1, 1).requires_grad_()
    assert coordinate_errors(off, target).item() == pytest.approx(1.0)
    with torch.no_grad():
        off[0, 3] = math.log(1 / 3)  # exp(-r / s) / s^3 is largest at s = r / 3
    coordinate_errors(off, target).sum().backward()
    assert abs(off.grad[0, 3].item()) < 1e-5 and off.grad[0, 0].item() > 0


def test_gradients_of_each_term():
    a, b = random_poses(4, 0).requires_grad_(), random_poses(4, 1).requires_grad_()
    target = relative(random_poses(4, 2), random_poses(4, 3))
    assert torch.autograd.gradcheck(lambda a: euclidean_errors(a, target), (a,))
    assert torch.autograd.gradcheck(lambda a, b: relative_errors(a, b, target, "body"), (a, b))
    assert torch.autograd.gradcheck(lambda a, b: relative_errors(a, b, target, "world", target), (a, b))
    assert torch.autograd.gradcheck(lambda a: mapnet_errors(a, target), (a,))
    assert torch.autograd.gradcheck(lambda a, b: mapnet_relative_errors(a, b, target, target.flip(0)), (a, b))
    zero = torch.zeros(1, 3, requires_grad=True)
    l2(zero).sum().backward()
    assert zero.grad.tolist() == [[0, 0, 0]]


def test_learnable_scalars_are_parameters_and_start_as_decided():
    scalars = multitask_loss().scalars()
    assert scalars == {
        "euclidean.s_x": 0, "euclidean.s_q": -3, "relative.s_x": 0, "relative.s_q": -3,
        "odometry.s_x": -3, "odometry.s_q": -3, "s_seg": 0,
    }  # fmt: skip
    assert set(multitask_loss(literal_eq9=True).scalars()) == {*scalars, "s_loc", "s_vo"}
    assert set(multitask_loss(("segmentation", "depth")).scalars()) == {"s_seg"}
    assert isinstance(multitask_loss(), nn.Module) and list(multitask_loss().state_dict()) == list(scalars)


# --- what is not a number -------------------------------------------------------------------------------------------


def test_a_norm_of_nan_is_nan():
    assert l2(torch.tensor([[NAN, 0.0], [3.0, 4.0], [0.0, 0.0]])).tolist() == pytest.approx([NAN, 5, 0], nan_ok=True)


def test_each_term_is_nan_where_its_prediction_is_and_no_other():
    """Of a labelled frame. A NaN of a frame without a label changes nothing."""
    tasks = (*TASKS, "depth")
    before, frame = some_frame(seed=1), some_frame(seed=2)
    prediction = {
        "pose_B7": random_poses(2, 3).float(),
        "relative_B7": random_poses(2, 4).float(),
        "log_scale_B2": torch.zeros(2, 2),
        "logits_BCHW": torch.zeros(2, 3, 32, 64),
        "coordinates_B4HW": torch.ones(2, 4, 4, 8),
        **{prediction_name(s): torch.ones(2, 1, 32 // s, 64 // s) for s in DEPTH_STRIDES},
    }
    terms = make_terms(LossConfig(), tasks)

    def broken(name: str, posed: float = 1.0) -> set[str]:
        labelled = replace(frame, posed_B=torch.tensor([posed, 1.0]))
        wrong = prediction[name].clone()
        wrong[0] = NAN
        given = LossInput({**prediction, name: wrong}, labelled, prediction, before)
        means = term_means(terms, given, count_labels(terms, [before, labelled]))
        assert set(means) == set(term_names(terms))
        return {name for name, value in means.items() if value.isnan()}

    assert broken("pose_B7") == {"x", "q", "x_rel", "q_rel", "scale"}
    assert broken("relative_B7") == {"x_vo", "q_vo"}
    assert broken("log_scale_B2") == {"scale"}
    assert broken("logits_BCHW") == {"seg"}
    assert broken("coordinates_B4HW") == {"coord"}
    assert broken(prediction_name(8)) == {"depth"}
    for name in ("pose_B7", "relative_B7", "log_scale_B2", "coordinates_B4HW"):
        assert broken(name, posed=0.0) == set()


# --- how terms are chosen, and a new one ----------------------------------------------------------------------------


def test_terms_follow_from_tasks_stage_predictions_and_configuration():
    terms = make_terms(LossConfig(), TASKS)
    assert term_names(terms) == ("x", "q", "x_rel", "q_rel", "x_vo", "q_vo", "seg", "scale", "coord")
    assert term_names(make_terms(LossConfig(), ("odometry", "depth"))) == ("x_vo", "q_vo", "depth")
    assert term_names(select_terms(terms, ("localization",), False)) == ("x", "q", "scale", "coord")
    frame = some_frame()
    counts = count_labels(terms, [frame])
    assert counts == {"poses": 2, "motions": 0, "pixels": 2 * 32 * 64, "cells": 2 * 4 * 8}
    assert count_labels(terms, [frame, frame, frame])["motions"] == 4
    found = term_means(terms, LossInput({"pose_B7": frame.pose_B7}, frame), counts)
    assert set(found) == {"x", "q"} and found["x"] == 0
    unposed = replace(frame, posed_B=torch.zeros(2))
    odometry = select_terms(terms, ("odometry",))
    assert not has_label(odometry, count_labels(odometry, [frame, unposed]))


def test_two_terms_of_one_name_must_agree():
    term = make_terms(LossConfig(), ("segmentation",))[0]
    with pytest.raises(ValueError, match="two loss terms 'seg'"):
        MultitaskLoss([term, replace(term, balance=Balance("s_other"))])


def test_a_new_term_is_one_object():
    """The mean distance of several samples of a pose, as of a Bayesian network: nothing else has to know of it."""

    def error(given: LossInput) -> torch.Tensor:
        distance_BS = (given.prediction["samples_BS3"] - given.frame.pose_B7[:, None, :3]).norm(dim=-1)
        return distance_BS.mean(dim=1)

    samples = Term("samples", "localization", POSES, ("samples_BS3",), error, Balance("samples.s_x", -1.0))
    steep = Label("steep", lambda frame, previous: frame.depth_B1HW > 1)
    unbalanced = Term("slope", "segmentation", steep, ("depth_B1HW",), lambda given: given.prediction["depth_B1HW"])
    terms = (*make_terms(LossConfig(), ("localization",)), samples, unbalanced)
    loss = MultitaskLoss(terms)
    assert loss.scalars()["samples.s_x"] == -1 and loss.state_dict()["samples.s_x"] == -1
    frame = replace(some_frame(3), posed_B=torch.tensor([1.0, 0.0, 1.0]))
    parts = [Frame(*(value[k : k + 1] for value in vars(frame).values())) for k in range(3)]
    counts = count_labels(terms, [frame])
    assert counts["steep"] == 3 * 32 * 64 and counts["poses"] == 2
    offset = torch.tensor([[[3.0, 0, 0], [0, 5.0, 0]], [[NAN, 0, 0], [0, 0, 0]], [[0, 0, 1.0], [0, 1.0, 0]]])
    prediction = {"samples_BS3": frame.pose_B7[:, None, :3] + offset, "depth_B1HW": frame.depth_B1HW}
    means = term_means(terms, LossInput(prediction, frame), counts)
    assert {name: value.item() for name, value in means.items()} == pytest.approx({"samples": 2.5, "slope": 2.0})
    assert loss(means).item() == pytest.approx(2.5 * math.e - 1 + 2.0)
    # The parts of a batch add up to the whole, as long as they are counted together.
    total = 0.0
    for k, part in enumerate(parts):
        own = {name: value[k : k + 1] for name, value in prediction.items()}
        total += loss(term_means(terms, LossInput(own, part), counts), 1 / 3).item()
    assert total == pytest.approx(loss(means).item(), rel=1e-6)
