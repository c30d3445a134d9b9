"""The step unrolled over clips: no leak of the truth, losses, stages, frozen parts, gradients."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import random_network
from training_runs import quick
from wall_dataset import write_wall

from vlocnetpp.data import open_dataset
from vlocnetpp.errors import ConfigError
from vlocnetpp.losses import LossConfig, MultitaskLoss, count_labels, make_terms
from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.clips import gather_clips, open_store
from vlocnetpp.training.config import StageConfig, TrainConfig
from vlocnetpp.training.norms import settle_norms
from vlocnetpp.training.optimization import parameter_groups
from vlocnetpp.training.schedule import Progress, Schedule, learning_rate
from vlocnetpp.training.stage import check_frozen, stage_part, trained_before
from vlocnetpp.training.unroll import unroll
from vlocnetpp.training.validate import validate


@pytest.fixture(scope="session")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 6})


def clips_of(wall, network):
    store = open_store(open_dataset(wall).sequences("train"), network.config, "loading", None)
    index = np.array([[0, 1, 2], [12, 13, 14]])
    return gather_clips(store, index, network.config, None, np.random.default_rng(0))


def unrolled(network, clips, tasks=None, choices=LossConfig(), **options):  # noqa: B008 - it is frozen
    """The mean terms of the network's tasks, and the poses."""
    terms = make_terms(choices, tasks or network.config.tasks)
    return unroll(network, clips, terms, count_labels(terms, clips.frames()), **options)


@pytest.mark.parametrize("preset", ["mtl", "vlocnet", "stl_pose"])
def test_shuffled_ground_truth_changes_no_prediction(preset, wall):
    """No leak: what the network answers cannot depend on a label."""
    network = random_network(preset)
    clips = clips_of(wall, network)
    shuffled = replace(clips, pose_BL7=clips.pose_BL7.flip(0).flip(1) + 1, mask_BLHW=clips.mask_BLHW * 0)
    with torch.no_grad():
        terms, poses = unrolled(network, clips)
        other_terms, other_poses = unrolled(network, shuffled)
    assert all(torch.equal(a, b) for a, b in zip(poses, other_poses, strict=True))
    assert not torch.equal(terms["x"], other_terms["x"])


def test_a_leak_probe_alone_carries_the_truth_into_the_next_step(wall):
    """It changes every answer but that of a cold start, and only where the frame before has a pose."""
    network = random_network("vlocnet")
    clips = clips_of(wall, network)
    moved = replace(clips, pose_BL7=torch.cat((clips.pose_BL7[..., :3] + 5.0, clips.pose_BL7[..., 3:]), dim=-1))
    unposed = replace(clips, posed_BL=clips.posed_BL * torch.tensor([[0.0], [1.0]]))

    def answers(clips, leak_probe=True) -> list[torch.Tensor]:
        with torch.no_grad():
            return unrolled(network, clips, leak_probe=leak_probe)[1]

    own, fed, fed_elsewhere = answers(clips, False), answers(clips), answers(moved)
    assert torch.equal(own[0], fed[0]) and torch.equal(own[0], fed_elsewhere[0])
    for t in (1, 2):
        assert (own[t] - fed[t]).abs().max() > 1e-4 and (fed[t] - fed_elsewhere[t]).abs().max() > 1e-4
        assert torch.equal(answers(unposed)[t][0], own[t][0]) and torch.equal(answers(unposed)[t][1], fed[t][1])


def test_mapnet_trains_on_its_own_terms_and_needs_no_odometry(wall):
    network = random_network("pose_single")
    clips = clips_of(wall, network)
    with torch.no_grad():
        terms, poses = unrolled(network, clips, choices=LossConfig(localization="mapnet"))
    assert set(terms) == {"x", "q", "x_rel", "q_rel", "scale"}
    p, truth = torch.stack(poses, dim=1), clips.pose_BL7
    assert torch.allclose(terms["x"], (p[..., :3] - truth[..., :3]).abs().sum(-1).mean())
    motion, true_motion = p[:, 1:, :3] - p[:, :-1, :3], truth[:, 1:, :3] - truth[:, :-1, :3]
    # As every term: the sum over the frames of a clip, each divided by the labels of the whole batch.
    assert torch.allclose(terms["x_rel"], (motion - true_motion).abs().sum(-1).mean())


def test_each_batch_contributes_the_losses_it_has_labels_for(wall):
    network = random_network("mtl")
    clips = clips_of(wall, network)
    every = {"x", "q", "scale", "x_rel", "q_rel", "x_vo", "q_vo", "seg"}
    with torch.no_grad():
        assert set(unrolled(network, clips)[0]) == every
        no_pose = replace(clips, posed_BL=clips.posed_BL * 0)
        assert set(unrolled(network, no_pose)[0]) == {"seg"}
        no_mask = replace(clips, mask_BLHW=torch.full_like(clips.mask_BLHW, 255))
        assert set(unrolled(network, no_mask)[0]) == every - {"seg"}


def test_validation_scores_odometry_against_the_true_motion(wall):
    """A network that answers the true motion has no error: the wall's camera slides by a known step."""

    class Truth(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.config, self.steps = network, network.config, []

        def state_shapes(self):
            self.sequence = len(self.steps)
            self.steps.append(0)
            return self.network.state_shapes()

        def forward(self, *inputs):
            prediction, state = self.network(*inputs)
            step = (3 + self.sequence % 2) * 3.0 / 60.0
            return {**prediction, "relative_B7": torch.tensor([[step, 0, 0, 1, 0, 0, 0]])}, state

    network = random_network("stl_odometry")
    store = open_store(open_dataset(wall).sequences("val"), network.config, "loading", None)
    truth = Truth(network)
    truth.steps.append(0)
    metrics, _ = validate(truth, [store], (), torch.device("cpu"))
    assert metrics["odometry"]["rpe_translation_m"] < 1e-5
    assert metrics["odometry"]["frames"] == 10


def test_settled_norms_describe_the_stream_and_touch_nothing_else(wall):
    network = random_network("mtl")
    store = open_store(open_dataset(wall).sequences("train"), network.config, "loading", None)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settle_norms(network, [store], torch.device("cpu"))
    once = {name: value.clone() for name, value in network.state_dict().items()}
    settle_norms(network, [store], torch.device("cpu"))
    changed = {name for name, value in once.items() if not torch.equal(value, before[name])}
    assert changed and all("running_" in name for name in changed)
    assert not any(name.startswith("depth.") for name in changed)
    assert "localization.res5.blocks.1.norm1.running_mean" in changed
    after = network.state_dict()
    assert all(torch.equal(once[name], after[name]) for name in once)
    assert not any(module.training for module in network.modules())


def test_depth_is_trained_alone_and_then_frozen():
    network, loss = random_network("mtl"), MultitaskLoss(make_terms(LossConfig(), ("localization", "odometry")))
    depth = parameter_groups(network, loss, True, 0.1)
    joint = parameter_groups(network, loss, False, 0.1)
    count = [sum(p.numel() for group in groups for p in group["params"]) for groups in (depth, joint)]
    total = sum(p.numel() for p in network.parameters())
    weights = sum(p.numel() for p in loss.parameters() if p.requires_grad)
    assert sum(count) == total + weights
    assert count[0] == sum(p.numel() for p in network.depth.parameters())
    decayed = {id(p) for p in joint[0]["params"]}
    assert not any(id(p) in decayed for p in loss.parameters()), "no weight decay on the learnable loss weights"


POSE, ODOMETRY = StageConfig("pose", ("localization",)), StageConfig("odometry", ("odometry",), frozen_shared=True)


def test_what_stages_share_is_found_by_parameter():
    network = random_network("mtl")
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    stages = (StageConfig("depth", ("depth",)), POSE, ODOMETRY, StageConfig("masks", ("segmentation",)))
    shared = [{names[id(parameter)] for parameter in trained_before(network, stages, k)} for k in range(4)]
    assert shared[2] == {f"front.{name}" for name, _ in network.front.named_parameters()}
    assert shared[0] == shared[1] == shared[3] == set(), "segmentation has a front of its own"
    assert stage_part(network, stages[0]) is network and stage_part(network, POSE).odometry is None
    assert check_frozen(network, stages) == []
    with pytest.raises(ConfigError, match="stage 'odometry': frozen_shared, but no earlier stage"):
        check_frozen(network, stages[2:])
    with pytest.raises(ConfigError, match="stage 'odometry': frozen_shared leaves nothing to train"):
        check_frozen(network, (replace(ODOMETRY, frozen_shared=False), ODOMETRY))
    whole = random_network("mtl_mid_concat")
    assert trained_before(whole, stages, 2) == [] and len(check_frozen(whole, stages)) == 1
    assert "tasks of 'mtl_mid_concat' cannot be trained apart" in check_frozen(whole, stages)[0]


def test_a_stage_keeps_what_it_shares_still_and_the_next_one_trains_it(wall, tmp_path):
    joint = StageConfig("joint", ("localization", "odometry"))

    def front(frozen: bool, *more: StageConfig) -> dict[str, torch.Tensor]:
        """Parameters of the front, and one of odometry's, after the stages pose, odometry and more."""
        stages = (POSE, replace(ODOMETRY, frozen_shared=frozen), *more)
        out = tmp_path / f"{frozen}{len(more)}"
        # An epoch of each stage, the same one whatever stages follow.
        config = quick(wall, preset="vlocnet", stages=stages, epochs=1.0 * len(stages), validations=1)
        assert train(config, out) == 0
        saved = load_checkpoint(out / "last.pt")["network_state"]
        return {n: v for n, v in saved.items() if n.startswith("front.") and n.endswith("weight")}

    config = quick(wall, preset="vlocnet", stages=(POSE,), epochs=1.0, validations=1)
    assert train(config, tmp_path / "pose") == 0
    after_pose = load_checkpoint(tmp_path / "pose" / "last.pt")["network_state"]
    frozen, moved, trained_again = front(True), front(False), front(True, joint)
    assert frozen and all(torch.equal(after_pose[name], value) for name, value in frozen.items())
    assert not all(torch.equal(after_pose[name], value) for name, value in moved.items())
    assert not any(torch.equal(after_pose[name], value) for name, value in trained_again.items())


def test_a_list_of_learning_rates_divides_the_stage_and_the_schedule_counts_validations():
    stage = StageConfig(learning_rate=(1e-3, 1e-3, 1e-4))
    assert [learning_rate(stage, share) for share in (0, 0.5, 0.6, 0.7, 1.0)] == [1e-3, 1e-3, 1e-3, 1e-4, 1e-4]
    config = TrainConfig(stages=(StageConfig(share=1), StageConfig(share=3)), epochs=8, validations=4)
    schedule, progress, at = Schedule(config, [10, 10]), Progress(), []
    assert schedule.batches == [20, 60]
    for progress.stage, batches in enumerate(schedule.batches):
        progress.validated = 0
        for progress.batch in range(1, batches + 1):
            if schedule.validation_due(progress):
                progress.validated += 1
                at.append((progress.stage, progress.batch))
    assert at == [(0, 20), (1, 20), (1, 40), (1, 60)] and schedule.passed(progress) == 1
    assert schedule.left_s(progress) is None, "epochs take an unknown time"
    timed = Schedule(replace(config, epochs=0, budget="8m"), [10, 10])
    # The features of a stage of cells count as soon as they are computed, however few steps there have been since.
    assert timed.left_s(Progress(stage=1, elapsed_s=90.0)) == 270
    # Where they took the time of two validations, one is made for both, and one is left.
    late = Progress(stage=1, elapsed_s=250.0, validated=0)
    assert (timed.validations_by_now(late), timed.validations_left(late)) == (2, 1)
    assert timed.validations_left(Progress()) == 4 and timed.validations_left(Progress(stage=2)) == 0


def test_gradients_flow_back_through_so_many_frames(wall):
    """Of a network that sees its past, the loss of the last frame reaches the first one only through the state."""
    network = random_network("stl_pose")
    clips = clips_of(wall, network)
    clips = replace(clips, posed_BL=torch.tensor([[0.0, 0, 1], [0, 0, 1]]))

    def reaches(truncate: int) -> list[bool]:
        image = clips.image_BL3HW.float().requires_grad_()
        terms, _ = unrolled(network, replace(clips, image_BL3HW=image), ("localization",), truncate=truncate)
        terms["x"].backward()
        return [bool(image.grad[:, t].abs().max() > 0) for t in range(3)]

    assert reaches(0)[1:] == [True, True] and reaches(2)[1:] == [False, True] and reaches(1)[1:] == [False, True]


def test_learning_rate_follows_the_share_of_the_budget():
    stage = StageConfig(learning_rate=1.0)
    rates = [learning_rate(stage, share) for share in np.linspace(0, 1, 101)]
    assert rates[0] < 0.02 and max(rates) > 0.99 and rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(rates[3:]))
