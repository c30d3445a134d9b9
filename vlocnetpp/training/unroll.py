"""The step that the robot calls, unrolled over clips, and the mean of every loss term that has a label."""

from __future__ import annotations

import torch
from torch import Tensor

from vlocnetpp.geometry import relative
from vlocnetpp.losses import (
    VOID,
    LossConfig,
    depth_loss,
    euclidean_terms,
    masked_mean,
    relative_terms,
    scale_terms,
    segmentation_loss,
)
from vlocnetpp.network import VLocNetPlusPlus
from vlocnetpp.training.clips import Clips


def unroll(
    network: VLocNetPlusPlus, clips: Clips, tasks: tuple[str, ...], loss: LossConfig, consistency: bool = True
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Run clips from a cold start and average the terms of `MultitaskLoss` over their frames; `consistency` is eq. 1.

    The ground truth is read only here, after the step has answered.

    Returns:
        The mean terms, and the predicted poses (B, 7) of each frame.
    """
    tasks = tuple(task for task in tasks if task in network.config.tasks)
    batch, length = clips.image_BL3HW.shape[:2]
    state = network.cold_state(batch)
    found: dict[str, list[Tensor]] = {}
    poses: list[Tensor] = []

    def add(**terms: Tensor) -> None:
        for name, value in terms.items():
            found.setdefault(name, []).append(value)

    for t in range(length):
        prediction, state = network(clips.image_BL3HW[:, t], clips.K_BL33[:, t], clips.depth_BL1HW[:, t], state)
        truth, posed = clips.pose_BL7[:, t], clips.posed_BL[:, t]
        poses.append(prediction.pose_B7)
        if t > 0:
            before, both = clips.pose_BL7[:, t - 1], posed * clips.posed_BL[:, t - 1]
            motion = relative(before, truth)
        if "localization" in tasks and posed.any():
            x, q = euclidean_terms(prediction.pose_B7, truth)
            scale = scale_terms(prediction.log_scale_B2, prediction.pose_B7, truth)
            add(x=masked_mean(x, posed), q=masked_mean(q, posed), scale=masked_mean(scale, posed))
            if consistency and t > 0 and both.any():
                consistent = loss.relative_target == "odometry" and "odometry" in network.config.tasks
                target = prediction.relative_B7.detach() if consistent else motion
                x, q = relative_terms(poses[t - 1], prediction.pose_B7, target, loss.relative_frame, before)
                add(x_rel=masked_mean(x, both), q_rel=masked_mean(q, both))
        if "odometry" in tasks and t > 0 and both.any():
            x, q = euclidean_terms(prediction.relative_B7, motion)
            add(x_vo=masked_mean(x, both), q_vo=masked_mean(q, both))
        if "segmentation" in tasks and bool((clips.mask_BLHW[:, t] != VOID).any()):
            add(seg=segmentation_loss(prediction.logits_BCHW, clips.mask_BLHW[:, t]))
    return {name: torch.stack(values).mean() for name, values in found.items()}, poses


def depth_term(network: VLocNetPlusPlus, clips: Clips) -> dict[str, Tensor]:
    """The depth stage: only the depth network runs, on the last frame of each clip."""
    if network.depth is None:
        raise ValueError(f"preset '{network.config.preset}' has no depth network")
    image = (clips.image_BL3HW[:, -1] - network.mean_13hw) / network.std_13hw
    return {"depth": depth_loss(network.depth(image), clips.depth_BL1HW[:, -1])}
