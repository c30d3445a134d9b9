"""The one file that is copied to the robot: a TorchScript step with everything known about it as JSON beside it.

The file is an archive of weights and TorchScript code. Loading it never runs a Python pickle, but the code is executed:
it is checked first, see `archive`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from vlocnetpp.runtime.archive import ModelFileError as ModelFileError
from vlocnetpp.runtime.archive import check_archive
from vlocnetpp.runtime.cuda_graph import record_step
from vlocnetpp.runtime.metadata_check import problem
from vlocnetpp.step import cold_state

FORMAT = 2
"""Incremented whenever a reader of the last format could not run the file."""
METADATA_NAME = "metadata.json"
MOST_METADATA = 4 << 20
"""Limit in bytes; typical metadata has some kilobytes."""
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BF16_GMAC = 0.5
"""Smallest work of a step for which bfloat16 is faster, on a CPU with bfloat16 instructions; see docs/speed.md."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of a model file."""

    preset: str
    """Preset of the network, e.g. `mtl`."""
    tasks: tuple[str, ...]
    """Which of localization, odometry, segmentation it answers."""
    input_height: int
    input_width: int
    """Resolution of the network's input, pixels."""
    resize: str
    """`whole` image, or short side and centre `crop`."""
    state_shapes: dict[str, tuple[int, ...]]
    """Shape of each field of the state for one stream, without the batch axis; empty for a network without memory."""
    reads_depth: bool
    """Whether the step reads measured depth, which the robot must then provide."""
    K_33: tuple[tuple[float, ...], ...]
    """Intrinsics of the training images at the network's resolution."""
    classes: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    """Name and RGB colour of each class id."""
    map_frame: str = "map"
    position_min_3: tuple[float, ...] = ()
    position_max_3: tuple[float, ...] = ()
    """Bounds of the training positions in the map, metres."""
    calibration_2: tuple[float, ...] = (1.0, 1.0)
    """Factors that turn the predicted scales of translation and rotation into 68 % bounds, from validation data."""
    motion_calibration_2: tuple[float, ...] = ()
    """The same of motions; empty where the network predicts no scale of them or validation had none."""
    limits: dict[str, float] = field(default_factory=dict)
    """Limits beyond which a pose is not trusted: `uncertainty_m`, `uncertainty_rad`, `novelty`, `drift`."""
    dataset: dict[str, Any] = field(default_factory=dict)
    """Name, layout, digest and size of the training data."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Metrics of the validation or test run that the exporter was given."""
    network: dict[str, Any] = field(default_factory=dict)
    """The whole network configuration."""
    precision: str = "fp32"
    """Precision in which the weights are stored."""
    gmac: float = 0.0
    """Billions of multiply-accumulates of one step on one image; 0 where it was not counted."""
    attribution: tuple[str, ...] = ()
    """Origin and licence of weights that the training began from."""
    source_revision: str = ""
    """Version and commit of the code that wrote the file."""
    created: str = ""
    """UTC time of the export."""
    format: int = FORMAT


def metadata_to_json(metadata: Metadata) -> str:
    """The JSON text in the file."""
    return json.dumps(asdict(metadata), indent=2, allow_nan=False)


def metadata_from_json(text: str, path: Path) -> Metadata:
    """Parse and check the JSON of a file. Raises ModelFileError for another format or missing fields."""
    try:
        data = json.loads(text)
        version = data.get("format") if isinstance(data, dict) else None
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: its {METADATA_NAME} is not JSON ({error})") from error
    if not isinstance(version, int):
        raise ModelFileError(f"{path}: its {METADATA_NAME} names no format; it was not written by 'vlocnetpp export'")
    if version > FORMAT:
        raise ModelFileError(f"{path}: has format {version}, this runtime reads {FORMAT}; update vlocnetpp")
    if version < FORMAT:
        raise ModelFileError(f"{path}: has format {version}, this runtime reads {FORMAT}; export its run again")
    known = {f.name for f in fields(Metadata)}
    for name in sorted(known ^ set(data)):
        what = "lacks" if name in known else "has an unknown field"
        raise ModelFileError(f"{path}: its {METADATA_NAME} {what} '{name}'; export its run again")
    metadata = Metadata(**{name: _tuples(value) for name, value in data.items()})
    if (wrong := problem(metadata)) is not None:
        raise ModelFileError(f"{path}: its {METADATA_NAME} cannot be: {wrong}; export it again")
    return metadata


def _tuples(value: Any) -> Any:
    """JSON lists as tuples, at every depth."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def read_metadata(path: str | Path) -> Metadata:
    """The metadata of a model file, without loading its weights. Raises ModelFileError."""
    path = Path(path)
    if (path / "config.yaml").is_file():
        raise ModelFileError(
            f"{path}: is the folder of a training run; export it first: vlocnetpp export {path} --out MODEL.ts"
        )
    if path.is_dir():
        raise ModelFileError(
            f"{path}: is a folder where a model file is expected, as vlocnetpp export writes it; a command that takes "
            "both a model and data takes the model first"
        )
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            whole = zipfile.is_zipfile(file)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    if not whole and path.suffix == ".onnx":
        raise ModelFileError(f"{path}: is ONNX; the runtime runs the TorchScript file that was exported beside it")
    if not whole:
        raise ModelFileError(
            f"{path}: is not a model file, or it is truncated; copy it again, or see whether the model comes first"
        )
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"{path}: is damaged: {error}; copy it again") from error
    with archive:
        names = [name for name in archive.namelist() if name.endswith(f"/extra/{METADATA_NAME}")]
        if not names:
            raise ModelFileError(f"{path}: is no model file of vlocnetpp (no {METADATA_NAME}); see 'vlocnetpp export'")
        size = archive.getinfo(names[0]).file_size
        if size > MOST_METADATA:
            raise ModelFileError(f"{path}: its {METADATA_NAME} of {size} bytes is over {MOST_METADATA >> 20} MiB")
        try:
            text = archive.read(names[0]).decode()
        except (zipfile.BadZipFile, UnicodeDecodeError, EOFError) as error:
            raise ModelFileError(f"{path}: is damaged: {error}") from error
    return metadata_from_json(text, path)


@dataclass(frozen=True)
class Model:
    """A loaded file: call `step(image_BHWC, channels_3, K_B33, depth_B1HW, state) -> (Answer, State)`."""

    path: Path
    metadata: Metadata
    device: torch.device
    dtype: torch.dtype
    step: torch.nn.Module
    optimizations: tuple[str, ...] = ()
    """Optimizations that the loader applied to the step; docs/speed.md has their effects."""

    @property
    def arithmetic(self) -> str:
        """Precision and optimizations as text, e.g. `bf16, frozen, channels-last`."""
        names = {dtype: name for name, dtype in PRECISIONS.items()}
        return ", ".join((names[self.dtype], *self.optimizations))


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one; a device that is asked for by name must exist, there is no silent fallback."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelFileError(f"device '{device}' does not exist; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelFileError(f"device '{device}' was asked for, but this PyTorch sees no CUDA device")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelFileError(f"device '{device}' does not exist; there are {torch.cuda.device_count()} CUDA devices")
    if chosen.type not in ("cpu", "cuda"):
        raise ModelFileError(f"device '{device}' is not supported; use auto, cpu, cuda or cuda:N")
    return chosen


def multiplies_bf16(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 (x86: AVX-512 or AMX) and oneDNN uses it; else bfloat16 is the slower type.

    Without oneDNN a product of matrices takes eighty times as long as in float32 (measured on an EPYC with
    ONEDNN_MAX_CPU_ISA=AVX2), so that inference and training both check this.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    try:
        flags = cpu.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False  # not Linux: unknown
    return "avx512_bf16" in flags or "amx_bf16" in flags


def fastest_precision(metadata: Metadata, device: torch.device) -> str:
    """The default precision of `load_model`. On a GPU the stored one. On a CPU bf16 where the processor has
    instructions for it and the step is large enough that its convolutions dominate, else fp32: always the same choice
    for a file on a machine.
    """
    if device.type != "cpu":
        return metadata.precision
    return "bf16" if metadata.gmac >= BF16_GMAC and multiplies_bf16() else "fp32"


def dtype_of(precision: str) -> torch.dtype:
    """The type of numbers that a precision names. Raises ModelFileError for one that does not exist."""
    if precision not in PRECISIONS:
        raise ModelFileError(f"precision '{precision}' does not exist; use {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def load_model(
    path: str | Path,
    device: str = "auto",
    precision: str | None = None,
    cuda_graph: bool = False,
    resident: bool = False,
) -> Model:
    """Load a model file for inference, with every optimization that preserves its answers.

    It is frozen, which folds batch norms into the convolutions before them. On a CPU weights and maps lie channels last
    as well, as the pixels of a camera do; see docs/speed.md.

    Args:
        path: file written by `vlocnetpp export`.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, fp16 or bf16; by default the fastest, see `fastest_precision`.
        cuda_graph: on a GPU, record the step; see `cuda_graph`. Where that fails the step stays as it was, and the
            model's `optimizations` say why.
        resident: with `cuda_graph`, the state stays in the recording's own memory; see `RecordedStep`.

    Raises:
        ModelFileError: missing, truncated, foreign or newer file, unknown device or precision, no memory for it.
    """
    try:
        return _load_model(Path(path), device, precision, cuda_graph, resident)
    except (RuntimeError, MemoryError, ModelFileError) as error:
        if not is_out_of_memory(error):
            raise
        where = choose_device(device)
        raise ModelFileError(
            f"{path}: '{where}' has no memory left for it; end what else uses it, or take fp16 or a smaller network"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the host, had no memory left; for the host PyTorch has no type of error of its own."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _load_model(path: Path, device: str, precision: str | None, cuda_graph: bool, resident: bool) -> Model:
    metadata = read_metadata(path)
    chosen = choose_device(device)
    if cuda_graph and chosen.type != "cuda":
        raise ModelFileError(f"a CUDA graph was asked for, but the device is '{chosen}'")
    if resident and not cuda_graph:
        raise ModelFileError("a resident state was asked for, which only a CUDA graph has")
    if precision is None:
        precision = fastest_precision(metadata, chosen)
    dtype = dtype_of(precision)
    step = load_script(path, chosen)
    step.eval()
    step.to(dtype)
    done: tuple[str, ...] = ("frozen",)
    if chosen.type == "cpu":
        layout: Any = {"memory_format": torch.channels_last}  # which the annotations of `to` leave out
        step.to(**layout)
        done = ("frozen", "channels-last")
    frozen = torch.jit.freeze(step)
    example = example_frame(metadata, dtype, chosen)
    check_state(path, frozen, metadata, example)
    if not cuda_graph:
        return Model(path, metadata, chosen, dtype, frozen, done)
    recorded, how = record_step(frozen, example, dtype, resident)
    return Model(path, metadata, chosen, dtype, recorded, (*done, how))


def example_frame(metadata: Metadata, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    """Inputs of one step at the network's own size: a black image at a cold start."""
    image = torch.zeros((1, metadata.input_height, metadata.input_width, 3), dtype=torch.uint8, device=device)
    K, depth = torch.tensor(metadata.K_33, device=device)[None], torch.zeros((1, 1, 1, 1), device=device)
    state = cold_state(metadata.state_shapes, 1, device, dtype)
    return image, torch.tensor([0, 1, 2], device=device), K, depth, state


def check_state(path: Path, step: torch.nn.Module, metadata: Metadata, example: tuple[Any, ...]) -> None:
    """Raise ModelFileError unless the step takes and returns the state that the metadata lists."""
    try:
        with torch.inference_mode():
            _, state = step(*example)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ModelFileError(f"{path}: does not run on the state that its metadata says ({reason})") from error
    found = {name: tuple(value.shape[1:]) for name, value in state.items()}
    for name in sorted(set(found) | set(metadata.state_shapes)):
        if found.get(name) != metadata.state_shapes.get(name):
            raise ModelFileError(
                f"{path}: leaves the state '{name}' as {found.get(name, 'nothing')}, its metadata says "
                f"{metadata.state_shapes.get(name, 'nothing')}; export its run again"
            )


def load_script(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """The file's module as it was stored. Raises ModelFileError where it is damaged, has forbidden code, or cannot be
    read.
    """
    check_archive(path)
    try:
        return torch.jit.load(str(path), map_location=device)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelFileError(f"{path}: TorchScript cannot read it ({reason}); copy or export it again") from error
