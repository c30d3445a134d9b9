"""The step that the robot calls, unrolled over clips, and the mean of every loss term that has a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from vlocnetpp.losses import LossInput, Term, term_means
from vlocnetpp.losses.depth import DEPTH_STRIDES, prediction_name
from vlocnetpp.network import Network, cold_state_of
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.leak_probe import remember_truth


def unroll(
    network: Network,
    clips: Clips,
    terms: Sequence[Term],
    counts: Mapping[str, float],
    truncate: int = 0,
    leak_probe: bool = False,
    class_weights_C: Tensor | None = None,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Run clips from a cold start and average the loss terms over their labels.

    The ground truth is read only after the step; only a leak probe carries it into the next one.

    Args:
        terms: those that the stage trains (`losses.select_terms`).
        counts: labels of the whole batch (`losses.count_labels`), of which these clips are a part: the parts' terms
            add up to its means.
        truncate: gradients flow back through at most this many frames; 0: through all.
        leak_probe: see `TrainConfig.leak_probe`.
        class_weights_C: from `losses.class_weights`; None: equal weights.

    Returns:
        The mean terms, and the predicted poses (B, 7) of each frame; none without localization.
    """
    state = cold_state_of(network, len(clips.image_BL3HW))
    means: dict[str, Tensor] = {}
    poses: list[Tensor] = []
    previous: Mapping[str, Tensor] | None = None
    frames = clips.frames()
    for t, frame in enumerate(frames):
        if truncate and t > 0 and t % truncate == 0:
            state = {name: value.detach() for name, value in state.items()}
            previous = None if previous is None else {name: value.detach() for name, value in previous.items()}
        prediction, state = network(frame.image_B3HW, frame.K_B33, frame.depth_B1HW, state)
        if leak_probe:
            state = remember_truth(network, state, frame.pose_B7, frame.posed_B)
        given = LossInput(prediction, frame, previous, frames[t - 1] if t > 0 else None, class_weights_C)
        for name, mean in term_means(terms, given, counts).items():
            means[name] = means[name] + mean if name in means else mean
        previous = prediction
        if "pose_B7" in prediction:
            poses.append(prediction["pose_B7"])
    return means, poses


def depth_means(
    network: Network, clips: Clips, terms: Sequence[Term], counts: Mapping[str, float]
) -> dict[str, Tensor]:
    """The mean terms of the depth stage: only the depth network runs, on the last frame of each clip.

    Args:
        counts: labels of the last frames of the whole batch.
    """
    depth = network.depth_network()
    if depth is None:
        raise ValueError(f"preset '{network.config.name}' has no depth network")
    frame = clips.frames()[-1]
    inverse_depths = depth.inverse_depths(network.normalize(frame.image_B3HW))
    prediction = {prediction_name(stride): x for stride, x in zip(DEPTH_STRIDES, inverse_depths, strict=True)}
    return term_means(terms, LossInput(prediction, frame), counts)
