"""Compares the files' answers with the trained network's, frame by frame over a clip that starts cold. Each file keeps
its own state, so that a difference carries over to later frames as it would on the robot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlocnetpp.export.onnx import ANSWER_OF_OUTPUT, FRAME_INPUTS, require
from vlocnetpp.export.torchscript import ExportedStep
from vlocnetpp.geometry import rotation_angle
from vlocnetpp.network import Network, NetworkConfig, cold_state_of
from vlocnetpp.runtime import ModelFileError, load_model
from vlocnetpp.step import Answer, State

CLIP_LENGTH = 5
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""image (1, H, W, 3) uint8, channels (3,), K (1, 3, 3) and depth (1, 1, H, W) in metres or (1, 1, 1, 1) zeros."""
Runner = Callable[[Inputs, State], tuple[Answer, State]]


POSES = {"pose_B7": ("position_m", "rotation_rad"), "relative_B7": ("motion_m", "motion_rad")}
"""Answers that are poses, and the fields of their differences."""


class ParityError(ValueError):
    """An exported file does not answer as the network does; the message says where and by how much."""


@dataclass(frozen=True)
class Difference:
    """Largest differences of one frame from the network in full precision; NaN where one of the two is NaN."""

    position_m: float = 0.0
    """Of the pose, any axis."""
    rotation_rad: float = 0.0
    """Angle between both poses."""
    motion_m: float = 0.0
    """Of the relative pose, any axis."""
    motion_rad: float = 0.0
    log_scale: float = 0.0
    """Of the logs of the expected errors, those of the scene coordinates as the mean of the cells, and of every other
    number.
    """
    mask_share: float = 0.0
    """Share of pixels with another class."""
    points_m: float = 0.0
    """Of the scene coordinates, mean of the cells, any axis."""


TOLERANCES = {
    "fp32": Difference(1e-4, 1e-4, 1e-4, 1e-4, 1e-3, 1e-3, 1e-4),
    "fp16": Difference(1e-2, 1e-2, 1e-2, 1e-2, 5e-2, 5e-2, 5e-2),
    "bf16": Difference(1e-1, 1e-1, 1e-1, 1e-1, 5e-1, 2e-1, 5e-1),
}
"""By the precision of the weights. Metres are for a map, or a motion, with a spread of one metre or less, and grow with
the spread beyond: a number keeps a share of its size, not a length."""

SOLVED = 10.0
"""Times as much may a pose differ that a solver finds: it enlarges the last digits of what it is solved from."""
VOTED = ("position_m", "rotation_rad", "log_scale", "mask_share")
"""What follows from a solver's vote among scene coordinates. On an image that shows nothing of the map, as the random
ones, the last digits may decide a vote, so that one frame has another pose; most frames of a clip have to agree."""


@dataclass(frozen=True)
class Row:
    """One frame of one clip, answered by one file."""

    file: str
    clip: str
    frame: int
    """0 is the cold start."""
    difference: Difference


@dataclass(frozen=True)
class Report:
    """The compared frames and the tolerance."""

    precision: str
    tolerance: Difference
    rows: tuple[Row, ...]
    voted: tuple[str, ...] = ()
    """Fields of which the median of a clip counts, not each frame."""

    def beyond(self) -> list[str]:
        """One text for each value that is not within its tolerance; NaN never is."""
        found = []
        for row in self.rows:
            for name, limit in asdict(self.tolerance).items():
                value = getattr(row.difference, name)
                if not value <= limit and not self._outvoted(row, name, limit):
                    found.append(
                        f"{row.file} differs from the network by {name} {value:.2g} (allowed {limit:.2g}) "
                        f"in frame {row.frame} of the clip '{row.clip}'"
                    )
        return found

    def _outvoted(self, row: Row, name: str, limit: float) -> bool:
        """Whether the other frames of its clip agree, in a quantity that is voted on. A cold start that differs in each
        of several clips is a fault of its own: only the first frame of a clip has none before it.
        """
        if name not in self.voted:
            return False
        of_file = [other for other in self.rows if other.file == row.file]
        clip = [getattr(other.difference, name) for other in of_file if other.clip == row.clip]
        cold = [getattr(other.difference, name) for other in of_file if other.frame == 0]
        never = row.frame == 0 and len(cold) > 1 and all(not value <= limit for value in cold)
        return float(np.median(clip)) <= limit and not never

    def require_equal(self) -> None:
        """Raise ParityError with the first value beyond its tolerance."""
        if found := self.beyond():
            more = f", and {len(found) - 1} values more" if len(found) > 1 else ""
            raise ParityError(f"{found[0]}{more}; nothing was written")


def tolerance(config: NetworkConfig, precision: str) -> Difference:
    """The tolerance at this precision in the map of this network."""
    base = asdict(TOLERANCES[precision])
    base["position_m"] *= max(1.0, config.scene.position_spread)
    base["points_m"] *= max(1.0, config.scene.position_spread)
    base["motion_m"] *= max(1.0, config.scene.motion_spread)
    if config.traits.chooses_hypothesis:
        base |= {name: SOLVED * base[name] for name in ("position_m", "rotation_rad", "motion_m", "motion_rad")}
    return Difference(**base)


def random_clip(config: NetworkConfig, image_size: tuple[int, int], K_33: NDArray[np.float64]) -> list[Inputs]:
    """Images of coarse blobs with noise that move from frame to frame, blue channel first; depth where it is read."""
    height, width = image_size
    random = np.random.default_rng(0)
    blobs = random.integers(0, 256, (height // 8 + 2 + CLIP_LENGTH, width // 8 + 2, 3)).repeat(8, 0).repeat(8, 1)
    frames = []
    for i in range(CLIP_LENGTH):
        noisy = blobs[4 * i : 4 * i + height, :width] + random.normal(0, 8, (height, width, 3))
        image = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))[None]
        depth = torch.zeros((1, 1, 1, 1))
        if config.traits.reads_depth:
            metres = random.uniform(0.5, 5.0, (1, 1, height, width)) * (random.random((1, 1, height, width)) > 0.2)
            depth = torch.from_numpy(metres.astype(np.float32))
        frames.append((image, torch.tensor([2, 1, 0]), torch.from_numpy(K_33.astype(np.float32))[None], depth))
    return frames


def torch_runner(step: Any) -> Runner:
    """An eager or scripted `ExportedStep`."""

    def run(inputs: Inputs, state: State) -> tuple[Answer, State]:
        with torch.inference_mode():
            answer, new_state = step(*inputs, state)
        return answer, new_state

    return run


def onnx_runner(path: Path, provider: str = "CPUExecutionProvider") -> Runner:
    """A file in ONNX Runtime, its inputs and outputs on the CPU.

    Raises ModelFileError where that, or its provider of kernels for a device, is not installed.
    """
    require("onnxruntime")
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise ModelFileError(f"{path.name}: this ONNX Runtime has no {provider}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # silences warnings on unused initializers
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would keep spinning after the answer and slow down whatever is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    outputs = [value.name for value in session.get_outputs()]

    def run(inputs: Inputs, state: State) -> tuple[Answer, State]:
        feed = {name: value.cpu().numpy() for name, value in zip(FRAME_INPUTS, inputs)}
        feed |= {f"state.{name}": value.cpu().numpy() for name, value in state.items()}
        found = {name: torch.from_numpy(value) for name, value in zip(outputs, session.run(None, feed))}
        answer = {ANSWER_OF_OUTPUT[name]: value for name, value in found.items() if name in ANSWER_OF_OUTPUT}
        return answer, {name: found[f"next_state.{name}"] for name in state}

    return run


def stream(runner: Runner, clip: Sequence[Inputs], cold: State) -> list[Answer]:
    """The answers to the frames of a clip, each with the state after the previous frame."""
    answers, state = [], cold
    for inputs in clip:
        answer, state = runner(inputs, state)
        answers.append(answer)
    return answers


def difference(a: Answer, b: Answer) -> Difference:
    """The difference between two answers to one frame; fields without an answer differ by 0. Raises ParityError where
    only one of the two has an answer.
    """
    if set(a) != set(b):
        raise ParityError(f"the file answers {', '.join(a)}, the network {', '.join(b)}; nothing was written")
    found: dict[str, float] = {}
    others, points = [0.0], [0.0]
    for name, value in a.items():
        if name in POSES:
            distance, angle = POSES[name]
            found[distance] = largest(value[:, :3], b[name][:, :3])
            found[angle] = float(rotation_angle(value.double()[:, 3:], b[name].double()[:, 3:]).max())
        elif name == "coordinates_B4HW":
            # The mean: the point of a cell that shows nothing, such as sky, may be anywhere.
            off = (value.double() - b[name].double()).abs()
            points.append(float(off[:, :3].mean()))
            others.append(float(off[:, 3].mean()))
        elif name == "mask_BHW":
            found["mask_share"] = float((value != b[name]).double().mean())
        else:
            others.append(largest(value, b[name]))
    # NumPy's maximum keeps NaN, Python's does not.
    return Difference(log_scale=float(np.max(others)), points_m=float(np.max(points)), **found)


def largest(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; NaN where one is NaN, which torch's `max` propagates."""
    return float((a.double() - b.double()).abs().max())


def compare(
    network: Network, precision: str, clips: dict[str, Sequence[Inputs]], script: Path, onnx: Path | None
) -> Report:
    """Stream the clips through the network in full precision and through its files in theirs, on the CPU."""
    cold = cold_state_of(network)
    half = load_model(script, "cpu", precision)
    half_cold = {name: value.to(half.dtype) for name, value in cold.items()}
    ways = {script.name: torch_runner(half.step)}
    if onnx is not None:
        ways[onnx.name] = onnx_runner(onnx)
    was_training = network.training
    network.eval()
    try:
        rows = []
        for name, clip in clips.items():
            expected = stream(torch_runner(ExportedStep(network)), clip, cold)
            for file, way in ways.items():
                found = stream(way, clip, half_cold)
                rows += [Row(file, name, i, difference(*pair)) for i, pair in enumerate(zip(expected, found))]
    finally:
        network.train(was_training)
    voted = VOTED if network.config.traits.chooses_hypothesis else ()
    return Report(precision, tolerance(network.config, precision), tuple(rows), voted)


def counted(report: Report, file: str, name: str) -> float:
    """What is held against the tolerance of a field: its largest difference over all frames, or, where a solver votes,
    over the medians of the clips; NaN where one is.
    """
    clips: dict[str, list[float]] = {}
    for row in report.rows:
        if row.file == file:
            clips.setdefault(row.clip, []).append(getattr(row.difference, name))
    of_clip = np.median if name in report.voted else np.max
    return float(np.max([of_clip(values) for values in clips.values()]))


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table: each quantity with what is allowed and what each file has."""
    files = list(dict.fromkeys(row.file for row in report.rows))
    rows = []
    for name, limit in asdict(report.tolerance).items():
        quantity = name.replace("_", " ") + (" (median of a clip)" if name in report.voted else "")
        rows.append([quantity, scientific(limit), *(scientific(counted(report, file, name)) for file in files)])
    return ["quantity", "allowed", *files], rows


def in_words(report: Report) -> str:
    """How far the differences of a report stay below what is allowed; none is beyond it."""
    files = {row.file for row in report.rows}
    largest_of = {name: max(counted(report, file, name) for file in files) for name in asdict(report.tolerance)}
    factors = {name: limit / largest_of[name] for name, limit in asdict(report.tolerance).items() if largest_of[name]}
    if not factors:
        return "the files answer exactly as the network does"
    nearest = min(factors, key=factors.__getitem__)
    return (
        f"all differences are within what is allowed; the nearest to its limit, {nearest.replace('_', ' ')}, is "
        f"{factors[nearest]:.3g} times smaller than allowed"
    )


def scientific(value: float) -> str:
    """Two digits and the power of ten, 0 for exactly nothing."""
    return "0" if value == 0 else "NaN" if math.isnan(value) else f"{value:.1e}"
