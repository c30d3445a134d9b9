"""Adaptive weighted fusion (eq. 8) and the plain concatenation it is compared with."""

from __future__ import annotations

from torch import Tensor, cat, nn, ones


class AdaptiveFusion(nn.Module):
    """max(W * ((w^a . z^a) ++ (w^b . z^b) ++ ...) + b, 0): eq. 8 for any number of inputs.

    Each channel of each input has one learned scalar, 1 at the start; the weighted maps are concatenated and pooled
    over features by a 1x1 convolution with ReLU.

    Args:
        in_channels: channels of each input.
        out_channels: channels of the result.
    """

    def __init__(self, in_channels: list[int], out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(ones(1, sum(in_channels), 1, 1))
        self.conv = nn.Conv2d(sum(in_channels), out_channels, 1)
        self.act = nn.ReLU()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuse maps (B, C_i, H, W) of one resolution into (B, out_channels, H, W)."""
        return self.act(self.conv(cat(maps, dim=1) * self.weight))


class ConcatFusion(nn.Module):
    """Concatenation brought back to `out_channels` by a linear 1x1 convolution: the ablation `mtl_no_fusion`."""

    def __init__(self, in_channels: list[int], out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(in_channels), out_channels, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuse maps (B, C_i, H, W) of one resolution into (B, out_channels, H, W)."""
        return self.conv(cat(maps, dim=1))


FUSIONS: dict[str, type[nn.Module]] = {"adaptive": AdaptiveFusion, "concat": ConcatFusion}
