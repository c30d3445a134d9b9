"""The files of a run: its configuration, its environment, a log with curves, and the batch on which it failed."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlocnetpp.data.files import lock
from vlocnetpp.encodings import VOID
from vlocnetpp.losses import Term, term_names
from vlocnetpp.reporting.files import replacing, write_json
from vlocnetpp.revision import source_revision
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.curves import draw_curves, is_weight
from vlocnetpp.training.datasets import TrainingError
from vlocnetpp.training.tables import VALIDATED

CONFIG_NAME, LAST_NAME, BEST_NAME = "config.yaml", "last.pt", "best.pt"
LOG_NAME, CURVES_NAME, ENVIRONMENT_NAME = "metrics.csv", "curves.png", "environment.json"
BAD_BATCH_NAME, TENSORBOARD_NAME = "bad_batch", "tensorboard"
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
        if not lock(folder):
            raise TrainingError(f"{out}: another training is running here; wait for it or end it")
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
        row |= {f"val_{each.name}": metrics.get(each.task, {}).get(each.name) for each in VALIDATED}
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
    return f"weight/{name}" if is_weight(name) else f"run/{name}"


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
