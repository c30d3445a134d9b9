"""Choices of the loss where the paper is ambiguous, and alternatives to compare with."""

from __future__ import annotations

from dataclasses import dataclass


class LossConfigError(ValueError):
    """A choice of the loss does not exist; the message names it and what is allowed."""


@dataclass(frozen=True)
class LossConfig:
    """Choices where the paper is ambiguous; the defaults are explained in docs/decisions.md, the others are the paper's
    literal text.
    """

    localization: str = "vlocnet"
    """How poses are compared: `vlocnet` (eq. 1 and 2); to compare with, `mapnet` (`losses/mapnet.py`), `fixed_beta` or
    `reprojection` (`losses/posenet.py`), and `dsac` (`losses/dsac.py`)."""
    beta: float = 250.0
    """Of `fixed_beta`: metres that a quaternion error of 1 costs."""
    unknown_depth_m: float = 3.0
    """Of `dsac`'s term `start`: depth, metres, at which the scene coordinates of a cell begin whose depth is unknown; 3
    indoors and 10 outdoors in the paper."""
    relative_frame: str = "body"
    """Eq. 1 compares `body` (SE(3) relative motion in the previous camera) or `world` (x_t - x_{t-1}, the literal
    text, which changes when the map is rotated)."""
    relative_target: str = "truth"
    """Eq. 1 compares with the `truth` or with the detached `odometry` output (self-consistency)."""
    literal_eq9: bool = False
    """Weight whole tasks by a second learnable scalar as in eq. 9. With learnable weights inside the tasks
    that objective has no lower bound, so the default weights only the segmentation loss, which has none inside."""
    initial_s_x: float = 0.0
    """Initial value of every learnable scalar of a translation."""
    initial_s_q: float = -3.0
    """Initial value of every learnable scalar of a rotation."""
    class_balance: float = 0.0
    """Extra weight of rare classes: a pixel is weighted by its class's share of the training pixels to the power of
    minus this. 0 is the paper's plain mean over pixels (eq. 6), 1 gives all classes an equal part of the loss."""
    initial_s_x_vo: float = -3.0
    """Initial value of the scalar of odometry's translation; 0, as in the paper, in its presets. A motion is
    centimetres where a position is metres, and a scalar changes by at most about one learning rate a step: started at
    0, the rotation outweighs the translation for a whole stage."""

    def __post_init__(self) -> None:
        allowed = {
            "localization": ("vlocnet", "mapnet", "fixed_beta", "reprojection", "dsac"),
            "relative_frame": ("body", "world"),
            "relative_target": ("truth", "odometry"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise LossConfigError(f"loss.{name}: '{getattr(self, name)}' is not one of {', '.join(values)}")
        if not 0 <= self.class_balance <= 1:
            raise LossConfigError(f"loss.class_balance: {self.class_balance} is not within 0 and 1")
        if not self.beta > 0:
            raise LossConfigError(f"loss.beta: {self.beta} is not positive")
        if not self.unknown_depth_m > 0:
            raise LossConfigError(f"loss.unknown_depth_m: {self.unknown_depth_m} is not positive")
        if self.localization != "vlocnet" and (self.relative_frame, self.relative_target) != ("body", "truth"):
            raise LossConfigError(
                f"loss.localization: '{self.localization}' has no eq. 1; leave out relative_frame, relative_target"
            )
