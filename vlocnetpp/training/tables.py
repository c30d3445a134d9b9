"""A run's output: the losses of a step, a table of validations, the time of the parts of a step."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch


class Validated(NamedTuple):
    """A figure of a validation: a column of the table, of the log, and a diagram of the curves."""

    heading: str
    """In the table."""
    task: str
    name: str
    """In the metrics."""
    form: str
    title: str
    """Of the diagram."""


VALIDATED = (
    Validated("pose m", "localization", "median_translation_m", "{:.3f}", "position, median: {} m"),
    Validated("deg", "localization", "median_rotation_deg", "{:.2f}", "rotation, median: {} deg"),
    Validated("motion m", "odometry", "rpe_translation_m", "{:.4f}", "odometry, an image: {} m"),
    Validated("deg", "odometry", "rpe_rotation_deg", "{:.3f}", "odometry, an image: {} deg"),
    Validated("mean IoU", "segmentation", "mean_iou", "{:.3f}", "mean IoU: {}"),
)


def losses_line(losses: dict[str, float]) -> str:
    """Loss terms by name."""
    return " ".join(f"{name} {value:.3f}" for name, value in losses.items())


TERM_WORDS = {
    "x": "position", "q": "rotation", "x_rel": "motion of poses", "q_rel": "turn of poses", "x_vo": "odometry",
    "q_vo": "turn of odometry", "seg": "masks", "scale": "uncertainty", "coord": "map",
}  # fmt: skip
"""Loss terms in words."""
IN_WORDS = {
    "distance_m": "points {:.3f} m off", "off_ray_m": "{:.3f} m beside their rays",
    **{name: f"{words} {{:.3f}}" for name, words in TERM_WORDS.items()},
}  # fmt: skip
"""Loss terms as the line of progress names them, in this order; others come after, by their own names."""
UNSHOWN = ("cells",)
"""A likelihood tells a reader less than the metres beside it."""


def progress_line(stage: str, number: int, stages: int, losses: dict[str, float]) -> str:
    """What is trained, as the `number`-th of so many stages, and how large its errors still are. The line is cut where
    the terminal ends, so what matters most comes first."""
    shown = [name for name in losses if name not in UNSHOWN] or list(losses)
    order = list(IN_WORDS)
    shown.sort(key=lambda name: order.index(name) if name in IN_WORDS else len(order))
    errors = ", ".join(IN_WORDS.get(name, name + " {:.3f}").format(losses[name]) for name in shown)
    return f"{stage} ({number} of {stages}): {errors}"


class ValidationTable:
    """A row for each validation, under a heading."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self._columns = [column for column in VALIDATED if column.task in tasks]
        self._begun = False

    def lines(self, stage: str, step: int, metrics: dict[str, Any], best: bool) -> list[str]:
        """The row, `*` where it became best.pt; the first time the heading before it."""
        head = f"{'validation':<11}{'step':>7}" + "".join(f"{column.heading:>10}" for column in self._columns)
        cells = []
        for column in self._columns:
            value = metrics.get(column.task, {}).get(column.name)
            cells.append(f"{'-' if value is None else column.form.format(value):>10}")
        row = f"{stage[:10]:<11}{step:>7}" + "".join(cells) + (" *" if best else "")
        heading = [] if self._begun else [head + " * best.pt"]
        self._begun = True
        return [*heading, row]


class Profile:
    """Where the time of a run's steps goes."""

    def __init__(self, device: torch.device, enabled: bool) -> None:
        """If `enabled`, the GPU is synchronized after each part, so that its time counts for that part."""
        self._wait = enabled and device.type == "cuda"
        self._device = device
        self._spent: dict[str, float] = {}
        self._steps = 0
        self._last = time.perf_counter()

    def start(self) -> None:
        """Start timing; earlier time does not count."""
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the time since the last lap to a part."""
        if self._wait:
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._spent[part] = self._spent.get(part, 0.0) + now - self._last
        self._steps += part == "optimizer"
        self._last = now

    def table(self) -> str:
        """Milliseconds a step and share of each part."""
        total = sum(self._spent.values())
        if not self._steps:
            return "no step was made"
        lines = [f"{'part of a step':<16}{'ms':>10}{'share':>9}"]
        for part, spent in self._spent.items():
            lines.append(f"{part:<16}{1e3 * spent / self._steps:>10.2f}{spent / total:>9.1%}")
        lines.append(f"{'whole':<16}{1e3 * total / self._steps:>10.2f}{1:>9.0%}   {self._steps} steps")
        return "\n".join(lines)
