"""The objects that the steps of a run share, and the work between steps: logging, validating, saving, changing the
stage."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import distributed, nn

from vlocnetpp.network import Network
from vlocnetpp.network.contract import FrameMapNetwork
from vlocnetpp.progress import Status
from vlocnetpp.training.clips import FrameStore
from vlocnetpp.training.config import METRICS, StageConfig, TrainConfig
from vlocnetpp.training.devices import alone
from vlocnetpp.training.frame_map import fill_frame_map
from vlocnetpp.training.interrupt import StopRequests
from vlocnetpp.training.loader import ClipLoader
from vlocnetpp.training.norms import settle_norms
from vlocnetpp.training.run_folder import BEST_NAME, LAST_NAME, Log
from vlocnetpp.training.schedule import Progress, Schedule
from vlocnetpp.training.state import TrainingState
from vlocnetpp.training.tables import Profile, ValidationTable, progress_line
from vlocnetpp.training.validate import UNCERTAINTIES, validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_EVERY_S = 300.0
"""Between validations, so that a crash costs minutes."""
SMOOTH = 0.95
"""Share of the terms before in the running means that are shown."""


@dataclass
class Run:
    """The objects that the steps of a run share."""

    config: TrainConfig
    out: Path
    fabric: Fabric
    state: TrainingState
    schedule: Schedule
    loaders: dict[bool, ClipLoader]
    """By `StageConfig.augment`."""
    stores: Sequence[FrameStore]
    held_out: Sequence[FrameStore]
    class_names: tuple[str, ...]
    chosen_by: str
    log: Log | None
    """None in the processes beside the first: only one writes."""
    status: Status
    table: ValidationTable
    costs: Profile
    stop: StopRequests
    validation_s: float
    """Time of the longest validation so far, before the first an estimate; some stages validate a part of the tasks."""
    smooth: dict[str, float] = field(default_factory=dict)
    """Loss terms as they are shown, each a running mean."""


def mapped(run: Run) -> bool:
    """Whether the scene coordinates are being trained or have been: their front stays as it is from then on."""
    return any(stage.cells for stage in run.config.stages[: run.state.progress.stage + 1])


def agree(run: Run, counts: dict[str, float]) -> tuple[dict[str, float], bool]:
    """Synchronize the processes: the labels of the whole batch, the time, whether to stop."""
    progress, stop = run.state.progress, bool(run.stop.signals)
    if run.fabric.world_size == 1:
        return counts, stop
    first = run.fabric.is_global_zero
    values = [*counts.values(), float(stop), progress.elapsed_s if first else 0.0]
    together = torch.tensor(values, dtype=torch.float64, device=run.fabric.device)
    distributed.all_reduce(together)
    *numbers, stops, progress.elapsed_s = together.tolist()
    return dict(zip(counts, numbers, strict=True)), stops > 0


def time_of_the_first(run: Run, seconds: float) -> float:
    """What the first process has measured. All must decide by it whether a stage ends, or one would wait for ever."""
    if run.fabric.world_size == 1:
        return seconds
    measured = torch.tensor(seconds, dtype=torch.float64, device=run.fabric.device)
    distributed.broadcast(measured, 0)
    return float(measured)


def end_stage(run: Run) -> None:
    """Move on to the next stage."""
    run.state.optimizer = None
    progress = run.state.progress
    progress.stage += 1
    progress.batch = progress.validated = progress.versions = 0
    progress.elapsed_s = 0.0
    progress.usual, progress.recent, run.smooth = {}, {}, {}


def show(run: Run, text: str) -> None:
    """Update the line of progress: the share that is done, and the time left with the validations to come."""
    left_s = run.schedule.left_s(run.state.progress)
    if left_s is not None:
        left_s += run.schedule.validations_left(run.state.progress) * run.validation_s
    run.status.update(run.schedule.passed(run.state.progress), text, left_s)


def show_losses(run: Run, losses: dict[str, float]) -> None:
    """Update the line of progress with running means of the terms: single batches differ so much that nobody sees them
    fall."""
    run.smooth |= {
        name: value + SMOOTH * (run.smooth[name] - value) if name in run.smooth else value
        for name, value in losses.items()
    }
    number, stages = run.state.progress.stage, run.config.stages
    show(run, progress_line(stages[number].name, number + 1, len(stages), run.smooth))


def note_losses(progress: Progress, losses: dict[str, float]) -> None:
    """Add to the sums for the next row of the log."""
    for name, value in losses.items():
        known = progress.recent.setdefault(name, [0.0, 0.0])
        known[0] += value
        known[1] += 1


def settle(run: Run, part: Network) -> None:
    """Settle the norms for streaming (`settle_norms`), and what a network keeps of the training frames; every process
    does the same."""
    with alone(cast(nn.Module, part)):
        settle_norms(part, run.stores, run.fabric.device, run.config.leak_probe, mapped(run))
        if part.config.traits.keeps_frames:
            fill_frame_map(cast(FrameMapNetwork, part), run.stores, run.fabric.device)


def judge(run: Run, part: Network, stage: StageConfig, rate: float, frames_per_s: float) -> None:
    """Validate the network, log the result and save a checkpoint, also as best.pt if it is the best so far."""
    state, began = run.state, time.monotonic()
    show(run, f"{stage.name}: validating on {sum(len(store.names) for store in run.held_out)} frames")
    # Where the features of cells took the time of several, one is made for all of them.
    state.progress.validated = run.schedule.validations_by_now(state.progress)
    found: dict[str, Any] = {}
    best = False
    if stage.tasks != ("depth",):
        settle(run, part)
        if run.held_out:
            device, leak_probe = run.fabric.device, run.config.leak_probe
            found, calibration = validate(part, run.held_out, run.class_names, device, leak_probe)
            state.metrics = {**state.metrics, **found}
            if calibration.pose:
                state.calibration, state.limits = calibration.pose, dict(calibration.limits)
            if calibration.motion:
                state.motion_calibration = calibration.motion
        last = run.config.stages[-1]
        of_cells = {"localization", "odometry"}  # what scene coordinates answer
        last_tasks = (of_cells if last.cells else set(last.tasks)) & set(state.network.config.tasks)
        whole = last_tasks <= set(part.config.tasks) and (not stage.cells or stage is last)
        task, name = run.chosen_by.split(".")
        value = found.get(task, {}).get(name)
        uncertainty = found.get(task, {}).get(UNCERTAINTIES.get(run.chosen_by), 0.0)
        if whole and value is not None and math.isfinite(value):
            best, state.best = is_best(value, uncertainty, state.best, METRICS[run.chosen_by])
    add_row(run, stage, rate, frames_per_s, found)
    for line in run.table.lines(stage.name, state.progress.step, found, best):
        run.status.note(line)
    if run.log is not None:
        run.log.write(curves=True)
    if best:
        save(run, BEST_NAME)
    save(run, LAST_NAME)
    run.validation_s = max(run.validation_s, time.monotonic() - began)


def is_best(value: float, uncertainty: float, best: float | None, sign: int) -> tuple[bool, float]:
    """Whether a validation becomes best.pt, and the best value so far.

    A later checkpoint, which has learned longer, is taken unless it is worse by more than the figure's own uncertainty.
    It is compared with the best value of all, so that many small losses do not add up.

    Args:
        sign: 1 where more is better, -1 where less is.
    """
    if best is None:
        return True, value
    margin = uncertainty if math.isfinite(uncertainty) else 0.0
    return sign * value > sign * best - margin, max(value, best) if sign > 0 else min(value, best)


def add_row(run: Run, stage: StageConfig, rate: float, frames_per_s: float, metrics: dict[str, Any]) -> None:
    """A row of the log: the mean losses since the row before it."""
    progress = run.state.progress
    losses = {name: total / number for name, (total, number) in progress.recent.items()}
    progress.recent = {}
    if run.log is not None:
        scalars = run.state.loss.scalars()
        run.log.add(stage.name, progress.step, progress.total_s, frames_per_s, rate, losses, scalars, metrics)


def save(run: Run, name: str, settled: bool = True) -> None:
    """Write a checkpoint and the log, in one process.

    Args:
        settled: whether the norms are those of a robot's stream (`settle`), without which no file is made of it.
    """
    if run.log is None:
        return
    run.state.scaler = run.fabric.strategy.precision.state_dict()
    run.state.save(run.out / name, run.config, settled)
    if name == LAST_NAME:
        run.log.write(curves=False)
