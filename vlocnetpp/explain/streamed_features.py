"""A split streamed as on the robot, with features and activation maps from inside the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from vlocnetpp.data import Dataset
from vlocnetpp.evaluation.stream import answer_frames
from vlocnetpp.explain.activation import activation_maps, explanation_of, named_layers
from vlocnetpp.explain.errors import ExplainError
from vlocnetpp.geometry import central_view
from vlocnetpp.poses import Floats
from vlocnetpp.runtime import Localizer, Model


class FrameExplanation(NamedTuple):
    """Activation maps and mask of one frame."""

    maps: dict[str, Floats]
    """Grad-CAM++ (h, w) by layer, at the layer's resolution."""
    view: tuple[float, float, float, float]
    """Left, right, bottom and top edge of what the network saw, in pixels of the image: `extent` of matplotlib."""
    mask_HW: NDArray[np.uint8] | None
    """Predicted class ids at the image's resolution, 255 outside the network's field of view; None without the task."""


class StreamedFeatures(NamedTuple):
    """A row for each frame of the split, in order."""

    pose_N7: Floats
    """Answered camera-to-map poses."""
    features_NC: Floats
    """Features before the pose, see `Explanation.features`; maps are averaged."""
    explanations: dict[int, FrameExplanation]
    """Of the chosen frames, by their index."""


def stream_features(
    model: Model, dataset: Dataset, split: str, closely: Sequence[int], layers: Sequence[str], scalar: str
) -> StreamedFeatures:
    """Features and activation maps of a split, streamed as `evaluation.stream` does.

    Args:
        model: from `export.rebuild`, with localization.
        closely: indices of the frames whose activation maps are wanted.
        layers, scalar: of the maps, see `activation`.

    Raises:
        ExplainError: unknown layer, or an answer that is not finite.
        DataError, CameraMismatchError: as for `evaluation.stream`.
    """
    explanation = explanation_of(model)
    watched = named_layers(explanation, layers, str(model.path))
    localizer = Localizer(model, max_gap_s=float("inf"))
    last: dict[str, Any] = {}

    def remember_features(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        last["features"] = output.mean(dim=(2, 3)) if output.ndim == 4 else output

    def remember_inputs(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        last["inputs"] = inputs

    hooks = [
        explanation.features.register_forward_hook(remember_features),
        model.step.register_forward_pre_hook(remember_inputs),
    ]
    poses, features, explanations = [], [], {}
    try:
        text = f"explaining {model.path.name} on {split}"
        for i, frame, pixels, estimate, _ in answer_frames(localizer, dataset, split, text):
            row = last["features"][0].float().cpu().numpy().astype(np.float64)
            if estimate.pose_7 is None or not (np.isfinite(row).all() and np.isfinite(estimate.pose_7).all()):
                raise ExplainError(f"{model.path}: its answer to {frame.name} is not finite")
            poses.append(estimate.pose_7)
            features.append(row)
            if i in closely:
                maps = activation_maps(model.step, last["inputs"], explanation, watched, scalar)
                explanations[i] = FrameExplanation(
                    {name: map_.cpu().numpy().astype(np.float64) for name, map_ in maps.items()},
                    seen_part(model, *pixels.shape[:2]),
                    None if estimate.mask_hw is None else localizer.full_mask(estimate),
                )
    finally:
        for hook in hooks:
            hook.remove()
    return StreamedFeatures(np.array(poses).reshape(-1, 7), np.array(features), explanations)


def seen_part(model: Model, height: int, width: int) -> tuple[float, float, float, float]:
    """Edges of what the network sees of an image of this size: left, right, bottom, top, in its pixels.

    Pixel centres lie on integers, so a whole image of 4 columns reaches from -0.5 to 3.5.
    """
    meta = model.metadata
    rows, columns, top, left = central_view(height, width, meta.input_height, meta.input_width, meta.resize == "whole")
    x, y = width / columns, height / rows
    right, bottom = left + meta.input_width, top + meta.input_height
    return left * x - 0.5, right * x - 0.5, bottom * y - 0.5, top * y - 0.5
