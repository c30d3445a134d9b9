"""A split through an exported model, frame by frame as on the robot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.data import Dataset, Frame
from vlocnetpp.poses import Floats
from vlocnetpp.progress import track
from vlocnetpp.runtime import Estimate, Localizer, Model

OnMask = Callable[[int, Frame, NDArray[np.uint8], NDArray[np.uint8]], None]
"""Index and frame, image (H, W, 3) and answered mask (H, W), 255 outside the network's field of view."""


class Streamed(NamedTuple):
    """The answers, a row for each frame of the split in order; rows of NaN where there is no answer."""

    pose_N7: Floats
    """Camera-to-map, as `Estimate.pose_7`."""
    relative_N7: Floats
    """Motion since the frame before, inv(T_{t-1}) @ T_t."""
    valid_N: NDArray[np.bool_]
    """Whether a frame has such a motion: not the first of a sequence."""
    sigma_N2: Floats
    """Calibrated 68 % bounds of the pose's error: metres and radians."""
    latency_ms_N: Floats
    """From the decoded image to the answer."""
    motion_sigma_N2: Floats | None = None
    """Calibrated 68 % bounds of the motion's error: metres and radians; None where nothing bounds motions."""
    novelty_N: Floats | None = None
    """How unlike the training images each image is; None of a model that does not say."""


class Answered(NamedTuple):
    """One frame of a split and what the model answered."""

    number: int
    """In the split."""
    frame: Frame
    image_HW3: NDArray[np.uint8]
    estimate: Estimate
    latency_ms: float
    """From the decoded image to the answer."""


def answer_frames(localizer: Localizer, dataset: Dataset, split: str, text: str) -> Iterator[Answered]:
    """Every sequence of a split from its own cold start. Raises DataError without such a split, or a broken image.

    Args:
        localizer: with an infinite `max_gap_s`, since a sequence ends at its own border and may be recorded slowly or
        thinned out. text: is shown with the progress.
    """
    reads_depth = localizer.model.metadata.reads_depth
    starts = set(np.cumsum([0, *(len(sequence.frames) for sequence in dataset.sequences(split))]).tolist())
    for i, frame in enumerate(track(dataset.frames(split), text)):
        if i in starts:
            localizer.reset("new sequence")
        pixels = frame.image()
        depth = frame.depth() if reads_depth else None
        began = time.perf_counter()
        estimate = localizer.localize(pixels, frame.K_33, frame.stamp_ns, depth_HW=depth)
        yield Answered(i, frame, pixels, estimate, (time.perf_counter() - began) * 1e3)


def stream(model: Model, dataset: Dataset, split: str, on_mask: OnMask | None = None) -> Streamed:
    """What a model answers to a split; see `answer_frames`."""
    frames = dataset.frames(split)
    localizer = Localizer(model, max_gap_s=float("inf"))
    if frames:
        localizer.warm_up(*frames[0].image().shape[:2])
    answers = Streamed(
        np.full((len(frames), 7), np.nan),
        np.full((len(frames), 7), np.nan),
        np.zeros(len(frames), bool),
        np.full((len(frames), 2), np.nan),
        np.full(len(frames), np.nan),
        np.full((len(frames), 2), np.nan) if model.metadata.motion_calibration_2 else None,
        np.full(len(frames), np.nan) if "novelty" in model.metadata.limits else None,
    )
    for i, frame, pixels, estimate, latency_ms in answer_frames(localizer, dataset, split, f"evaluating {split}"):
        answers.latency_ms_N[i] = latency_ms
        if estimate.pose_7 is not None and estimate.sigma_2 is not None:
            answers.pose_N7[i], answers.sigma_N2[i] = estimate.pose_7, estimate.sigma_2
        if estimate.novelty is not None and answers.novelty_N is not None:
            answers.novelty_N[i] = estimate.novelty
        if estimate.relative_7 is not None:
            answers.relative_N7[i], answers.valid_N[i] = estimate.relative_7, True
        if estimate.motion_sigma_2 is not None and answers.motion_sigma_N2 is not None:
            answers.motion_sigma_N2[i] = estimate.motion_sigma_2
        if on_mask is not None and estimate.mask_hw is not None:
            on_mask(i, frame, pixels, localizer.full_mask(estimate))
    return answers
