"""Masks against the ground truth: the confusion matrix and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.encodings import VOID
from vlocnetpp.errors import DataError
from vlocnetpp.metrics.statistics import mean


def confusion(mask_HW: NDArray[np.integer], truth_HW: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count pixels by true class (row) and predicted class (column): (C, C); 255 in the truth is not counted.

    Raises DataError if the shapes differ or an id is not in 0..C-1.
    """
    if mask_HW.shape != truth_HW.shape:
        raise DataError(f"the mask is {mask_HW.shape}, its ground truth {truth_HW.shape}")
    labelled = truth_HW != VOID
    true = truth_HW[labelled].astype(np.int64)
    predicted = mask_HW[labelled].astype(np.int64)
    for what, ids in (("ground truth", true), ("mask", predicted)):
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise DataError(f"the {what} contains class id {wrong}, but there are only {classes} classes")
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def segmentation_metrics(confusion_CC: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """Intersection over union per class and their mean.

    A class that occurs neither in the truth nor in the prediction has no IoU (`nan`) and is left out of the mean; one
    that was predicted though never present counts with 0. No labelled pixel at all: the mean is `nan`.
    Raises DataError if the number of names is not the number of classes.
    """
    if confusion_CC.shape != (len(class_names), len(class_names)):
        raise DataError(f"{len(class_names)} class names for a confusion matrix of {confusion_CC.shape}")
    hit = np.diag(confusion_CC).astype(np.float64)
    union = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1) - np.diag(confusion_CC)
    iou = np.full(len(hit), np.nan)
    np.divide(hit, union, out=iou, where=union > 0)
    return {
        "mean_iou": mean(iou[union > 0]),
        "iou": {name: float(value) for name, value in zip(class_names, iou, strict=True)},
    }
