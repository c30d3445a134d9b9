"""The state of a run in its checkpoint; a run continued from it equals an uninterrupted one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlocnetpp.losses import MultitaskLoss
from vlocnetpp.network import Network, config_to_json
from vlocnetpp.reporting.files import json_ready
from vlocnetpp.training.checkpoint import CheckpointError, save_checkpoint
from vlocnetpp.training.config import TrainConfig, to_plain
from vlocnetpp.training.schedule import Progress


@dataclass
class TrainingState:
    """It holds no state of random generators: every draw is seeded by the run's seed and the position in the
    schedule.
    """

    network: Network
    loss: MultitaskLoss
    about: dict[str, Any]
    """Metadata on the data for the exported file."""
    progress: Progress = field(default_factory=Progress)
    metrics: dict[str, Any] = field(default_factory=dict)
    """Of the last validation of each task."""
    calibration: tuple[float, ...] = (1.0, 1.0)
    motion_calibration: tuple[float, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    """See `validate.Calibration`."""
    best: float | None = None
    """Best value so far of the metric that chooses best.pt."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Of the log."""
    optimizer: dict[str, Any] | None = None
    """State of the stage's optimizer; None where the next stage begins with a new one."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the loss scaling that fp16 needs."""

    def restore(self, saved: dict[str, Any], out: Path, root: str) -> None:
        """Take everything from a checkpoint. Raises CheckpointError where it was trained on other data."""
        if saved["about"]["dataset"]["digest"] != self.about["dataset"]["digest"]:
            raise CheckpointError(f"{out}: was trained on other data than {root} holds now")
        if "rows" not in saved:
            raise CheckpointError(f"{out}: was begun by an earlier version and cannot go on; export it or train anew")
        self.network.load_state_dict(saved["network_state"])
        self.loss.load_state_dict(saved["loss_state"])
        self.progress = Progress(**saved["progress"])
        self.metrics, self.calibration = saved["metrics"], tuple(saved["calibration"])
        self.motion_calibration = tuple(saved.get("motion_calibration", ()))
        self.limits = saved.get("limits", {})
        self.best, self.rows = saved["best"], saved["rows"]
        self.optimizer, self.scaler = saved["optimizer_state"], saved["scaler_state"]

    def save(self, path: Path, config: TrainConfig, settled: bool = True) -> None:
        """Write a checkpoint; `settled` as in `run.save`. Raises CheckpointError."""
        save_checkpoint(
            path,
            {
                "network_config": config_to_json(self.network.config),
                "network_state": self.network.state_dict(),
                "loss_state": self.loss.state_dict(),
                "optimizer_state": self.optimizer,
                "scaler_state": self.scaler,
                "settled": settled,
                "progress": asdict(self.progress),
                "best": self.best,
                "rows": self.rows,
                "train_config": to_plain(config),
                "about": self.about,
                "calibration": list(self.calibration),
                "motion_calibration": list(self.motion_calibration),
                "limits": self.limits,
                "metrics": json_ready(self.metrics),
            },
        )
