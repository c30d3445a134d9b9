"""The decoder over all strides and the fusion with the warped past, by what they promise."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.initialization import pass_first_through
from vlocnetpp.network.blocks.multiscale_decoder import STRIDES, MultiscaleDecoder, doubled
from vlocnetpp.network.blocks.warped_fusion import WarpedFusion

CHANNELS = (24, 40, 112, 320)
CLASSES = 11


def pyramid(height: int, width: int, batch: int = 2) -> list[Tensor]:
    return [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    ]


def decoder(channels: int = 32) -> MultiscaleDecoder:
    """One whose norms have seen data, as a trained one's have."""
    torch.manual_seed(0)
    made = MultiscaleDecoder(CHANNELS, channels, CLASSES)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made.eval()


class StepWithPast(nn.Module):
    """Decoder and both sites wired as in a network."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = decoder()
        self.past_16 = WarpedFusion(self.decoder.channels)
        self.past_32 = WarpedFusion(self.decoder.channels)

    def forward(
        self, maps: list[Tensor], past: list[Tensor], known_B: Tensor, offset_B2HW: Tensor, valid_B1HW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        encoded_16, encoded_32 = self.decoder.encode(maps)
        fused_16 = self.past_16(encoded_16, past[0], known_B, offset_B2HW, valid_B1HW)
        fused_32 = self.past_32(encoded_32, past[1], known_B, offset_B2HW, valid_B1HW)
        return self.decoder.decode(maps, fused_16, fused_32), encoded_16, encoded_32


def with_past(height: int, width: int, batch: int = 1) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """Maps, the past's maps of strides 16 and 32, known, an offset of two pixels, valid everywhere."""
    maps = pyramid(height, width, batch)
    past = [torch.rand(batch, 32, *maps[i].shape[2:]) for i in (2, 3)]
    offset = torch.full((batch, 2, height, width), 2.0)
    return maps, past, torch.ones(batch), offset, torch.ones(batch, 1, height, width)


@pytest.mark.parametrize("channels", [32, 96])
def test_its_maps_have_the_channels_asked_for(channels):
    encoded_16, encoded_32 = decoder(channels).encode(pyramid(64, 96))
    assert encoded_16.shape == (2, channels, 4, 6)
    assert encoded_32.shape == (2, channels, 2, 3)
    assert encoded_16.min() >= 0 and encoded_32.min() >= 0


@pytest.mark.parametrize(("height", "width"), [(64, 96), (240, 320), (100, 132), (36, 4)])
def test_logits_have_the_size_of_the_input_whatever_the_map_of_stride_32_rounds_to(height, width):
    logits = decoder()(pyramid(height, width))
    assert logits.shape == (2, CLASSES, height, width)
    assert logits.isfinite().all()


def test_maps_that_are_no_pyramid_are_refused_by_their_sizes():
    maps = pyramid(64, 96)
    maps[2] = torch.randn(2, 112, 5, 6)
    with pytest.raises(ValueError, match=r"a map of \[5, 6\] is not half of \[8, 12\], rounded up"):
        decoder()(maps)
    with pytest.raises(ValueError, match="3 maps; the decoder reads four"):
        decoder()(maps[:3])
    with pytest.raises(ValueError, match="in_channels: 2 maps"):
        MultiscaleDecoder((8, 16), 64, 3)


def test_upsampling_to_an_odd_size_moves_no_cell():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    odd, even = doubled(ramp, 15, 15), doubled(ramp, 16, 16)
    assert torch.equal(odd, even[:, :, :15, :15])
    assert torch.allclose(even[0, 0, 0, 1:-1].diff(), torch.full((13,), 0.5))


def test_the_fine_map_decides_where_and_the_coarse_one_reaches_all_of_its_cell():
    made, maps = decoder(), pyramid(64, 96)
    before = made(maps)
    maps[0][:, :, 0, 0] += 5.0
    changed = (made(maps) - before).abs().amax(dim=(0, 1)) > 1e-6
    assert changed[:4, :4].all()
    assert not changed[16:].any() and not changed[:, 16:].any()
    maps[3][:, :, 0, 0] += 5.0
    assert ((made(maps) - before).abs().amax(dim=(0, 1)) > 1e-6).all()  # through the pooled context


def test_every_parameter_gets_a_gradient():
    step = StepWithPast().train()
    logits, _, _ = step(*with_past(64, 96, batch=2))
    nn.functional.cross_entropy(logits, torch.randint(CLASSES, (2, 64, 96))).backward()
    silent = [name for name, p in step.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(("height", "width"), [(64, 96), (240, 320)])
def test_script_frozen_and_eager_agree(height, width):
    step = StepWithPast().eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.freeze(torch.jit.script(step)), file)
    file.seek(0)
    example = with_past(height, width)
    with torch.inference_mode():
        for ours, theirs in zip(step(*example), torch.jit.load(file)(*example), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_script_refuses_maps_that_are_no_pyramid():
    maps = pyramid(64, 96)
    maps[2] = torch.randn(2, 112, 5, 6)
    with pytest.raises(torch.jit.Error, match="is not half of"):
        torch.jit.script(decoder())(maps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_and_eager_agree(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    step, example = StepWithPast().eval(), with_past(240, 320)
    path = str(tmp_path / "decoder.onnx")
    torch.onnx.export(step, example, path, dynamo=True, opset_version=20, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    flat = [*example[0], *example[1], *example[2:]]
    fed = {given.name: value.numpy() for given, value in zip(session.get_inputs(), flat, strict=True)}
    with torch.inference_mode():
        for ours, theirs in zip(step(*example), session.run(None, fed), strict=True):
            assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-4)


def test_the_past_changes_the_answer_near_valid_pixels_only():
    step = StepWithPast().eval()
    maps, past, known, offset, valid = with_past(32, 1024)
    valid[..., 256:] = 0
    with torch.inference_mode():
        here, encoded_16, encoded_32 = step(maps, past, known, offset, valid)
        other, same_16, same_32 = step(maps, [2 * past[0] + 1, 2 * past[1] + 1], known, offset, valid)
    changed = (here - other).abs().amax(dim=(0, 1, 2)) > 1e-6
    assert changed[:256].all()
    assert not changed[512:].any()
    assert torch.equal(encoded_16, same_16) and torch.equal(encoded_32, same_32)  # what the next frame reads


def test_a_cold_start_reads_nothing_of_the_past():
    step = StepWithPast().eval()
    maps, past, known, offset, valid = with_past(64, 96)
    with torch.inference_mode():
        cold = step(maps, past, 0 * known, offset, valid)[0]
        empty = step(maps, [0 * past[0], 0 * past[1]], known, offset, valid)[0]
        nowhere = step(maps, past, known, offset, 0 * valid)[0]
        warm = step(maps, past, known, offset, valid)[0]
    assert torch.equal(cold, empty) and torch.equal(cold, nowhere)
    assert not torch.allclose(cold, warm, atol=1e-3)


def test_a_fusion_that_passes_its_first_map_on_begins_as_the_decoder_without_a_past():
    step = StepWithPast().eval()
    for site in (step.past_16, step.past_32):
        pass_first_through(site.fuse.conv)
        with torch.no_grad():
            site.fuse.conv.weight[:, :32] = torch.eye(32)[:, :, None, None]
            site.fuse.conv.bias.zero_()
    maps, past, known, offset, valid = with_past(64, 96)
    with torch.inference_mode():
        assert torch.allclose(step(maps, past, 0 * known, offset, valid)[0], step.decoder(maps), atol=1e-5)


def test_the_warped_past_is_read_where_it_was_seen():
    site = WarpedFusion(2)
    with torch.no_grad():
        site.fuse.conv.weight.copy_(torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1]])[:, :, None, None])
        site.fuse.conv.bias.zero_()
    previous = torch.rand(1, 2, 4, 6)
    offset = torch.zeros(1, 2, 64, 96)
    offset[:, 0] = 16.0  # the previous image saw it one cell further right
    fused = site(torch.rand(1, 2, 4, 6), previous, torch.ones(1), offset, torch.ones(1, 1, 64, 96))
    assert torch.allclose(fused[..., :-1], previous[..., 1:], atol=1e-6)
