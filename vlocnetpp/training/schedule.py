"""The progress of a run, and what depends on it: stage, learning rate, validations, end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vlocnetpp.errors import ConfigError
from vlocnetpp.network import NetworkConfig
from vlocnetpp.training.config import StageConfig, TrainConfig, seconds

WARM_UP_SHARE, FINAL_RATE = 0.02, 0.01


@dataclass
class Progress:
    """The progress of a run, as in its checkpoint."""

    stage: int = 0
    """Number of the stage."""
    batch: int = 0
    """Finished batches of the stage; with the length of an epoch, the position in the data."""
    elapsed_s: float = 0.0
    """Of the stage, in steps."""
    validated: int = 0
    """Validations of the stage that were due when the last one was made."""
    versions: int = 0
    """Of a stage of cells: versions of each image that it learns from; 0 before they are chosen."""
    step: int = 0
    """Steps of the optimizer in all stages."""
    total_s: float = 0.0
    """In steps of all stages."""
    done: bool = False
    recent: dict[str, list[float]] = field(default_factory=dict)
    """Sum and number of each loss term since the last row of the log."""
    usual: dict[str, float] = field(default_factory=dict)
    """Largest value of each loss term in the first steps of the stage."""


class Schedule:
    """The stages of a run, each a share of its budget or of its epochs."""

    def __init__(self, config: TrainConfig, epoch_batches: Sequence[int]) -> None:
        """`epoch_batches` says for each stage how many batches show all of its data once."""
        self._stages = config.stages
        self._validations = config.validations
        self._whole = sum(stage.share for stage in config.stages)
        self.budget_s = seconds(config.budget) if config.budget else 0.0
        self.batches = [
            max(1, round(config.epochs * batches * stage.share / self._whole)) if config.epochs else 0
            for stage, batches in zip(config.stages, epoch_batches, strict=True)
        ]
        """Batches of each stage; 0 where a budget of time is given."""

    def share(self, progress: Progress) -> float:
        """Share of the current stage that has passed, 0 to 1."""
        if self.budget_s:
            return min(progress.elapsed_s / self._stage_s(progress.stage), 1.0)
        return min(progress.batch / self.batches[progress.stage], 1.0)

    def passed(self, progress: Progress) -> float:
        """Share of the run that has passed, 0 to 1."""
        shares = [stage.share / self._whole for stage in self._stages]
        before = sum(shares[: progress.stage])
        return before if progress.stage == len(shares) else before + shares[progress.stage] * self.share(progress)

    def left_s(self, progress: Progress) -> float | None:
        """Seconds of the budget that are left, without the validations; None where epochs are given."""
        return self.budget_s * (1 - self.passed(progress)) if self.budget_s else None

    def stage_left_s(self, progress: Progress) -> float | None:
        """Seconds of the current stage that are left; None where epochs are given."""
        return max(self._stage_s(progress.stage) - progress.elapsed_s, 0.0) if self.budget_s else None

    def budget_for(self, stage: int, stage_s: float) -> float:
        """Seconds of the whole budget of which a stage gets `stage_s`."""
        return stage_s * self._whole / self._stages[stage].share

    def _stage_s(self, stage: int) -> float:
        return self.budget_s * self._stages[stage].share / self._whole

    def validation_due(self, progress: Progress) -> bool:
        """Whether the stage has come to its next validation; the last one of a stage is at its end."""
        return self.validations_by_now(progress) > progress.validated

    def validations_by_now(self, progress: Progress) -> int:
        """Validations that the current stage should have had by now."""
        return int(self.share(progress) * self._count(progress.stage) + 1e-9)

    def validations_left(self, progress: Progress) -> int:
        """Validations to come, in all stages."""
        stages = range(progress.stage, len(self._stages))
        due = self.validations_by_now(progress) if stages else 0
        return sum(self._count(stage) for stage in stages) - max(due, progress.validated)

    def _count(self, stage: int) -> int:
        return max(1, round(self._validations * self._stages[stage].share / self._whole))


def learning_rate(stage: StageConfig, share: float) -> float:
    """The rate after this share of the stage: one of a list, or a linear warm-up and a cosine to a hundredth."""
    if isinstance(stage.learning_rate, tuple):
        return stage.learning_rate[min(int(share * len(stage.learning_rate)), len(stage.learning_rate) - 1)]
    if share < WARM_UP_SHARE:
        return stage.learning_rate * max(share / WARM_UP_SHARE, 0.01)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return stage.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def check_stages(config: TrainConfig, network: NetworkConfig) -> None:
    """Check the stages before training: each trains something, and each part is trained. Raises ConfigError."""
    for stage in config.stages:
        if "depth" not in stage.tasks and not set(stage.tasks) & set(network.tasks):
            raise ConfigError(f"stage '{stage.name}': preset '{config.preset}' has no task {', '.join(stage.tasks)}")
        if "depth" in stage.tasks and stage.tasks != ("depth",):
            raise ConfigError(f"stage '{stage.name}': depth is trained alone, in a stage of its own")
        if stage.tasks == ("depth",) and not network.traits.trains_depth:
            raise ConfigError(f"stage '{stage.name}': preset '{config.preset}' has no depth network")
        if stage.cells and not network.traits.trains_cells:
            raise ConfigError(f"stage '{stage.name}': preset '{config.preset}' does not learn from single cells")
    if network.traits.trains_cells and not any(stage.cells for stage in config.stages):
        raise ConfigError(f"preset '{config.preset}' needs a stage of cells: {{name: coordinates, cells: 4096}}")
    if config.leak_probe and "pose_B7" not in network.traits.own_answers.values():
        raise ConfigError(f"leak_probe: preset '{config.preset}' sees no pose of the past; vlocnet does")
    trains_depth = any(stage.tasks == ("depth",) for stage in config.stages)
    if network.traits.trains_depth and not trains_depth:
        raise ConfigError(f"preset '{config.preset}' warps with a depth network: give it a stage with tasks [depth]")


def check_depth(config: TrainConfig, network: NetworkConfig, has_depth: bool) -> None:
    """Raises ConfigError where a network needs depth and the data has none."""
    if (network.traits.trains_depth or network.traits.reads_depth) and not has_depth:
        raise ConfigError(f"{config.data.root}: has no depth, preset '{config.preset}' needs it; try mtl_no_warp")


FIRST_METRIC = {
    "localization": "localization.median_translation_m",
    "odometry": "odometry.rpe_translation_m",
    "segmentation": "segmentation.mean_iou",
}
"""By which the best checkpoint is chosen where the configuration names none: that of a network's first task."""


def best_metric(config: TrainConfig, network: NetworkConfig) -> str:
    """The metric by which the best checkpoint is chosen. Raises ConfigError where no task of the network has it."""
    if config.best:
        if config.best.split(".")[0] not in network.tasks:
            raise ConfigError(f"best: preset '{config.preset}' has no task {config.best.split('.')[0]}")
        return config.best
    return next(FIRST_METRIC[task] for task in FIRST_METRIC if task in network.tasks)
