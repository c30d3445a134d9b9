"""What a benchmark will do: a job for each peer, and for each method and seed, that the labels of a dataset allow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vlocnetpp.benchmark.methods import FOLDER, SECTIONS, Method, methods, needs
from vlocnetpp.data import Dataset, Frame
from vlocnetpp.data.registration import DepthCameraConfig
from vlocnetpp.errors import nearest
from vlocnetpp.network import configure
from vlocnetpp.peers import ODOMETRY_PEERS, PEERS, OdometryPeer, Peer
from vlocnetpp.training.config import TrainConfig, build_config, seconds, to_plain

ALL_SPLITS, NOT_JUDGED = "all", ("train", "val")
"""`--split all` is every split but these: one is trained on, the other is used for choices."""
NO_METHODS = "none"
"""Given instead of names of methods: peers alone."""
FREE = ("device",)
FREE_DATA = ("root", "cache", "workers")
"""Settings of a training that may differ where it goes on."""
BESIDE_TRAINING_S = 35.0
"""Time of a run beside its budget: data, validations, export; measured on RedKitchen at width 0.25, on a shared
core."""
PEER_FRAME_S = 0.1
"""Time of a peer for each frame of training and test."""
STREAM_FRAME_S = 0.03
"""Time of a trained method for each frame of the test."""


class BenchmarkError(ValueError):
    """A benchmark cannot start or go on; the message says why and what to do in one line."""


@dataclass(frozen=True)
class Settings:
    """The settings of a benchmark."""

    budget: str = "10m"
    """Training time of each method and seed, all stages together; empty where `overrides` give `epochs`."""
    seeds: int = 3
    methods: tuple[str, ...] = ()
    """Names of methods to train; empty: all; `none`: peers alone."""
    methods_in: str = FOLDER
    """The folder of their files."""
    peers: bool = True
    """Whether to run the peers."""
    sections: tuple[str, ...] = SECTIONS
    splits: tuple[str, ...] = ("test",)
    """Names of splits to judge on; `all`: every split but `train` and `val`."""
    layout: str = ""
    device: str = "auto"
    width: float | None = None
    """Share of the paper's channels; None: as each method has it."""
    overrides: dict[str, str] = field(default_factory=dict)
    """Settings of the trainer for every method, `section.key: text`."""

    def fixed(self) -> dict[str, Any]:
        """The settings that decide a result; a folder holds results of one choice of them. Each result is of one split,
        so that splits may be added later.
        """
        return {
            "--budget-per-model": self.budget,
            "--width": self.width,
            "--device": self.device,
            "--set": dict(sorted(self.overrides.items())),
            "--methods-in": None if self.methods_in == FOLDER else self.methods_in,
        }


class Job(NamedTuple):
    """A row to make for each of its splits: a map is built, a method trained, once for all of them."""

    what: Peer | OdometryPeer | Method
    seed: int | None
    """Of a method."""
    splits: tuple[str, ...]
    expected_s: float | None
    """None where epochs instead of a budget leave it open."""

    @property
    def name(self) -> str:
        """As in the tables."""
        return self.what.name

    @property
    def kind(self) -> str:
        """peer, odometry peer or method."""
        if isinstance(self.what, Method):
            return "method"
        return "peer" if isinstance(self.what, Peer) else "odometry peer"

    @property
    def key(self) -> str:
        """The name of its files."""
        word = re.sub(r"[^a-z0-9_]+", "-", self.name.lower()).strip("-")
        return word if self.seed is None else f"{word}-seed{self.seed}"


class Skipped(NamedTuple):
    """A row that this dataset does not allow."""

    name: str
    reason: str


class Plan(NamedTuple):
    """Jobs in the order of the tables, and what is left out."""

    jobs: list[Job]
    skipped: list[Skipped]
    splits: tuple[str, ...]
    """That are judged on, `all` resolved."""


def plan(dataset: Dataset, settings: Settings) -> Plan:
    """What can be run. Raises BenchmarkError for an unknown method or section, DataError for a split that is not there.

    Raises BenchmarkError too where nothing at all can be run.
    """
    _check(settings)
    splits = judged(dataset, settings.splits)
    train = labels(dataset.frames("train"))
    test = {split: labels(dataset.frames(split)) for split in splits}
    asked = sum(len(dataset.frames(split)) for split in splits)
    frames = len(dataset.frames("train")) + asked
    jobs: list[Job] = []
    skipped: list[Skipped] = []

    def add(what: Peer | OdometryPeer | Method, section: str, wanted: Iterable[str], seeds: Sequence[int | None],
            expected_s: float | None) -> None:  # fmt: skip
        reason = _unlearnable(wanted, train)
        if reason:
            skipped.append(Skipped(what.name, reason))
            return
        label = "mask" if section == "segmentation" else "pose"
        read = what.reads if isinstance(what, Peer) else what.needs if isinstance(what, OdometryPeer) else ()
        lacking = {split: _lacking(split, label, read, test[split]) for split in splits}
        skipped.extend(Skipped(what.name, reason) for reason in lacking.values() if reason)
        good = tuple(split for split, reason in lacking.items() if not reason)
        if good:
            jobs.extend(Job(what, seed, good, expected_s) for seed in seeds)

    if settings.peers and "localization" in settings.sections:
        for peer in PEERS:
            add(peer, "localization", ("pose", *peer.needs), [None], frames * PEER_FRAME_S)
    if settings.peers and "odometry" in settings.sections:
        for motion in ODOMETRY_PEERS:
            add(motion, "odometry", (), [None], asked * PEER_FRAME_S)
    beside = depth_camera(settings)
    training_s = seconds(settings.budget) + BESIDE_TRAINING_S if settings.budget else None
    for method in methods(settings.methods_in).values():
        if method.section in settings.sections and (not settings.methods or method.name in settings.methods):
            expected_s = None if training_s is None else training_s + asked * STREAM_FRAME_S
            config = configuration(method, 0, dataset, settings)
            # Refuses what the trainer would, before anything is run.
            configure(config.preset, config.width, **config.network)
            if settings.peers and config.data.depth_camera != beside:
                raise BenchmarkError(
                    f"{method.name}: its file sets data.depth_camera, which peers would not get; give it to all rows "
                    "with --set data.depth_camera..., or leave the peers out with --no-peers"
                )
            add(method, method.section, needs(method), range(settings.seeds), expected_s)
    if not jobs:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in skipped[:3])
        raise BenchmarkError(f"{dataset.root}: nothing can be run on it ({reasons or 'no section has a row'})")
    return Plan(jobs, skipped, splits)


def judged(dataset: Dataset, splits: Sequence[str]) -> tuple[str, ...]:
    """The splits to judge on, `all` resolved.

    Raises BenchmarkError where that is none, DataError for one that is not there.
    """
    if list(splits) == [ALL_SPLITS]:
        splits = [split for split in dataset.splits if split not in NOT_JUDGED]
        if not splits:
            raise BenchmarkError(
                f"--split all: {dataset.root} has no split but {', '.join(sorted(dataset.splits))}; name one"
            )
    for split in splits:
        dataset.sequences(split)
    return tuple(dict.fromkeys(splits))


def configuration(method: Method, seed: int, dataset: Dataset, settings: Settings) -> TrainConfig:
    """How a method is trained. Raises ConfigError for a setting that does not exist or is of another type."""
    given = {"data.root": str(dataset.root), "data.layout": settings.layout, "seed": str(seed)}
    given |= {"device": settings.device, **settings.overrides}
    if settings.budget:
        given["budget"] = settings.budget
    if settings.width is not None:
        given["width"] = str(settings.width)
    return build_config(method.train, {name: text for name, text in given.items() if text}, method.name)


def changed(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """The sections of a configuration, kept as plain data, in which another one would train something else."""
    then, now = dict(before), to_plain(config)
    for settings in (then, now):
        for name in FREE:
            settings.pop(name, None)
        settings["data"] = {name: value for name, value in settings.get("data", {}).items() if name not in FREE_DATA}
    return [name for name in now if then.get(name) != now[name]]


def depth_camera(settings: Settings) -> DepthCameraConfig:
    """Where the depth camera is, for the peers. Raises ConfigError as `configuration` does."""
    given = {name: text for name, text in settings.overrides.items() if name.startswith("data.depth_camera.")}
    return build_config({"data": {"root": "."}, "epochs": 1.0}, given, "--set").data.depth_camera


def labels(frames: Sequence[Frame]) -> set[str]:
    """Which of pose, mask and depth any of the frames has."""
    found = set()
    for name, attribute in (("pose", "pose_7"), ("mask", "mask_path"), ("depth", "depth_path")):
        if any(getattr(frame, attribute) is not None for frame in frames):
            found.add(name)
    return found


def _lacking(split: str, judged_by: str, read: Iterable[str], found: set[str]) -> str:
    """Why a row cannot be judged on a split, '' where it can."""
    if judged_by not in found:
        return f"the frames of '{split}' have no {judged_by} to judge by"
    return next((f"the frames of '{split}' have no {label}" for label in read if label not in found), "")


def _unlearnable(wanted: Iterable[str], train: set[str]) -> str:
    return next((f"the training frames have no {label}" for label in wanted if label not in train), "")


def _check(settings: Settings) -> None:
    if not settings.splits:
        raise BenchmarkError("--split: names no split")
    if ALL_SPLITS in settings.splits and len(settings.splits) > 1:
        raise BenchmarkError(f"--split: '{ALL_SPLITS}' stands alone")
    if "train" in settings.splits:
        raise BenchmarkError("--split train: methods are not judged on the frames that they learned from")
    if settings.seeds < 1:
        raise BenchmarkError(f"--seeds: {settings.seeds} is not at least 1")
    for section in settings.sections:
        if section not in SECTIONS:
            raise BenchmarkError(
                f"--sections: '{section}' is not one of {', '.join(SECTIONS)}{nearest(section, SECTIONS)}"
            )
    known = [*methods(settings.methods_in), NO_METHODS]
    for name in settings.methods:
        if name not in known:
            raise BenchmarkError(f"--methods: '{name}' is not one of {', '.join(known)}{nearest(name, known)}")
    if NO_METHODS in settings.methods and len(settings.methods) > 1:
        raise BenchmarkError(f"--methods: '{NO_METHODS}' stands alone")
    if bool(settings.budget) == ("epochs" in settings.overrides):
        raise BenchmarkError("--budget-per-model and --set epochs=N: give one of them; the other follows from it")
