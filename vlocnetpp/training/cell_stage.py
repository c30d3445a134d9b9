"""The stage that trains scene coordinates on single cells of all images, through the frozen front."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed

from vlocnetpp.data import triangulation
from vlocnetpp.data.cache import cache_folder, room
from vlocnetpp.geometry import compose
from vlocnetpp.network import ViewConfig
from vlocnetpp.network.blocks.hypercolumns import STRIDE
from vlocnetpp.network.contract import CellNetwork
from vlocnetpp.progress import duration
from vlocnetpp.training.cell_training import CellTraining, CellTrainingConfig, in_half
from vlocnetpp.training.cell_views import training_views, triangulated
from vlocnetpp.training.cells import CellBuffer, View, fits, is_built, largest_size, open_cells
from vlocnetpp.training.clips import FrameStore, gather_clips, map_store
from vlocnetpp.training.config import StageConfig, TrainConfig
from vlocnetpp.training.datasets import TrainingError
from vlocnetpp.training.interrupt import Interrupted
from vlocnetpp.training.run import (
    SAVE_EVERY_S,
    Run,
    agree,
    end_stage,
    judge,
    note_losses,
    save,
    show_losses,
    time_of_the_first,
)
from vlocnetpp.training.run_folder import LAST_NAME
from vlocnetpp.training.stage import stage_part

MEASURED = 64
"""Number of training images, evenly spread, on which mean and deviation of the front's features are measured."""
FEATURES_SHARE = 3.0
"""A stage of cells should have so many times the time that its features take."""
TIMED = 4
"""Images by which the time of features is measured."""
LOOKED_AFTER = 20
"""Steps between checks of the clock, of signals and updates of the progress."""


def measure_features(run: Run, store: FrameStore) -> None:
    """Measure mean and deviation of the front's features on evenly spread images of the map, the same each time."""
    network = run.state.network
    index = np.linspace(0, len(store.names) - 1, min(MEASURED, len(store.names))).astype(int)
    clips = gather_clips(store, index[:, None], network.config, None, np.random.default_rng(0))
    with torch.no_grad():
        cast(CellNetwork, network).measure(clips.image_BL3HW[:, 0].to(run.fabric.device).float())
    if run.fabric.world_size > 1:  # the same to the last digit, by which the buffer has its name
        for module in cast(CellNetwork, network).front_modules():
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


def colour_store(store: FrameStore, recorded_camera: tuple[float, ...]) -> FrameStore:
    """The store with poses of the colour camera, where the recorded ones are of a camera beside it."""
    back = torch.tensor([*(-value for value in recorded_camera), 1.0, 0.0, 0.0, 0.0])
    return replace(store, pose_N7=compose(store.pose_N7, back.expand_as(store.pose_N7)))


def open_buffer(run: Run, store: FrameStore, stage: StageConfig) -> CellBuffer:
    """The cells of all posed images of the map, built where they are not in the cache."""
    config, network = run.config, run.state.network
    cells = cast(CellNetwork, network)
    store = colour_store(store, network.config.scene.recorded_camera)
    device = run.fabric.device
    half = in_half(stage.half, device)

    @torch.no_grad()
    def columns(image_B3HW: Tensor) -> Tensor:
        return cell_features(cells, image_B3HW.to(device), half).cpu()

    folder = buffer_folder(config, run.out)
    built_from = (
        run.state.about["dataset"]["digest"], weights_digest(cells), config.data.split,
        config.data.validation_share, config.data.validation_sequences, astuple(config.data.depth_camera),
        astuple(config.augment), config.seed, astuple(network.config.view),
        network.config.scene.focal_correction, network.config.scene.recorded_camera, half,
    )  # fmt: skip
    shape = (network.config.view.height, network.config.view.width_px)
    layout = (cells.cell_channels(), cells.cell_stride(), shape, built_from)
    posed, unlabelled = training_views(store, network.config, config.augment, config.seed)
    if not posed:
        raise TrainingError(f"{config.data.root}: no training frame has a pose, stage '{stage.name}' learns from none")
    lacking = triangulation.wanted(store.deep_N[store.posed_N.numpy() > 0])
    progress = run.state.progress

    def built(count: int) -> bool:
        return is_built(folder, count * posed, *layout)

    if not progress.versions and run.fabric.is_global_zero:
        progress.versions = choose_versions(
            run,
            stage,
            fitting=lambda count: fits(count * posed, *layout[:3]),
            roomy=lambda count: built(count) or largest_size(count * posed, *layout[:3]) <= room(folder),
            built=built,
            version_s=lambda: posed * seconds_per_image(posed, unlabelled, columns),
            labels_s=triangulation.seconds(posed) if lacking else 0.0,
        )
        save(run, LAST_NAME)  # a run that is killed meanwhile goes on with the same buffer
    progress.versions = run.fabric.broadcast(progress.versions)
    # Asked for where the buffer is built, by the process that builds it; a cached one has its labels.
    points = cache(lambda: triangulated(store, run.status.note)) if lacking else None
    _, view = training_views(store, network.config, config.augment, config.seed, points)
    return open_cells(folder, progress.versions * posed, view, columns, *layout)


def buffer_folder(config: TrainConfig, out: Path) -> Path:
    """Where the buffer of a run lies."""
    return Path(cache_folder(config.data.cache) or out)


def choose_versions(
    run: Run,
    stage: StageConfig,
    fitting: Callable[[int], bool],
    roomy: Callable[[int], bool],
    built: Callable[[int], bool],
    version_s: Callable[[], float],
    labels_s: float,
) -> int:
    """In how many versions the images are learned from: all that the stage asks for, or half as many, a quarter and so
    on where their features would take over a third of its time, or more than a buffer may hold, or than the disk has
    room for.

    Args:
        fitting: whether the features of so many versions fit into a buffer.
        roomy: whether the disk has room for them.
        built: whether they are in the cache.
        version_s: measures the seconds that the features of one version take.
        labels_s: seconds that the labels take beside them.
    """
    asked = 1 + stage.augmentations
    possible = [count for count in version_counts(stage) if fitting(count)] or [1]
    counts = [count for count in possible if roomy(count)] or [1]
    left_s = run.schedule.stage_left_s(run.state.progress)
    if left_s is None or built(counts[0]):
        versions = counts[0]
    else:
        most = (left_s / FEATURES_SHARE - labels_s) / version_s()
        versions = next((count for count in counts if count <= most or built(count)), 1)
    said = f"{versions} of {asked} versions of each image"
    if versions < asked:
        if versions < counts[0]:
            why = f"would take over a third of stage '{stage.name}'"
        else:
            why = "have no room on the disk" if versions < possible[0] else "do not fit"
        said += f": the features of more {why}"
    run.status.note(said)
    return versions


def version_counts(stage: StageConfig) -> list[int]:
    """In how many versions the images of a stage may be learned from: all that it asks for, half as many, and so on."""
    asked = 1 + stage.augmentations
    return [asked >> times for times in range(asked.bit_length())]


def seconds_per_image(posed: int, view: Callable[[int], View], columns: Callable[[Tensor], Tensor]) -> float:
    """Seconds that an augmented image and its features take here.

    Args:
        posed: number of images without augmentation; the first augmentation begins there.
    """
    seconds = []
    for _ in range(2):  # the first one warms up
        began = time.monotonic()
        columns(torch.stack([view(posed + i % posed).image_3HW.float() for i in range(TIMED)]))
        seconds.append((time.monotonic() - began) / TIMED)
    return min(seconds)


def cell_features(cells: CellNetwork, image_B3HW: Tensor, half: bool) -> Tensor:
    """Features (B, C, H/stride, W/stride) of images through the frozen front; in bfloat16 where `half`.

    That is six times as fast on a CPU with instructions for it, and changes a feature by a twentieth of its deviation.
    """
    with torch.autocast(image_B3HW.device.type, torch.bfloat16, enabled=half):
        return cells.cell_features(image_B3HW.contiguous(memory_format=torch.channels_last))


def weights_digest(cells: CellNetwork) -> str:
    """Digest of the weights that decide a cell's features."""
    digest = hashlib.sha256()
    for module in cells.front_modules():
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cell_steps(stage: StageConfig, frames: int, view: ViewConfig) -> int:
    """Steps in which as many cells are drawn as all images have together."""
    cells = (view.height // STRIDE) * (view.width_px // STRIDE)
    return max(1, round(frames * cells / stage.cells))


def train_cells(
    run: Run, stage: StageConfig, after_steps: Callable[[dict[str, float], float, float, dict[str, Any]], bool]
) -> bool:
    """Train the scene coordinates to the end of the stage. Returns True where a signal ended it early.

    Args:
        after_steps: is called after every few steps with the losses, images' worth of cells a second, the learning rate
            and the optimizer's state; logs, validates and saves; returns whether to stop.

    Raises TrainingError where the loss is not finite.
    """
    state, progress = run.state, run.state.progress
    cells = cast(CellNetwork, state.network)
    store = map_store(run.stores)
    began = time.monotonic()
    state.network.eval()
    try:
        with run.stop.at_once():
            if not progress.versions:
                measure_features(run, store)
            buffer = open_buffer(run, store, stage)
            cells.fit_novelty(buffer.pooled())
            cells.cell_head().fit_regions(buffer.places())
    except Interrupted:
        save(run, LAST_NAME)
        return True
    per_image = len(buffer) / buffer.views
    assert not isinstance(stage.learning_rate, tuple)  # StageConfig refuses it
    settings = CellTrainingConfig(stage.cells, stage.learning_rate, run.config.weight_decay, half=stage.half)
    cells.cell_head().requires_grad_(True)  # a stage of other tasks has frozen it
    training = CellTraining(cells.cell_head(), buffer, settings, run.fabric.device)
    if state.optimizer is not None:
        training.optimizer.load_state_dict(state.optimizer)
    # Building the buffer is part of what the stage costs.
    spent = time_of_the_first(run, time.monotonic() - began)
    progress.elapsed_s += spent
    progress.total_s += spent
    refuse_features_alone(run)
    began = time.monotonic()
    while run.schedule.share(progress) < 1:
        seed = np.random.SeedSequence((run.config.seed, progress.stage, progress.batch)).generate_state(1)[0]
        training.generator.manual_seed(int(seed))
        try:
            losses = training.step(run.schedule.share(progress))
        except ValueError as error:
            raise TrainingError(f"{run.out}: {error} (stage '{stage.name}', step {progress.step})") from error
        progress.batch += 1
        progress.step += 1
        if progress.batch % LOOKED_AFTER and run.schedule.batches[progress.stage] != progress.batch:
            continue
        spent = time.monotonic() - began
        progress.elapsed_s += spent
        progress.total_s += spent
        images_per_s = LOOKED_AFTER * stage.cells / per_image / max(spent, 1e-9)
        rate = training.optimizer.param_groups[0]["lr"]
        stop = after_steps(losses, images_per_s, rate, training.optimizer.state_dict())
        began = time.monotonic()
        if stop:
            return True
    if run.fabric.world_size > 1:
        for parameter in cells.cell_head().parameters():
            distributed.broadcast(parameter.data, 0)
    return False


def refuse_features_alone(run: Run) -> None:
    """Save and raise TrainingError where the features took all the time of the stage, which then learns nothing."""
    progress = run.state.progress
    if progress.batch or run.schedule.share(progress) < 1:
        return
    save(run, LAST_NAME)
    needed_s = run.schedule.budget_for(progress.stage, FEATURES_SHARE * progress.elapsed_s)
    name = run.config.stages[progress.stage].name
    raise TrainingError(
        f"{run.out}: the features of all images took {duration(progress.elapsed_s)}, the whole time of stage '{name}' "
        f"in a budget of {run.config.budget}; they are kept: go on with --resume --budget {math.ceil(needed_s / 60)}m"
    )


def train_cell_stage(run: Run) -> bool:
    """Train scene coordinates on single cells to the end of the stage. Returns True where a signal ended it early."""
    state, progress = run.state, run.state.progress
    stage = run.config.stages[progress.stage]
    part = stage_part(state.network, replace(stage, tasks=("localization", "odometry")))
    saved_at = progress.total_s

    def after_steps(losses: dict[str, float], images_per_s: float, rate: float, optimizer: dict[str, Any]) -> bool:
        nonlocal saved_at
        note_losses(progress, losses)
        show_losses(run, losses)
        stop = agree(run, {})[1]
        validation = run.schedule.validation_due(progress)
        if validation or stop or progress.total_s - saved_at > SAVE_EVERY_S:
            state.optimizer, saved_at = optimizer, progress.total_s
        if validation and not stop:
            judge(run, part, stage, rate, images_per_s)
        elif state.optimizer is optimizer:
            save(run, LAST_NAME)
        return stop

    if train_cells(run, stage, after_steps):
        return True
    if run.schedule.validation_due(progress):  # a run that goes on at the end of the stage
        rate = state.optimizer["param_groups"][0]["lr"] if state.optimizer is not None else 0.0
        judge(run, part, stage, rate, 0.0)
    end_stage(run)
    return False
