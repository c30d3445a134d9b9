"""What a step costs, as ratios of one run: by way, input, width, tasks and precision; and the memory of the ring.

    python benchmarks/speed.py --out docs/benchmarks/speed.json --picture docs/pictures/speed-cost.png
    python benchmarks/speed.py --compare docs/benchmarks/speed.json

All that is compared runs in turn, A B C A B C ..., so that the ratios hold on a machine that is not quiet. `--compare`
shows what has become slower by more than 15 % against a baseline of another run; it shows and does not fail, since
ratios too depend on the processor.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from vlocnetpp.benchmark.machine import describe_machine
from vlocnetpp.network import configure
from vlocnetpp.reporting import print_table
from vlocnetpp.reporting.files import replacing, write_json
from vlocnetpp.reporting.tables import markdown_table
from vlocnetpp.runtime import RingBuffer
from vlocnetpp.runtime.model_file import multiplies_bf16
from vlocnetpp.speed import WAYS, Case, case_of_preset, measure
from vlocnetpp.speed.measure import time_in_turn
from vlocnetpp.speed.report import tables

Named = tuple[str, str | float, int, int]
"""Preset, width, rows and columns of the input."""
BASE: Named = ("mtl", "tiny", 256, 448)
CASES: dict[Named, tuple[list[str], int]] = {
    BASE: (["scripted", "eager", "frozen", "channels-last", "optimized", "runtime", "recomputing", "onnx"], 20),
    ("stl_pose", "tiny", 128, 160): (["scripted", "eager", "frozen", "runtime", "recomputing", "onnx"], 40),
    ("mtl", "full", 224, 224): (["scripted", "eager", "frozen", "runtime", "recomputing", "onnx"], 6),
}
"""Ways that are held against the first, and repetitions."""
INPUTS: list[Named] = [("mtl", "tiny", h, w) for h, w in ((96, 128), (128, 160), (192, 320), (256, 448), (384, 640))]
NETWORKS: list[Named] = [("mtl", width, 128, 160) for width in (0.125, 0.25, 0.5, 1.0)]
PRESETS = ("stl_pose", "stl_odometry", "stl_segmentation", "mtl_no_warp", "mtl")
TASKS: list[Named] = [(preset, "tiny", 256, 448) for preset in PRESETS]
CAPACITIES = (2, 4, 8, 16, 32)
WORSE = 1.15
"""Times the baseline, from which on a ratio is shown."""


def label(named: Named) -> str:
    """As in tables and keys."""
    preset, width, height, columns = named
    return f"{preset} {width if isinstance(width, str) else f'{width:g}'} {height} x {columns}"


def case_of(named: Named, precision: str | None = None) -> Case:
    """With random weights, on the CPU."""
    preset, width, height, columns = named
    return case_of_preset(configure(preset, width, height=height, width_px=columns), "cpu", precision)


def by_way() -> dict[str, Any]:
    """Each case in each of its ways, printed as `vlocnetpp speed` prints it."""
    found = {}
    for named, (ways, repetitions) in CASES.items():
        measured = measure(case_of(named), ways, repetitions)
        print_table(*tables(measured)[0])
        report = measured.to_json()
        found[label(named)] = {key: report[key] for key in ("gmac", "roofline", "ways", "failed", "streams_ms")}
    return found


def by_cost(several: list[Named], precisions: list[str], repetitions: int) -> dict[str, dict[str, Any]]:
    """p50 in milliseconds of the runtime, by precision."""
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(prefix="vlocnetpp_speed_") as folder:
        steps: dict[str, Callable[[], object]] = {}
        for named in several:
            for precision in precisions:
                case = case_of(named, precision)
                scratch = Path(folder) / f"{len(steps)}"
                scratch.mkdir()
                run = WAYS["runtime"](case, scratch)
                _, state = run(case.frames[0], case.cold())
                steps[f"{label(named)}|{precision}"] = partial(run, case.frames[1], state)
                found.setdefault(label(named), {"gmac": case.metadata.gmac})
        spent, _ = time_in_turn(torch.device("cpu"), steps, repetitions)
    for key, milliseconds in spent.items():
        name, precision = key.split("|")
        found[name][precision] = float(np.median(milliseconds))
    return found


def ring_mb() -> dict[str, dict[int, float]]:
    """Megabytes of the ring in fp32 by its length."""
    found: dict[str, dict[int, float]] = {}
    for named in (BASE, ("mtl", "full", 224, 224)):
        shapes = case_of(named).metadata.state_shapes
        rings = {n: RingBuffer(n, shapes, torch.device("cpu"), torch.float32) for n in CAPACITIES}
        found[label(named)] = {n: ring.memory_bytes / 1e6 for n, ring in rings.items()}
    return found


def ratios(report: Mapping[str, Any]) -> dict[str, float]:
    """What is compared between runs: times by the time of another that ran in turn with it."""
    found = {}
    for case, figures in report["ways"].items():
        first = next(iter(figures["ways"]))
        for way, timing in figures["ways"].items():
            if way != first:
                found[f"{case}: {way} / {first}"] = timing[f"time_by_{first}"]
    for name in ("inputs", "widths", "tasks"):
        rows = report[name]
        base = next(iter(rows.values()))["fp32"]
        for case, row in rows.items():
            for precision in ("fp32", "bf16"):
                if precision in row and row[precision] != base:
                    found[f"{case} {precision} / {next(iter(rows))} fp32"] = row[precision] / base
    return found


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Latency against input, width and tasks; memory against the length of the ring."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    (a, b), (c, d) = figure.subplots(2, 2)
    styles = {"fp32": ("#0072B2", "o-"), "bf16": ("#E69F00", "s--")}
    for precision, (color, style) in styles.items():
        for axes, name in ((a, "inputs"), (b, "widths")):
            rows = report[name]
            if all(precision in row for row in rows.values()):
                pixels = [int(key.split()[2]) * int(key.split()[4]) / 1e3 for key in rows]
                x = pixels if name == "inputs" else [float(key.split()[1]) for key in rows]
                axes.plot(x, [row[precision] for row in rows.values()], style, color=color, label=precision)
    presets = [key.split()[0] for key in report["tasks"]]
    shown = [precision for precision in styles if all(precision in row for row in report["tasks"].values())]
    for i, precision in enumerate(shown):
        values = [row[precision] for row in report["tasks"].values()]
        c.barh(np.arange(len(values)) + 0.38 * i, values, 0.36, color=styles[precision][0], label=precision)
    c.set_yticks(np.arange(len(presets)) + 0.19 * (len(shown) - 1), presets)
    c.invert_yaxis()
    for (name, sizes), style in zip(report["ring_mb"].items(), ("o-", "s--")):
        d.plot([int(n) for n in sizes], list(sizes.values()), style, color="#333333", label=name)
    a.set(xlabel="input [thousand pixels]", ylabel="one step, p50 [ms]", title="mtl, a quarter of the channels")
    b.set(xlabel="share of the paper's channels", ylabel="one step, p50 [ms]", title="mtl, 128 x 160")
    b.set_xscale("log", base=2)
    b.set_xticks([0.125, 0.25, 0.5, 1.0], ["1/8", "1/4", "1/2", "1"])
    c.set(xlabel="one step, p50 [ms]", title="tasks, a quarter of the channels, 256 x 448")
    d.set(xlabel="frames in the ring", ylabel="memory, fp32 [MB]", title="ring buffer")
    for axes in (a, b, c, d):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        axes.tick_params(labelsize=8)
    a.set_ylim(0)
    b.set_yscale("log")
    b.set_yticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    b.minorticks_off()
    d.set_ylim(0)
    with replacing(path) as partial:
        figure.savefig(partial)


def markdown(report: Mapping[str, Any]) -> str:
    """The table of docs/speed.md: p50 in milliseconds, time by that of the first way, share of the limit."""
    cases = report["ways"]
    columns = ["", *(column for case in cases for column in (f"`{case}`", "by the first", "of the limit"))]
    rows = []
    for name in dict.fromkeys(name for figures in cases.values() for name in figures["ways"]):
        cells = [name]
        for figures in cases.values():
            way, first = figures["ways"].get(name), next(iter(figures["ways"]))
            cells += ["-"] * 3 if way is None else [
                f"{way['p50_ms']:.1f} ({way['precision']})",
                f"{way[f'time_by_{first}']:.2f}",
                f"{way['share_of_convolution_limit']:.0%}",
            ]  # fmt: skip
        rows.append(cells)
    return markdown_table(columns, rows)


def compare(now: Mapping[str, float], before: Mapping[str, float]) -> list[list[str]]:
    """Rows of what has become slower than 15 % more than before."""
    return [
        [name, f"{before[name]:.2f}", f"{value:.2f}", f"{value / before[name] - 1:+.0%}"]
        for name, value in now.items()
        if name in before and value > WORSE * before[name]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for figures and ratios")
    parser.add_argument("--picture", type=Path, help="PNG file for the curves")
    parser.add_argument("--compare", type=Path, help="JSON file of another run to hold the ratios against")
    args = parser.parse_args()
    if args.compare and not args.compare.is_file():
        parser.error(f"--compare {args.compare}: no such file; --out of another run writes one")
    before = json.loads(args.compare.read_text(encoding="utf-8"))["ratios"] if args.compare else {}
    precisions = ["fp32", "bf16"] if multiplies_bf16() else ["fp32"]
    report: dict[str, Any] = {"machine": describe_machine("cpu"), "threads": torch.get_num_threads(), "ways": by_way()}
    report["inputs"] = by_cost(INPUTS, precisions, 10)
    report["widths"] = by_cost(NETWORKS, precisions, 10)
    report["tasks"] = by_cost(TASKS, precisions, 10)
    report["ring_mb"] = ring_mb()
    report["ratios"] = ratios(report)
    for name in ("inputs", "widths", "tasks"):
        rows = [[key, *(f"{row[each]:.2f}" for each in ("gmac", *precisions))] for key, row in report[name].items()]
        print_table(f"runtime by {name}", ("network", "GMAC", *(f"{each} ms" for each in precisions)), rows)
    print(markdown(report))
    if args.out:
        write_json(args.out, report)
    if args.picture:
        plot(report, args.picture)
    if args.compare:
        rows = compare(report["ratios"], before)
        print_table("slower than the baseline by more than 15 %", ("ratio", "baseline", "now", "change"), rows)
        print(f"{len(rows)} of {len(report['ratios'])} ratios are worse than in {args.compare}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
