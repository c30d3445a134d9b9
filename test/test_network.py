"""Every preset: forward, backward, script, saved and run where no network code exists; the paper's shapes and sizes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vlocnetpp.errors import ConfigError
from vlocnetpp.export import export_network
from vlocnetpp.network import PRESETS, NetworkConfig, VLocNetPlusPlus, network_config
from vlocnetpp.network.fusion import AdaptiveFusion, ConcatFusion
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.network.presets import config_from_json, config_to_json
from vlocnetpp.network.summary import summarize
from vlocnetpp.network.units import Bottleneck, MultiScaleConv
from vlocnetpp.speed import Recompute
from vlocnetpp.step import State

K_33 = np.array([[100.0, 0, 47.5], [0, 100, 31.5], [0, 0, 1]])
WIDTHS = ["tiny", "full"]


def small(preset: str, width: str | float = "tiny", **settings) -> NetworkConfig:
    return network_config(preset, width, height=64, width_px=96, resize="whole", classes=5, **settings)


def build(config: NetworkConfig) -> VLocNetPlusPlus:
    torch.manual_seed(0)
    network = VLocNetPlusPlus(config).eval()
    # Statistics that are not the identity, so that a wrong batch norm would show.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def images(count: int, batch: int = 1, config: NetworkConfig | None = None) -> torch.Tensor:
    height, width = (config.height, config.width_px) if config else (64, 96)
    return torch.rand(count, batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


def stream(network: VLocNetPlusPlus, frames: torch.Tensor) -> list:
    batch = frames.shape[1]
    K = torch.from_numpy(K_33).float().expand(batch, 3, 3)
    depth = torch.full((batch, 1, *frames.shape[-2:]), 2.0)
    state = network.cold_state(batch)
    predictions = []
    for image in frames:
        prediction, state = network(image, K, depth, state)
        predictions.append(prediction)
    return predictions


def largest_difference(a, b) -> float:
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True) if x.numel())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_forward_and_backward(preset, width):
    config = small(preset, width)
    network = VLocNetPlusPlus(config)
    last = stream(network, images(2, batch=2, config=config))[-1]
    tasks = config.tasks
    assert last.pose_B7.shape == ((2, 7) if "localization" in tasks else (2, 0))
    assert last.relative_B7.shape == ((2, 7) if "odometry" in tasks else (2, 0))
    assert last.logits_BCHW.shape == ((2, 5, 64, 96) if "segmentation" in tasks else (2, 0, 1, 1))
    for pose in (last.pose_B7, last.relative_B7):
        assert torch.allclose(pose[:, 3:].norm(dim=1), torch.full((2,), float(pose.numel() > 0)))
    # Weighted at random: the plain sum of a unit quaternion or of class scores has almost no gradient.
    total = sum((value * torch.randn_like(value)).sum() for value in last if value.requires_grad)
    total.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []


RUN_ELSEWHERE = """
import sys, torch
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("vlocnetpp.network", "vlocnetpp.training", "vlocnetpp.losses")):
            raise ImportError(name + " must not be needed on the robot")
sys.meta_path.insert(0, Refuse())
from vlocnetpp.runtime import load_model
from vlocnetpp.step import State
for path in sys.argv[1:]:
    saved = torch.load(path + ".pt", weights_only=True)
    model = load_model(path, "cpu", "fp32")
    shapes = model.metadata.state_shapes
    state = State(**{name: torch.zeros((1, *shapes[name])) for name in State._fields})
    with torch.inference_mode():
        for image, expected in zip(saved["images"], saved["expected"], strict=True):
            answer, state = model.step(image, torch.tensor([0, 1, 2]), saved["K"], saved["depth"], state)
            state = State(*state)
            for got, want in zip(answer[:3], expected, strict=True):
                difference = (got - want).abs().max().item() if want.numel() else 0.0
                assert got.shape == want.shape and difference < 1e-4, (path, difference)
print("equal", len(sys.argv) - 1)
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_preset_runs_where_no_network_code_exists(width, tmp_path):
    """Exported, loaded by a fresh process that cannot import `vlocnetpp.network`, and equal to the eager network."""
    paths = []
    for preset in PRESETS:
        network = build(small(preset, width))
        path = tmp_path / f"{preset}.ts"
        export_network(network, path, K_33=network_intrinsics(network.config, K_33, 64, 96))
        frames = images(3).round()
        expected = [[value.contiguous() for value in p[:3]] for p in stream_without_gradient(network, frames)]
        torch.save(
            {
                "images": list(frames.permute(0, 1, 3, 4, 2).to(torch.uint8).contiguous()),
                "expected": expected,
                "K": torch.from_numpy(K_33).float()[None],
                "depth": torch.full((1, 1, 64, 96), 2.0),
            },
            f"{path}.pt",
        )
        paths.append(str(path))
    result = subprocess.run([sys.executable, "-c", RUN_ELSEWHERE, *paths], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == f"equal {len(PRESETS)}"


@torch.inference_mode()
def stream_without_gradient(network, frames):
    return stream(network, frames)


@pytest.mark.parametrize("preset", PRESETS)
def test_script_equals_eager(preset):
    network = build(small(preset))
    frames = images(3)
    for eager, scripted in zip(stream_without_gradient(network, frames), stream_scripted(network, frames), strict=True):
        assert largest_difference(eager, scripted) < 1e-5


@torch.inference_mode()
def stream_scripted(network, frames):
    scripted = torch.jit.script(network)
    K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
    state, predictions = network.cold_state(1), []
    for image in frames:
        prediction, state = scripted(image, K, depth, state)
        predictions.append(prediction)
    return predictions


@pytest.mark.parametrize("preset", PRESETS)
@torch.inference_mode()
def test_streaming_equals_recomputing_the_previous_frame(preset):
    """The state that was kept is as good as the previous frame itself."""
    network = build(small(preset))
    first, second = images(2)
    K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
    streamed = stream_without_gradient(network, torch.stack((first, second)))[-1]
    recomputed = Recompute(network)(first, second, K, depth, network.cold_state(1))
    assert largest_difference(streamed, recomputed) < 1e-4
    # A longer past changes nothing but what segmentation has carried along through its fused 4f.
    longer = stream_without_gradient(network, torch.stack((images(3)[2], first, second)))[-1]
    if "4f" not in network.config.warp and network.config.past != "pose":
        assert largest_difference(longer, recomputed) < 1e-4


@pytest.mark.parametrize("preset", PRESETS)
def test_no_place_for_a_ground_truth_pose(preset):
    """No leak: the step takes an image, intrinsics, depth and its own state."""
    network = build(small(preset))
    assert list(inspect.signature(network.forward).parameters) == ["image_B3HW", "K_B33", "depth_B1HW", "state"]
    # Localization never sees anything but features, except in the 2018 baseline, which sees its own last answer.
    assert network.state_shapes()["pose_B7"] == ((7,) if preset == "vlocnet" else (0,))


@pytest.mark.parametrize("preset", ["vlocnet", "stl_pose", "mtl"])
def test_a_cold_start_forgets_everything(preset):
    network = build(small(preset))
    frames = images(3)
    warm = stream_without_gradient(network, frames)[-1]
    cold = stream_without_gradient(network, frames[-1:])[0]
    assert largest_difference(warm[:1], cold[:1]) > 1e-6, "the past makes no difference"
    if "odometry" in network.config.tasks:
        assert cold.relative_B7.tolist() == [[0, 0, 0, 1, 0, 0, 0]]
    # A state that is marked invalid is not read, whatever it holds.
    state = State(*(torch.full_like(value, 7.0) for value in network.cold_state(1)))
    state = state._replace(valid_B=torch.zeros(1))
    with torch.inference_mode():
        K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
        marked, _ = network(frames[-1], K, depth, state)
    assert largest_difference(marked, cold) < 1e-5


def test_samples_of_a_batch_start_cold_independently():
    network = build(small("mtl"))
    frames = images(2, batch=2)
    K, depth = torch.from_numpy(K_33).float().expand(2, 3, 3), torch.full((2, 1, 64, 96), 2.0)
    with torch.inference_mode():
        _, state = network(frames[0], K, depth, network.cold_state(2))
        mixed, _ = network(frames[1], K, depth, state._replace(valid_B=torch.tensor([1.0, 0.0])))
        warm, _ = network(frames[1], K, depth, state)
        cold, _ = network(frames[1], K, depth, network.cold_state(2))
    for value, warm_value, cold_value in zip(mixed, warm, cold, strict=True):
        assert torch.allclose(value[0], warm_value[0], atol=1e-5)
        assert torch.allclose(value[1], cold_value[1], atol=1e-5)


FULL_MTL = {part.name: part for part in summarize(network_config("mtl", "full"))}
SIZES_OF_RESNET_50 = [
    # part, output, parameters in M, GMAC: the well-known figures of ResNet-50, whose Res2 has 0.2158 M
    ("front.stem", (64, 56, 56), 0.0094, 0.118),
    ("front.res2", (256, 56, 56), 0.2158, 0.67),
    ("front.res3", (512, 28, 28), 1.22, 1.03),
    ("localization.res4", (1024, 14, 14), 7.10, 1.46),
    ("localization.res5", (2048, 7, 7), 14.96, 0.81),
    ("segmentation.res4", (1024, 14, 14), 7.10, 1.46),
    ("segmentation.res5", (2048, 14, 14), 14.96, 2.93),
]


@pytest.mark.parametrize(("name", "shape", "parameters", "gmac"), SIZES_OF_RESNET_50)
def test_sizes_of_the_full_network(name, shape, parameters, gmac):
    part = FULL_MTL[name]
    assert part.shape == shape
    assert part.parameters / 1e6 == pytest.approx(parameters, rel=0.01)
    assert part.macs / 1e9 == pytest.approx(gmac, rel=0.01)


def test_segmentation_has_output_stride_16_and_scores_for_every_pixel():
    assert FULL_MTL["segmentation.res5"].shape[1:] == (224 // 16, 224 // 16)
    assert FULL_MTL["segmentation.decoder"].shape == (10, 224, 224)
    assert FULL_MTL["odometry.res5"].shape == (2048, 7, 7)
    assert FULL_MTL["localization.past_fusion"].shape == (2048, 7, 7)
    assert FULL_MTL["localization.semantic_fusion"].shape == (1024, 14, 14)


def test_fcn8s_scores_three_strides_of_a_plain_trunk():
    """The trunk is localization's ResNet-50; the scores of Res5, Res4 and Res3 are upsampled bilinearly and added."""
    parts = {part.name: part for part in summarize(network_config("fcn8s", "full"))}
    shapes = [parts[f"segmentation.{name}"].shape for name in ("front.res3", "res4", "res5", "decoder")]
    assert shapes == [(512, 28, 28), (1024, 14, 14), (2048, 7, 7), (10, 224, 224)]
    assert not any(isinstance(module, MultiScaleConv) for module in build(small("fcn8s")).modules())
    decoder = build(small("fcn8s")).segmentation.decoder
    maps = {5: torch.randn(1, 512, 4, 6), 4: torch.randn(1, 256, 8, 12), 3: torch.randn(1, 128, 16, 24)}
    with torch.no_grad():
        for conv in (decoder.score, decoder.skip4, decoder.skip3):
            conv.weight.zero_()
        decoder.score.bias[1], decoder.skip4.bias[1], decoder.skip3.bias[1] = 1.0, 20.0, 300.0
        logits = decoder(maps[5], maps[4], maps[3])
    assert torch.allclose(logits[0, 1, 36:-36, 36:-36], torch.tensor(321.0)), "constant maps stay constant inside"
    assert (logits[0, [0, 2, 3, 4]] == 0).all() and logits.shape == (1, 5, 128, 192)


def test_state_shapes_are_those_of_the_step():
    for preset in PRESETS:
        network = build(small(preset))
        _, state = network(
            images(1)[0], torch.from_numpy(K_33).float()[None], torch.ones(1, 1, 64, 96), network.cold_state(1)
        )
        shapes = {name: tuple(value.shape[1:]) for name, value in state._asdict().items()}
        assert shapes == network.state_shapes(), preset


def test_adaptive_fusion_starts_as_a_convolution_of_the_concatenation():
    torch.manual_seed(0)
    fusion = AdaptiveFusion([4, 6, 2], 5)
    maps = [torch.randn(2, channels, 3, 3) for channels in (4, 6, 2)]
    expected = torch.relu(torch.nn.functional.conv2d(torch.cat(maps, 1), fusion.conv.weight, fusion.conv.bias))
    assert torch.allclose(fusion(maps), expected)
    fusion(maps).square().sum().backward()
    assert fusion.weight.grad.shape == (1, 12, 1, 1) and (fusion.weight.grad != 0).all()


def test_adaptive_fusion_weighs_each_channel_of_each_input():
    fusion = AdaptiveFusion([2, 3], 4)
    a, b = torch.randn(1, 2, 4, 4), torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        fusion.weight[:, 2:] = 0
    assert torch.allclose(fusion([a, b]), fusion([a, torch.randn(1, 3, 4, 4)])), "a weight of zero silences its input"
    assert not hasattr(ConcatFusion([2, 3], 4), "weight")


def test_fusion_refuses_other_maps():
    with pytest.raises(RuntimeError):
        AdaptiveFusion([2, 3], 4)([torch.randn(1, 2, 4, 4)])


def test_multi_scale_unit_splits_its_filters_in_half():
    conv = MultiScaleConv(8, (1, 4))
    assert (conv.plain.out_channels, conv.dilated.out_channels) == (4, 4)
    assert (conv.plain.dilation, conv.dilated.dilation) == ((1, 1), (4, 4))
    assert conv(torch.zeros(1, 8, 16, 16)).shape == (1, 8, 16, 16)
    with pytest.raises(ValueError, match="stride"):
        Bottleneck(8, 8, 2, "relu", (1, 2))


def test_half_precision_still_answers_in_millimetres():
    """The pose is formed in full precision: in a map hundreds of metres wide half a number steps by 0.25 m."""
    config = small("stl_pose", position_centre=(300.0, -200.0, 5.0), position_spread=0.01)
    network = build(config)
    full = stream_without_gradient(network, images(1))[0].pose_B7
    network.to(torch.bfloat16)
    K = torch.from_numpy(K_33).float()[None]
    with torch.inference_mode():
        half, _ = network(images(1)[0].bfloat16(), K, torch.zeros(1, 1, 64, 96), network.cold_state(1))
    assert half.pose_B7.dtype == torch.float32
    assert (half.pose_B7[:, :3] - full[:, :3]).abs().max() < 0.005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network_config("mlt"), "did you mean 'mtl'"),
        (lambda: network_config("mtl", "huge"), "width 'huge'"),
        (lambda: network_config("mtl", "tiny", heigth=64), "did you mean 'height'"),
        (lambda: network_config("mtl", "tiny", height=100), "multiples of 32"),
        (lambda: network_config("mtl", "tiny", fusion="sum"), "fusion"),
        (lambda: network_config("stl_pose", "tiny", semantics="fuse"), "needs the tasks"),
        (lambda: network_config("stl_segmentation", "tiny", warp=("4f",)), "odometry"),
        (lambda: network_config("mtl", "tiny", depth="none"), "depth"),
        (lambda: network_config("mtl", "tiny", tasks=()), "at least one"),
        (lambda: network_config("mtl", "tiny", tasks=("localisation",)), "localisation"),
        (lambda: network_config("mtl", "tiny", classes=1), "classes"),
        (lambda: network_config("mtl", 9.0), "width"),
        (lambda: network_config("mtl", "tiny", segmentation_decoder="fcn8s"), "segmentation alone"),
    ],
)
def test_contradicting_settings_are_refused_with_the_reason(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_configuration_round_trip():
    for preset in PRESETS:
        config = network_config(preset, "tiny")
        assert config_from_json(config_to_json(config)) == config


@pytest.mark.parametrize("tasks", [("localization", "segmentation"), ("odometry",), ("odometry", "segmentation")])
def test_any_subset_of_tasks_runs(tasks):
    semantics = "fuse" if {"localization", "segmentation"} <= set(tasks) else "none"
    config = replace(small("mtl_no_warp"), tasks=("localization", "odometry", "segmentation"), semantics="none")
    network = build(replace(config, tasks=tasks, semantics=semantics))
    last = stream_without_gradient(network, images(2))[-1]
    assert [bool(v.numel()) for v in (last.pose_B7, last.relative_B7, last.logits_BCHW)] == [
        task in tasks for task in ("localization", "odometry", "segmentation")
    ]


@pytest.mark.parametrize("setting", [{"siamese": "untied"}, {"semantic_site": "4e"}, {"warp": ("5c",)}])
def test_flags_of_the_design_run_and_script(setting):
    network = build(small("mtl", **setting))
    frames = images(2)
    eager, scripted = stream_without_gradient(network, frames)[-1], stream_scripted(network, frames)[-1]
    assert largest_difference(eager, scripted) < 1e-5


def test_public_names():
    import vlocnetpp.network as network

    assert set(network.__all__) == {"PRESETS", "WIDTHS", "ConfigError", "NetworkConfig", "VLocNetPlusPlus",
                                    "network_config"}  # fmt: skip
    assert Path(network.__file__).name == "__init__.py"
