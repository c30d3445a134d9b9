"""Every preset: forward, backward, script, saved and run where no network code exists; the paper's shapes and sizes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_networks import K_33, build, images, small

from vlocnetpp.errors import ConfigError
from vlocnetpp.export import export_network
from vlocnetpp.losses import LossConfig, count_labels, make_terms
from vlocnetpp.network import (
    Network,
    build_network,
    cold_state_of,
    config_from_json,
    config_to_json,
    configure,
    models_page,
    names,
    pretrained,
)
from vlocnetpp.network.contract import decayed_parameters
from vlocnetpp.network.preprocess import network_intrinsics
from vlocnetpp.speed import Recompute
from vlocnetpp.step import PREDICTIONS
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.unroll import unroll

WIDTHS = ["tiny", "full"]


def stream(network: Network, frames: torch.Tensor) -> list:
    batch = frames.shape[1]
    K = torch.from_numpy(K_33).float().expand(batch, 3, 3)
    depth = torch.full((batch, 1, *frames.shape[-2:]), 2.0)
    state = cold_state_of(network, batch)
    predictions = []
    for image in frames:
        prediction, state = network(image, K, depth, state)
        predictions.append(prediction)
    return predictions


def largest_difference(a, b) -> float:
    assert set(a) == set(b)
    return max((value - b[name]).abs().max().item() for name, value in a.items())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("preset", names())
def test_forward_and_backward(preset, width):
    config = small(preset, width)
    network = build_network(config)
    last = stream(network, images(2, batch=2, config=config))[-1]
    shapes = {"pose_B7": (2, 7), "relative_B7": (2, 7), "log_scale_B2": (2, 2), "logits_BCHW": (2, 5, 64, 96)}
    for name, shape in shapes.items():
        assert (name in last) == (PREDICTIONS[name].task in config.tasks), name
        assert name not in last or last[name].shape == shape
    for name in {"pose_B7", "relative_B7"} & set(last):
        assert torch.allclose(last[name][:, 3:].norm(dim=1), torch.ones(2))
    assert set(last) <= set(PREDICTIONS), "every name is explained"
    # Weighted at random: the plain sum of a unit quaternion or of class scores has almost no gradient.
    total = sum((value * torch.randn_like(value)).sum() for value in last.values() if value.requires_grad)
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
from vlocnetpp.step import cold_state
for path in sys.argv[1:]:
    saved = torch.load(path + ".pt", weights_only=True)
    model = load_model(path, "cpu", "fp32")
    state = cold_state(model.metadata.state_shapes)
    with torch.inference_mode():
        for image, expected in zip(saved["images"], saved["expected"], strict=True):
            answer, state = model.step(image, torch.tensor([0, 1, 2]), saved["K"], saved["depth"], state)
            for name, want in expected.items():
                difference = (answer[name] - want).abs().max().item()
                assert answer[name].shape == want.shape and difference < 1e-4, (path, name, difference)
print("equal", len(sys.argv) - 1)
"""


FULL = ("mtl", "robot", "segnet")
"""Exported at full width too, which takes seconds for each."""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_preset_runs_where_no_network_code_exists(width, tmp_path):
    """Exported, loaded by a fresh process that cannot import `vlocnetpp.network`, and equal to the eager network."""
    paths = []
    presets = names() if width == "tiny" else FULL
    for preset in presets:
        network = build(small(preset, width))
        path = tmp_path / f"{preset}.ts"
        export_network(network, path, K_33=network_intrinsics(network.config.view, K_33, 64, 96))
        frames = images(3).round()
        expected = [
            {
                name: value.contiguous()
                for name, value in p.items()
                if name in ("pose_B7", "relative_B7", "log_scale_B2")
            }
            for p in stream_without_gradient(network, frames)
        ]
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
    assert result.stdout.strip() == f"equal {len(presets)}"


@torch.inference_mode()
def stream_without_gradient(network, frames):
    return stream(network, frames)


@pytest.mark.parametrize("preset", names())
def test_script_equals_eager(preset):
    network = build(small(preset))
    frames = images(3)
    for eager, scripted in zip(stream_without_gradient(network, frames), stream_scripted(network, frames), strict=True):
        assert largest_difference(eager, scripted) < 1e-5


@torch.inference_mode()
def stream_scripted(network, frames):
    scripted = torch.jit.script(network)
    K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
    state, predictions = cold_state_of(network), []
    for image in frames:
        prediction, state = scripted(image, K, depth, state)
        predictions.append(prediction)
    return predictions


@pytest.mark.parametrize("preset", names())
@torch.inference_mode()
def test_streaming_equals_recomputing_the_previous_frame(preset):
    """The state that was kept is as good as the previous frame itself."""
    network = build(small(preset))
    first, second = images(2)
    K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
    streamed = stream_without_gradient(network, torch.stack((first, second)))[-1]
    recomputed = Recompute(network)(first, second, K, depth, cold_state_of(network))
    assert largest_difference(streamed, recomputed) < 1e-4
    # A longer past changes nothing but what segmentation has carried along through its fused 4f.
    longer = stream_without_gradient(network, torch.stack((images(3)[2], first, second)))[-1]
    if "segmentation_4f" not in network.state_shapes() and not network.config.traits.own_answers:
        assert largest_difference(longer, recomputed) < 1e-4


@pytest.mark.parametrize("preset", names())
@torch.inference_mode()
def test_no_place_for_a_ground_truth(preset):
    """No leak: the step takes an image, intrinsics, depth and its own state; other labels change no prediction."""
    network = build(small(preset))
    assert list(inspect.signature(network.forward).parameters) == ["image_B3HW", "K_B33", "depth_B1HW", "state"]
    first, second = images(2)
    K, nothing = torch.from_numpy(K_33).float()[None], torch.zeros(1, 1, 64, 96)
    predictions, states = [], []
    for depth in (nothing, nothing + 2):  # measured depth is a label but where the step is said to read it
        _, state = network(first, K, depth, cold_state_of(network))
        predictions.append(network(second, K, depth, state)[0])
        states.append(state)
    assert network.config.traits.reads_depth or largest_difference(*predictions) == 0
    # Nothing in a state is a pose, but what the network has answered itself.
    answered, _ = network(first, K, nothing, cold_state_of(network))
    for name, value in states[0].items():
        if value.shape[1:] == (7,):
            assert torch.equal(value, answered[network.config.traits.own_answers[name]])
    assert set(network.config.traits.own_answers) <= set(states[0])


@pytest.mark.parametrize("preset", names())
@torch.inference_mode()
def test_shuffled_labels_change_no_prediction_of_the_training_unroll(preset):
    network = build(small(preset))
    generator = torch.Generator().manual_seed(3)
    pose = torch.randn(2, 3, 7, generator=generator)
    pose = torch.cat((pose[..., :3], torch.nn.functional.normalize(pose[..., 3:].abs(), dim=-1)), dim=-1)
    clips = Clips(
        images(3, 2).transpose(0, 1),
        torch.from_numpy(K_33).float().expand(2, 3, 3, 3),
        torch.rand(2, 3, 1, 64, 96, generator=generator) + 1,
        torch.randint(0, 5, (2, 3, 64, 96), generator=generator).to(torch.uint8),
        pose,
        torch.ones(2, 3),
    )
    other = replace(clips, pose_BL7=clips.pose_BL7.flip(0, 1), mask_BLHW=clips.mask_BLHW.flip(0, 1, 2))
    seen: list[dict] = []
    hook = network.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    terms = make_terms(LossConfig(), network.config.tasks)
    for labels in (clips, other):
        unroll(network, labels, terms, count_labels(terms, labels.frames()))
    hook.remove()
    assert len(seen) == 6 and all(largest_difference(a, b) == 0 for a, b in zip(seen[:3], seen[3:], strict=True))


@pytest.mark.parametrize("preset", ["vlocnet", "stl_pose", "mtl"])
def test_a_cold_start_forgets_everything(preset):
    network = build(small(preset))
    frames = images(3)
    warm = stream_without_gradient(network, frames)[-1]
    cold = stream_without_gradient(network, frames[-1:])[0]
    assert (warm["pose_B7"] - cold["pose_B7"]).abs().max() > 1e-6, "the past makes no difference"
    if "odometry" in network.config.tasks:
        assert cold["relative_B7"].tolist() == [[0, 0, 0, 1, 0, 0, 0]]
    # A state that is marked invalid is not read, whatever it holds.
    state = {name: torch.full_like(value, 7.0) for name, value in cold_state_of(network).items()}
    state["valid_B"] = torch.zeros(1)
    with torch.inference_mode():
        K, depth = torch.from_numpy(K_33).float()[None], torch.full((1, 1, 64, 96), 2.0)
        marked, _ = network(frames[-1], K, depth, state)
    assert largest_difference(marked, cold) < 1e-5


def test_samples_of_a_batch_start_cold_independently():
    network = build(small("mtl"))
    frames = images(2, batch=2)
    K, depth = torch.from_numpy(K_33).float().expand(2, 3, 3), torch.full((2, 1, 64, 96), 2.0)
    with torch.inference_mode():
        _, state = network(frames[0], K, depth, cold_state_of(network, 2))
        mixed, _ = network(frames[1], K, depth, {**state, "valid_B": torch.tensor([1.0, 0.0])})
        warm, _ = network(frames[1], K, depth, state)
        cold, _ = network(frames[1], K, depth, cold_state_of(network, 2))
    for name, value in mixed.items():
        assert torch.allclose(value[0], warm[name][0], atol=1e-5)
        assert torch.allclose(value[1], cold[name][1], atol=1e-5)


def test_state_shapes_are_those_of_the_step():
    for preset in names():
        network = build(small(preset))
        _, state = network(
            images(1)[0], torch.from_numpy(K_33).float()[None], torch.ones(1, 1, 64, 96), cold_state_of(network)
        )
        shapes = {name: tuple(value.shape[1:]) for name, value in state.items()}
        assert shapes == network.state_shapes(), preset


def test_half_precision_still_answers_in_millimetres():
    """The pose is formed in full precision: in a map hundreds of metres wide half precision steps by 0.25 m."""
    config = small("stl_pose", position_centre=(300.0, -200.0, 5.0), position_spread=0.01)
    network = build(config)
    full = stream_without_gradient(network, images(1))[0]["pose_B7"]
    network.to(torch.bfloat16)
    K = torch.from_numpy(K_33).float()[None]
    with torch.inference_mode():
        half, _ = network(images(1)[0].bfloat16(), K, torch.zeros(1, 1, 64, 96), cold_state_of(network))
    assert half["pose_B7"].dtype == torch.float32
    assert (half["pose_B7"][:, :3] - full[:, :3]).abs().max() < 0.005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: configure("mlt"), "did you mean 'mtl'"),
        (lambda: configure("mtl", "huge"), "width 'huge'"),
        (lambda: configure("mtl", "tiny", heigth=64), "did you mean 'height'"),
        (lambda: configure("mtl", "tiny", height=100), "multiples of 32"),
        (lambda: configure("mtl", "tiny", fusion="sum"), "fusion"),
        (lambda: configure("stl_pose", "tiny", semantics="fuse"), "needs the tasks"),
        (lambda: configure("stl_segmentation", "tiny", warp=("4f",)), "odometry"),
        (lambda: configure("mtl", "tiny", depth="none"), "depth"),
        (lambda: configure("mtl", "tiny", warp=()), "depth: 'network' is read by nothing without warp"),
        (lambda: configure("cnnbspp", "tiny", levels=(0, 2)), r"levels: \[0, 2\]"),
        (lambda: build_network(configure("robot", "tiny", height=32)), "odometry needs an input of at least 48 pixels"),
        (lambda: configure("mtl", "tiny", tasks=()), "at least one"),
        (lambda: configure("mtl", "tiny", tasks=("localisation",)), "localisation"),
        (lambda: configure("mtl", "tiny", classes=1), "classes"),
        (lambda: configure("mtl", 9.0), "width"),
        (lambda: configure("fcn8s", "tiny", warp=("4f",)), "'warp' does not exist for 'fcn8s'"),
        (lambda: configure("mtl", "tiny", height=64.5), "not of type int"),
        (lambda: configure("mtl", "tiny", rates="mad"), "did you mean 'map'"),
    ],
)
def test_contradicting_settings_are_refused_with_the_reason(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_configuration_round_trip():
    for preset in names():
        config = configure(preset, "tiny")
        assert config_from_json(config_to_json(config)) == config


@pytest.mark.parametrize("tasks", [("localization", "segmentation"), ("odometry",), ("odometry", "segmentation")])
def test_any_subset_of_tasks_runs(tasks):
    semantics = "fuse" if {"localization", "segmentation"} <= set(tasks) else "none"
    network = build(small("mtl_no_warp", tasks=tasks, semantics=semantics))
    last = stream_without_gradient(network, images(2))[-1]
    assert {PREDICTIONS[name].task for name in last} == set(tasks)


@pytest.mark.parametrize("setting", [{"siamese": "untied"}, {"semantic_site": "4e"}, {"warp": ("5c",)}])
def test_flags_of_the_design_run_and_script(setting):
    network = build(small("mtl", **setting))
    frames = images(2)
    eager, scripted = stream_without_gradient(network, frames)[-1], stream_scripted(network, frames)[-1]
    assert largest_difference(eager, scripted) < 1e-5


@pytest.mark.parametrize("preset", names())
def test_a_network_answers_for_itself(preset):
    """Parts cover every weight, one in no other; what decays is convolutions and layers; parts for each task run."""
    network = build(small(preset))
    parts = list(network.parts())
    assert not [a for a in parts for b in parts if a != b and a.startswith(f"{b}.")]
    inside = {id(p) for part in parts for p in network.get_submodule(part).parameters()}
    assert inside == {id(p) for p in network.parameters()}
    for name, path in network.pretrained_parts().items():
        assert network.get_submodule(name) is not None and path in pretrained.PARTS
    pulled = {id(p) for p in decayed_parameters(network)}
    for name, parameter in network.named_parameters():
        assert id(parameter) not in pulled or parameter.ndim > 1, name
    assert pulled, "something decays"
    for task in network.config.tasks:
        part = network.part_for((task,)).eval()
        assert task in part.config.tasks
        last = stream_without_gradient(part, images(2))[-1]
        assert {PREDICTIONS[name].task for name in last} - {""} == set(part.config.tasks)
        assert {id(p) for p in part.parameters()} <= inside
    assert ("localization" in network.config.tasks) == (network.explanation() is not None)


def test_the_page_of_networks_is_that_of_the_registry():
    page = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
    assert page == models_page.page(), "vlocnetpp inspect --all > docs/models.md"


def test_public_names():
    import vlocnetpp.network as network

    assert set(network.__all__) == {
        "WIDTHS", "Entry", "Network", "NetworkConfig", "SceneConfig", "Traits", "ViewConfig", "build_network",
        "config_from_json", "config_to_json", "configure", "create", "cold_state_of", "names"}  # fmt: skip
    assert Path(network.__file__).name == "__init__.py"
