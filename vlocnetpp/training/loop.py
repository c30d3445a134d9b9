"""The training loop: the stages of a schedule, their steps, validations and checkpoints."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from vlocnetpp.losses import MultitaskLoss, class_weights, count_labels, has_label, make_terms
from vlocnetpp.network import ViewConfig, build_network
from vlocnetpp.network.contract import CellNetwork, PretrainedNetwork, frozen_parts
from vlocnetpp.network.pretrained import load_pretrained
from vlocnetpp.progress import Status
from vlocnetpp.training.ahead import said_ahead, said_of_room, validation_seconds
from vlocnetpp.training.cell_stage import cell_steps, train_cell_stage
from vlocnetpp.training.cell_training import SHOWN
from vlocnetpp.training.checkpoint import load_checkpoint
from vlocnetpp.training.clips import Clips, FrameStore, map_store
from vlocnetpp.training.config import UNCHANGED, StageConfig, TrainConfig, save_config
from vlocnetpp.training.datasets import TrainingError, configure_network, describe_data, open_data
from vlocnetpp.training.devices import share_norms, start_fabric
from vlocnetpp.training.interrupt import Interrupted, StopRequests, stop_requests
from vlocnetpp.training.labels import follow_labels
from vlocnetpp.training.loader import ClipLoader
from vlocnetpp.training.map_cloud import write_map_cloud
from vlocnetpp.training.optimization import (
    GRADIENT_NORM,
    ClipLoss,
    make_optimizer,
    parameter_groups,
    split_clips,
)
from vlocnetpp.training.run import (
    SAVE_EVERY_S,
    Run,
    add_row,
    agree,
    end_stage,
    judge,
    mapped,
    note_losses,
    save,
    settle,
    show,
    show_losses,
    time_of_the_first,
)
from vlocnetpp.training.run_folder import (
    CONFIG_NAME,
    LAST_NAME,
    Log,
    check_folder,
    only_run_in,
    save_bad_batch,
    write_environment,
)
from vlocnetpp.training.schedule import Schedule, best_metric, check_depth, check_stages, learning_rate
from vlocnetpp.training.stage import check_frozen, freeze, stage_part, stage_terms, trained_before
from vlocnetpp.training.state import TrainingState
from vlocnetpp.training.tables import Profile, ValidationTable, losses_line

ROW_BATCHES = 50
"""The log has a row for each epoch, or for so many batches where epochs are shorter."""
USUAL_BATCHES, UNUSUAL = 20, 100.0
"""A term so many times larger than in the first batches of its stage has diverged."""
SKIPS = 20
"""So many steps in a row may overflow in fp16 while its scale is found."""


def train(config: TrainConfig, out: Path, resume: bool = False, profile: bool = False) -> int:
    """Train a network under the configuration's budget or epochs into the folder of a run.

    The folder gets what `run_folder` names: checkpoints after every validation and at the end, a log, curves.

    Args:
        resume: continue the run in `out`. The configuration must be the run's own, but for budget, epochs, device,
            workers and the places of data and cache.
        profile: print at the end what the parts of a step cost.

    Returns:
        0 when the run is over, else the number of the signal that ended it early; it can be resumed, or, where there
        is no checkpoint yet, started again.

    Raises:
        TrainingError, ConfigError, DataError, CheckpointError, ModelFileError: with one line each.
    """
    check_folder(out, resume)
    saved = load_checkpoint(out / LAST_NAME) if resume else None
    if saved is not None and saved["progress"]["done"]:
        raise TrainingError(f"{out}: is trained to its end; export it, or train anew into another folder")
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())
        try:
            with stop.at_once():
                run = prepare(config, out, saved, profile, stack, stop)
        except Interrupted:
            return stop.signals[0]
        while run.state.progress.stage < len(run.config.stages):
            cells = run.config.stages[run.state.progress.stage].cells
            if train_cell_stage(run) if cells else train_stage(run):
                return stop.signals[0] if stop.signals else signal.SIGTERM
        network = run.state.network
        if network.config.traits.trains_cells and run.log is not None:
            show(run, "thinning the map's point cloud")
            write_map_cloud(out, cast(CellNetwork, network), map_store(run.stores), run.fabric.device)
        run.state.progress.done = True
        save(run, LAST_NAME)
        if profile:
            run.fabric.print(run.costs.table())
    return 0


def prepare(
    config: TrainConfig, out: Path, saved: dict[str, Any] | None, profile: bool, stack: ExitStack, stop: StopRequests
) -> Run:
    """Open the data, build or restore the network and the folder of the run: all that comes before its first step.

    Args:
        saved: the checkpoint to continue from.
        stack: closes what is opened.
    """
    data = open_data(config)
    config, notes = follow_labels(config, data)
    settings = configure_network(config, data)
    chosen_by = best_metric(config, settings)
    fabric = start_fabric(config)
    locked = fabric.is_global_zero and out.is_dir()
    if locked:
        stack.enter_context(only_run_in(out))  # before the work of loading
    torch.manual_seed(config.seed)
    network = build_network(settings)
    if config.pretrained and saved is None:
        fabric.print(load_pretrained(network, Path(config.pretrained)))
    for note in (*notes, *check_frozen(network, config.stages)):
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
    check_stages(config, settings)
    for stage in config.stages:
        if not stage.cells:
            stage_terms(state.loss, stage_part(network, stage), stage)
    check_depth(config, settings, any(store.has_depth for store in stores))
    if settings.traits.trains_cells:
        posed = int(map_store(stores).posed_N.sum())
        for line in said_of_room(config, out, cast(CellNetwork, network), state.progress, posed):
            fabric.print(line)
    if settings.traits.attribution and saved is None:
        fabric.print(cast(PretrainedNetwork, network).load_weights())
    if fabric.world_size > 1:
        share_norms(cast(nn.Module, network))
    network.to(fabric.device)
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    state.loss.to(fabric.device)
    loaders = {
        changed: ClipLoader(
            stores, settings, config.data, config.augment if changed else UNCHANGED, config.batch, config.seed,
            config.data.workers, fabric.global_rank, fabric.world_size, fabric.device.type == "cuda",
            config.data.weights or None,
        )
        for changed in sorted({stage.augment for stage in config.stages})
    }  # fmt: skip
    for loader in loaders.values():
        stack.enter_context(loader)
    log = None
    if fabric.is_global_zero:
        if not locked:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_run_in(out))
        digest = state.about["dataset"]["digest"]
        write_environment(out, fabric.device, fabric.world_size, config.precision, digest)
        save_config(config, out / CONFIG_NAME)
        log = Log(out, state.rows, terms, SHOWN if settings.traits.trains_cells else ())
        stack.callback(log.close)
    schedule = Schedule(config, epoch_batches(config, settings.view, stores, len(next(iter(loaders.values())))))
    validation_s = 0.0
    # With a leak probe or of depth alone, a step needs what is not known yet.
    if not config.leak_probe and settings.tasks:
        validation_s = validation_seconds(network, held_out, fabric.device)
        for line in said_ahead(config, schedule, state.progress, held_out, validation_s):
            fabric.print(line)
    return Run(
        config, out, fabric, state, schedule, loaders, stores, held_out,
        tuple(each.name for each in data.classes), chosen_by, log,
        stack.enter_context(Status("training", quiet=log is None)),
        ValidationTable(settings.tasks), Profile(fabric.device, profile), stop, validation_s,
    )  # fmt: skip


def train_stage(run: Run) -> bool:
    """Train the current stage to its end and move on to the next. Returns True where a signal ended it early."""
    config, fabric, state, progress = run.config, run.fabric, run.state, run.state.progress
    network, stage = state.network, config.stages[state.progress.stage]
    depth_stage = stage.tasks == ("depth",)
    part = stage_part(network, stage)
    terms = stage_terms(state.loss, part, stage)
    if config.compile:
        part.compile()
    groups = parameter_groups(network, state.loss, depth_stage, config.weight_decay, stage.front_rate, mapped(run))
    if stage.frozen_shared:
        freeze(trained_before(network, config.stages, progress.stage))
    optimizer = make_optimizer(groups, config)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    clip_loss, stepper = fabric.setup(ClipLoss(part, state.loss, stage, config), optimizer)
    loader = run.loaders[stage.augment]
    row_batches = max(len(loader), ROW_BATCHES)
    saved_at, skipped = progress.total_s, 0
    labelled = progress.batch > 0
    while run.schedule.share(progress) < 1:
        epoch, start = divmod(progress.batch, len(loader))
        began = time.monotonic()
        run.costs.start()
        for index, clips in loader.epoch((progress.stage, epoch), start):
            run.costs.lap("loading")
            if depth_stage:
                index, clips = index[:, -1:], clips.last_frames()
            counts, stop = agree(run, count_labels(terms, clips.frames()))
            if stop:
                state.optimizer = optimizer.state_dict()
                if not depth_stage:
                    show(run, f"{stage.name}: settling the norms before saving")
                    settle(run, part)
                save(run, LAST_NAME)
                return True
            progress.batch += 1
            losses: dict[str, float] = {}
            if has_label(terms, counts):
                labelled = True
                rate = learning_rate(stage, run.schedule.share(progress))
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                losses, norm = clipped_gradients(run, stage, clip_loss, stepper, clips, counts)
                skipped = 0 if math.isfinite(norm) else skipped + 1
                refuse_if_broken(run, stage, losses, norm, skipped, index, clips)
                stepper.step()
                stepper.zero_grad(set_to_none=True)
                progress.step += 1
                run.costs.lap("optimizer")
            spent = time_of_the_first(run, time.monotonic() - began)
            began = time.monotonic()
            progress.elapsed_s += spent
            progress.total_s += spent
            note_losses(progress, losses)
            frames_per_s = index.size * fabric.world_size / spent
            show_losses(run, losses)
            validation = run.schedule.validation_due(progress)
            if validation:
                state.optimizer = optimizer.state_dict()
                judge(run, part, stage, learning_rate(stage, run.schedule.share(progress)), frames_per_s)
            elif progress.batch % row_batches == 0:
                add_row(run, stage, learning_rate(stage, run.schedule.share(progress)), frames_per_s, {})
            if not validation and progress.total_s - saved_at > SAVE_EVERY_S:
                state.optimizer = optimizer.state_dict()
                save(run, LAST_NAME, settled=depth_stage)
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
    if run.schedule.validation_due(progress):  # a run that goes on at the end of a stage
        judge(run, part, stage, learning_rate(stage, 1.0), 0.0)
    end_stage(run)
    return False


def clipped_gradients(
    run: Run, stage: StageConfig, clip_loss: Any, stepper: Any, clips: Clips, counts: dict[str, float]
) -> tuple[dict[str, float], float]:
    """The gradients of a batch, clipped: its losses, and the norm of the gradients before."""
    seed_dropout(run)
    clip_loss.train()
    if stage.tasks != ("depth",):
        for still in frozen_parts(run.state.network, mapped(run)):
            still.eval()
    losses = gradients(run, stage, clip_loss, clips, counts)
    norm = run.fabric.clip_gradients(clip_loss, stepper, max_norm=GRADIENT_NORM, error_if_nonfinite=False)
    return losses, float(norm)


def epoch_batches(config: TrainConfig, view: ViewConfig, stores: Sequence[FrameStore], batches: int) -> list[int]:
    """For each stage, how many batches show all of its data once."""
    frames = int(map_store(stores).posed_N.sum())
    return [cell_steps(stage, frames, view) if stage.cells else batches for stage in config.stages]


def seed_dropout(run: Run) -> None:
    """Seed this step by its place in the run, so that a resumed run drops the same units, and each process others."""
    progress = run.state.progress
    place = (run.config.seed, progress.stage, progress.batch, run.fabric.global_rank)
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))


def gradients(run: Run, stage: StageConfig, clip_loss: Any, clips: Clips, counts: dict[str, float]) -> dict[str, float]:
    """Forward and backward through a batch, in parts if wanted. Returns the terms of the whole batch."""
    fabric = run.fabric
    # As many in every process, since each part ends in sums over all of them.
    parts = split_clips(clips, min(run.config.accumulate, run.loaders[stage.augment].smallest_share))
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
    names = [[run.loaders[stage.augment].names[i] for i in clip] for clip in index]
    folder = save_bad_batch(run.out, clips, names, run.fabric.global_rank)
    raise TrainingError(
        f"{run.out}: {what} at step {progress.step}, stage '{stage.name}', frames "
        f"{', '.join(clip[-1] for clip in names[:4])}, ...; the batch is in {folder}; lower the learning rate or "
        "mend its frames"
    )
