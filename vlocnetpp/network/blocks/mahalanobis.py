"""How unlike the training images a frame is: Mahalanobis distance of its mean features.

Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, 2018, with one
class, and the covariance shrunk towards its diagonal as by Ledoit & Wolf, 2004, since there may be fewer images than
channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHRINKAGE = 0.3
"""Weight of the diagonal. With less, frames of the same room that were not trained on score several times as high."""
LEAST_VARIANCE = 1e-4


class MahalanobisScore(nn.Module):
    """Mean features of an image to one number: 1 for an image as far from the mean as training images are on average.

    Mean and whitening are buffers, measured once by `measure`; before, every image scores 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean_C: Tensor
        self.register_buffer("mean_C", torch.zeros(channels))
        self.whiten_CC: Tensor
        self.register_buffer("whiten_CC", torch.zeros(channels, channels))
        self.offset: Tensor
        self.register_buffer("offset", torch.ones(()))

    def forward(self, pooled_BC: Tensor) -> Tensor:
        """(B,) of mean standardized features (B, C)."""
        if pooled_BC.dtype == torch.float16 or pooled_BC.dtype == torch.bfloat16:
            pooled_BC = pooled_BC.float()
        whitened_BC = torch.matmul(pooled_BC - self.mean_C.to(pooled_BC.dtype), self.whiten_CC.to(pooled_BC.dtype))
        return (whitened_BC.square().mean(dim=1) + self.offset.to(pooled_BC.dtype)).sqrt()

    @torch.no_grad()
    def measure(self, pooled_VC: Tensor) -> None:
        """Take mean and covariance from the training images (V, C). Raises ValueError of fewer than two."""
        if len(pooled_VC) < 2:
            raise ValueError("a Mahalanobis distance is measured on at least two images")
        pooled_VC = pooled_VC.double().cpu()
        mean_C = pooled_VC.mean(dim=0)
        centred_VC = pooled_VC - mean_C
        covariance_CC = centred_VC.t() @ centred_VC / (len(pooled_VC) - 1)
        diagonal_C = covariance_CC.diagonal().clamp_min(LEAST_VARIANCE)
        shrunk_CC = (1 - SHRINKAGE) * covariance_CC + SHRINKAGE * torch.diag(diagonal_C)
        values_C, vectors_CC = torch.linalg.eigh(shrunk_CC)
        whiten_CC = vectors_CC * values_C.clamp_min(LEAST_VARIANCE * SHRINKAGE).rsqrt()
        usual = (centred_VC @ whiten_CC).square().mean().sqrt()
        self.mean_C.copy_(mean_C)
        self.whiten_CC.copy_(whiten_CC / usual)
        self.offset.zero_()
