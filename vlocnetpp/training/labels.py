"""What a dataset has labels for decides the tasks of a network made for any of them, and so its stages."""

from __future__ import annotations

from dataclasses import replace

from vlocnetpp.network.registry import entry
from vlocnetpp.step import LOCALIZATION, ODOMETRY, SEGMENTATION
from vlocnetpp.training.config import TrainConfig
from vlocnetpp.training.datasets import TrainingData, has_poses


def follow_labels(config: TrainConfig, data: TrainingData) -> tuple[TrainConfig, list[str]]:
    """The configuration without tasks that lack labels and without stages that then train nothing, and notes on both.

    Tasks that the configuration names stay, labelled or not; so does everything of a network that does not follow the
    labels (`Entry.follows_labels`).
    """
    registered = entry(config.preset)
    if not registered.follows_labels:
        return config, []
    notes = []
    possible: tuple[str, ...] = registered.settings().traits.tasks
    tasks = tuple(config.network.get("tasks", possible))
    if "tasks" not in config.network:
        posed = any(has_poses(part.train) for part in data.parts)
        masked = any(f.mask_path is not None for part in data.parts for s in part.train for f in s.frames)
        labelled = {LOCALIZATION: posed, ODOMETRY: posed, SEGMENTATION: masked}
        kept = tuple(task for task in tasks if labelled[task])
        if kept and kept != tasks:
            notes.append(f"{config.data.root}: no labels for {', '.join(t for t in tasks if t not in kept)}; left out")
            tasks = kept
    absent = set(possible) - set(tasks)
    solved = {LOCALIZATION, ODOMETRY} & set(tasks)
    idle = [stage for stage in config.stages if (not solved if stage.cells else set(stage.tasks) <= absent)]
    if len(idle) == len(config.stages):
        return config, notes
    notes += [f"stage '{stage.name}' is left out: it trains no task of this run" for stage in idle]
    stages = tuple(stage for stage in config.stages if stage not in idle)
    return replace(config, network={**config.network, "tasks": list(tasks)}, stages=stages), notes
