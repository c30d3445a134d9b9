"""Training a head of scene coordinates on single cells of all images at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vlocnetpp.geometry import conjugate_quaternion, rotate
from vlocnetpp.network.blocks.cell_coordinates import CellCoordinates
from vlocnetpp.runtime.model_file import multiplies_bf16
from vlocnetpp.training.cells import CellBuffer, Cells

GRADIENT_NORM = 1.0
SHOWN = ("cells", "off_ray_m", "distance_m")
"""What a step returns: the loss, and the median distances of points from their rays and from their labels."""
WARM_UP = 0.04
"""Share of the training in which the learning rate rises."""
LAST_RATE = 0.01
"""Of the largest rate, at the end."""
NEAREST_M = 0.1
"""Smallest depth along the ray; for a nearer point, or one behind the camera, the error is measured from here."""


@dataclass(frozen=True)
class CellTrainingConfig:
    """How a head is trained on cells."""

    cells: int = 4096
    """Cells of a step."""
    learning_rate: float = 3e-3
    """The largest; it rises shortly, then falls to a hundredth along a cosine."""
    weight_decay: float = 1e-4
    distance_weight: float = 0.25
    """Weight of the distance between a point and its label, relative to its distance from the ray: depth along the ray
    matters little for the pose. Labels of triangulated keypoints are less accurate than those of a depth camera: they
    guide the beginning, and their weight falls to zero."""
    half: bool = True
    """Hidden layers in bfloat16: four times as fast. A CPU that does not multiply it computes them in float32."""


def in_half(wanted: bool, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where it is wanted, but not on a CPU that does not multiply it."""
    return wanted and (device.type != "cpu" or multiplies_bf16())


def cell_loss(found_N4: Tensor, cells: Cells, distance_weight: float, share: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Laplace likelihood of a cell's error: its distance from the ray, and from the label where one is known.

    Without a label that a depth camera measured, the angle to the ray counts times the point's own distance, which
    takes no part in the gradient: otherwise points would shrink into the camera. Several images of a point then decide
    how far it is.

    Args:
        distance_weight: as in `CellTrainingConfig`.
        share: of the training that is done, 0 to 1.

    Returns:
        The mean over the cells, and medians in metres to be shown: of the distances from the rays, and of those from
        measured labels.
    """
    point_N3, log_N = found_N4[:, :3], found_N4[:, 3]
    back_N4 = conjugate_quaternion(cells.pose_N7[:, 3:])
    camera_N3 = rotate(back_N4, point_N3 - cells.pose_N7[:, :3])
    along_N1 = (camera_N3 * cells.ray_N3).sum(dim=1, keepdim=True).clamp_min(NEAREST_M)
    off_N = _length(camera_N3 - along_N1 * cells.ray_N3)
    distance_N = _length(point_N3 - cells.point_N3)
    along_N = along_N1[:, 0]
    angle_N = off_N / along_N * along_N.detach()
    guided_N = angle_N + distance_weight * max(1.0 - share, 0.0) * distance_N
    measured_N = off_N + distance_weight * distance_N
    error_N = torch.where(cells.measured_N, measured_N, torch.where(cells.known_N, guided_N, angle_N))
    loss = (error_N * torch.exp(-log_N) + log_N).mean()
    shown = {"off_ray_m": off_N.detach().median()}
    if cells.measured_N.any():
        shown["distance_m"] = distance_N.detach()[cells.measured_N].median()
    return loss, shown


def _length(vector_N3: Tensor) -> Tensor:
    """(N,) lengths whose gradient at zero is zero."""
    squared = vector_N3.square().sum(dim=1)
    positive = squared > 0
    return torch.where(positive, squared, torch.ones_like(squared)).sqrt() * positive


class CellTraining:
    """Steps of training a head on a buffer."""

    def __init__(
        self,
        head: CellCoordinates,
        buffer: CellBuffer,
        config: CellTrainingConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        """The head must be on the device already."""
        self.head, self.buffer, self.config = head, buffer, config
        self.device = torch.device(device)
        self.half = in_half(config.half, self.device)
        self.optimizer = torch.optim.AdamW(
            head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator()
        """Draws the cells of a step."""

    def step(self, share: float) -> dict[str, float]:
        """One step at a share, 0 to 1, of the training. Returns the loss and the median errors in metres.

        Raises ValueError where the loss is not finite.
        """
        config, head = self.config, self.head
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(share)
        cells = self.buffer.draw(config.cells, self.generator, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            hidden = head.hidden(cells.features_NC.float(), cells.pooled_NC)
        loss, shown = cell_loss(head.output(hidden.float()), cells, config.distance_weight, share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), GRADIENT_NORM)
        values = dict(zip(["cells", *shown], torch.stack([loss.detach(), *shown.values()]).tolist(), strict=True))
        if not math.isfinite(values["cells"]):
            raise ValueError("the loss of the scene coordinates is not finite; lower the learning rate")
        self.optimizer.step()
        return values


def rate(share: float) -> float:
    """Of the largest learning rate, at a share of the training."""
    rising = min(1.0, share / WARM_UP + 0.03)
    return rising * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
