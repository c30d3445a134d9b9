"""A loss term, its inputs, and its mean over the labels of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """One frame of B clips as the dataset has it: the image and its labels."""

    image_B3HW: Tensor
    """RGB, 0 to 255."""
    K_B33: Tensor
    depth_B1HW: Tensor
    """Metres, 0 where unknown."""
    mask_BHW: Tensor
    """uint8 class ids, `encodings.VOID` where unlabelled."""
    pose_B7: Tensor
    """Camera-to-world; meaningless where `posed_B` is 0."""
    posed_B: Tensor
    """1 where the frame has a pose, else 0."""


@dataclass(frozen=True)
class LossInput:
    """The input of a term: the predictions for a frame and for the one before it, and the ground truth."""

    prediction: Mapping[str, Tensor]
    """By name, such as `pose_B7`; what the network does not predict has no key."""
    frame: Frame
    previous_prediction: Mapping[str, Tensor] | None = None
    """None at the first frame of a clip. Detached where backpropagation through time is cut."""
    previous_frame: Frame | None = None
    class_weights_C: Tensor | None = None
    """Weight of a pixel of each class (`segmentation.class_weights`); None: equal weights."""


@dataclass(frozen=True)
class Label:
    """A kind of label, over which the errors of a term are averaged."""

    name: str
    """What is counted, e.g. `poses`."""
    present: Callable[[Frame, Frame | None], Tensor | None]
    """From a frame and the one before it: true or 1 where there is a label; None where there can be none, such as a
    motion at the first frame of a clip."""


@dataclass(frozen=True)
class Balance:
    """A learnable scalar s that weighs a term: L exp(-s) + s (Kendall & Cipolla, 2017). A negative total is normal."""

    name: str
    """Name in the log and in checkpoints, e.g. `euclidean.s_x`. Its last part begins with `s_`."""
    initial: float = 0.0


@dataclass(frozen=True)
class Term:
    """A loss term: the mean of an error over the labels of its kind.

    A term takes part in a step where a stage trains its task, the network predicts what it needs and the batch has a
    label of its kind. Terms with one name are added up and share a balance.
    """

    name: str
    """Name in the progress, the log and the table of validations."""
    task: str
    """Of the network, or `depth`."""
    label: Label
    needs: tuple[str, ...]
    """Names of predictions without which the term is left out."""
    error: Callable[[LossInput], Tensor]
    """Errors of the shape of the label's `present`."""
    balance: Balance | None = None
    """None: the term is added as it is."""
    consistency: bool = False
    """Whether the term compares predictions of consecutive frames, which a stage may leave out."""
    likelihood: bool = False
    """Whether the term is a negative log-likelihood, which may be negative: it is not drawn on a logarithmic axis, and
    a large value alone is no divergence."""


def select_terms(terms: Iterable[Term], tasks: Sequence[str], consistency: bool = True) -> tuple[Term, ...]:
    """The terms of some tasks, with or without those that compare consecutive predictions."""
    return tuple(term for term in terms if term.task in tasks and (consistency or not term.consistency))


def term_names(terms: Iterable[Term]) -> tuple[str, ...]:
    """The names of terms in their order, each once."""
    return tuple(dict.fromkeys(term.name for term in terms))


def count_labels(terms: Iterable[Term], frames: Sequence[Frame]) -> dict[str, float]:
    """How many labels of each kind that the terms use are in the consecutive frames of some clips."""
    counts: dict[str, float] = {}
    for label in dict.fromkeys(term.label for term in terms):
        found = [label.present(frame, before) for before, frame in zip([None, *frames], frames, strict=False)]
        counts[label.name] = float(sum(present.sum() for present in found if present is not None))
    return counts


def has_label(terms: Iterable[Term], counts: Mapping[str, float]) -> bool:
    """Whether a batch with so many labels can train any of the terms."""
    return any(counts[term.label.name] > 0 for term in terms)


def term_means(terms: Iterable[Term], given: LossInput, counts: Mapping[str, float]) -> dict[str, Tensor]:
    """One frame's contribution to the mean of each term that applies to it.

    Args:
        counts: labels of the whole batch, of which this frame is a part: the contributions of all frames, parts of the
            batch and processes add up to the means.
    """
    means: dict[str, Tensor] = {}
    for term in terms:
        if counts[term.label.name] == 0 or any(name not in given.prediction for name in term.needs):
            continue
        present = term.label.present(given.frame, given.previous_frame)
        if present is not None:
            mean = masked_mean(term.error(given), present, counts[term.label.name])
            means[term.name] = means[term.name] + mean if term.name in means else mean
    return means


def masked_mean(values_B: Tensor, valid_B: Tensor, count: float | None = None) -> Tensor:
    """Mean over the samples with valid = 1; zero where there is none. NaN of other samples is ignored.

    Args:
        values_B, valid_B: of any equal shape.
        count: number of valid samples in the whole batch, where these are a part of it: the results of the parts add
            up to its mean.
    """
    weights = valid_B.to(values_B.dtype)
    total = (torch.where(weights > 0, values_B, torch.zeros_like(values_B)) * weights).sum()
    return total / (weights.sum().clamp_min(1) if count is None else count)


def l2(difference_BD: Tensor) -> Tensor:
    """(B,) Euclidean norms; the gradient at zero is zero instead of undefined. NaN stays NaN."""
    squared = difference_BD.square().sum(dim=-1)
    zero = squared == 0  # not `squared > 0`, which is false for NaN
    return torch.where(zero, torch.ones_like(squared), squared).sqrt() * ~zero
