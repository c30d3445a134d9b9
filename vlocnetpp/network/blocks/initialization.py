"""Initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlocnetpp.network.blocks.fusion import AdaptiveFusion, ConcatFusion
from vlocnetpp.network.blocks.heads import PoseHead, PoseRegressor, ScaleHead
from vlocnetpp.network.blocks.scene_coordinates import CoordinateHead


def initialize(network: nn.Module) -> None:
    """Xavier for everything that ImageNet weights do not fill (VLocNet++, section IV).

    Deconvolutions start as bilinear upsampling of each class, heads as the identity rotation and an unknown scale.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.ConvTranspose2d):
            module.weight.data.copy_(
                bilinear_kernel(module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0])
            )
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, (PoseHead, PoseRegressor, ScaleHead, CoordinateHead)):
            module.reset_parameters()
        elif isinstance(module, (AdaptiveFusion, ConcatFusion)):
            pass_first_through(module.conv)


def pass_first_through(conv: nn.Conv2d) -> None:
    """Initialize a fusion near the identity of its first input (beyond the paper, which starts at random).

    The first input is the current frame's own map in a residual stream; a random mixture would break that stream, and
    training would first have to restore it.
    """
    with torch.no_grad():
        conv.weight.mul_(0.1)
        conv.weight[:, : conv.out_channels, 0, 0] += torch.eye(conv.out_channels)


def bilinear_kernel(in_channels: int, out_channels: int, size: int, stride: int) -> Tensor:
    """(in, out, size, size) weights of a deconvolution that upsamples channel by channel; further ones repeat them."""
    distance = (torch.arange(size) - (size - 1) / 2).abs() / stride
    line = (1 - distance).clamp_min(0)
    paired = (torch.arange(in_channels)[:, None] % out_channels == torch.arange(out_channels) % in_channels).float()
    paired = paired / paired.sum(dim=0, keepdim=True)
    return paired[:, :, None, None] * (line[:, None] * line[None, :])
