"""Two processes, a batch in parts, or one: the same global batch gives the same losses."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, multiprocessing, nn
from training_runs import NETWORK, quick
from wall_dataset import write_wall

from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.config import DataConfig, StageConfig, save_config
from vlocnetpp.training.devices import SharedNorm, share_norms
from vlocnetpp.training.run import time_of_the_first


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Two datasets with different labels, so that the processes have different numbers of each."""
    folder = tmp_path_factory.mktemp("data")
    wall = write_wall(folder / "wall", {"train": 8, "val": 3}, depth=False, masks=False)
    also = write_wall(folder / "also", {"train": 6}, sequences=1, depth=False)
    return quick(
        wall,
        preset="mtl_no_warp",
        network={**NETWORK, "dropout": 0.0},
        data=DataConfig(root=str(wall), also=(str(also),), cache="none"),
        stages=(StageConfig("joint", learning_rate=(3e-5,)),),
        epochs=1.2,
        eps=1e-3,  # with the paper's 1e-10 Adam turns a gradient that is only rounding into a whole step
        validations=6,  # one after each step
    )


@pytest.fixture(scope="session")
def one(config, tmp_path_factory) -> list[dict]:
    out = tmp_path_factory.mktemp("runs") / "one"
    assert train(config, out) == 0
    return load_checkpoint(out / "last.pt")["rows"]


def largest_difference(a: list[dict], b: list[dict]) -> float:
    """Relative to one, over the losses and learned weights of all rows."""
    assert [row["step"] for row in a] == [row["step"] for row in b]
    names = [name for name in a[0] if name.startswith("loss_") or name.rpartition(".")[2].startswith("s_")]
    pairs = [(x[name], y[name]) for x, y in zip(a, b) for name in names]
    assert all((x is None) == (y is None) for x, y in pairs)
    return max(abs(x - y) / max(1.0, abs(x)) for x, y in pairs if x is not None)


def test_two_processes_have_the_loss_curve_of_one(config, one, tmp_path):
    save_config(config, tmp_path / "c.yaml")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "vlocnetpp.cli", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    two = load_checkpoint(tmp_path / "two" / "last.pt")["rows"]
    assert len(one) == 6 and {"loss_x", "loss_seg", "loss_x_vo"} <= {k for k, v in one[-1].items() if v is not None}
    # Rounding grows from step to step: over four seeds the losses differed by at most 3e-5 in the first two steps and
    # by 4e-3 in six. Where the gradients are not added up over the processes, it is 9e-3 and 2e-2.
    assert largest_difference(one[:2], two[:2]) < 1e-4 and largest_difference(one, two) < 1e-2
    assert two[-1]["val_median_translation_m"] == pytest.approx(one[-1]["val_median_translation_m"], rel=1e-3)


def test_processes_with_unequal_shares_have_equally_many_parts(config, tmp_path):
    """Of three clips, one process has one and the other two: a second part of one alone would wait for ever."""
    save_config(config, tmp_path / "c.yaml")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vlocnetpp.cli", "train"]
    words += [str(tmp_path / "c.yaml"), "--out", str(tmp_path / "two"), "--batch", "3", "--accumulate", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert load_checkpoint(tmp_path / "two" / "last.pt")["progress"]["done"]


def test_a_batch_in_parts_is_weighted_like_a_whole_one(config, tmp_path):
    """Norms see the parts, so only a network whose norms stand still can be compared: the first step of a run.

    In float64: how far float32 rounds apart depends on the order in which a processor adds.
    """
    from vlocnetpp.losses import LossConfig, MultitaskLoss, count_labels, make_terms
    from vlocnetpp.network import build_network
    from vlocnetpp.training.clips import Clips
    from vlocnetpp.training.datasets import configure_network, open_data
    from vlocnetpp.training.loader import ClipLoader
    from vlocnetpp.training.optimization import ClipLoss, split_clips

    data = open_data(config)
    settings = configure_network(config, data)
    stores, _ = data.stores(settings, config)
    torch.manual_seed(0)
    network = build_network(settings).eval().double()
    loss = MultitaskLoss(make_terms(LossConfig(), settings.tasks)).double()
    clip_loss = ClipLoss(network, loss, config.stages[0], config)
    _, clips = next(ClipLoader(stores, settings, config.data, None, 5, 0).epoch((0, 0)))
    clips = clips.to(torch.device("cpu"))
    clips = Clips(*(x.double() if x.is_floating_point() else x for x in vars(clips).values()))

    counts = count_labels(loss.terms, clips.frames())

    def gradients(parts: int) -> tuple[torch.Tensor, float]:
        for parameter in clip_loss.parameters():
            parameter.grad = None
        total = 0.0
        for fields in split_clips(clips, parts):
            value, _ = clip_loss(fields, counts, len(fields[0]) / 5)
            value.backward()
            total += value.item()
        assert len(split_clips(clips, parts)) == parts
        return torch.cat([p.grad.flatten() for p in clip_loss.parameters() if p.grad is not None]), total

    whole, total = gradients(1)
    parts, sum_of_parts = gradients(3)
    # The terms, of either sign, are rounded to float32 before they are added up, so that the bound is absolute.
    assert sum_of_parts == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


def time_in_process(rank: int, folder: str) -> None:
    """What a process that has measured `rank` + 1 seconds goes by is saved."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    run = SimpleNamespace(fabric=SimpleNamespace(world_size=2, device=torch.device("cpu")))
    torch.save(time_of_the_first(run, rank + 1.0), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_all_processes_go_by_one_clock(tmp_path):
    multiprocessing.spawn(time_in_process, (str(tmp_path),), nprocs=2)
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)] == [1.0, 1.0]
    alone = SimpleNamespace(fabric=SimpleNamespace(world_size=1))
    assert time_of_the_first(alone, 2.0) == 2.0


def norm_in_process(rank: int, folder: str) -> None:
    """Half of a batch through a shared norm; what came out is saved."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.Sequential(nn.BatchNorm2d(3))
    share_norms(network)
    x = torch.load(f"{folder}/x.pt", weights_only=True)[slice(0, 2) if rank == 0 else slice(2, 5)].requires_grad_()
    y = network(x)
    y.square().mul(torch.arange(3.0)[:, None, None]).exp().sum().backward()
    found = {"y": y.detach(), "grad": x.grad, "weight": network[0].weight.grad, "state": network.state_dict()}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_a_shared_norm_is_the_norm_of_the_whole_batch(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 6) * 0.3 + torch.tensor([1.0, -2.0, 0.5])[:, None, None]
    torch.save(x, tmp_path / "x.pt")
    multiprocessing.spawn(norm_in_process, (str(tmp_path),), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    norm = nn.BatchNorm2d(3)
    x.requires_grad_()
    y = norm(x)
    y.square().mul(torch.arange(3.0)[:, None, None]).exp().sum().backward()
    torch.testing.assert_close(torch.cat([half["y"] for half in halves]), y.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([half["grad"] for half in halves]), x.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sum(half["weight"] for half in halves), norm.weight.grad, rtol=1e-4, atol=1e-3)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(halves[0]["state"][f"0.{name}"], value, rtol=1e-5, atol=1e-6)


def test_a_shared_norm_judges_and_exports_like_any_other():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    network(torch.randn(2, 3, 5, 5))
    state, image = network.state_dict(), torch.randn(1, 3, 5, 5)
    before = network.eval()(image)
    share_norms(network)
    assert isinstance(network[1][0], SharedNorm) and network.state_dict().keys() == state.keys()
    assert torch.equal(network.eval()(image), before) and not network[1][0].training
