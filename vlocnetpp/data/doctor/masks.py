"""Masks: ids without a class, classes without a pixel, and ids that are all off by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlocnetpp.data.doctor.findings import Finding, Severity, listing
from vlocnetpp.data.doctor.matches import Floats
from vlocnetpp.data.doctor.study import Study
from vlocnetpp.data.doctor.survey import ExaminedFrame
from vlocnetpp.data.frames import VOID

USUAL_PLACES = {
    "sky": (0.15, 0.15), "ceiling": (0.12, 0.12), "building": (0.4, 0.1), "wall": (0.45, 0.2), "tree": (0.33, 0.12),
    "vegetation": (0.38, 0.15), "road": (0.8, 0.25), "floor": (0.82, 0.25), "ground": (0.82, 0.25),
    "pavement": (0.75, 0.07), "sidewalk": (0.75, 0.1), "grass": (0.75, 0.12), "terrain": (0.75, 0.1),
    "car": (0.58, 0.05), "person": (0.52, 0.01), "pedestrian": (0.52, 0.01), "bicyclist": (0.55, 0.01),
}  # fmt: skip
"""Where well-known classes are seen by an upright camera: mean height in the image (0 = top), share of its pixels."""
HEIGHT_SPREAD = 0.13
SHARE_SPREAD = 1.2
"""Standard deviation of the natural logarithm of the share."""
LEAST_KNOWN = 3
"""Classes with a usual place, needed to judge the numbering."""


def check_masks(study: Study) -> Iterator[Finding]:
    """Everything about masks; silent where there are none."""
    masked = [examined for examined in study.frames if examined.masked]
    if not masked:
        return
    classes = [each.name for each in study.dataset.classes]
    total = np.sum([examined.mask_pixels for examined in masked], axis=0)
    if not classes:
        text, remedy = f"{len(masked)} masks, but the dataset names no class", "write `classes:` into dataset.yaml"
        yield Finding("warning", "mask-ids", "dataset", text, remedy=f"{remedy} (docs/recordings.md)")
        return
    stray = [i for i in np.flatnonzero(total) if len(classes) <= i < VOID]
    if stray:
        share = total[stray].sum() / total.sum()
        text = f"ids {listing([str(i) for i in stray], 6)} have no class, {share:.2%} of the pixels"
        names = [examined.frame.name for examined in masked if examined.mask_pixels[stray].any()]
        yield Finding("error", "mask-ids", listing(names), text)
    void = total[VOID] / total.sum()
    empty = [examined.frame.name for examined in masked if _void_share(examined) > 0.95]
    if empty:
        severity: Severity = "error" if len(empty) > len(masked) / 2 else "warning"
        text = f"{len(empty)} of {len(masked)} masks are more than 95 % unlabelled ({void:.0%} over all)"
        yield Finding(severity, "mask-void", listing(empty), text)
    if void < 1:
        yield from _occurrence(study, masked, classes)
        yield from _numbering(masked, classes)


def numbering_costs(share_C: Floats, height_C: Floats, classes: list[str]) -> dict[int, float]:
    """How far the classes are from their usual places if the stored id is the class id plus a shift of -1, 0 or 1.

    share_C, height_C: for each stored id its share of the labelled pixels and mean height in the image, 0 = top.
    The cost is a mean over the known classes of squared deviations, each at most 9; a known class without a pixel does
    not count, as rare classes may be absent. Empty where fewer than `LEAST_KNOWN` classes are known.
    """
    known = {i: USUAL_PLACES[name.lower()] for i, name in enumerate(classes) if name.lower() in USUAL_PLACES}
    costs = {}
    for shift in (-1, 0, 1):
        each = []
        for i, (height, share) in known.items():
            stored = i + shift
            if 0 <= stored < len(share_C) and share_C[stored] > 0:
                off = (height_C[stored] - height) / HEIGHT_SPREAD, np.log(share_C[stored] / share) / SHARE_SPREAD
                each.append(min(off[0] ** 2, 9.0) + 0.5 * min(off[1] ** 2, 9.0))
        if len(each) >= LEAST_KNOWN:
            costs[shift] = float(np.mean(each))
    return costs


def _numbering(masked: list[ExaminedFrame], classes: list[str]) -> Iterator[Finding]:
    pixels = np.sum([examined.mask_pixels for examined in masked], axis=0).astype(np.float64)
    heights = np.sum([examined.mask_rows for examined in masked], axis=0)
    share = pixels[:VOID] / max(pixels[:VOID].sum(), 1.0)
    height = np.divide(heights[:VOID], pixels[:VOID], out=np.full(VOID, np.nan), where=pixels[:VOID] > 0)
    costs = numbering_costs(share, height, classes)
    if 0 not in costs or len(costs) < 2:
        yield Finding(
            "info",
            "cannot-tell",
            "masks",
            "too few classes with a usual place in the image to judge the numbering",
            0.0,
        )
        return
    best = min(costs, key=lambda shift: costs[shift])
    said = ", ".join(f"{shift:+d}: {cost:.2f}" for shift, cost in costs.items())
    text = f"distance of the classes from their usual places, by shift of the ids: {said}"
    if best and costs[best] < 0.6 * costs[0] and costs[0] - costs[best] > 1.0:
        sure = float(np.clip(1 - costs[best] / costs[0], 0, 0.99))
        yield Finding(
            "error", "mask-shift", "masks", f"{text}; ids are {abs(best)} too {'high' if best > 0 else 'low'}", sure
        )
    elif best:
        text = "the numbering cannot be judged and need not be wrong: ids moved by one fit about as well "
        text += f"({said}; 0 would be a perfect fit)"
        yield Finding("info", "cannot-tell", "masks", text, 0.0)
    else:
        rival = min(cost for shift, cost in costs.items() if shift)
        yield Finding("info", "evidence", "masks", text, float(np.clip(1 - costs[0] / rival, 0, 0.99)))


def _occurrence(study: Study, masked: list[ExaminedFrame], classes: list[str]) -> Iterator[Finding]:
    by_split = {
        split: sum(
            (
                examined.mask_pixels
                for examined in masked
                if examined.split == split and examined.mask_pixels is not None
            ),
            np.zeros(256),
        )
        for split in study.splits
    }
    absent = [name for i, name in enumerate(classes) if not any(pixels[i] for pixels in by_split.values())]
    if absent:
        yield Finding("warning", "classes", "masks", f"no pixel in any mask: {listing(absent, 6)}")
    if by_split.get("train", np.zeros(256, np.int64)).any():
        for split, pixels in by_split.items():
            new = [name for i, name in enumerate(classes) if pixels[i] and not by_split["train"][i]]
            if new:
                yield Finding("warning", "classes", split, f"never in training, only here: {listing(new, 6)}")


def _void_share(examined: ExaminedFrame) -> float:
    return float(examined.mask_pixels[VOID] / examined.mask_pixels.sum())
