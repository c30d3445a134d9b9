"""What training minimizes: eq. 1-4, 6 and 9 of the paper, two terms beyond it, and MapNet's loss beside them.

Every term is an L2 norm per sample (MapNet: L1), then the mean over the samples that have a label. The learnable `s`
balance terms of different units (Kendall & Cipolla, 2017): `L exp(-s) + s`. A negative total is normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlocnetpp.encodings import VOID
from vlocnetpp.geometry import (
    conjugate_quaternion,
    log_quaternion,
    multiply_quaternions,
    relative,
    rotate,
    rotation_angle,
)


class LossConfigError(ValueError):
    """A choice of the loss does not exist; the message says which and what is allowed."""


@dataclass(frozen=True)
class LossConfig:
    """Choices where the paper is ambiguous; the defaults are DESIGN's, the others the paper's literal text."""

    localization: str = "vlocnet"
    """How poses are compared: `vlocnet` (eq. 1 and 2) or `mapnet` (see `mapnet_terms`), to compare with."""
    relative_frame: str = "body"
    """Eq. 1 compares `body` (SE(3) relative motion in the previous camera) or `world` (x_t - x_{t-1}, the literal
    text, which changes when the map is rotated)."""
    relative_target: str = "truth"
    """Eq. 1 compares with the `truth` or with the detached `odometry` output (self-consistency)."""
    literal_eq9: bool = False
    """Weight whole tasks by a second learnable scalar as printed in eq. 9. With learnable weights inside the tasks
    that objective has no lower bound, so the default weights only the segmentation loss, which has none inside."""
    initial_s_x: float = 0.0
    """Start of every learnable scalar of a translation."""
    initial_s_q: float = -3.0
    """Start of every learnable scalar of a rotation."""
    class_balance: float = 0.0
    """How much more rare classes count: a pixel weighs by its class's share of the training pixels to the power of
    minus this. 0 is the paper's plain mean over pixels (eq. 6), 1 gives all classes an equal part of the loss."""
    initial_s_x_vo: float = -3.0
    """Start of the scalar of odometry's translation, the paper's 0 in its presets. A motion is centimetres where a
    position is metres, and a scalar moves by a learning rate a step: from 0, rotation outweighs it all night."""

    def __post_init__(self) -> None:
        allowed = {
            "localization": ("vlocnet", "mapnet"),
            "relative_frame": ("body", "world"),
            "relative_target": ("truth", "odometry"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise LossConfigError(f"loss.{name}: '{getattr(self, name)}' is not one of {', '.join(values)}")
        if not 0 <= self.class_balance <= 1:
            raise LossConfigError(f"loss.class_balance: {self.class_balance} is not within 0 and 1")
        if self.localization == "mapnet" and (self.relative_frame, self.relative_target) != ("body", "truth"):
            raise LossConfigError("loss.localization: 'mapnet' has no eq. 1; leave out relative_frame, relative_target")


def l2(difference_BD: Tensor) -> Tensor:
    """(B,) Euclidean norms whose gradient at zero is zero instead of undefined."""
    squared = difference_BD.square().sum(dim=-1)
    positive = squared > 0
    return torch.where(positive, squared, torch.ones_like(squared)).sqrt() * positive


def quaternion_loss(q_B4: Tensor, p_B4: Tensor) -> Tensor:
    """(B,) min(|q - p|, |q + p|): a rotation and its other sign cost the same."""
    return torch.minimum(l2(q_B4 - p_B4), l2(q_B4 + p_B4))


def masked_mean(values_B: Tensor, valid_B: Tensor, count: float | None = None) -> Tensor:
    """Mean over the samples with valid = 1; zero where there is none.

    `count` stands for the number of valid samples where these are a part of the batch: the parts' results add up.
    """
    weights = valid_B.to(values_B.dtype)
    total = (torch.where(weights > 0, values_B, torch.zeros_like(values_B)) * weights).sum()
    return total / (weights.sum().clamp_min(1) if count is None else count)


class Balance(nn.Module):
    """The learnable weights of one pose term: x exp(-s_x) + s_x + q exp(-s_q) + s_q (eq. 1, 2 and 4)."""

    def __init__(self, initial_s_x: float, initial_s_q: float) -> None:
        super().__init__()
        self.s_x = nn.Parameter(torch.tensor(initial_s_x))
        self.s_q = nn.Parameter(torch.tensor(initial_s_q))

    def forward(self, x: Tensor, q: Tensor, share: float = 1.0) -> Tensor:
        return x * torch.exp(-self.s_x) + q * torch.exp(-self.s_q) + share * (self.s_x + self.s_q)


def euclidean_terms(predicted_B7: Tensor, truth_B7: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 2 per sample: |x - x^| in metres and the quaternion distance, each (B,)."""
    return l2(predicted_B7[:, :3] - truth_B7[:, :3]), quaternion_loss(predicted_B7[:, 3:], truth_B7[:, 3:])


def relative_terms(
    previous_B7: Tensor, current_B7: Tensor, target_B7: Tensor, frame: str, previous_truth_B7: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Eq. 1 per sample: how far the motion between two predictions is from the target motion, each (B,).

    Args:
        previous_B7, current_B7: predicted global poses at t-1 and t.
        target_B7: inv(T_{t-1}) @ T_t, from the ground truth or from odometry.
        frame: `body`, or `world` for the paper's literal x_t - x_{t-1}; `world` also needs the true previous pose, to
            turn the target's translation into the map.
    """
    if frame == "body":
        return euclidean_terms(relative(previous_B7, current_B7), target_B7)
    if previous_truth_B7 is None:
        raise ValueError("the world difference of eq. 1 needs the previous true pose to turn its target into the map")
    moved = current_B7[:, :3] - previous_B7[:, :3]
    target = rotate(previous_truth_B7[:, 3:], target_B7[:, :3])
    turned = multiply_quaternions(conjugate_quaternion(previous_B7[:, 3:]), current_B7[:, 3:])
    return l2(moved - target), quaternion_loss(turned, target_B7[:, 3:])


def mapnet_terms(predicted_B7: Tensor, truth_B7: Tensor) -> tuple[Tensor, Tensor]:
    """MapNet's h per sample: L1 norms of position and log-quaternion, each (B,).

    Brahmbhatt et al., Geometry-Aware Learning of Maps for Camera Localization, CVPR 2018, section 3.1. Its learned beta
    and gamma are the s of `Balance`, with the same first values 0 and -3.
    """
    turned = log_quaternion(predicted_B7[:, 3:]) - log_quaternion(truth_B7[:, 3:])
    return (predicted_B7[:, :3] - truth_B7[:, :3]).abs().sum(dim=-1), turned.abs().sum(dim=-1)


def mapnet_relative_terms(
    previous_B7: Tensor, current_B7: Tensor, previous_truth_B7: Tensor, truth_B7: Tensor
) -> tuple[Tensor, Tensor]:
    """h of MapNet's relative pose, v = (x_t - x_{t-1}, log q_t - log q_{t-1}), each (B,).

    Brahmbhatt et al., 2018, section 3.2, eq. 2, with alpha = 1, over consecutive frames of a clip as in the authors'
    released code. What differs from eq. 1 (`relative_terms`): positions are subtracted in the map and log-quaternions
    component by component, so that the term changes when the map is rotated, where eq. 1 composes
    inv(T_{t-1}) T_t; and the norms are L1.
    """
    moved = (current_B7[:, :3] - previous_B7[:, :3]) - (truth_B7[:, :3] - previous_truth_B7[:, :3])
    turned = log_quaternion(current_B7[:, 3:]) - log_quaternion(previous_B7[:, 3:])
    target = log_quaternion(truth_B7[:, 3:]) - log_quaternion(previous_truth_B7[:, 3:])
    return moved.abs().sum(dim=-1), (turned - target).abs().sum(dim=-1)


def segmentation_loss(
    logits_BCHW: Tensor, mask_BHW: Tensor, count: float | None = None, class_weights_C: Tensor | None = None
) -> Tensor:
    """Eq. 6: cross-entropy, averaged over labelled pixels; zero where no pixel is labelled. `count` as above."""
    total = F.cross_entropy(logits_BCHW, mask_BHW.long(), class_weights_C, ignore_index=VOID, reduction="sum")
    return total / ((mask_BHW != VOID).sum().clamp_min(1) if count is None else count)


def class_weights(pixels_C: Tensor, balance: float) -> Tensor:
    """(C,) what a pixel of each class counts under `LossConfig.class_balance`; their mean over the pixels is 1.

    `pixels_C` counts the training pixels of each class. One of less than a pixel in ten thousand counts as so many.
    """
    share = (pixels_C.double() / pixels_C.sum().clamp_min(1)).clamp_min(1e-4)
    weights = share**-balance
    return (weights / (weights * share).sum() * share.sum()).float()


def depth_loss(
    inverse_depths: list[Tensor], depth_B1HW: Tensor, everywhere: Callable[[Tensor], Tensor] = lambda count: count
) -> Tensor:
    """Multi-scale L1 of inverse depth in 1/m (DispNet), over pixels whose depth is known.

    `everywhere` turns a number of such pixels into that of the whole batch, where these images are a part of it.
    """
    total = depth_B1HW.new_zeros(())
    for inverse in inverse_depths:
        target = F.interpolate(depth_B1HW, size=inverse.shape[-2:], mode="nearest-exact")
        known = target > 0
        error = (inverse - 1 / target.clamp_min(1e-3)).abs()
        total = total + torch.where(known, error, torch.zeros_like(error)).sum() / everywhere(known.sum()).clamp_min(1)
    return total / len(inverse_depths)


def coordinate_loss(
    coordinates_B4HW: Tensor, target_B3HW: Tensor, known_BHW: Tensor, count: float | None = None
) -> Tensor:
    """Laplace likelihood of the distances, metres, from where cells truly lie, over the cells where that is known.

    Beyond the paper; the density of a distance r in space is exp(-r / s) / s^3 up to a factor. `count` as above.
    """
    distance = l2((coordinates_B4HW[:, :3] - target_B3HW).movedim(1, -1))
    log_scale = coordinates_B4HW[:, 3]
    return masked_mean(distance * torch.exp(-log_scale) + 3 * log_scale, known_BHW, count)


def scale_terms(log_scale_B2: Tensor, predicted_B7: Tensor, truth_B7: Tensor) -> Tensor:
    """(B,) Laplace likelihood of the errors under the predicted scales; the errors are detached (beyond the paper)."""
    x = l2(predicted_B7[:, :3] - truth_B7[:, :3]).detach()
    angle = rotation_angle(predicted_B7[:, 3:], truth_B7[:, 3:]).detach()
    errors_B2 = torch.stack((x, angle), dim=-1)
    return (errors_B2 * torch.exp(-log_scale_B2) + log_scale_B2).sum(dim=-1)


class MultitaskLoss(nn.Module):
    """Eq. 3, 4, 6 and 9 over one step, or over whichever of its terms have labels."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.class_weights_C: Tensor | None
        self.register_buffer("class_weights_C", None, persistent=False)  # the trainer counts the pixels
        self.euclidean = Balance(config.initial_s_x, config.initial_s_q)
        self.relative = Balance(config.initial_s_x, config.initial_s_q)
        self.odometry = Balance(config.initial_s_x_vo, config.initial_s_q)
        self.s_loc = nn.Parameter(torch.zeros(()), requires_grad=config.literal_eq9)
        self.s_vo = nn.Parameter(torch.zeros(()), requires_grad=config.literal_eq9)
        self.s_seg = nn.Parameter(torch.zeros(()))

    def localization(self, terms: dict[str, Tensor], share: float = 1.0) -> Tensor:
        """Eq. 3 from mean terms `x`, `q` and, for frames with a predecessor, `x_rel`, `q_rel`."""
        loss = self.euclidean(terms["x"], terms["q"], share)
        if "x_rel" in terms:
            loss = loss + self.relative(terms["x_rel"], terms["q_rel"], share)
        return loss

    def forward(self, terms: dict[str, Tensor], share: float = 1.0) -> Tensor:
        """The total of the mean terms that are present.

        Terms: `x q x_rel q_rel` localization, `x_vo q_vo` odometry, `seg` segmentation, `depth`, `scale`
        and `coord` (scene coordinates) unweighted.
        `share` is that of the batch which the terms are the contribution of; the totals of all parts add up.
        """
        parts: list[Tensor] = []
        if "x" in terms:
            parts.append(self.localization(terms, share) * torch.exp(-self.s_loc) + share * self.s_loc)
        if "x_vo" in terms:
            motion = self.odometry(terms["x_vo"], terms["q_vo"], share)
            parts.append(motion * torch.exp(-self.s_vo) + share * self.s_vo)
        if "seg" in terms:
            parts.append(terms["seg"] * torch.exp(-self.s_seg) + share * self.s_seg)
        parts += [terms[name] for name in ("depth", "scale", "coord") if name in terms]
        if not parts:
            raise ValueError("no frame of the batch has a label for any task of the network")
        return torch.stack(parts).sum()
