"""Why an export took the checkpoint that it took, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlocnetpp.training.ahead import FEW
from vlocnetpp.training.checkpoint import load_checkpoint
from vlocnetpp.training.run_folder import BEST_NAME, LAST_NAME
from vlocnetpp.training.schedule import FIRST_METRIC
from vlocnetpp.training.validate import UNCERTAINTIES


def why_this_checkpoint(source: Path) -> str:
    """By which figure a checkpoint was chosen, at which step of which stage, among how many, and how `last.pt` differs.

    Args:
        source: `best.pt` or `last.pt` in the folder of a run.

    Raises:
        CheckpointError: it, or `last.pt` beside it, cannot be read.
    """
    saved, last_path = load_checkpoint(source), source.with_name(LAST_NAME)
    last = load_checkpoint(last_path) if last_path.is_file() and source.name != LAST_NAME else saved
    if "rows" not in saved or "rows" not in last:
        return f"{source}: of a run by an earlier version, which did not note why"
    validations = [row for row in last["rows"] if any(row[name] is not None for name in row if name.startswith("val_"))]
    count = f"{len(validations)} validation{'s' * (len(validations) != 1)}"
    steps = f"step {saved['progress']['step']} of {last['progress']['step']}"
    if source.name != BEST_NAME:
        other = "" if (source.with_name(BEST_NAME)).is_file() else "; no validation chose another one"
        return f"{source}: the newest, {steps}, after {count}{other}{_unfinished(last)}"
    chosen_by = saved["train_config"]["best"] or next(
        metric for task, metric in FIRST_METRIC.items() if task in saved["metrics"]
    )
    task, name = chosen_by.split(".")
    frames = saved["metrics"][task].get("frames")
    stages = [stage["name"] for stage in saved["train_config"]["stages"]]
    at = saved["progress"]["stage"]
    figure = _figure(saved, task, name)
    if (uncertainty := saved["metrics"][task].get(UNCERTAINTIES.get(chosen_by))) is not None:
        figure += f" +- {uncertainty:.2g}"
    words = [f"chosen by {chosen_by}, {figure}" + (f" on {frames} held-out frames" if frames else "")]
    words.append(f"{steps}, in stage '{stages[at]}', of {count}")
    if later := stages[at + 1 : last["progress"]["stage"] + 1]:
        words.append(f"it lacks what stage '{later[0]}' trained after it")
    if last is not saved:
        words.append(f"last.pt has {_figure(last, task, name)}")
    if frames and frames < FEW and saved["progress"]["step"] < last["progress"]["step"]:
        words.append(f"{frames} frames are too few to choose by: evaluate last.pt too (--checkpoint last)")
    return f"{source}: {'; '.join(words)}{_unfinished(last)}"


def _unfinished(last: dict[str, Any]) -> str:
    """What to say of a run that was stopped before its end; empty for one that has reached it."""
    if last["progress"]["done"]:
        return ""
    stages, at = last["train_config"]["stages"], last["progress"]["stage"]
    said = f"the training is not finished, it was stopped in stage '{stages[at]['name']}' ({at + 1} of {len(stages)})"
    return f"; {said}: train with --resume goes on"


def _figure(saved: dict[str, Any], task: str, name: str) -> str:
    value = saved["metrics"].get(task, {}).get(name)
    return "no such figure" if value is None else f"{value:.4g}"
