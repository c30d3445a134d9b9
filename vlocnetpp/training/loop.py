"""The training loop: the stages of a schedule, their steps, validations and checkpoints."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import distributed, nn

from vlocnetpp.losses import MultitaskLoss, class_weights, count_labels, has_label, make_terms
from vlocnetpp.network import Network, build_network
from vlocnetpp.network.pretrained import load_pretrained
from vlocnetpp.progress import Status
from vlocnetpp.training.checkpoint import load_checkpoint
from vlocnetpp.training.clips import Clips, FrameStore
from vlocnetpp.training.config import METRICS, StageConfig, TrainConfig, save_config
from vlocnetpp.training.datasets import TrainingError, configure_network, describe_data, open_data
from vlocnetpp.training.devices import alone, share_norms, start_fabric
from vlocnetpp.training.interrupt import stop_requests
from vlocnetpp.training.loader import ClipLoader
from vlocnetpp.training.norms import settle_norms
from vlocnetpp.training.optimization import (
    GRADIENT_NORM,
    ClipLoss,
    make_optimizer,
    parameter_groups,
    split_clips,
)
from vlocnetpp.training.run_folder import BEST_NAME, CONFIG_NAME, LAST_NAME, Log, save_bad_batch, write_environment
from vlocnetpp.training.schedule import Schedule, best_metric, check_stages, learning_rate
from vlocnetpp.training.stage import check_frozen, freeze, stage_part, stage_terms, trained_before
from vlocnetpp.training.state import TrainingState
from vlocnetpp.training.tables import Profile, ValidationTable, losses_line
from vlocnetpp.training.validate import validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_EVERY_S = 300.0
"""Between validations, so that a crash costs minutes."""
ROW_BATCHES = 50
"""The log has a row for each epoch, or for so many batches where epochs are shorter."""
USUAL_BATCHES, UNUSUAL = 20, 100.0
"""A term so many times larger than in the first batches of its stage has diverged."""
SKIPS = 20
"""So many steps in a row may overflow in fp16 while its scale is found."""


@dataclass
class Run:
    """What the steps of a run share."""

    config: TrainConfig
    out: Path
    fabric: Fabric
    state: TrainingState
    schedule: Schedule
    loader: ClipLoader
    stores: Sequence[FrameStore]
    held_out: Sequence[FrameStore]
    class_names: tuple[str, ...]
    chosen_by: str
    log: Log | None
    """None in the processes beside the first: only one writes."""
    status: Status
    table: ValidationTable
    costs: Profile
    stopped: list[int]
    """Signals that asked to end."""


def train(config: TrainConfig, out: Path, resume: bool = False, profile: bool = False) -> int:
    """Train a network under the configuration's budget or epochs into the folder of a run.

    The folder gets what `run_folder` names: checkpoints after every validation and at the end, a log, curves.

    Args:
        resume: continue the run in `out`. The configuration must be the run's own, but for budget, epochs, device,
            workers and the places of data and cache.
        profile: print at the end what the parts of a step cost.

    Returns:
        0 when the run is over, else the number of the signal that ended it early; it can be resumed.

    Raises:
        TrainingError, ConfigError, DataError, CheckpointError, ModelFileError: with one line each.
    """
    if (out / LAST_NAME).exists() and not resume:
        raise TrainingError(f"{out}: exists already; continue it with --resume or name another folder")
    saved = load_checkpoint(out / LAST_NAME) if resume else None
    if saved is not None and saved["progress"]["done"]:
        raise TrainingError(f"{out}: is trained to its end; export it, or train anew into another folder")
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_requests())
        data = open_data(config)
        settings = configure_network(config, data)
        chosen_by = best_metric(config, settings)
        fabric = start_fabric(config)
        torch.manual_seed(config.seed)
        network = build_network(settings)
        if config.pretrained and not resume:
            fabric.print(load_pretrained(network, Path(config.pretrained)))
        for note in check_frozen(network, config.stages):
            fabric.print(note)
        tasks = {task for stage in config.stages for task in stage.tasks}
        terms = make_terms(config.loss, tasks & {"depth", *settings.tasks})
        loss = MultitaskLoss(terms, config.loss.literal_eq9)
        state = TrainingState(network, loss, describe_data(data, settings))
        if saved is not None:
            state.restore(saved, out, config.data.root)
            fabric.strategy.precision.load_state_dict(state.scaler)
        stores, held_out = data.stores(settings, config)
        if config.loss.class_balance and "segmentation" in settings.tasks:
            pixels_C = sum(store.class_pixels(settings.scene.classes) for store in stores)
            state.loss.class_weights_C = class_weights(torch.from_numpy(pixels_C), config.loss.class_balance)
        check_stages(config, settings, any(store.has_depth for store in stores))
        if fabric.world_size > 1:
            share_norms(cast(nn.Module, network))
        network.to(fabric.device)
        if config.channels_last:
            network.to(memory_format=torch.channels_last)
        state.loss.to(fabric.device)
        loader = ClipLoader(
            stores, settings, config.data, config.augment, config.batch, config.seed, config.data.workers,
            fabric.global_rank, fabric.world_size, fabric.device.type == "cuda", config.data.weights or None,
        )  # fmt: skip
        stack.enter_context(loader)
        log = None
        if fabric.is_global_zero:
            out.mkdir(parents=True, exist_ok=True)
            save_config(config, out / CONFIG_NAME)
            digest = state.about["dataset"]["digest"]
            write_environment(out, fabric.device, fabric.world_size, config.precision, digest)
            log = Log(out, state.rows, terms)
            stack.callback(log.close)
        run = Run(
            config, out, fabric, state, Schedule(config, len(loader)), loader, stores, held_out,
            tuple(each.name for each in data.classes), chosen_by, log,
            stack.enter_context(Status("training", quiet=log is None)),
            ValidationTable(settings.tasks, terms), Profile(fabric.device, profile), stopped,
        )  # fmt: skip
        while state.progress.stage < len(config.stages):
            if train_stage(run):
                return stopped[0] if stopped else signal.SIGTERM
        state.progress.done = True
        save(run, LAST_NAME)
        if profile:
            fabric.print(run.costs.table())
    return 0


def train_stage(run: Run) -> bool:
    """Train the current stage to its end and move on to the next. Returns True where a signal ended it early."""
    config, fabric, state, progress = run.config, run.fabric, run.state, run.state.progress
    network, stage = state.network, config.stages[state.progress.stage]
    depth_stage, depth_network = stage.tasks == ("depth",), network.depth_network()
    part = stage_part(network, stage)
    terms = stage_terms(state.loss, part, stage)
    if config.compile:
        part.compile()
    groups = parameter_groups(network, state.loss, depth_stage, config.weight_decay)
    if stage.frozen_shared:
        freeze(trained_before(network, config.stages, progress.stage))
    optimizer = make_optimizer(groups, config)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    clip_loss, stepper = fabric.setup(ClipLoss(part, state.loss, stage, config), optimizer)
    row_batches = max(len(run.loader), ROW_BATCHES)
    saved_at, skipped = progress.total_s, 0
    while run.schedule.share(progress) < 1:
        epoch, start = divmod(progress.batch, len(run.loader))
        labelled = start > 0
        began = time.monotonic()
        run.costs.start()
        for index, clips in run.loader.epoch((progress.stage, epoch), start):
            run.costs.lap("loading")
            if depth_stage:
                index, clips = index[:, -1:], clips.last_frames()
            counts, stop = agree(run, count_labels(terms, clips.frames()))
            if stop:
                state.optimizer = optimizer.state_dict()
                if not depth_stage:
                    settle(run, part)
                save(run, LAST_NAME)
                return True
            progress.batch += 1
            losses: dict[str, float] = {}
            if has_label(terms, counts):
                labelled = True
                rate = learning_rate(stage, run.schedule.share(progress))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                seed_dropout(run)
                clip_loss.train()
                if depth_network is not None and not depth_stage:
                    depth_network.eval()
                losses = gradients(run, clip_loss, clips, counts)
                norm = float(
                    fabric.clip_gradients(clip_loss, stepper, max_norm=GRADIENT_NORM, error_if_nonfinite=False)
                )
                skipped = 0 if math.isfinite(norm) else skipped + 1
                refuse_if_broken(run, stage, losses, norm, skipped, index, clips)
                stepper.step()
                stepper.zero_grad(set_to_none=True)
                progress.step += 1
                run.costs.lap("optimizer")
            spent = time.monotonic() - began
            began = time.monotonic()
            progress.elapsed_s += spent
            progress.total_s += spent
            for name, value in losses.items():
                known = progress.recent.setdefault(name, [0.0, 0.0])
                known[0] += value
                known[1] += 1
            frames_per_s = index.size * fabric.world_size / spent
            text = f"stage {stage.name}, {frames_per_s:.0f} frames/s, {losses_line(losses)}"
            run.status.update(run.schedule.passed(progress), text)
            validation = run.schedule.validation_due(progress)
            if validation:
                state.optimizer = optimizer.state_dict()
                judge(run, part, stage, learning_rate(stage, run.schedule.share(progress)), frames_per_s)
            elif progress.batch % row_batches == 0:
                add_row(run, stage, learning_rate(stage, run.schedule.share(progress)), frames_per_s, {})
            if not validation and progress.total_s - saved_at > SAVE_EVERY_S:
                state.optimizer = optimizer.state_dict()
                save(run, LAST_NAME)
                validation = True
            if validation:
                saved_at, began = progress.total_s, time.monotonic()
                run.costs.start()
            else:
                run.costs.lap("logging")
            if run.schedule.share(progress) >= 1:
                break
        if not labelled:
            raise TrainingError(
                f"{config.data.root}: no frame has a label for stage '{stage.name}' ({', '.join(stage.tasks)}); "
                "odometry needs clips of at least two posed frames"
            )
    state.optimizer = None
    progress.stage += 1
    progress.batch = progress.validated = 0
    progress.elapsed_s = 0.0
    progress.usual, progress.recent = {}, {}
    return False


def agree(run: Run, counts: dict[str, float]) -> tuple[dict[str, float], bool]:
    """What all processes must see alike: the labels of the whole batch, the time, whether to stop."""
    progress, stop = run.state.progress, bool(run.stopped)
    if run.fabric.world_size == 1:
        return counts, stop
    first = run.fabric.is_global_zero
    values = [*counts.values(), float(stop), progress.elapsed_s if first else 0.0]
    together = torch.tensor(values, dtype=torch.float64, device=run.fabric.device)
    distributed.all_reduce(together)
    *numbers, stops, progress.elapsed_s = together.tolist()
    return dict(zip(counts, numbers, strict=True)), stops > 0


def seed_dropout(run: Run) -> None:
    """Seed this step by its place in the run, so that a resumed run drops the same units, and each process others."""
    progress = run.state.progress
    place = (run.config.seed, progress.stage, progress.batch, run.fabric.global_rank)
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))


def gradients(run: Run, clip_loss: Any, clips: Clips, counts: dict[str, float]) -> dict[str, float]:
    """Forward and backward through a batch, in parts if wanted. Returns the terms of the whole batch."""
    fabric = run.fabric
    parts = split_clips(clips, run.config.accumulate)
    terms: dict[str, torch.Tensor] = {}
    for number, fields in enumerate(parts):
        share = len(fields[0]) / len(clips.image_BL3HW)
        on_device = Clips(*fields).to(fabric.device)
        last = number == len(parts) - 1 or fabric.world_size == 1
        with nullcontext() if last else fabric.no_backward_sync(clip_loss):
            total, found = clip_loss(tuple(vars(on_device).values()), counts, share)
            run.costs.lap("forward")
            fabric.backward(total)
            run.costs.lap("backward")
        for name, value in found.items():
            terms[name] = terms[name] + value if name in terms else value
    return dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))


def refuse_if_broken(
    run: Run, stage: StageConfig, losses: dict[str, float], norm: float, skipped: int, index: np.ndarray, clips: Clips
) -> None:
    """Save the batch and raise TrainingError where the loss or its gradient is not finite, or a term has run away."""
    progress = run.state.progress
    likelihoods = {term.name for term in run.state.loss.terms if term.likelihood}
    far = {}
    for name, value in losses.items():
        if name in likelihoods:
            continue
        if progress.batch <= USUAL_BATCHES:
            progress.usual[name] = max(value, progress.usual.get(name, 0.0))
        elif name in progress.usual and value > UNUSUAL * progress.usual[name]:
            far[name] = value
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    allowed = SKIPS if run.config.precision == "fp16" else 0
    if not broken and not far and skipped <= allowed:
        return
    if broken:
        what = f"the loss ({', '.join(broken)}) is not finite"
    elif far:
        what = f"the loss has diverged ({losses_line(far)})"
    else:
        what = "the gradient of the loss is not finite"
    names = [[run.loader.names[i] for i in clip] for clip in index]
    folder = save_bad_batch(run.out, clips, names, run.fabric.global_rank)
    raise TrainingError(
        f"{run.out}: {what} at step {progress.step}, stage '{stage.name}', frames "
        f"{', '.join(clip[-1] for clip in names[:4])}, ...; the batch is in {folder}; lower the learning rate or "
        "mend its frames"
    )


def settle(run: Run, part: Network) -> None:
    """Make the norms fit for a robot; every process does the same."""
    with alone(cast(nn.Module, part)):
        settle_norms(part, run.stores, run.fabric.device, run.config.leak_probe)


def judge(run: Run, part: Network, stage: StageConfig, rate: float, frames_per_s: float) -> None:
    """Validate the network, log it and save it, as the best if it is."""
    state = run.state
    state.progress.validated += 1
    found: dict[str, Any] = {}
    best = False
    if stage.tasks != ("depth",):
        settle(run, part)
        if run.held_out:
            device, leak_probe = run.fabric.device, run.config.leak_probe
            found, calibration = validate(part, run.held_out, run.class_names, device, leak_probe)
            state.metrics = {**state.metrics, **found}
            state.calibration = calibration or state.calibration
        last_tasks = set(run.config.stages[-1].tasks) & set(state.network.config.tasks)
        task, name = run.chosen_by.split(".")
        value = found.get(task, {}).get(name)
        if last_tasks <= set(part.config.tasks) and value is not None and math.isfinite(value):
            sign = METRICS[run.chosen_by]
            best = state.best is None or sign * value > sign * state.best
            state.best = value if best else state.best
    add_row(run, stage, rate, frames_per_s, found)
    for line in run.table.lines(stage.name, state.progress.step, found, state.loss.scalars(), best):
        run.status.note(line)
    if run.log is not None:
        run.log.write(curves=True)
    if best:
        save(run, BEST_NAME)
    save(run, LAST_NAME)


def add_row(run: Run, stage: StageConfig, rate: float, frames_per_s: float, metrics: dict[str, Any]) -> None:
    """A row of the log: the mean losses since the row before it."""
    progress = run.state.progress
    losses = {name: total / number for name, (total, number) in progress.recent.items()}
    progress.recent = {}
    if run.log is not None:
        scalars = run.state.loss.scalars()
        run.log.add(stage.name, progress.step, progress.total_s, frames_per_s, rate, losses, scalars, metrics)


def save(run: Run, name: str) -> None:
    """Write a checkpoint and the log, in one process."""
    if run.log is None:
        return
    run.state.scaler = run.fabric.strategy.precision.state_dict()
    run.state.save(run.out / name, run.config)
    if name == LAST_NAME:
        run.log.write(curves=False)
