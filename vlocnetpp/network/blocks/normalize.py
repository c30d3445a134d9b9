"""The normalization of an image: part of the network, since it belongs to the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(image - mean) / std of RGB (B, 3, H, W) of 0 to 255; ImageNet's statistics unless weights bring theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean_13hw: Tensor
        self.std_13hw: Tensor
        self.register_buffer("mean_13hw", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std_13hw", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255)

    def adopt(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        """Use these statistics, of images scaled to 0..1, from now on."""
        with torch.no_grad():
            self.mean_13hw.copy_(torch.tensor(mean).view(1, 3, 1, 1) * 255)
            self.std_13hw.copy_(torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return (image_B3HW - self.mean_13hw) / self.std_13hw
