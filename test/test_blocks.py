"""What networks are built from, against the papers: sizes, strides, fusion, dilation rates, decoders."""

from __future__ import annotations

import pytest
import torch
from small_networks import build, small

from vlocnetpp.network import (
    configure,
    create,
)
from vlocnetpp.network.blocks.dilation import PRINTED, dilations
from vlocnetpp.network.blocks.fusion import AdaptiveFusion, ConcatFusion
from vlocnetpp.network.blocks.units import Bottleneck, MultiScaleConv
from vlocnetpp.network.contract import decayed_parameters
from vlocnetpp.network.models.segnet import pool, unpool
from vlocnetpp.network.resize import bilinear
from vlocnetpp.network.summary import summarize

FULL_MTL = {part.name: part for part in summarize(configure("mtl", "full"))}
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
    parts = {part.name: part for part in summarize(configure("fcn8s", "full"))}
    shapes = [parts[name].shape for name in ("encoder.res3", "encoder.res4", "encoder.res5", "decoder")]
    assert shapes == [(512, 28, 28), (1024, 14, 14), (2048, 7, 7), (10, 224, 224)]
    assert not any(isinstance(module, MultiScaleConv) for module in build(small("fcn8s")).modules())
    decoder = build(small("fcn8s")).decoder
    maps = pyramid(64, 128, 256, 512)
    with torch.no_grad():
        for conv in (decoder.score, decoder.skip4, decoder.skip3):
            conv.weight.zero_()
        decoder.score.bias[1], decoder.skip4.bias[1], decoder.skip3.bias[1] = 1.0, 20.0, 300.0
        logits = decoder(maps)
    assert torch.allclose(logits[0, 1, 36:-36, 36:-36], torch.tensor(321.0)), "constant maps stay constant inside"
    assert (logits[0, [0, 2, 3, 4]] == 0).all() and logits.shape == (1, 5, 128, 192)


def pyramid(*channels: int) -> list[torch.Tensor]:
    """Maps of strides 4, 8, 16 and 32 of an image of 128 x 192."""
    return [torch.randn(1, c, 32 >> i, 48 >> i) for i, c in enumerate(channels)]


def test_segnet_puts_values_back_to_where_the_maxima_were():
    network = build(small("segnet"))
    image = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        stem = network.encoder.stem.conv(image)
        res5c, *places = network.encoder(image)
    assert [tuple(place.shape[2:]) for place in places] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    assert res5c.shape == (1, 512, 4, 6)
    largest, _ = pool(stem)
    up = unpool(largest, places[-1])
    assert ((up == stem) | (up == 0)).all()
    assert (up != 0).sum() == largest.numel(), "one value a window"
    assert torch.equal(torch.nn.functional.max_pool2d(up.abs(), 2), largest.abs())


def test_upnet_refines_to_the_full_resolution_with_several_channels_a_class():
    decoder = build(small("upnet")).decoder
    maps = pyramid(64, 128, 256, 512)
    with torch.no_grad():
        logits = decoder(maps)
        for i in range(4):
            other = [torch.randn_like(each) if i == j else each for j, each in enumerate(maps)]
            assert (decoder(other) - logits).abs().max() > 1e-3, "every map of the encoder is read"
    assert logits.shape == (1, 5, 128, 192)
    assert decoder.reduce.out_channels == 4 * 5


def test_parsenet_scores_the_concatenation_of_normalized_maps_and_their_mean():
    """Against the paper's order: normalize, enlarge, concatenate, one 1x1 layer."""
    decoder = build(small("parsenet")).decoder
    maps = pyramid(64, 128, 256, 512)
    for norm in (decoder.norm_3d, decoder.norm_4f, decoder.norm_5c, decoder.norm_pool):
        norm.scale_1C11.data.uniform_(5, 15)
    assert torch.allclose((decoder.norm_4f(maps[2]) / decoder.norm_4f.scale_1C11).norm(dim=1), torch.ones(1, 8, 12))
    context = decoder.norm_pool(maps[3].mean(dim=(2, 3), keepdim=True)).expand(-1, -1, 16, 24)
    parts = [decoder.norm_3d(maps[1]), bilinear(decoder.norm_4f(maps[2]), 16, 24)]
    together = torch.cat([*parts, bilinear(decoder.norm_5c(maps[3]), 16, 24), context], dim=1)
    layers = (decoder.score_3d, decoder.score_4f, decoder.score_5c, decoder.score_pool)
    weight = torch.cat([layer.weight for layer in layers], dim=1)
    scores = torch.nn.functional.conv2d(together, weight, decoder.score_3d.bias)
    assert torch.allclose(decoder(maps), bilinear(scores, 128, 192), atol=1e-4)


def test_deeplab_keeps_stride_8_and_looks_at_four_rates():
    parts = {part.name: part for part in summarize(configure("deeplab_v2", "full"))}
    assert parts["encoder.res5"].shape == (2048, 28, 28) and parts["decoder"].shape == (10, 224, 224)
    rates = {name: [conv.dilation[0] for conv in create("deeplab_v2", 0.0625, **settings).decoder.branches]
             for name, settings in {"224": {}, "printed": {"height": 64, "width_px": 64, "rates": "printed"},
                                    "128": {"height": 128, "width_px": 160}}.items()}  # fmt: skip
    assert rates == {"224": [6, 12, 18, 24], "printed": [6, 12, 18, 24], "128": [6, 12, 9, 12]}
    trunk = [m for m in create("deeplab_v2", 0.0625).modules() if isinstance(m, MultiScaleConv)]
    assert [unit.plain.dilation[0] for unit in trunk] == [2] * 6 + [4] * 3
    assert all(unit.plain.dilation == unit.dilated.dilation for unit in trunk)


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


@pytest.mark.parametrize(("height", "width"), [(128, 160), (224, 224), (256, 448), (192, 256)])
@pytest.mark.parametrize("preset", ["stl_segmentation", "adapnet", "deeplab_v2"])
def test_no_tap_of_a_dilated_convolution_is_dead(preset, height, width):
    """Every weight learns: none has a gradient of exactly zero, at every size that a shipped configuration has."""
    torch.manual_seed(0)
    network = create(preset, 0.0625, height=height, width_px=width, classes=3)
    image = torch.rand(1, 3, height, width) * 255
    prediction, _ = network(image, torch.eye(3)[None], torch.zeros(1, 1, height, width), {})
    (prediction["logits_BCHW"] * torch.randn(prediction["logits_BCHW"].shape)).sum().backward()
    dilated = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.dilation != (1, 1)]
    assert len(dilated) >= 8
    for conv in dilated:
        taps = conv.weight.grad.abs().sum(dim=(0, 1))
        assert (taps > 0).all(), (preset, conv.dilation)


def test_rates_are_the_papers_as_far_as_the_map_goes():
    assert dilations("printed", 64, 64) == PRINTED
    assert dilations("map", 512, 512) == PRINTED
    at_224 = dilations("map", 224, 224)
    assert at_224["res4"] == {"c": (1, 2), "d": (1, 4), "e": (1, 8), "f": (1, 8)}
    assert dilations("map", 128, 160)["res5"] == {"a": (2, 4), "b": (2, 4), "c": (2, 4)}


def test_adapnet_is_as_its_authors_built_it():
    """A 3x3 before the stem, twice the classes on the skip, a norm after each convolution and deconvolution."""
    network = create("adapnet", "full", rates="released")
    assert network.first[0].weight.shape == (3, 3, 3, 3)
    assert network.skip[0].out_channels == network.up2[0].out_channels == 2 * 10
    convolutions = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    units = [m for m in network.modules() if isinstance(m, MultiScaleConv)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == len(convolutions) - len(units), "both halves of a unit share one"
    assert all(conv.bias is None for conv in convolutions)
    rates = [(unit.plain.dilation[0], unit.dilated.dilation[0]) for unit in units]
    assert rates == [(1, 2)] * 5 + [(2, 2)] * 3


def test_fusion_scalars_do_not_decay():
    network = create("mtl", 0.0625)
    pulled = {id(p) for p in decayed_parameters(network)}
    scalars = [module.weight for module in network.modules() if isinstance(module, AdaptiveFusion)]
    assert len(scalars) == 4 and not any(id(weight) in pulled for weight in scalars)
