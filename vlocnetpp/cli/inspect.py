"""`vlocnetpp inspect`: parts, shapes, parameters and operations of a network or a model file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlocnetpp.cli.arguments import Subcommands

if TYPE_CHECKING:
    from vlocnetpp.network import NetworkConfig
    from vlocnetpp.runtime import Metadata


def inspect(args: argparse.Namespace) -> int:
    """Describe a network, all of them, or a model file."""
    from vlocnetpp.runtime.model_file import metadata_to_json

    if args.all:
        from vlocnetpp.network.models_page import page

        print(page(), end="")
        return 0
    if not args.what:
        from vlocnetpp.errors import ConfigError

        raise ConfigError("inspect: name a preset or a model file, or give --all")
    if settings_file(args.what) is None and is_file(args.what):
        metadata = file_metadata(Path(args.what))
        if args.json:
            print(metadata_to_json(metadata))
            return 0
        print_model(Path(args.what), metadata)
        if is_onnx(Path(args.what)):
            from vlocnetpp.export.onnx import onnx_interface
            from vlocnetpp.reporting import print_table

            print_table("ONNX", ("", "name", "type and shape"), onnx_interface(Path(args.what)))
    print_network(named_config(args))
    return 0


def print_network(config: NetworkConfig) -> None:
    """The table on standard output, with its total."""
    from vlocnetpp.network.summary import summarize
    from vlocnetpp.reporting import print_table

    parts = summarize(config)
    rows = [[p.name, " x ".join(map(str, p.shape)), f"{p.parameters / 1e6:.3f}", f"{p.macs / 1e9:.3f}"] for p in parts]
    total, macs = sum(p.parameters for p in parts), sum(p.macs for p in parts)
    rows.append(["all", "", f"{total / 1e6:.3f}", f"{macs / 1e9:.3f}"])
    size = f"3 x {config.view.height} x {config.view.width_px}"
    title = f"{config.name}, width {config.width:g}, input {size}, one image"
    print_table(title, ("part", "out", "parameters M", "GMAC"), rows)


def print_model(path: Path, metadata: Metadata) -> None:
    """A model file's metadata, on standard output."""
    import torch

    from vlocnetpp.reporting import print_table
    from vlocnetpp.runtime.model_file import fastest_precision

    data = metadata.dataset
    (fx, _, cx), (_, fy, cy), _ = metadata.K_33
    here = fastest_precision(metadata, torch.device("cpu"))
    rows = [
        ["preset", f"{metadata.preset}, {', '.join(metadata.tasks)}"],
        ["input", f"{metadata.input_height} x {metadata.input_width}, {metadata.resize}"],
        ["camera at that size", f"fx {fx:.2f}, fy {fy:.2f}, cx {cx:.2f}, cy {cy:.2f}"],
        ["depth image", "read" if metadata.reads_depth else "not read"],
        ["weights", f"{metadata.precision}, {path.stat().st_size / 1e6:.1f} MB"],
        ["a step", f"{f'{metadata.gmac:.2f} GMAC' if metadata.gmac else 'work not noted'}; on this CPU in {here}"],
        ["classes", ", ".join(name for name, _ in metadata.classes) or "none"],
        ["colours", ", ".join(f"#{bytes(color).hex()}" for _, color in metadata.classes) or "none"],
        ["map frame", metadata.map_frame],
        ["positions from", ", ".join(f"{value:.2f}" for value in metadata.position_min_3) + " m"],
        ["positions to", ", ".join(f"{value:.2f}" for value in metadata.position_max_3) + " m"],
        ["calibration", "translation x {:.3f}, rotation x {:.3f}".format(*metadata.calibration_2)],
        ["trained on", f"{data.get('name', '?')}, {data.get('training_frames', '?')} frames"],
        ["data digest", str(data.get("digest", "?"))[:16]],
        *([name, f"{value:.4g}"] for name, value in figures(metadata.metrics)),
        ["written by", f"vlocnetpp {metadata.source_revision}, {metadata.created}"],
        ["format", str(metadata.format)],
    ]
    print_table(str(path), ("", "value"), rows)


def figures(metrics: Mapping[str, Any], depth: int = 3) -> Iterator[tuple[str, float]]:
    """Numbers of nested metrics under dotted names; figures of single classes lie deeper than `depth` and are left."""
    for name, value in metrics.items():
        if isinstance(value, Mapping) and depth > 1:
            yield from ((f"{name}.{inner}", number) for inner, number in figures(value, depth - 1))
        elif isinstance(value, (int, float)):
            yield name, float(value)


def named_config(args: argparse.Namespace) -> NetworkConfig:
    """The network that `args.what` names: a preset at a width and input, or what is in a model file."""
    from vlocnetpp.network import config_from_json, configure, names

    if (file := settings_file(args.what)) is not None:
        return configured_by(file)
    if is_file(args.what):
        return config_from_json(file_metadata(Path(args.what)).network)
    if Path(args.what).is_dir() and args.what not in names():
        from vlocnetpp.errors import ConfigError

        raise ConfigError(
            f"{args.what}: is a folder without a config.yaml, so not that of a training run; name a model file, a run, "
            "a configuration or a preset"
        )
    settings = {"height": args.height, "width_px": args.width_px}
    with suppress(ValueError):
        args.width = float(args.width)
    return configure(args.what, args.width, **{key: value for key, value in settings.items() if value})


def settings_file(what: str) -> Path | None:
    """The configuration that a word means: a YAML file, also an installed one, or that of a run's folder."""
    from vlocnetpp.cli.training import configuration

    if Path(what).suffix in (".yaml", ".yml"):
        return configuration(Path(what))
    run = Path(what) / "config.yaml"
    return run if run.is_file() else None


def configured_by(file: Path) -> NetworkConfig:
    """The network of a training configuration. Raises ConfigError where the file is not one."""
    from vlocnetpp.network import configure
    from vlocnetpp.training.config import load_config

    config = load_config(file)
    return configure(config.preset, config.width, **config.network)


def file_metadata(path: Path) -> Metadata:
    """The metadata of a TorchScript or ONNX file. Raises ModelFileError."""
    if is_onnx(path):
        from vlocnetpp.export import read_onnx_metadata

        return read_onnx_metadata(path)
    from vlocnetpp.runtime import read_metadata

    return read_metadata(path)


def is_onnx(path: Path) -> bool:
    """Whether a file is read as ONNX, by its suffix."""
    return path.suffix == ".onnx"


def is_file(what: str) -> bool:
    """Whether a word means a file rather than a preset; a preset has no suffix."""
    return bool(Path(what).suffix) or Path(what).is_file()


def network_arguments(command: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Arguments that choose a network; see `named_config`."""
    command.add_argument(
        "what",
        nargs=nargs,
        help="name of a preset, e.g. mtl, a model file (.ts or .onnx), a configuration (.yaml) or the folder of a run",
    )
    command.add_argument("--width", default="full", help="of a preset: tiny, full or a share of full (default: full)")
    command.add_argument("--height", type=int, help="rows of a preset's input (default: 224)")
    command.add_argument("--width-px", type=int, help="columns of a preset's input (default: 224)")


def add_commands(commands: Subcommands[argparse.ArgumentParser]) -> None:
    """`inspect`."""
    inspector = commands.add_parser("inspect", help="parts, shapes, parameters and operations of a preset or file")
    network_arguments(inspector, "?")
    inspector.add_argument("--json", action="store_true", help="print the metadata of a model file as JSON")
    inspector.add_argument("--all", action="store_true", help="every network by name, as Markdown (docs/models.md)")
    inspector.set_defaults(command=inspect)
