"""How rows are made: build a peer's map, or train and export a method, once; then evaluate it on every split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlocnetpp.benchmark.leak_probe import stream_checkpoint
from vlocnetpp.benchmark.methods import Method
from vlocnetpp.benchmark.plan import BenchmarkError, Job, Settings, changed, configuration, depth_camera
from vlocnetpp.benchmark.record import Errors, Record
from vlocnetpp.data import Dataset, Frame
from vlocnetpp.evaluation.score import mask_confusion, score, true_poses
from vlocnetpp.evaluation.stream import Streamed, stream
from vlocnetpp.export import ParityError, export_run
from vlocnetpp.metrics import latency_metrics, localization_metrics, pose_errors
from vlocnetpp.peers import OdometryPeer, Peer, build_map, locate_frames, run_odometry_peer
from vlocnetpp.peers.colour_camera import of_colour_camera, recorded_poses
from vlocnetpp.poses import Floats
from vlocnetpp.revision import source_revision
from vlocnetpp.runtime import Model, load_model
from vlocnetpp.runtime.model_file import choose_device
from vlocnetpp.training import TrainConfig, TrainingError, load_checkpoint, load_config, train
from vlocnetpp.training.config import to_plain
from vlocnetpp.training.run_folder import CONFIG_NAME, LAST_NAME

NONE = np.zeros((0, 0), np.int64)
"""Confusion matrix without any mask."""
MODEL_NAME = "model.ts"
RowResult = tuple[Record, Errors | None]
Judge = Callable[[str], RowResult]
"""Name of a split -> the row for its frames."""


@dataclass(frozen=True)
class Shared:
    """Inputs that all rows share."""

    dataset: Dataset
    settings: Settings
    runs: Path
    """Folder of the training runs."""

    def posed(self, split: str) -> list[Frame]:
        """The frames of a split that have a ground-truth pose."""
        return [frame for frame in self.dataset.frames(split) if frame.pose_7 is not None]


def make(job: Job, shared: Shared, machine: str) -> Judge | int:
    """Build the map or train the network of a job. Returns a function that judges it on a split, or the number of the
    signal that stopped the training. A training that diverges, or an exported file that differs from its network, gives
    a row with the reason. Errors of the data, the disk or the settings are raised: they concern every row.
    """
    about: dict[str, Any] = {"name": job.name, "kind": job.kind, "seed": job.seed, "note": job.what.note}
    about |= {"source_revision": source_revision(), "machine": machine}
    if isinstance(job.what, Peer):
        return _peer(job.what, shared, about)
    if isinstance(job.what, OdometryPeer):
        return _odometry_peer(job.what, shared, about)
    try:
        return _method(job, job.what, shared, about)
    except (TrainingError, ParityError) as error:
        failed = Record(**about, greyed=job.what.greyed, failed=" ".join(str(error).split()))
        return lambda split: (failed, None)


def errors_of(frames: Sequence[Frame], pose_N7: Floats, latency_ms_N: Floats) -> Errors:
    """Errors of global poses, for the frames that have a truth."""
    posed, truth = true_poses(frames)
    metres, degrees = pose_errors(pose_N7[posed], truth[posed])
    names = [frame.name for frame in frames if frame.pose_7 is not None]
    return Errors(names, metres, degrees, latency_ms_N[posed])


def _peer(peer: Peer, shared: Shared, about: dict[str, Any]) -> Judge:
    camera = depth_camera(shared.settings)
    peer_map, build_s = build_map(peer, [of_colour_camera(frame, camera) for frame in shared.posed("train")])

    def judge(split: str) -> RowResult:
        test = shared.posed(split)
        asked = [of_colour_camera(frame, camera) for frame in test]
        found_N7, latency_ms_N = locate_frames(peer_map, asked, f"{peer.name}, {split}", peer.reads)
        pose_N7 = recorded_poses(found_N7, camera)
        metrics = {
            "localization": localization_metrics(pose_N7, true_poses(test)[1]),
            "latency_ms": latency_metrics(latency_ms_N),
        }
        record = Record(**about, greyed=peer.oracle, metrics=metrics, size_bytes=peer_map.map_bytes, training_s=build_s)
        return record, errors_of(test, pose_N7, latency_ms_N)

    return judge


def _odometry_peer(peer: OdometryPeer, shared: Shared, about: dict[str, Any]) -> Judge:
    camera = depth_camera(shared.settings)

    def judge(split: str) -> RowResult:
        sequences = [
            replace(each, frames=tuple(of_colour_camera(frame, camera) for frame in each.frames))
            for each in shared.dataset.sequences(split)
        ]
        motion, valid, times = run_odometry_peer(peer, sequences)
        none = np.full((len(times), 7), np.nan)
        answers = Streamed(none, motion, valid, none[:, :2], times)
        # The motion of the colour camera is held against its own.
        metrics = score([frame for each in sequences for frame in each.frames], answers, (), NONE, ())
        return Record(**about, greyed=peer.oracle, metrics=metrics), None

    return judge


def _method(job: Job, method: Method, shared: Shared, about: dict[str, Any]) -> Judge | int:
    """Train, export and stream a method; the last checkpoint, so that no held-out frame takes part in the choice."""
    config = configuration(method, job.seed or 0, shared.dataset, shared.settings)
    run = shared.runs / job.key
    _refuse_other_settings(run, config)
    begun = (run / LAST_NAME).exists()
    if not (begun and load_checkpoint(run / LAST_NAME)["progress"]["done"]):
        stopped = train(config, run, resume=begun)
        if stopped:
            return stopped
    progress = load_checkpoint(run / LAST_NAME)["progress"]
    exported = run / MODEL_NAME
    model: Model | None = None
    if not config.leak_probe:
        export_run(run, exported, checkpoint="last")
        model = load_model(exported, shared.settings.device)

    def judge(split: str) -> RowResult:
        metrics, errors = (
            _score_leak_probe(run / LAST_NAME, shared, split) if model is None else _score(model, shared, split)
        )
        record = Record(
            **about,
            greyed=method.greyed or config.leak_probe,  # --set can turn any vlocnet row into a leak probe
            metrics=metrics,
            size_bytes=None if model is None else exported.stat().st_size,
            training_s=progress["total_s"],
            steps=progress["step"],
            settings=to_plain(config),
        )
        return record, errors

    return judge


def _score(model: Model, shared: Shared, split: str) -> tuple[dict[str, Any], Errors | None]:
    """Stream a split through an exported model and score what it answers."""
    frames = shared.dataset.frames(split)
    names = [name for name, _ in model.metadata.classes]
    matrix = np.zeros((len(names), len(names)), np.int64)

    def count(index: int, frame: Frame, image_HW3: NDArray[np.uint8], answer_HW: NDArray[np.uint8]) -> None:
        truth = frame.mask()
        if truth is not None:
            matrix[:] += mask_confusion(answer_HW, truth, len(names))

    answers = stream(model, shared.dataset, split, count)
    metrics = score(frames, answers, model.metadata.tasks, matrix, names)
    localizes = "localization" in metrics
    return metrics, errors_of(frames, answers.pose_N7, answers.latency_ms_N) if localizes else None


def _score_leak_probe(checkpoint: Path, shared: Shared, split: str) -> tuple[dict[str, Any], Errors | None]:
    """The same for a network that is fed the truth and has no model file: of its poses alone, without latency."""
    frames = shared.dataset.frames(split)
    device = str(choose_device(shared.settings.device))
    answers = stream_checkpoint(checkpoint, shared.dataset, split, True, device)
    posed, truth = true_poses(frames)
    metrics = {"localization": localization_metrics(answers.pose_N7[posed], truth[posed])}
    return metrics, errors_of(frames, answers.pose_N7, answers.latency_ms_N)


def _refuse_other_settings(run: Path, config: TrainConfig) -> None:
    """Raises BenchmarkError where the run was begun with a configuration that would train something else."""
    if not (run / CONFIG_NAME).exists():
        return
    names = changed(to_plain(load_config(run / CONFIG_NAME)), config)
    if names:
        raise BenchmarkError(
            f"{run}: was trained with other settings ({', '.join(names)}); name another folder, or delete this run "
            "and its result"
        )
