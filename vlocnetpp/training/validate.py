"""Streams held-out sequences through the network in training and scores them as the robot would be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from vlocnetpp.metrics import (
    confusion,
    localization_metrics,
    motion_errors,
    odometry_metrics,
    pose_errors,
    segmentation_metrics,
)
from vlocnetpp.metrics.calibration import bound_factors, median_uncertainty
from vlocnetpp.network import Network
from vlocnetpp.training.clips import FrameStore
from vlocnetpp.training.streaming import predict_frames

UNCERTAINTIES = {"localization.median_translation_m": "median_translation_uncertainty_m"}
"""The metrics that may choose the best checkpoint and of which a validation tells how uncertain they are, and the name
of that figure, in the same unit."""
BEYOND = 1.3
"""A limit of the gate is so many times the largest value on the held-out drive."""


class Calibration(NamedTuple):
    """Calibration of the predicted uncertainty on a held-out drive."""

    pose: tuple[float, ...] = ()
    """Factors that turn the predicted scales of a pose's translation and rotation into 68 % bounds; empty for a network
    that predicts none, or where no frame has a pose."""
    motion: tuple[float, ...] = ()
    """The same of motions."""
    limits: Mapping[str, float] = MappingProxyType({})
    """As `Metadata.limits`; empty for a network without a novelty score."""


def validate(
    network: Network,
    stores: Sequence[FrameStore],
    class_names: tuple[str, ...],
    device: torch.device,
    leak_probe: bool = False,
) -> tuple[dict[str, Any], Calibration]:
    """Run every sequence from a cold start, one frame at a time.

    Returns:
        The metrics of the tasks that have labels, by task, and the calibration.
    """
    network.eval()
    classes = network.config.scene.classes
    count = sum(len(store.names) for store in stores)
    tasks = network.config.tasks
    poses, motions = np.full((count, 7), np.nan), np.full((count, 7), np.nan)
    scales, motion_scales = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    novelty = np.full(count, np.nan)
    matrix = np.zeros((classes, classes), np.int64)
    first_N = np.zeros(count, bool)
    with torch.inference_mode():
        for i, first, clip, prediction in predict_frames(network, stores, device, leak_probe):
            first_N[i] = first
            if "pose_B7" in prediction:
                poses[i] = prediction["pose_B7"][0].cpu().numpy()
                scales[i] = prediction["log_scale_B2"][0].exp().cpu().numpy()
            if "novelty_B" in prediction:
                novelty[i] = float(prediction["novelty_B"][0])
            if "relative_B7" in prediction and not first:
                motions[i] = prediction["relative_B7"][0].cpu().numpy()
                if "motion_log_scale_B2" in prediction:
                    motion_scales[i] = prediction["motion_log_scale_B2"][0].exp().cpu().numpy()
            if "logits_BCHW" in prediction:
                mask = prediction["logits_BCHW"][0].argmax(dim=0).to(torch.uint8).cpu().numpy()
                matrix += confusion(mask, clip.mask_BLHW[0, 0].cpu().numpy(), classes)
    posed = torch.cat([store.posed_N for store in stores]).numpy() > 0
    truth = torch.cat([store.pose_N7 for store in stores]).double()
    metrics: dict[str, Any] = {}
    calibration = Calibration()
    drive_N = np.cumsum(first_N)
    if "localization" in tasks and posed.any():
        metrics["localization"] = localization_metrics(poses[posed], truth.numpy()[posed])
        metres, degrees = pose_errors(poses[posed], truth.numpy()[posed])
        metrics["localization"][UNCERTAINTIES["localization.median_translation_m"]] = median_uncertainty(
            metres, drive_N[posed]
        )
        factors = bound_factors(metres, degrees, scales[posed], drive_N[posed])
        calibration = calibration._replace(pose=factors)
        if np.isfinite(novelty).all():
            bound_m, bound_rad = (scales[posed] * factors).max(axis=0)
            largest = {"uncertainty_m": bound_m, "uncertainty_rad": bound_rad, "novelty": novelty.max()}
            calibration = calibration._replace(limits={name: BEYOND * float(value) for name, value in largest.items()})
    if "odometry" in tasks and posed.sum() > 1:
        valid = np.isfinite(motions).all(axis=1) & posed & np.roll(posed, 1)
        metrics["odometry"] = odometry_metrics(motions, truth.numpy(), valid)
        if valid.any() and np.isfinite(motion_scales[valid]).all():
            metres, degrees = motion_errors(motions, truth.numpy(), valid)
            calibration = calibration._replace(
                motion=bound_factors(metres, degrees, motion_scales[valid], drive_N[valid])
            )
    if matrix.sum() > 0:
        metrics["segmentation"] = segmentation_metrics(matrix, class_names)
    return metrics, calibration
