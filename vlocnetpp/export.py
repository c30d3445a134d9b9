"""From a trained network to the one file that the robot runs; the only place that makes TorchScript."""

from __future__ import annotations

import copy
import os
import subprocess
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlocnetpp import __version__
from vlocnetpp.network import VLocNetPlusPlus
from vlocnetpp.network.preprocess import Preprocess
from vlocnetpp.network.presets import config_from_json, config_to_json
from vlocnetpp.runtime.model_file import (
    METADATA_NAME,
    PRECISIONS,
    Metadata,
    ModelFileError,
    metadata_from_json,
    metadata_to_json,
)
from vlocnetpp.step import Answer, State
from vlocnetpp.training.checkpoint import load_checkpoint


class ExportedStep(nn.Module):
    """Preprocessing, network and the reduction of scores to ids: what runs on the robot."""

    def __init__(self, network: VLocNetPlusPlus) -> None:
        super().__init__()
        c = network.config
        self.preprocess = Preprocess(c.height, c.width_px, c.resize == "whole")
        self.network = network

    def forward(
        self, image_BHWC: Tensor, channels_3: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State
    ) -> tuple[Answer, State]:
        """See `network.preprocess.Preprocess.forward` for the input and `step` for the rest."""
        image, K, depth = self.preprocess(image_BHWC, channels_3, K_B33, depth_B1HW)
        prediction, state = self.network(image.to(state.valid_B.dtype), K, depth, state)
        logits = prediction.logits_BCHW
        mask = torch.zeros((image.shape[0], 0, 0), dtype=torch.uint8, device=image.device)
        if logits.shape[1] > 0:
            mask = logits.argmax(dim=1).to(torch.uint8)
        # Whatever the weights' precision, an answer is full precision: numpy knows no bfloat16.
        poses = prediction.pose_B7.float(), prediction.relative_B7.float()
        return Answer(poses[0], poses[1], prediction.log_scale_B2.float(), mask), state


def source_revision() -> str:
    """Version of the package and, inside a checkout, its commit."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return __version__  # installed, possibly inside somebody else's checkout
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    commit = result.stdout.strip()
    return f"{__version__}+{commit}" if result.returncode == 0 and commit else __version__


def export_network(network: VLocNetPlusPlus, path: Path, precision: str = "fp32", **about: Any) -> Metadata:
    """Script the network and write it with its metadata, whole or not at all.

    Args:
        network: trained; it is left as it was.
        path: file to write, replaced if it exists.
        precision: fp32, fp16 or bf16 of the stored weights; half of the size costs three decimal digits.
        about: fields of `Metadata` that the network does not know: K_33, classes, map_frame, bounds, calibration,
            dataset, metrics.

    Returns:
        The metadata written.
    """
    c = network.config
    metadata = Metadata(
        preset=c.preset,
        tasks=c.tasks,
        input_height=c.height,
        input_width=c.width_px,
        resize=c.resize,
        state_shapes=network.state_shapes(),
        network=config_to_json(c),
        precision=precision,
        source_revision=source_revision(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **about,
    )
    text = metadata_to_json(metadata)
    # A copy: scripting shares the parameters, and the conversion below would reach back into the caller's network.
    scripted = torch.jit.script(ExportedStep(copy.deepcopy(network)).eval())
    if precision != "fp32":
        scripted.to(PRECISIONS[precision])
    path.parent.mkdir(parents=True, exist_ok=True)
    scripted_file, partial = path.with_name(f".{path.name}.script"), path.with_name(f".{path.name}.partial")
    try:
        try:
            torch.jit.save(scripted, str(scripted_file), _extra_files={METADATA_NAME: text})
            strip_debug(scripted_file, partial)
        except RuntimeError as error:
            raise ModelFileError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from error
        os.replace(partial, path)
    finally:
        scripted_file.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
    return metadata_from_json(text, path)


def strip_debug(source: Path, target: Path) -> None:
    """Copy a TorchScript archive without its debug records, which name files of the machine it was made on."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            if not item.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(item.filename), old.read(item))


def export_run(run: Path, path: Path, precision: str = "fp32") -> Metadata:
    """Export the last checkpoint of a training run. Raises CheckpointError where the run has none."""
    saved = load_checkpoint(run / "last.pt")
    network = VLocNetPlusPlus(config_from_json(saved["network_config"]))
    network.load_state_dict(saved["network_state"])
    return export_network(
        network,
        path,
        precision,
        calibration_2=tuple(saved["calibration"]),
        metrics={"validation": saved["metrics"]},
        **saved["about"],
    )
