"""A model file runs on the robot's PyTorch, which is often older than the trainer's.

TorchScript refuses a file whose code names one operator that it does not know, whether it is ever called or not.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from random_models import export_random
from torch.nn import functional as F

from vlocnetpp.network.resize import antialiased, bilinear, nearest
from vlocnetpp.runtime.archive import CALL

OPERATORS = """
__and__ __contains__ __derive_index __is__ __isnot__ __not__ _set_item _upsample_bilinear2d_aa
_upsample_nearest_exact2d abs adaptive_avg_pool2d add add_ all amax append arange argmax avg_pool2d batch_norm
broadcast_tensors cat clamp clamp_min clamp_min_ clone conv2d conv_transpose2d copy_ detach diagonal dim div
dropout dropout_ elu elu_ eq exp expand expand_as eye fill_ flatten floor_divide floordiv format full full_like
gather ge grid_sampler gt index index_select le len linalg_cross linalg_vector_norm linear list log lt matmul
max max_pool2d max_pool2d_with_indices maximum mean meshgrid minimum mul narrow ne neg nn.functional.elu
nn.functional.pad nn.functional.relu nn.functional.relu6 norm ones ones_like pad permute pixel_unshuffle
reciprocal relu relu6 relu6_ relu_ remainder repeat repeat_interleave round rsqrt select size slice softmax
softplus sqrt square squeeze stack sub sum to topk transpose unbind unflatten unsqueeze upsample_bilinear2d view_as warn
where zeros_like
"""
"""Of PyTorch 2.2, where files of every network with these were read and answered alike. Before a name is added, read a
file that has it in the oldest PyTorch that docs/installation.md promises."""
KNOWN = set(OPERATORS.split())
PRIMITIVES = {"RaiseException", "device", "dtype", "max"}


def operators(path: Path) -> set[tuple[str, str]]:
    """What a model file's code calls, as `torch.NAME` or `ops.NAMESPACE.NAME`."""
    with zipfile.ZipFile(path) as archive:
        sources = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
    return {call for source in sources for call in CALL.findall(source)}


@pytest.mark.parametrize(
    ("preset", "settings"), [("robot", {}), ("robot", {"regions": 4}), ("mtl", {"depth": "network"})]
)
def test_what_is_exported_can_be_read_by_an_older_pytorch(
    preset: str, settings: dict[str, str | int], tmp_path: Path
) -> None:
    """Together these have every operator that any network has."""
    found = operators(export_random(tmp_path / "any.ts", preset, **settings))
    assert found <= {("torch", name) for name in KNOWN} | {("ops", f"prim.{name}") for name in PRIMITIVES}
    assert ("torch", "upsample_bilinear2d") in found


def test_the_demo_s_model_can_be_read_by_an_older_pytorch() -> None:
    found = operators(ROOT / "models" / "demo.ts")
    assert found <= {("torch", name) for name in KNOWN} | {("ops", f"prim.{name}") for name in PRIMITIVES}
    assert ("torch", "_upsample_bilinear2d_aa") in found


@pytest.mark.parametrize("size", [(14, 22), (28, 44), (9, 40)])
def test_a_scripted_resize_is_that_of_interpolate_to_the_bit(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 7, 11, generator=torch.Generator().manual_seed(0))
    options = {"size": size, "mode": "bilinear", "align_corners": False}
    for resize, expected in (
        (bilinear, F.interpolate(x, **options)),
        (antialiased, F.interpolate(x, antialias=True, **options)),
        (nearest, F.interpolate(x, size=size, mode="nearest-exact")),
    ):
        assert torch.equal(resize(x, *size), expected)
        assert torch.equal(torch.jit.script(resize)(x, *size), expected)


def test_by_a_whole_factor_it_is_that_of_a_scale() -> None:
    x = torch.rand(1, 2, 6, 5, generator=torch.Generator().manual_seed(1))
    for factor in (2, 4):
        size = (6 * factor, 5 * factor)
        for resize, options in (
            (bilinear, {"mode": "bilinear", "align_corners": False}),
            (nearest, {"mode": "nearest"}),
        ):
            scaled = F.interpolate(x, scale_factor=float(factor), **options)
            assert torch.equal(torch.jit.script(resize)(x, *size), scaled)
