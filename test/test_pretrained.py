"""ImageNet weights by timm's keys, against a re-statement of the pre-activation ResNet in plain functions."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from vlocnetpp.network import Network, create
from vlocnetpp.network.pretrained import PretrainedError, expected_keys, load_pretrained

UNITS, CHANNELS = (3, 4, 6, 3), (256, 512, 1024, 2048)


def timm_state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random numbers under the keys and in the shapes of timm's resnetv2_50, its classifier included."""
    generator = torch.Generator().manual_seed(seed)

    def conv(out: int, inside: int, size: int) -> torch.Tensor:
        return torch.randn(out, inside, size, size, generator=generator) * (2 / (inside * size * size)) ** 0.5

    def norm(prefix: str, channels: int) -> dict[str, torch.Tensor]:
        return {
            f"{prefix}.weight": torch.rand(channels, generator=generator) + 0.5,
            f"{prefix}.bias": torch.randn(channels, generator=generator) * 0.1,
            f"{prefix}.running_mean": torch.randn(channels, generator=generator) * 0.1,
            f"{prefix}.running_var": torch.rand(channels, generator=generator) + 0.5,
            f"{prefix}.num_batches_tracked": torch.tensor(7),
        }

    state = {"stem.conv.weight": conv(64, 3, 7)}
    inside = 64
    for stage, (units, out) in enumerate(zip(UNITS, CHANNELS, strict=True)):
        for i in range(units):
            p, middle = f"stages.{stage}.blocks.{i}", out // 4
            state |= norm(f"{p}.norm1", inside) | norm(f"{p}.norm2", middle) | norm(f"{p}.norm3", middle)
            state[f"{p}.conv1.weight"] = conv(middle, inside, 1)
            state[f"{p}.conv2.weight"] = conv(middle, middle, 3)
            state[f"{p}.conv3.weight"] = conv(out, middle, 1) * 0.3
            if i == 0:
                state[f"{p}.downsample.conv.weight"] = conv(out, inside, 1)
            inside = out
    return state | norm("norm", 2048) | {"head.fc.weight": torch.zeros(10, 2048, 1, 1), "head.fc.bias": torch.zeros(10)}


def restated(state: dict[str, torch.Tensor], image: torch.Tensor, stages: int) -> torch.Tensor:
    """He et al. 2016 from the text: x + f(x), f = three times (normalize, rectify, convolve)."""

    def pre(x, p):
        mean, var, weight, bias = (state[f"{p}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, mean, var, weight, bias))

    x = F.max_pool2d(F.conv2d(image, state["stem.conv.weight"], stride=2, padding=3), 3, stride=2, padding=1)
    for stage in range(stages):
        for i in range(UNITS[stage]):
            p, stride = f"stages.{stage}.blocks.{i}", 2 if stage > 0 and i == 0 else 1
            a = pre(x, f"{p}.norm1")
            shortcut = F.conv2d(a, state[f"{p}.downsample.conv.weight"], stride=stride) if i == 0 else x
            b = F.conv2d(a, state[f"{p}.conv1.weight"])
            c = F.conv2d(pre(b, f"{p}.norm2"), state[f"{p}.conv2.weight"], stride=stride, padding=1)
            x = F.conv2d(pre(c, f"{p}.norm3"), state[f"{p}.conv3.weight"]) + shortcut
    return x


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    state = timm_state_dict()
    torch.save(state, folder / "resnet.pth")
    save_file(state, str(folder / "resnet.safetensors"))
    return state, folder


def full(preset: str, **settings) -> Network:
    torch.manual_seed(0)
    settings = {"height": 64, "width_px": 64, "activation": "relu", **settings}
    return create(preset, "full", **settings).eval()


@torch.inference_mode()
def test_trunk_equals_the_papers_block_restated(weights):
    state, folder = weights
    network = full("pose_single")
    load_pretrained(network, folder / "resnet.pth")
    image = torch.randn(1, 3, 64, 64)
    res3 = network.front(image)
    assert torch.allclose(res3, restated(state, image, 2), atol=1e-4, rtol=1e-4)
    res5 = network.localization.res5(network.localization.res4(res3))
    assert torch.allclose(res5, restated(state, image, 4), atol=1e-4, rtol=1e-4)


def test_loading_twice_changes_nothing_more_and_formats_agree(weights):
    _, folder = weights
    network = full("mtl")
    first = load_pretrained(network, folder / "resnet.pth")
    once = {name: value.clone() for name, value in network.state_dict().items()}
    second = load_pretrained(network, folder / "resnet.safetensors")
    assert first == second
    assert all(torch.equal(once[name], value) for name, value in network.state_dict().items())


@torch.inference_mode()
def test_dilated_halves_and_concatenated_streams_get_their_weights(weights):
    state, folder = weights
    network = full("mtl")
    summary = load_pretrained(network, folder / "resnet.pth")
    unit = network.segmentation.res4.blocks[5].conv2
    whole = state["stages.2.blocks.5.conv2.weight"]
    assert torch.equal(torch.cat((unit.plain.weight, unit.dilated.weight)), whole)
    # Two equal streams concatenated give what one stream gave.
    x = torch.randn(1, 1024, 4, 4)
    single = network.localization.res5.blocks[0](x)
    assert torch.allclose(network.odometry.res5.blocks[0](torch.cat((x, x), 1)), single, atol=1e-4, rtol=1e-4)
    assert any("fusion" in name for name in summary.fresh) and not any("fusion" in n for n in summary.copied)
    assert any("odometry.res5.blocks.0.conv1" in name for name in summary.adapted)
    assert "copied" in str(summary)


@pytest.mark.parametrize("preset", ["vlocnet", "stl_segmentation", "stl_odometry", "mtl_mid_concat", "mtl_input_concat",
                                    "mtl_shared", "fcn8s", "segnet", "upnet", "parsenet", "deeplab_v2"])  # fmt: skip
def test_every_topology_takes_the_weights(preset, weights):
    state, folder = weights
    network = full(preset)
    load_pretrained(network, folder / "resnet.pth")
    stems = [value for name, value in network.state_dict().items() if name.endswith("stem.conv.weight")]
    assert stems and all(torch.equal(value[:, :3], state["stem.conv.weight"]) for value in stems)


def test_untied_stream_takes_the_weights_too(weights):
    state, folder = weights
    network = full("mtl", siamese="untied")
    load_pretrained(network, folder / "resnet.pth")
    assert torch.equal(network.odometry.past.res4.blocks[0].conv1.weight, state["stages.2.blocks.0.conv1.weight"])


def test_expected_keys_are_those_of_the_whole_trunk(weights):
    state, _ = weights
    counted = {key for key in state if not key.startswith("head.") and not key.endswith("num_batches_tracked")}
    assert expected_keys({}) == counted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("stages.2.blocks.3.conv2.weight"), r"missing stages\.2\.blocks\.3\.conv2\.weight"),
        (lambda s: s.update({"layer1.0.conv1.weight": torch.zeros(1)}), r"unexpected layer1\.0\.conv1\.weight"),
        (lambda s: s.update({"stem.conv.weight": torch.zeros(64, 3, 3, 3)}), "shape"),
    ],
)
def test_foreign_weights_are_refused_by_key_and_change_nothing(weights, tmp_path, change, message):
    state = dict(weights[0])
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    network = full("pose_single")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(network, tmp_path / "bad.pth")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_files_that_are_no_weights_are_refused(tmp_path):
    network = full("pose_single")
    with pytest.raises(PretrainedError, match="no such file"):
        load_pretrained(network, tmp_path / "absent.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(PretrainedError, match=name):
            load_pretrained(network, tmp_path / name)
    torch.save({"a": 1}, tmp_path / "plain.pth")
    with pytest.raises(PretrainedError, match="not a state dict"):
        load_pretrained(network, tmp_path / "plain.pth")
    tiny = create("pose_single", "tiny")
    with pytest.raises(PretrainedError, match="width 1"):
        load_pretrained(tiny, tmp_path / "absent.pth")
