"""What a dataset has labels for decides the tasks of a network whose tasks can be chosen, and so its stages."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

from vlocnetpp.network.registry import entry
from vlocnetpp.step import LOCALIZATION, ODOMETRY, SEGMENTATION
from vlocnetpp.training.config import TrainConfig
from vlocnetpp.training.datasets import TrainingData


def follow_labels(config: TrainConfig, data: TrainingData) -> tuple[TrainConfig, list[str]]:
    """The configuration without tasks that lack labels and without stages that then train nothing, and notes on both.

    Tasks that the configuration names stay, labelled or not; so does everything of a preset whose tasks are fixed.
    """
    default = {field.name: field.default for field in fields(cast(Any, entry(config.preset).settings))}
    if "tasks" not in default:
        return config, []
    notes = []
    tasks = tuple(config.network.get("tasks", default["tasks"]))
    if "tasks" not in config.network:
        posed = any(f.pose_7 is not None for part in data.parts for s in part.train for f in s.frames)
        masked = any(f.mask_path is not None for part in data.parts for s in part.train for f in s.frames)
        labelled = {LOCALIZATION: posed, ODOMETRY: posed, SEGMENTATION: masked}
        kept = tuple(task for task in tasks if labelled[task])
        if kept and kept != tasks:
            notes.append(f"{config.data.root}: no labels for {', '.join(t for t in tasks if t not in kept)}; left out")
            tasks = kept
    solved = {LOCALIZATION, ODOMETRY} & set(tasks)
    stages = tuple(stage for stage in config.stages if (solved if stage.cells else set(stage.tasks) & set(tasks)))
    notes += [f"stage '{stage.name}' is left out: it trains no task of this run" for stage in config.stages
              if stage not in stages]  # fmt: skip
    if not stages:
        return config, []
    return replace(config, network={**config.network, "tasks": list(tasks)}, stages=stages), notes
