"""Scene coordinates, beyond the paper: where in the map each cell of the image lies."""

from __future__ import annotations

import torch
from torch import Tensor

from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.labels import CELLS
from vlocnetpp.losses.term import LossInput, Term, l2
from vlocnetpp.network.blocks.scene_coordinates import coordinate_labels


def coordinate_errors(coordinates_B4HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(B, H, W) negative Laplace log-likelihood of the distances, metres, from where the cells truly lie.

    The density of a distance r in space is exp(-r / s) / s^3 up to a factor.
    """
    distance = l2((coordinates_B4HW[:, :3] - target_B3HW).movedim(1, -1))
    log_scale = coordinates_B4HW[:, 3]
    return distance * torch.exp(-log_scale) + 3 * log_scale


def coordinate_terms(config: LossConfig) -> tuple[Term, ...]:
    """`coord`, over the cells of posed frames whose depth is known."""

    def error(given: LossInput) -> Tensor:
        frame = given.frame
        target_B3HW, _ = coordinate_labels(frame.depth_B1HW, frame.K_B33, frame.pose_B7)
        return coordinate_errors(given.prediction["coordinates_B4HW"], target_B3HW)

    return (Term("coord", "localization", CELLS, ("coordinates_B4HW",), error, likelihood=True),)
