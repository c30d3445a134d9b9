"""What runs on a GPU. Each test has one body for both devices: the CPU proves the test, a GPU the code.

pytest -m cuda test/test_cuda.py      on a machine with a GPU, under two minutes
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import IMAGE_SHAPE, K_33, export_random, random_network
from tape import Tape
from torch._subclasses.fake_tensor import FakeTensorMode
from training_runs import NETWORK, STAGES, quick
from wall_dataset import write_wall

from benchmarks.gpu.faults import OUT_OF_MEMORY, ended
from benchmarks.gpu.faults import start as start_process
from benchmarks.gpu.part import Order
from vlocnetpp.export import ExportedStep, export_network
from vlocnetpp.export.parity import Difference, difference, random_clip, stream, tolerance, torch_runner
from vlocnetpp.geometry import normalize_quaternion, rotate
from vlocnetpp.network import cold_state_of, create
from vlocnetpp.network.blocks.alignment import DirectAlignment
from vlocnetpp.network.blocks.pose_hypotheses import PoseHypotheses
from vlocnetpp.network.blocks.warping import warp_features, warping_flow
from vlocnetpp.network.registry import ENTRIES
from vlocnetpp.runtime import Localizer, Model, load_model, transfers
from vlocnetpp.runtime.cuda_graph import RECORDED, RecordedStep, record_cuda
from vlocnetpp.step import State
from vlocnetpp.training import load_checkpoint, train
from vlocnetpp.training.config import AugmentConfig, DataConfig, StageConfig, save_config

SECOND = 1_000_000_000
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
on_each_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Model files with random weights, by preset."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "mtl": export_random(folder / "mtl.ts"),
        "robot": export_random(folder / "robot.ts", "robot", hidden=32),
    }


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> Path:
    return write_wall(tmp_path_factory.mktemp("data") / "wall", {"train": 12, "val": 6})


@pytest.fixture(autouse=True)
def full_precision(monkeypatch) -> None:
    """A GPU convolves float32 in TensorFloat-32 by default, of ten bits: no difference here is to be that."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def recorded(model: Model, resident: bool) -> Model:
    """The model with its step recorded: as a CUDA graph on a GPU, else by the tests' own recorder."""
    recorder = record_cuda if model.device.type == "cuda" else Tape()
    step = RecordedStep(model.step, model.dtype, recorder, resident)
    return replace(model, step=step, optimizations=(*model.optimizations, RECORDED))


def no_pinned_memory(monkeypatch: pytest.MonkeyPatch, localizer: Localizer) -> None:
    """Let a CPU go the way of a GPU: through memory of its own, with a wait for nothing."""
    monkeypatch.setattr(transfers, "pinned_memory", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(transfers, "wait", lambda device: None)
    localizer._transfers.pinned = localizer._transfers.one_wait = True


def drive(localizer: Localizer) -> list[tuple[np.ndarray, ...]]:
    """Answers to a drive with a reset and a gap in it, colour orders in turn."""
    random, found = np.random.default_rng(0), []
    stamp = SECOND
    for i in range(8):
        if i == 3:
            localizer.reset("test")
        stamp += SECOND if i == 5 else SECOND // 30
        pixels = random.integers(0, 256, (*IMAGE_SHAPE, 4), dtype=np.uint8)
        estimate = localizer.localize(pixels, K_33, stamp, ("bgra8", "rgba8")[i % 2])
        assert (estimate.cold_start is not None) == (i in (0, 3, 5)) and estimate.pose_7 is not None
        motion = np.zeros(7) if estimate.relative_7 is None else estimate.relative_7
        found.append((estimate.pose_7, motion, estimate.mask_hw))
    return found


@on_each_device
@pytest.mark.parametrize("preset", ["mtl", "robot"])
@pytest.mark.parametrize("graph", ["", "recorded", "resident"])
def test_every_switch_of_the_runtime_answers_as_the_plain_one(device, preset, graph, files, monkeypatch):
    model = load_model(files[preset], device, "fp32")
    for _ in range(2):  # the first drive compiles
        plain = drive(Localizer(model))
    localizer = Localizer(recorded(model, graph == "resident") if graph else model, pinned=True, one_wait=True)
    assert localizer.ring.capacity == (1 if graph == "resident" else 8)
    if device == "cpu":
        no_pinned_memory(monkeypatch, localizer)
    for expected, found in zip(plain, drive(localizer), strict=True):
        np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-4)
        assert (found[2] == expected[2]).mean() > 0.999


@pytest.mark.cuda
@pytest.mark.parametrize("resident", [False, True])
def test_the_loader_records_a_cuda_graph(resident, files):
    for file in files.values():
        model = load_model(file, "cuda", "fp16", cuda_graph=True, resident=resident)
        assert model.optimizations == ("frozen", RECORDED)


@on_each_device
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_device_answers_as_the_network_does_in_full_precision_on_the_cpu(device, precision, files):
    network = random_network()
    model = load_model(files["mtl"], device, precision)
    clip = random_clip(network.config, IMAGE_SHAPE, K_33)
    expected = stream(torch_runner(ExportedStep(network)), clip, cold_state_of(network))
    there = [tuple(value.to(device) for value in inputs) for inputs in clip]
    cold = {name: value.to(device, model.dtype) for name, value in cold_state_of(network).items()}
    allowed = tolerance(network.config, precision)
    for right, answer in zip(expected, stream(torch_runner(model.step), there, cold)):
        gaps: Difference = difference(right, {name: value.cpu() for name, value in answer.items()})
        assert all(getattr(gaps, name) <= limit for name, limit in vars(allowed).items()), gaps


@on_each_device
def test_a_network_on_a_device_is_exported_for_every_other(device, tmp_path):
    network = random_network().to(device)
    export_network(network, tmp_path / "mtl.ts", "fp32", K_33=((60.0, 0, 48), (0, 60.0, 32), (0, 0, 1)))
    model = load_model(tmp_path / "mtl.ts", "cpu", "fp32")
    clip = random_clip(network.config, IMAGE_SHAPE, K_33)[:2]
    found = stream(torch_runner(model.step), clip, cold_state_of(random_network()))
    there = [tuple(value.to(device) for value in inputs) for inputs in clip]
    expected = stream(torch_runner(ExportedStep(network)), there, cold_state_of(network))
    for answer, right in zip(found, expected):
        torch.testing.assert_close(answer["pose_B7"], right["pose_B7"].cpu(), atol=1e-3, rtol=0)


@on_each_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_warping_samples_where_the_motion_says(device, dtype):
    K_133 = torch.tensor([[[80.0, 0, 47.5], [0, 80, 31.5], [0, 0, 1]]], device=device)
    sideways_17 = torch.tensor([[0.1, 0, 0, 1, 0, 0, 0]], device=device)
    offset, seen = warping_flow(torch.full((1, 1, 64, 96), 2.0, device=device), K_133, sideways_17)
    columns = torch.arange(96, device=device, dtype=dtype).expand(1, 1, 64, 96)
    warped, mask = warp_features(columns, offset, seen)
    inside = (warped.float() - columns.float() - 80 * 0.1 / 2.0)[..., 1:-1, 1:-6]
    assert mask[..., 1:-1, 1:-6].all() and inside.abs().max() < (0.05 if dtype == torch.float32 else 0.5)


@on_each_device
def test_the_solver_finds_cameras_of_which_a_third_of_the_points_lies(device):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    truth_B7 = torch.cat((normal(8, 3), normalize_quaternion(normal(8, 4))), dim=1)
    rays_BN3 = torch.nn.functional.normalize(torch.cat((0.5 * normal(8, 640, 2), torch.ones(8, 640, 1)), dim=2), dim=2)
    points_BN3 = rotate(truth_B7[:, None, 3:], rays_BN3 * (1 + normal(8, 640, 1).abs())) + truth_B7[:, None, :3]
    points_BN3 = torch.where(torch.rand(8, 640, 1, generator=generator) < 0.3, 2 * normal(8, 640, 3), points_BN3)
    start_B7 = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]]).expand(8, 7)
    inputs = (start_B7, points_BN3, torch.full((8, 640), -4.0), rays_BN3)
    found = PoseHypotheses().to(device)(*(value.to(device) for value in inputs))
    assert (found.pose_B7.cpu()[:, :3] - truth_B7[:, :3]).norm(dim=1).max() < 0.01


@on_each_device
def test_the_alignment_finds_a_shift_before_a_wall(device):
    waves = torch.arange(160.0) / 7
    before = (128 + 40 * torch.sin(waves) + 30 * torch.cos(torch.arange(120.0)[:, None] / 9)).expand(1, 1, 120, 160)
    now = (128 + 40 * torch.sin((torch.arange(160.0) + 1) / 7)) + 30 * torch.cos(torch.arange(120.0)[:, None] / 9)
    K_133 = torch.tensor([[[146.0, 0, 79.5], [0, 146.0, 59.5], [0, 0, 1]]])
    rest_17 = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]])
    depth, deviation = torch.full((1, 1, 15, 20), 3.0), torch.full((1, 1, 15, 20), -4.0)
    inputs = [now[None, None], before, depth, deviation, K_133, rest_17]
    cpu = DirectAlignment()(*inputs)
    there = DirectAlignment()(*(value.to(device) for value in inputs))
    torch.testing.assert_close(there.relative_B7.cpu(), cpu.relative_B7, atol=1e-3, rtol=0)
    assert bool(there.found_B.all()) == bool(cpu.found_B.all()) and cpu.relative_B7[0, :3].norm() > 0.001


@on_each_device
@pytest.mark.parametrize("preset", ["mtl", "robot"])
def test_the_trainer_trains(device, preset, wall, tmp_path):
    cells = StageConfig("cells", cells=64, augmentations=1, half=device == "cuda")
    stages = (cells, STAGES[1]) if preset == "robot" else STAGES
    config = quick(
        wall, preset=preset, stages=stages, device=device, precision="bf16" if device == "cuda" else "fp32",
        network={**NETWORK, "hidden": 32} if preset == "robot" else NETWORK, augment=AugmentConfig(), epochs=4.0,
        validations=len(stages),
    )  # fmt: skip
    assert train(config, tmp_path / "run") == 0
    rows = load_checkpoint(tmp_path / "run" / "last.pt")["rows"]
    losses = [value for row in rows for name, value in row.items() if name.startswith("loss_") and value is not None]
    assert losses and np.isfinite(losses).all()
    assert np.isfinite(rows[-1]["val_median_translation_m"])


@on_each_device
def test_one_process_of_the_distributed_trainer_trains(device, wall, tmp_path):
    config = quick(wall, preset="stl_pose", stages=(StageConfig("pose", ("localization",)),), device=device, epochs=1.0)
    save_config(replace(config, data=DataConfig(root=str(wall), cache="none")), tmp_path / "c.yaml")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "vlocnetpp.cli", "train"]
    words += [str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=dict(os.environ), timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_checkpoint(tmp_path / "run" / "last.pt")["progress"]["done"]


@on_each_device
def test_a_model_that_does_not_fit_says_so_in_one_line(device, tmp_path):
    file = tmp_path / "large.ts"
    export_network(
        create("stl_pose", 1.0, height=32, width_px=32), file, K_33=((30.0, 0, 16), (0, 30.0, 16), (0, 0, 1))
    )
    order = Order(torch.device(device), rehearse=True, kitchen=None, scratch=tmp_path, seconds=120)
    status, _, error = ended(start_process(OUT_OF_MEMORY, order, file, "fp32", device), order)
    assert status == 1
    assert re.search(r"large\.ts: '(cpu|cuda.*)' has no memory left for it; end what else uses it, or take fp16", error)


def step_elsewhere(step: torch.nn.Module, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The answer of a step on a device that this machine lacks: shapes, types and devices, no numbers."""

    def there(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device="lazy")  # a name that PyTorch allows without the device

    with FakeTensorMode(), torch.no_grad():
        weights = {name: there(value.shape, value.dtype) for name, value in step.state_dict(keep_vars=True).items()}
        weights |= {name: there(value.shape, value.dtype) for name, value in step.named_buffers()}
        state = {name: there((1, *shape), torch.float16) for name, shape in shapes.items()}
        frame = (there((1, *IMAGE_SHAPE, 4), torch.uint8), there((3,), torch.int64), there((1, 3, 3), torch.float32))
        inputs = (*frame, there((1, 1, 1, 1), torch.float32), state)
        answer, _ = torch.func.functional_call(step, weights, inputs)
        return answer


@pytest.mark.parametrize("preset", sorted(ENTRIES))
def test_no_step_mixes_devices(preset):
    network = random_network(preset)
    answer = step_elsewhere(ExportedStep(network).half(), network.state_shapes())
    assert answer and all(value.device.type == "lazy" for value in answer.values())


def test_a_step_that_mixes_devices_is_found():
    network = random_network("stl_pose")
    network.forward = lambda image, K, depth, state: ({"pose_B7": image[:, 0, 0, :7] + torch.ones(7)}, state)
    with pytest.raises(RuntimeError, match=r"same device|different devices"):
        step_elsewhere(ExportedStep(network).half(), network.state_shapes())


def test_a_state_that_nothing_copies_is_of_one_frame():
    from vlocnetpp.runtime import RingBuffer

    with pytest.raises(ValueError, match="holds one frame, not 2"):
        RingBuffer(2, {"a": (3,)}, torch.device("cpu"), torch.float32, copies=False)
    ring = RingBuffer(1, {"a": (3,)}, torch.device("cpu"), torch.float32, copies=False)
    state: State = {"a": torch.ones(1, 3)}
    ring.push(1, state)
    assert ring.latest()["a"].data_ptr() == state["a"].data_ptr()
    ring.clear()
    assert not ring.latest()["a"].any()
