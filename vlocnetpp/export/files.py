"""One export: the model files are compared with the network and written together or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlocnetpp.data import Frame, open_dataset
from vlocnetpp.errors import ConfigError, DataError
from vlocnetpp.export.onnx import OPSET, require, write_onnx
from vlocnetpp.export.parity import CLIP_LENGTH, Inputs, Report, compare, random_clip
from vlocnetpp.export.torchscript import write_torchscript
from vlocnetpp.geometry import central_view, scale_intrinsics
from vlocnetpp.network import Network, NetworkConfig, build_network, config_from_json, config_to_json
from vlocnetpp.network.summary import gmac
from vlocnetpp.reporting.files import write_json
from vlocnetpp.revision import source_revision
from vlocnetpp.runtime.map_cloud import CLOUD_FILE_NAME, cloud_to_bytes
from vlocnetpp.runtime.model_file import Metadata, ModelFileError, metadata_from_json, metadata_to_json


@dataclass(frozen=True)
class Export:
    """The files that an export wrote."""

    metadata: Metadata
    parity: Report
    files: tuple[Path, ...]
    """The model files, then the report."""
    checkpoint: Path | None = None
    """Where the weights came from, of the export of a run."""


def describe(network: Network, precision: str, about: dict[str, Any]) -> str:
    """The JSON text of the metadata that every file of an export carries."""
    c = network.config
    metadata = Metadata(
        preset=c.name,
        tasks=c.tasks,
        input_height=c.view.height,
        input_width=c.view.width_px,
        resize=c.view.resize,
        reads_depth=c.traits.reads_depth,
        state_shapes=network.state_shapes(),
        network=config_to_json(c),
        precision=precision,
        gmac=round(gmac(c), 3),
        attribution=c.traits.attribution,
        source_revision=source_revision(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **about,
    )
    return metadata_to_json(metadata)


@contextmanager
def together(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path`; the files left in it take their places beside `path` when the block ends well.

    If one of them cannot be replaced, the files that were replaced before it are restored. Raises ModelFileError where
    the folder of `path` does not exist or cannot be written to.
    """
    if not path.parent.is_dir():
        raise ModelFileError(f"{path}: the folder {path.parent} does not exist; make it, or name another")
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; name the file to write, e.g. {path / 'lab.ts'}")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            new, old = Path(scratch) / "new", Path(scratch) / "old"
            new.mkdir()
            old.mkdir()
            yield new
            replace_all(new, path.parent, old)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def replace_all(new: Path, target: Path, old: Path) -> None:
    """Move the files of `new` into `target`, all or none; `old` is an empty folder for what they replace."""
    names = sorted(file.name for file in new.iterdir())
    for name in names:
        if (target / name).is_file():
            shutil.copy2(target / name, old / name)
    moved: list[str] = []
    try:
        for name in names:
            os.replace(new / name, target / name)
            moved.append(name)
    except OSError:
        for name in moved:
            if (old / name).exists():
                os.replace(old / name, target / name)
            else:
                (target / name).unlink()
        raise


def export_network(network: Network, path: Path, precision: str = "fp32", **about: Any) -> Metadata:
    """Script the network and write it with its metadata, whole or not at all; nothing is compared.

    Args:
        network: trained; it is left as it was.
        path: file to write, replaced if it exists.
        precision: fp32, fp16 or bf16 of the stored weights; half the size, with three decimal digits less.
        about: fields of `Metadata` that do not follow from the network: K_33, classes, map_frame, bounds, calibration,
            dataset, metrics.

    Returns:
        The metadata written.
    """
    text = describe(network, precision, about)
    with together(path) as folder:
        write_torchscript(network, folder / path.name, precision, text)
    return metadata_from_json(text, path)


def export_files(
    network: Network,
    path: Path,
    precision: str = "fp32",
    onnx: bool = False,
    image_size: tuple[int, int] | None = None,
    frames: Sequence[Frame] = (),
    map_cloud: NDArray[np.void] | None = None,
    **about: Any,
) -> Export:
    """Write the TorchScript file, with `onnx` the ONNX file beside it, and the report that compares them.

    Args:
        path: of the TorchScript file; `.onnx` and `.parity.json` take the place of its suffix.
        onnx: whether to write ONNX too.
        image_size: rows and columns of the images that the ONNX file takes; by default those of the training images
            where they are known, of `frames`, or else those that the network needs not resize.
        frames: real frames to compare on, beside a clip of random images.
        map_cloud: (N,) of `runtime.map_cloud.POINT`, which the TorchScript file then carries.
        about: as for `export_network`.

    Raises:
        ParityError: a file answers otherwise than the network; earlier files are kept.
        ModelFileError: a file cannot be written, or the extra `onnx` is not installed.
    """
    if path.suffix in ("", ".onnx", ".json"):
        raise ModelFileError(f"{path}: name the TorchScript file, e.g. {path.with_suffix('.ts').name}")
    if onnx:
        require("onnx", "onnxscript", "onnxruntime")
    text = describe(network, precision, about)
    metadata = metadata_from_json(text, path)
    config = network.config
    size = image_size or default_size(config, metadata, frames)
    clips: dict[str, Sequence[Inputs]] = {"random": random_clip(config, size, raw_intrinsics(metadata, size))}
    if frames:
        clips["real"] = [frame_inputs(frame, config, size) for frame in frames]
    with together(path) as folder:
        script = folder / path.name
        cloud = None if map_cloud is None else cloud_to_bytes(map_cloud)
        write_torchscript(network, script, precision, text, cloud)
        other = folder / path.with_suffix(".onnx").name if onnx else None
        if other is not None:
            write_onnx(network, other, precision, text, size)
        report = compare(network, precision, clips, script, other)
        report.require_equal()
        made = [file for file in (script, other) if file is not None]
        summary = folder / f"{path.stem}.parity.json"
        write_json(
            summary,
            {
                "precision": precision,
                "image_size": size,
                "opset": OPSET if onnx else None,
                "source_revision": metadata.source_revision,
                "created": metadata.created,
                "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in made},
                "tolerance": asdict(report.tolerance),
                "frames": [
                    {"file": r.file, "clip": r.clip, "frame": r.frame, **asdict(r.difference)} for r in report.rows
                ],
            },
        )
        files = tuple(path.parent / file.name for file in (*made, summary))
    return Export(metadata, report, files)


def default_size(config: NetworkConfig, metadata: Metadata, frames: Sequence[Frame]) -> tuple[int, int]:
    """Default rows and columns of the images that an ONNX file takes."""
    if frames:
        height, width = frames[0].image().shape[:2]
        return height, width
    known = metadata.dataset.get("image_size")
    if known:
        return int(known[0]), int(known[1])
    height, width = config.view.height, config.view.width_px
    if config.view.resize == "crop":
        return round(height * 256 / 224), round(width * 256 / 224)
    return height, width


def raw_intrinsics(metadata: Metadata, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Intrinsics of an image of this size whose view in the network is that of the training camera, up to its crop."""
    height, width = metadata.input_height, metadata.input_width
    rows, columns, top, left = central_view(*size, height, width, metadata.resize == "whole")
    K = torch.tensor(metadata.K_33, dtype=torch.float64)
    K[0, 2] += left
    K[1, 2] += top
    return scale_intrinsics(K, size[1] / columns, size[0] / rows).numpy()


def frame_inputs(frame: Frame, config: NetworkConfig, size: tuple[int, int]) -> Inputs:
    """A recorded frame as input of the step. Raises DataError for one of another size than the file's."""
    image = frame.image()
    if image.shape[:2] != size:
        raise DataError(
            f"{frame.name}: has {image.shape[0]} x {image.shape[1]} pixels, the export is for {size[0]} x {size[1]}; "
            "give its size with --image-size"
        )
    depth = torch.zeros((1, 1, 1, 1))
    if config.traits.reads_depth:
        measured = frame.depth()
        if measured is None:
            raise DataError(f"{frame.name}: has no depth image, which preset '{config.name}' reads")
        if measured.shape != size:
            raise DataError(f"{frame.name}: its depth image has another size than the image, which ONNX cannot take")
        depth = torch.from_numpy(np.nan_to_num(measured.astype(np.float32)))[None, None]
    K = torch.from_numpy(np.asarray(frame.K_33, np.float32))[None]
    return torch.from_numpy(np.ascontiguousarray(image))[None], torch.tensor([0, 1, 2]), K, depth


def export_run(
    run: Path,
    path: Path,
    precision: str = "fp32",
    onnx: bool = False,
    checkpoint: str | None = None,
    image_size: tuple[int, int] | None = None,
    verify: Path | None = None,
) -> Export:
    """Export a checkpoint of a training run: `best` or `last`, by default the best where there is one.

    Args:
        run: folder of the run.
        verify: folder of a dataset whose first frames are compared too.
        precision, onnx, image_size: as for `export_files`.

    Raises:
        CheckpointError: the run has no such checkpoint, or it cannot be read.
        ModelFileError, ParityError, DataError: as for `export_files`.
    """
    network, about, source = read_run(run, checkpoint)
    frames = first_frames(verify) if verify is not None else ()
    made = export_files(network, path, precision, onnx, image_size, frames, read_cloud(run), **about)
    return Export(made.metadata, made.parity, made.files, source)


def read_run(run: Path, checkpoint: str | None = None) -> tuple[Network, dict[str, Any], Path]:
    """The network of a run's checkpoint, the metadata for its files, and the checkpoint; arguments as `export_run`.

    Raises CheckpointError: the run has no such checkpoint, or it cannot be read.
    """
    from vlocnetpp.training.checkpoint import CheckpointError, load_checkpoint

    if run.is_file():
        raise CheckpointError(f"{run}: is a file where the folder of a training run is expected, the --out of train")
    if run.is_dir() and not any((run / name).exists() for name in ("config.yaml", "best.pt", "last.pt")):
        raise CheckpointError(
            f"{run}: is a folder, but not that of a training run, the --out of train (config.yaml, last.pt); a "
            "command that takes both a run and data takes the run first"
        )
    if checkpoint is None:
        checkpoint = "best" if (run / "best.pt").is_file() else "last"
    source = run / f"{checkpoint}.pt"
    saved = load_checkpoint(source)
    if saved.get("train_config", {}).get("leak_probe"):
        raise CheckpointError(
            f"{source}: is a leak probe, fed with true poses that no robot has, and is never exported; "
            "train the preset without leak_probe"
        )
    if not saved.get("settled", True):
        raise CheckpointError(
            f"{source}: was written between two validations, and the run was killed after that; its norms are not those"
            " of a robot yet: continue with train --resume, which Ctrl-C ends with a checkpoint that can be exported"
        )
    try:
        network = build_network(config_from_json(saved["network_config"]))
        network.load_state_dict(saved["network_state"])
        about = {
            **saved["about"],
            "calibration_2": tuple(saved["calibration"]),
            "motion_calibration_2": tuple(saved.get("motion_calibration", ())),
            "limits": {name: limit for name, limit in saved.get("limits", {}).items() if 0 < limit < math.inf},
            "metrics": {"validation": saved["metrics"]},
        }
        describe(network, "fp32", about)  # refuses metadata that is incomplete or too large
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{source}: is not of this version of vlocnetpp ({reason})") from error
    return network, about, source


def read_cloud(run: Path) -> NDArray[np.void] | None:
    """The map's cloud of a run, None where its training was not ended or gives none. Raises ModelFileError."""
    path = run / CLOUD_FILE_NAME
    if not path.is_file():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}); delete it, or train to the end again") from error


def first_frames(root: Path) -> Sequence[Frame]:
    """The beginning of a dataset's first sequence, of its test split where it has one."""
    dataset = open_dataset(root)
    split = next((name for name in ("test", "val", "train") if name in dataset.splits), None)
    if split is None or not dataset.splits[split]:
        raise DataError(f"{root}: has no frames to compare on")
    return dataset.splits[split][0].frames[:CLIP_LENGTH]
