"""Small training runs that several test files start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlocnetpp.training import load_checkpoint
from vlocnetpp.training.config import DataConfig, StageConfig, TrainConfig

NETWORK = {"height": 64, "width_px": 96, "resize": "whole"}
STAGES = (StageConfig("depth", ("depth",), share=0.3), StageConfig("joint", share=0.7))
TIMES = ("total_s", "frames_per_s")
"""Columns of the log that no two runs share."""


def quick(wall: Path, **changes: Any) -> TrainConfig:
    """A run of 12 steps on a wall of 24 frames; or with a budget, of so much time."""
    settings = {"preset": "mtl", "width": 0.0625, "network": NETWORK, "stages": STAGES, "batch": 4, "validations": 2}
    settings |= {"data": DataConfig(root=str(wall), cache="none")} | changes
    return TrainConfig(**({} if "budget" in changes else {"epochs": 2.0}) | settings)


def outcome(run: Path, name: str = "last.pt") -> dict[str, Any]:
    """What two equal runs must have in common, bit for bit."""
    saved = load_checkpoint(run / name)
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in saved["rows"]]
    kept = ("best", "metrics", "calibration", "about", "network_config")
    return {
        "weights": {**saved["network_state"], **{f"loss.{k}": v for k, v in saved["loss_state"].items()}},
        "rows": rows,
        **{key: saved[key] for key in kept},
        "place": [saved["progress"][key] for key in ("stage", "batch", "step", "done")],
    }


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Names of what two outcomes do not share."""
    names = [name for name, value in a["weights"].items() if not torch.equal(value, b["weights"][name])]
    return names + [key for key in a if key != "weights" and a[key] != b[key]]
