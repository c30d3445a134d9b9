"""The files of a run: its configuration, its environment, a log with curves, and the batch on which it failed."""

from __future__ import annotations

import csv
import fcntl
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlocnetpp.encodings import VOID
from vlocnetpp.losses import Term, term_names
from vlocnetpp.reporting.files import replacing, write_json
from vlocnetpp.revision import source_revision
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.datasets import TrainingError

CONFIG_NAME, LAST_NAME, BEST_NAME = "config.yaml", "last.pt", "best.pt"
LOG_NAME, CURVES_NAME, ENVIRONMENT_NAME = "metrics.csv", "curves.png", "environment.json"
BAD_BATCH_NAME, TENSORBOARD_NAME = "bad_batch", "tensorboard"
VALIDATED = (
    ("localization", "median_translation_m"),
    ("localization", "median_rotation_deg"),
    ("odometry", "rpe_translation_m"),
    ("odometry", "rpe_rotation_deg"),
    ("segmentation", "mean_iou"),
)
"""Metrics of a validation that the log has a column for, by task."""
PACKAGES = ("torch", "lightning-fabric", "numpy", "opencv-python-headless", "kornia")


def check_folder(out: Path, resume: bool) -> None:
    """Whether a run may write into a folder: new, or its own to be continued; files of others are never touched.

    Raises TrainingError, before any work, where it may not.
    """
    if (out / LAST_NAME).exists() and not resume:
        raise TrainingError(f"{out}: exists already; continue it with --resume or name another folder")
    ours = [name for name in (CONFIG_NAME, LOG_NAME, CURVES_NAME, BEST_NAME) if (out / name).exists()]
    if ours and not resume and not (out / ENVIRONMENT_NAME).exists():
        raise TrainingError(f"{out}: holds {ours[0]} of something else; name another folder")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise TrainingError(f"{out}: cannot be written; name another folder")


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Refuse a second training in an existing folder for as long as this one runs. Raises TrainingError."""
    folder = os.open(out, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"{out}: another training is running here; wait for it or end it") from None
        yield
    finally:
        os.close(folder)


def write_environment(out: Path, device: torch.device, processes: int, precision: str, digest: str) -> None:
    """Write the environment in which the run, or its part since the last resume, was trained. Raises DataError."""
    installed = {each.name.lower(): each.version for each in importlib.metadata.distributions()}
    cuda = device.type == "cuda"
    write_json(
        out / ENVIRONMENT_NAME,
        {
            "source_revision": source_revision(),
            "dataset_digest": digest,
            "command": ["vlocnetpp", *sys.argv[1:]],
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: installed.get(name) for name in PACKAGES},
            "device": torch.cuda.get_device_name(device) if cuda else "cpu",
            "cuda": torch.version.cuda if cuda else None,
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": processes,
            "precision": precision,
        },
    )


class Log:
    """The rows of a run so far, as CSV, as curves and for TensorBoard. The checkpoint holds the rows, too.

    The files are written from the rows, so that a run that was killed and resumed leaves the log of one that was not.
    """

    def __init__(
        self, out: Path, rows: list[dict[str, Any]], terms: Sequence[Term], others: Sequence[str] = ()
    ) -> None:
        """`terms` are those of the run and `others` the names of losses that are no terms; each has a column."""
        self.rows = rows
        self._others = tuple(others)
        self._terms = terms
        self._out = out
        self._events: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("no TensorBoard events: the package tensorboard is not installed", file=sys.stderr)
        else:
            first = rows[-1]["step"] + 1 if rows else 0
            self._events = SummaryWriter(str(out / TENSORBOARD_NAME), purge_step=first)

    def add(
        self,
        stage: str,
        step: int,
        seconds: float,
        rate: float,
        learning_rate: float,
        losses: dict[str, float],
        weights: dict[str, float],
        metrics: dict[str, Any],
    ) -> None:
        """Add a row: the end of an epoch or a validation. `metrics` is empty where there was none."""
        row: dict[str, Any] = {"stage": stage, "step": step, "total_s": round(seconds, 1)}
        row |= {"frames_per_s": round(rate, 1), "learning_rate": learning_rate}
        row |= {f"loss_{name}": losses.get(name) for name in (*term_names(self._terms), *self._others)}
        row |= weights
        row |= {f"val_{name}": metrics.get(task, {}).get(name) for task, name in VALIDATED}
        self.rows.append(row)
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, float):
                    self._events.add_scalar(_event_name(name), value, step)

    def write(self, curves: bool) -> None:
        """Replace the CSV and, if wanted, the picture. Raises DataError where they cannot be written."""
        if not self.rows:
            return
        with replacing(self._out / LOG_NAME) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        if curves:
            draw_curves(self.rows, self._terms, self._out / CURVES_NAME)

    def close(self) -> None:
        """End the TensorBoard events."""
        if self._events is not None:
            self._events.close()


def _event_name(name: str) -> str:
    """Grouped as TensorBoard shows them: loss/x, weight/euclidean.s_x, validation/mean_iou."""
    for prefix, group in (("loss_", "loss"), ("val_", "validation")):
        if name.startswith(prefix):
            return f"{group}/{name[len(prefix) :]}"
    return f"weight/{name}" if _is_weight(name) else f"run/{name}"


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2].startswith("s_")


OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
"""Colours that hold for every kind of colour vision."""
CELL_ERRORS = ("off_ray_m", "distance_m")
"""Errors of a stage that trains scene coordinates on cells, as the log has them beside the loss terms."""


def draw_curves(rows: list[dict[str, Any]], terms: Sequence[Term], path: Path) -> None:
    """Loss terms, learned weights, learning rate and validations over the steps, stages shaded in turn."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, dict[str, str], bool]] = [
        (
            "loss terms, mean since the row before",
            {name: f"loss_{name}" for name in term_names(term for term in terms if not term.likelihood)},
            True,
        ),
        ("learned weights s, change since the first row", {name: name for name in rows[0] if _is_weight(name)}, False),
        ("learning rate", {"learning rate": "learning_rate"}, True),
    ]
    cells = {name: f"loss_{name}" for name in CELL_ERRORS if f"loss_{name}" in rows[0]}
    panels.append(("stage of cells: points off their rays and off their places, m", cells, True))
    panels += [(f"validation: {task} {name}", {name: f"val_{name}"}, False) for task, name in VALIDATED]
    panels = [
        (title, {label: key for label, key in curves.items() if _changes(rows, key)}, log)
        for title, curves, log in panels
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, 2, squeeze=False).flat)
    for unused in axes[len(panels) :]:
        unused.remove()
    borders = [i for i in range(1, len(rows)) if rows[i]["stage"] != rows[i - 1]["stage"]]
    starts = [0, *(rows[i - 1]["step"] for i in borders)]
    ends = [*starts[1:], rows[-1]["step"]]
    names = [rows[0]["stage"], *(rows[i]["stage"] for i in borders)]
    for axis, (title, curves, logarithmic) in zip(axes, panels):
        axis.set_prop_cycle(color=OKABE_ITO)
        for label, key in curves.items():
            first = rows[0][key] if _is_weight(key) else 0.0
            points = [(row["step"], row[key] - first) for row in rows if row[key] is not None]
            axis.plot(*zip(*points), label=label, marker="." if len(points) < 40 else "", linewidth=1.2)
        if logarithmic and all(row[key] is None or row[key] > 0 for row in rows for key in curves.values()):
            axis.set_yscale("log")
        for number, (start, end, name) in enumerate(zip(starts, ends, names)):
            if number % 2:
                axis.axvspan(start, end, color="0.93", zorder=0)
            # The name of a short last stage ends at the frame instead of running over it.
            x, side = (end, "right") if number and number == len(names) - 1 else ((start + end) / 2, "center")
            axis.text(x, 0.98, name, transform=axis.get_xaxis_transform(), fontsize=7, ha=side, va="top", color="0.45")
        axis.set_xlim(0, rows[-1]["step"])
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(color="0.9", linewidth=0.6)
        if len(curves) > 1:
            axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100)


def _changes(rows: list[dict[str, Any]], key: str) -> bool:
    return len({row[key] for row in rows if row[key] is not None}) > (0 if key.startswith(("loss_", "val_")) else 1)


def save_bad_batch(out: Path, clips: Clips, names: list[list[str]], process: int) -> Path:
    """Write a batch as arrays and as a picture sheet, each row a clip. Returns the folder. Raises DataError."""
    import cv2

    folder = out / BAD_BATCH_NAME
    image_BLHW3 = clips.image_BL3HW.permute(0, 1, 3, 4, 2).clamp(0, 255).to(torch.uint8).numpy()
    with replacing(folder / f"process_{process}.npz") as partial:
        np.savez_compressed(
            partial,
            names=np.array(names),
            image_BLHW3=image_BLHW3,
            K_BL33=clips.K_BL33.numpy(),
            depth_BLHW=clips.depth_BL1HW[:, :, 0].numpy(),
            mask_BLHW=clips.mask_BLHW.numpy(),
            pose_BL7=clips.pose_BL7.numpy(),
            posed_BL=clips.posed_BL.numpy(),
        )
    rows = []
    for image_LHW3, labels in zip(image_BLHW3, names):
        cells = []
        for image_HW3, name in zip(image_LHW3, labels):
            cell = np.full((image_HW3.shape[0] + 16, image_HW3.shape[1], 3), VOID, np.uint8)
            cell[16:] = image_HW3
            cv2.putText(cell, name[-28:], (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
            cells.append(cell)
        rows.append(np.concatenate(cells, axis=1))
    half = -(-len(rows) // 2)
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)
    with replacing(folder / f"process_{process}.png") as partial:
        cv2.imwrite(str(partial), sheet[..., ::-1])
    return folder
