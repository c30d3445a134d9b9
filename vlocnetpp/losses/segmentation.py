"""Eq. 6: the cross-entropy of the class scores, and the weight of each class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from vlocnetpp.encodings import VOID
from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import PIXELS
from vlocnetpp.losses.term import Balance, LossInput, Term


def class_weights(pixels_C: Tensor, balance: float) -> Tensor:
    """(C,) weight of a pixel of each class under `LossConfig.class_balance`; the mean over the pixels is 1.

    Args:
        pixels_C: training pixels of each class. A class with less than one pixel in ten thousand counts as if it had
            one in ten thousand.
    """
    share = (pixels_C.double() / pixels_C.sum().clamp_min(1)).clamp_min(1e-4)
    weights = share**-balance
    return (weights / (weights * share).sum() * share.sum()).float()


def cross_entropy(given: LossInput) -> Tensor:
    """(B, H, W), zero where a pixel is unlabelled."""
    return F.cross_entropy(
        given.prediction["logits_BCHW"], given.frame.mask_BHW.long(), given.class_weights_C,
        ignore_index=VOID, reduction="none",
    )  # fmt: skip


def segmentation_terms(config: LossConfig) -> tuple[Term, ...]:
    """`seg`. The choices of the loss do not change it; the class weights are counted by the trainer."""
    return (Term("seg", "segmentation", PIXELS, ("logits_BCHW",), cross_entropy, Balance("s_seg")),)
