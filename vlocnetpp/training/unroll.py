"""The step that the robot calls, unrolled over clips, and the mean of every loss term that has a label."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vlocnetpp.encodings import VOID
from vlocnetpp.geometry import relative
from vlocnetpp.losses import (
    LossConfig,
    coordinate_loss,
    depth_loss,
    euclidean_terms,
    mapnet_relative_terms,
    mapnet_terms,
    masked_mean,
    relative_terms,
    scale_terms,
    segmentation_loss,
)
from vlocnetpp.network import Network, start
from vlocnetpp.network.blocks.scene_coordinates import cell_depth, coordinate_labels
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.leak_probe import remember_truth

LABELS = ("poses", "motions", "pixels", "depths", "cells")
"""What is counted: frames with a pose, frames whose predecessor has one too, labelled pixels, pixels of the last frames
with a depth, cells of posed frames with a depth."""


def count_labels(clips: Clips) -> dict[str, float]:
    """How many labels of each kind some clips have."""
    posed_BL = clips.posed_BL
    found = (
        posed_BL.sum(),
        (posed_BL[:, 1:] * posed_BL[:, :-1]).sum(),
        (clips.mask_BLHW != VOID).sum(),
        (clips.depth_BL1HW[:, -1] > 0).sum(),
        (posed_BL[:, :, None, None] * (cell_depth(clips.depth_BL1HW) > 0)).sum(),
    )
    return {name: float(count) for name, count in zip(LABELS, found, strict=True)}


def unroll(
    network: Network,
    clips: Clips,
    tasks: tuple[str, ...],
    loss: LossConfig,
    consistency: bool = True,
    counts: dict[str, float] | None = None,
    truncate: int = 0,
    leak_probe: bool = False,
    class_weights_C: Tensor | None = None,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Run clips from a cold start and average the terms of `MultitaskLoss` over their labels.

    The ground truth is read only here, after the step has answered; only a leak probe carries it into the next step.

    Args:
        consistency: whether eq. 1 takes part.
        counts: labels of the whole batch, of which these clips are a part: the parts' terms add up to its means.
        truncate: gradients flow back through so many frames at most; 0: through all.
        leak_probe: as `TrainConfig.leak_probe`.
        class_weights_C: from `losses.class_weights`; None: all alike.

    Returns:
        The mean terms, and the predicted poses (B, 7) of each frame; none without localization.
    """
    tasks = tuple(task for task in tasks if task in network.config.tasks)
    counts = count_labels(clips) if counts is None else counts
    poses_count, motions_count, pixels_count = counts["poses"], counts["motions"], counts["pixels"]
    cells_count = counts["cells"]
    batch, length = clips.image_BL3HW.shape[:2]
    state = start(network, batch)
    mapnet = loss.localization == "mapnet"
    terms: dict[str, Tensor] = {}
    poses: list[Tensor] = []

    def add(**values: Tensor) -> None:
        for name, value in values.items():
            terms[name] = terms[name] + value if name in terms else value

    for t in range(length):
        cut = bool(truncate) and t > 0 and t % truncate == 0
        if cut:
            state = {name: value.detach() for name, value in state.items()}
        prediction, state = network(clips.image_BL3HW[:, t], clips.K_BL33[:, t], clips.depth_BL1HW[:, t], state)
        truth, posed = clips.pose_BL7[:, t], clips.posed_BL[:, t]
        if "pose_B7" in prediction:
            poses.append(prediction["pose_B7"])
        if leak_probe:
            state = remember_truth(network, state, truth, posed)
        if t > 0:
            before, both = clips.pose_BL7[:, t - 1], posed * clips.posed_BL[:, t - 1]
            motion = relative(before, truth)
        if "localization" in tasks and poses_count:
            compare = mapnet_terms if mapnet else euclidean_terms
            x, q = compare(prediction["pose_B7"], truth)
            scale = scale_terms(prediction["log_scale_B2"], prediction["pose_B7"], truth)
            means = [masked_mean(value, posed, poses_count) for value in (x, q, scale)]
            add(x=means[0], q=means[1], scale=means[2])
            if "coordinates_B4HW" in prediction and cells_count:
                target, known = coordinate_labels(clips.depth_BL1HW[:, t], clips.K_BL33[:, t], truth)
                known = known & (posed > 0)[:, None, None]
                add(coord=coordinate_loss(prediction["coordinates_B4HW"], target, known, cells_count))
            if consistency and t > 0 and motions_count:
                previous = poses[t - 1].detach() if cut else poses[t - 1]
                if mapnet:
                    x, q = mapnet_relative_terms(previous, prediction["pose_B7"], before, truth)
                else:
                    consistent = loss.relative_target == "odometry" and "odometry" in network.config.tasks
                    target = prediction["relative_B7"].detach() if consistent else motion
                    x, q = relative_terms(previous, prediction["pose_B7"], target, loss.relative_frame, before)
                add(x_rel=masked_mean(x, both, motions_count), q_rel=masked_mean(q, both, motions_count))
        if "odometry" in tasks and t > 0 and motions_count:
            x, q = euclidean_terms(prediction["relative_B7"], motion)
            add(x_vo=masked_mean(x, both, motions_count), q_vo=masked_mean(q, both, motions_count))
        if "segmentation" in tasks and pixels_count:
            mask_BHW = clips.mask_BLHW[:, t]
            add(seg=segmentation_loss(prediction["logits_BCHW"], mask_BHW, pixels_count, class_weights_C))
    return terms, poses


def depth_term(
    network: Network, clips: Clips, everywhere: Callable[[Tensor], Tensor] = lambda count: count
) -> dict[str, Tensor]:
    """The depth stage: only the depth network runs, on the last frame of each clip. `everywhere` as of `depth_loss`."""
    depth = network.depth_network()
    if depth is None:
        raise ValueError(f"preset '{network.config.name}' has no depth network")
    inverse_depths = depth.inverse_depths(network.normalize(clips.image_BL3HW[:, -1]))
    return {"depth": depth_loss(inverse_depths, clips.depth_BL1HW[:, -1], everywhere)}
