"""A network as a table: what each part puts out, how many parameters it has and how many operations it costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlocnetpp.network.multitask import VLocNetPlusPlus
from vlocnetpp.network.presets import NetworkConfig

if TYPE_CHECKING:
    from vlocnetpp.runtime.model_file import Metadata

PARTS = (
    "front.stem", "front.res2", "front.res3",
    "odometry.past", "odometry.res4", "odometry.res5", "odometry.head",
    "depth",
    "segmentation.front.stem", "segmentation.front.res2", "segmentation.front.res3", "segmentation.res4",
    "warp_fusion_4f", "segmentation.res5", "warp_fusion_5c", "segmentation.decoder",
    "localization.res4", "localization.semantic_fusion", "localization.pose_map", "localization.res5",
    "localization.past_fusion", "localization.head", "localization.scale_head",
    "coordinates",
)  # fmt: skip
"""Parts of `VLocNetPlusPlus` in the order in which a step runs them."""


@dataclass(frozen=True)
class Part:
    """One row of the table."""

    name: str
    shape: tuple[int, ...]
    """Of its last map, for one image, without the batch axis."""
    parameters: int
    macs: int
    """Multiply-accumulates of one step on one image while streaming."""


def summarize(config: NetworkConfig) -> list[Part]:
    """Run one step on a black image and count."""
    network = VLocNetPlusPlus(config).eval()
    modules = dict(network.named_modules())
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    for name, module in modules.items():
        module.register_forward_hook(remember(name))
    counter = count_step(network)
    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    leaves = {name for name, module in modules.items() if not list(module.children())}
    parts = []
    for part in PARTS:
        if modules.get(part) is None:
            continue
        inside = [name for name in shapes if name == part or name.startswith(part + ".")]
        macs = sum(counts.get(name, 0) for name in inside if name in leaves) // 2
        parameters = sum(p.numel() for p in modules[part].parameters())
        parts.append(Part(part, shapes[inside[-1]], parameters, macs))
    return parts


def gmac(config: NetworkConfig) -> float:
    """Billions of multiply-accumulates of convolutions and matrix products of one step, counted on shapes alone."""
    with torch.device("meta"):
        network = VLocNetPlusPlus(config).eval()
        return count_step(network).get_total_flops() / 2e9


def count_step(network: VLocNetPlusPlus) -> FlopCounterMode:
    """Count the operations of one step on a black image, on the default device."""
    c = network.config
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(
            torch.zeros(1, 3, c.height, c.width_px),
            torch.eye(3)[None],
            torch.zeros(1, 1, c.height, c.width_px),
            network.cold_state(1),
        )
    return counter


def print_network(config: NetworkConfig) -> None:
    """The table on standard output, with its total."""
    from vlocnetpp.reporting.tables import print_table

    parts = summarize(config)
    rows = [[p.name, " x ".join(map(str, p.shape)), f"{p.parameters / 1e6:.3f}", f"{p.macs / 1e9:.3f}"] for p in parts]
    total, macs = sum(p.parameters for p in parts), sum(p.macs for p in parts)
    rows.append(["all", "", f"{total / 1e6:.3f}", f"{macs / 1e9:.3f}"])
    title = f"{config.preset}, width {config.width:g}, input 3 x {config.height} x {config.width_px}, one image"
    print_table(title, ("part", "out", "parameters M", "GMAC"), rows)
    sys.stdout.flush()


def print_model(path: Path, metadata: Metadata) -> None:
    """What a model file says of itself, on standard output."""
    from vlocnetpp.reporting.tables import print_table
    from vlocnetpp.runtime.model_file import fastest_precision

    data = metadata.dataset
    (fx, _, cx), (_, fy, cy), _ = metadata.K_33
    here = fastest_precision(metadata, torch.device("cpu"))
    rows = [
        ["preset", f"{metadata.preset}, {', '.join(metadata.tasks)}"],
        ["input", f"{metadata.input_height} x {metadata.input_width}, {metadata.resize}"],
        ["camera at that size", f"fx {fx:.2f}, fy {fy:.2f}, cx {cx:.2f}, cy {cy:.2f}"],
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
